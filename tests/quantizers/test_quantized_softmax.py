"""Softmax from tables: integer arithmetic, gradient, the chain, refusals."""

from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasqnn
from kerasqnn import layers, quantizers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import run_reference
from kerasqnn.models import analyse, read_model
from kerasqnn.quantizers import FixedPoint, QuantizedSoftmax, get

from .test_fixed_point import gradient
from .values import same

KINDS = [
    QuantizedSoftmax(),
    QuantizedSoftmax(4, sum="FixedPoint(6, 2, signed=False)"),
    QuantizedSoftmax(
        12,
        difference="FixedPoint(5, 2, rounding='FLOOR')",
        exp="FixedPoint(9, 0, signed=False)",
        sum="FixedPoint(8, 3, rounding='HALF_UP')",
        inverse="FixedPoint(7, 0)",
    ),
]


def logits(*shape):
    """Numbers far apart and close together, with ties."""
    x = np.random.default_rng(0).normal(0, 3, (200, *shape))
    return np.concatenate([x, x * 9, np.rint(x)]).astype(np.float32)


def on(grid, value):
    """Return the number of a grid for an exact one, in Python's own integers."""
    code = value / Fraction(float(grid.step))
    code = min(max(code, grid.code_min), grid.code_max)
    whole = {
        "ROUND": round(code),
        "FLOOR": code.__floor__(),
        "HALF_UP": (abs(code) + Fraction(1, 2)).__floor__() * (1 if code >= 0 else -1),
    }[grid.rounding]
    return whole * Fraction(float(grid.step))


def expected(quantizer, row):
    f = quantizer.function
    exact = [Fraction(float(v)) for v in row]
    distances = [on(f.difference, max(exact) - v) for v in exact]
    powers = [on(f.exp, Fraction(float(np.exp(-float(d))))) for d in distances]
    inverse = on(f.inverse, 1 / on(f.sum, sum(powers)))
    grid = FixedPoint(quantizer.bits, signed=False)
    return [float(on(grid, p * inverse)) for p in powers]


@pytest.mark.parametrize("quantizer", KINDS, ids=["default", "few", "mixed"])
def test_formula(quantizer):
    """In fractions; eager, compiled and numpy."""
    x = np.rint(logits(7)[::6] * 64) / 64  # distances are exact
    wanted = np.float32([expected(quantizer, row) for row in x])
    assert len(np.unique(wanted)) > 8
    same(quantizer.quantize(x), wanted)
    same(np.asarray(quantizer(x.astype(np.float32))), wanted)
    compiled = tf.function(quantizer, jit_compile=True)
    x = logits(2, 7)
    same(np.asarray(compiled(x)), quantizer.quantize(x))
    same(quantizer.quantize(x)[:, 1], quantizer.quantize(x[:, 1]))


def test_golden():
    quantizer = QuantizedSoftmax(4)
    assert quantizer.quantize([1.0, 1.0, 3.0]).tolist() == [0.125, 0.125, 0.8125]
    assert quantizer.quantize([-9.0, 99.0]).tolist() == [0.0, 0.9375]
    huge = np.float32([3e38, -3e38, 0.0])
    assert quantizer.quantize(huge).tolist() == [0.9375, 0.0, 0.0]


def test_close_to_softmax():
    """Up to a few steps of the tables."""
    x = logits(10)
    error = QuantizedSoftmax(8).quantize(x) - tf.nn.softmax(x).numpy()
    assert np.max(np.abs(error)) < 3 / 256


def test_gradient():
    """That of the softmax without rounding, by TensorFlow's own differentiation."""
    x = logits(7)
    upstream = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    np.testing.assert_allclose(
        gradient(KINDS[1], x, upstream),
        gradient(tf.nn.softmax, x, upstream),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("quantizer", KINDS, ids=["default", "few", "mixed"])
def test_round_trips(quantizer):
    assert get(repr(quantizer)) == quantizer
    assert quantizers.deserialize(quantizers.serialize(quantizer)) == quantizer
    assert len({*KINDS, get(repr(quantizer))}) == len(KINDS)


def model(quantizer, classes=6):
    """A dense layer with the softmax, and one behind it."""
    keras.utils.set_random_seed(0)
    weights = {"kernel_quantizer": "quantized_bits(5,1,1)", "use_bias": False}
    inputs = keras.Input((4,))
    x = layers.QuantInput("quantized_bits(6,2)", name="grid")(inputs)
    x = layers.QuantDense(classes, activation=quantizer, name="first", **weights)(x)
    return keras.Model(inputs, [x, layers.QuantDense(3, name="last", **weights)(x)])


@pytest.mark.parametrize("quantizer", KINDS, ids=["default", "few", "mixed"])
def test_chain(quantizer, tmp_path):
    """Keras, integers, ONNX Runtime and qonnx; after a file and a clone, too."""
    first = model(quantizer)
    x = np.random.default_rng(0).normal(0, 2, (300, 4)).astype(np.float32)
    first.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(loaded)
    clone.set_weights(first.get_weights())
    path = kerasqnn.export_qonnx(loaded, tmp_path / "model.onnx")
    wanted = first.predict(x, verbose=0)
    graph = read_model(first)
    arithmetic = analyse(graph)
    others = [
        clone.predict(x, verbose=0),
        kerasqnn.run_qonnx(path, x),
        run_reference(path, x),
        kerasqnn.integer_reference(first, x).values,
    ]
    for index, tensor in enumerate(graph.outputs):
        assert len(np.unique(wanted[index])) > 8
        grid = arithmetic.facts[tensor].grid
        assert arithmetic.facts[tensor].faithful
        assert np.all((grid.low <= wanted[index]) & (wanted[index] <= grid.high))
        for other in others:
            np.testing.assert_array_equal(other[index], wanted[index])


def test_sums_beyond_float32_are_refused(tmp_path):
    quantizer = QuantizedSoftmax(8, exp="FixedPoint(24, 1, signed=False)")
    path = tmp_path / "model.onnx"
    with pytest.raises(UnsupportedModelError, match="needs 26 bits for its sums") as e:
        kerasqnn.export_qonnx(model(quantizer), path)
    assert e.value.layer == "first"
    assert not path.exists()
    kerasqnn.export_qonnx(model(quantizer, classes=2), path)


def test_hardware_refuses(tmp_path):
    with pytest.raises(UnsupportedModelError, match="'first'.*softmax from tables"):
        kerasqnn.deploy(model(KINDS[0]), "arty", tmp_path / "project")
    assert not (tmp_path / "project").exists()


def test_without_quantizers():
    """Keras's softmax in its place."""
    plain = kerasqnn.dequantize_model(model(KINDS[0]))
    assert plain.get_layer("first").activation is keras.activations.softmax


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 0}, "`bits` must be"),
        ({"difference": "FixedPoint(13)"}, "`difference` must have at most 12 bits"),
        ({"sum": "FixedPoint(8, overflow='WRAP')"}, "`sum` must saturate"),
        ({"exp": "FixedPoint(8, scale=0.3)"}, "`exp`.*one power-of-two step"),
        ({"inverse": "binary"}, "`inverse` must be a FixedPoint"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        QuantizedSoftmax(**arguments)
    assert "Received: " in str(error.value)
