"""Every layer keeps the contract; its arguments are Keras's and then its own."""

import inspect
import re

import keras
import numpy as np
import pytest

from kerasqnn import layers
from kerasqnn.testing import check_layer

from .cases import CASES

OWN = "^(Noisy)?Quant(Reciprocal)?|BatchNorm$"  # of a name; the rest is Keras's
PEERS = {
    cls: getattr(keras.layers, re.sub(OWN, "", name))
    for name, cls in vars(layers).items()
    if name.removeprefix("Noisy").startswith("Quant") and name != "QuantInput"
}


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize("name", CASES)
def test_contract(name, fresh_process):
    """Shapes, graph, configuration, clone, file, weights, training, half precision."""
    case = CASES[name]
    check_layer(
        case.make,
        case.inputs(),
        weights=case.weights,
        fresh_process=fresh_process,
        half=case.half,
        rtol=case.rtol,
    )


def test_every_layer_has_a_case():
    """A new layer, or a new argument of one, needs a case."""
    public = {v for v in vars(layers).values() if inspect.isclass(v)}
    public = {v for v in public if issubclass(v, keras.layers.Layer)}
    public = {v for v in public if not v.__name__.endswith("Cell")}  # of layers
    assert {case.cls for case in CASES.values()} == public
    for cls in public:
        known = set().union(*(c.kwargs for c in CASES.values() if c.cls is cls))
        # Of those that LoRA and Keras's own quantization use there is another test.
        known |= {"lora_rank", "lora_alpha", "quantization_config", "kwargs"}
        known |= {"gptq_unpacked_column_size", "name"}
        assert set(inspect.signature(cls).parameters) <= known


@pytest.mark.parametrize("cls", PEERS, ids=lambda c: c.__name__)
def test_signature(cls):
    """Keras's arguments in its order with its defaults; then keyword-only ones."""
    ours = list(inspect.signature(cls).parameters.values())
    theirs = list(inspect.signature(PEERS[cls]).parameters.values())
    assert theirs[-1].kind is inspect.Parameter.VAR_KEYWORD
    positional, own = ours[: len(theirs) - 1], ours[len(theirs) - 1 : -1]
    assert [(p.name, p.default, p.kind) for p in positional] == [
        (p.name, p.default, p.kind) for p in theirs[:-1]
    ]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in own)
    assert ours[-1].kind is inspect.Parameter.VAR_KEYWORD
    quantized = (
        "kernel",
        "bias",
        "scale",
        "offset",
        "depthwise",
        "pointwise",
        "output",
        "embeddings",
        "gamma",
        "beta",
        "mean",
        "variance",
        "average",
        "query",
        "key",
        "value",
        "scores",
        "probabilities",
        "recurrent",
        "state",
    )
    own = _without_normalization(own)
    own = [p for p in own if (p.name, p.default) != ("inverse", "divide")]
    quantizers = [f"{n}_quantizer" for n in quantized]
    assert {p.name for p in own} <= {*quantizers, "noise"}
    for parameter in own:
        noisy = cls.__name__.startswith("Noisy") and parameter.name == "noise"
        assert parameter.default == ("additive(0.0)" if noisy else None)


def _without_normalization(own):
    """Take off the arguments of a folded batch normalization, with Keras's defaults."""
    theirs = inspect.signature(keras.layers.BatchNormalization).parameters
    names = [n for n in theirs if n not in ("axis", "synchronized", "kwargs")]
    folded = {n: theirs[n].default for n in names if "renorm" not in n}
    folded |= {"ema_freeze_delay": None, "folding_mode": "ema_stats_folding"}
    folded["inverse"] = "divide"
    if [p.name for p in own[: len(folded)]] != list(folded):
        return own
    assert [p.default for p in own[: len(folded)]] == list(folded.values())
    return own[len(folded) :]


def test_signature_of_a_subclass():
    """A class with its own constructor shows that one."""

    class Doubled(layers.QuantDense):
        def __init__(self, half, **kwargs):
            super().__init__(2 * half, **kwargs)

    assert list(inspect.signature(Doubled).parameters) == ["half", "kwargs"]
    assert Doubled(half=2, kernel_quantizer="binary").units == 4


def test_no_class_attribute_hides_an_inner_layer():
    """Torch keeps inner layers apart, and finds a class's attribute before them."""
    layer = layers.NoisyQuantDense(2, name="outer")
    inner = {n for n, v in vars(layer).items() if isinstance(v, keras.layers.Layer)}
    assert "noise_point" in inner
    assert not [name for name in inner if hasattr(type(layer), name)]


@pytest.mark.parametrize("cls", PEERS, ids=lambda c: c.__name__)
def test_kind(cls):
    """A layer is an instance of Keras's class, so that Keras's tools know it."""
    assert issubclass(cls, PEERS[cls])
    assert cls.__doc__.startswith("`")
    assert cls.__module__.startswith("kerasqnn.layers.")


def test_positional_arguments():
    """They reach the arguments of Keras's layer, in the noisy kinds too."""
    for cls in (layers.QuantDense, layers.NoisyQuantDense):
        config = cls(3, "relu", False, "ones", "zeros", "l1", "l2", "l2").get_config()
        plain = keras.layers.Dense(3, "relu", False, "ones", "zeros", "l1", "l2", "l2")
        _same_but_name(config, plain.get_config())
    arguments = (2, (3, 2), (2, 1), "same", None, (1, 1), 1, "relu", False, "ones")
    for cls in (layers.QuantConv2D, layers.NoisyQuantConv2D):
        plain = keras.layers.Conv2D(*arguments)
        _same_but_name(cls(*arguments).get_config(), plain.get_config())
    arguments = (1, 0.5, 0.25, False, True, "ones")
    plain = keras.layers.BatchNormalization(*arguments)
    config = layers.QuantBatchNormalization(*arguments).get_config()
    _same_but_name(config, plain.get_config())


def _same_but_name(config, expected):
    assert {k: config[k] for k in expected if k != "name"} == {
        k: v for k, v in expected.items() if k != "name"
    }


@pytest.mark.parametrize("cls", [layers.QuantDense, layers.NoisyQuantDense])
def test_lora(cls):
    """Low-rank adapters act before the quantizer, and are kept."""
    layer = cls(3, lora_rank=2, lora_alpha=4, kernel_quantizer="quantized_bits(5,2)")
    copy = cls.from_config(layer.get_config())
    assert (copy.lora_rank, copy.lora_alpha) == (2, 4)
    x = np.ones((2, 4), np.float32)
    layer.build(x.shape)
    assert "lora_kernel_a" in [w.name for w in layer.weights]
    layer.lora_kernel_b.assign(np.ones((2, 3)))
    kernel = layer.kernel_quantizer.quantize(layer.kernel)
    np.testing.assert_array_equal(layer(x), x @ kernel)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.QuantDense(3, kernel_quantizer="binary"),
        lambda: layers.QuantDense(3, bias_quantizer="binary"),
        lambda: layers.QuantConv2D(3, 1, kernel_quantizer="binary"),
        lambda: layers.QuantBatchNormalization(scale_quantizer="ternary"),
        lambda: layers.QuantBatchNormalization(offset_quantizer="ternary"),
    ],
)
@pytest.mark.parametrize("mode", ["int8", "float8", "int4"])
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_keras_quantization_is_refused(make, mode):
    """It would bypass the quantizers; the layer's name is in the error."""
    layer = make()
    layer.build((None, 2, 2, 4))
    with pytest.raises(ValueError, match=f"{layer.name}.*bypass.*mode='{mode}'"):
        layer.quantize(mode)
    model = keras.Sequential([keras.Input((2, 2, 4)), make()])
    with pytest.raises(ValueError, match="bypass"):
        model.quantize(mode)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_keras_quantization_leaves_noisy_layers_alone():
    """Keras passes over layers that hold others, such as a noise point."""
    layer = layers.NoisyQuantDense(3, kernel_quantizer="quantized_bits(4)")
    model = keras.Sequential([keras.Input((4,)), layer])
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    model.quantize("int8")
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    with pytest.raises(ValueError, match="bypass"):
        layer.quantize("int8")


@pytest.mark.parametrize(
    "arguments", [{"kernel_quantizer": "binary"}, {"noise": "additive(1)"}]
)
def test_keras_quantized_dtypes_are_refused(arguments):
    """An integer dtype policy would bypass quantizers and noise as well."""
    with pytest.raises(ValueError, match="bypass.*dtype='int8_from_float32'"):
        layers.QuantDense(3, dtype="int8_from_float32", **arguments)
    layers.QuantDense(3, dtype="int8_from_float32")


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: layers.QuantDense(0), ValueError, "units=0"),
        (
            lambda: layers.QuantDense(3, kernel_quantizer="binry"),
            ValueError,
            "mean 'binary'",
        ),
        (
            lambda: layers.QuantDense(3, kernel_quantizer=4),
            TypeError,
            "Received: 4",
        ),
        (lambda: layers.QuantDense(3, noise="adive(1)"), ValueError, "mean 'additive'"),
        (lambda: layers.QuantDense(3, noise=0.5), TypeError, "Received: 0.5"),
        (lambda: layers.QuantDense(3, activation="rely"), ValueError, "rely"),
        (
            lambda: layers.QuantDense(3, activation="quantized_relu(40)"),
            ValueError,
            "bits=40",
        ),
        (lambda: layers.QuantInput(None), TypeError, "quantizer=None"),
        (lambda: layers.QuantInput("relu"), ValueError, "Unknown quantizer"),
        (lambda: layers.QuantActivation("nothing"), ValueError, "nothing"),
        (lambda: layers.QuantDense(3, quantizer="binary"), ValueError, "quantizer"),
        (
            lambda: layers.QuantBatchNormalization(
                renorm=True, scale_quantizer="binary"
            ),
            ValueError,
            "renorm=True",
        ),
    ],
)
def test_refused_arguments(make, error, text):
    """Each error names the argument and what was received."""
    with pytest.raises(error, match=text):
        make()


def test_integer_inputs():
    """An image of bytes becomes float numbers on the grid."""
    layer = layers.QuantInput("quantized_bits(4,3)")
    image = np.array([[0, 1, 7, 200]], np.uint8)
    y = layer(image)
    assert y.dtype == "float32"
    np.testing.assert_array_equal(y, [[0, 1, 7, 7]])
    inputs = keras.Input((4,), dtype="uint8")
    model = keras.Model(inputs, layer(inputs))
    assert model.output.dtype == "float32"
    np.testing.assert_array_equal(model.predict(image, verbose=0), y)
