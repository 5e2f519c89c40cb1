"""From strings, configurations and objects to quantizers and back."""

import json

import keras
import pytest
from hypothesis import given, settings

from kerasqnn import quantizers
from kerasqnn.quantizers import Binary, FixedPoint, QuantizedReLU, Ternary, get
from kerasqnn.quantizers.parsing import is_quantizer_string

from .strategies import quantizers as any_quantizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quantized_bits(4,0,1)", FixedPoint(4, 0, overflow="SAT_SYM")),
        ("quantized_bits(4, 1)", FixedPoint(4, 1)),
        ("quantized_bits()", FixedPoint(8)),
        ("quantized_bits", FixedPoint(8)),
        ("quantized_bits(8,0,keep_negative=0)", FixedPoint(8, signed=False)),
        ("quantized_bits(8,0,1,False)", FixedPoint(8, signed=False)),
        ("quantized_bits(6,-2,alpha=0.5)", FixedPoint(6, -2, alpha=0.5)),
        ("quantized_bits(4,alpha=(0.5,2.0))", FixedPoint(4, alpha=(0.5, 2.0))),
        ("quantized_bits(4,alpha=[0.5,2])", FixedPoint(4, alpha=(0.5, 2.0))),
        ("quantized_bits(1)", Binary(gradient="identity")),
        ("quantized_bits(1,keep_negative=0)", FixedPoint(1, signed=False)),
        ("quantized_relu(4,2)", QuantizedReLU(4, 2)),
        ("quantized_relu(bits=3)", QuantizedReLU(3)),
        ("quantized_relu(4,2,relu_upper_bound=1.0)", QuantizedReLU(4, 2)),
        ("binary", Binary()),
        ("binary()", Binary()),
        ("binary(alpha=0.5)", Binary(0.5, gradient="identity")),
        ("ternary", Ternary()),
        ("ternary(threshold=0.5)", Ternary(threshold=0.5)),
        ("ternary(1.0, 0.5)", Ternary(1.0, threshold=0.5, gradient="identity")),
        (" FixedPoint( 4 , rounding = 'FLOOR' ) ", FixedPoint(4, rounding="FLOOR")),
        ("QuantizedReLU(4,2)", QuantizedReLU(4, 2)),
        ("Binary", Binary()),
        ("Ternary(threshold=.5)", Ternary(threshold=0.5)),
    ],
)
def test_strings(text, expected):
    """QKeras's names and kerasqnn's own."""
    assert get(text) == expected
    assert is_quantizer_string(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(any_quantizer)
def test_round_trips(quantizer):
    """The repr, the configuration and its JSON all give the quantizer back."""
    assert get(repr(quantizer)) == quantizer
    assert type(quantizer).from_config(quantizer.get_config()) == quantizer
    config = quantizers.serialize(quantizer)
    stored = json.loads(json.dumps(config))
    assert quantizers.deserialize(stored) == quantizer
    assert get(stored) == quantizer
    assert config["registered_name"] == f"kerasqnn>{type(quantizer).__name__}"
    assert repr(get(stored)) == repr(quantizer)


def test_none_and_objects():
    """None stays None, an object stays itself."""
    assert get(None) is None
    assert quantizers.serialize(None) is None
    quantizer = FixedPoint(4)
    assert get(quantizer) is quantizer


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("quantized_bit(4)", "quantized_bits"),
        ("quantised_relu(4)", "quantized_relu"),
        ("fixedpoint(4)", "FixedPoint"),
        ("Terniary", "Ternary"),
    ],
)
def test_nearest_name(text, near):
    """A misspelt name is answered with the name meant and with all there are."""
    with pytest.raises(ValueError) as error:
        get(text)
    assert f"Did you mean {near!r}?" in str(error.value)
    for name in ("quantized_bits", "FixedPoint", "Received"):
        assert name in str(error.value)
    assert not is_quantizer_string(text)


@pytest.mark.parametrize(
    "text",
    [
        "quantized_bits(4, wrong=1)",
        "quantized_bits(4, bits=5)",
        "quantized_bits(bits=4, bits=5)",
        "FixedPoint()",
        "FixedPoint(4, 0, True)",
        "quantized_relu(4, 2, 0, 0.0, False, None, True, 1.0, None, True, False, 9)",
        "",
        "  ",
        "4",
        "'quantized_bits'",
        "quantized_bits(4",
        "quantized_bits(4))",
        "quantized_bits(4)(3)",
        "quantized_bits(x)",
        "quantized_bits(2**3)",
        "quantized_bits(1 if 1 else 2)",
        "quantized_bits(*[4])",
        "quantized_bits(**{'bits': 4})",
        "quantizers.quantized_bits(4)",
        "[FixedPoint(4)]",
        "FixedPoint(4); FixedPoint(5)",
        "FixedPoint(4)\0",
        "(" * 500 + "4" + ")" * 500,
        "-" * 100_000 + "4",
    ],
)
def test_malformed_strings(text):
    """A ValueError that shows the string, whatever is wrong with it."""
    with pytest.raises(ValueError) as error:
        get(text)
    assert "Received" in str(error.value)


@pytest.mark.parametrize(
    "template",
    [
        "{}",
        "quantized_bits({})",
        "quantized_bits(bits={})",
        "quantized_bits(4, alpha=({}, 1.0))",
        "FixedPoint(4, rounding={})",
        "{}(4)",
        "(lambda: {})()",
        "binary(*{})",
        "binary(**{})",
    ],
)
def test_nothing_is_evaluated(template, tmp_path):
    """The file that the code would make is not made; with `eval` it is."""
    file = tmp_path / "made"
    code = f"__import__('pathlib').Path({str(file)!r}).touch()"
    with pytest.raises(ValueError, match="literal"):
        get(template.format(code))
    assert not file.exists()
    eval(code)
    assert file.exists()


@pytest.mark.parametrize("wrong", [4, 0.5, ["binary"], object(), FixedPoint, len])
def test_other_kinds(wrong):
    """A TypeError that says what is allowed."""
    with pytest.raises(TypeError, match="quantized_bits"):
        get(wrong)


def test_configuration_of_something_else():
    """A configuration of another Keras object is no quantizer."""
    config = keras.saving.serialize_keras_object(keras.initializers.Zeros())
    with pytest.raises(TypeError, match="not a kerasqnn quantizer"):
        get(config)


def test_activations_are_no_quantizer_strings():
    """Keras's names keep their meaning."""
    for name in ("relu", "tanh", "linear", None, keras.activations.relu, 3):
        assert not is_quantizer_string(name)
