"""QKeras's activations and powers of two: the same values and gradients.

QKeras adds `x + (q - x)`, which is `q` only where float32 holds `q - x`. Values are
compared with `use_ste=False`, and then with the default to within an ulp of `x`.
"""

import inspect
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasqnn import dequantize_model, quantizers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.layers import QuantActivation
from kerasqnn.quantizers import (
    PowerOfTwo,
    PowerOfTwoReLU,
    QuantizedHardSwish,
    QuantizedLeakyReLU,
    QuantizedReLU,
    QuantizedSigmoid,
    QuantizedSigmoidReLU,
    QuantizedTanh,
    get,
)
from kerasqnn.quantizers.functions import StepFunction
from kerasqnn.quantizers.power_of_two import _first_with_exponent

from .test_fixed_point import gradient
from .test_qkeras import numbers, qkeras, ulp  # noqa: F401
from .values import around, same

# Every sign, exponent and leading seven bits of the mantissa, of normal numbers up to
# 2^100: where QKeras's scaling overflows, its inf - inf is no number.
_PATTERNS = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
SWEEP = _PATTERNS[(np.abs(_PATTERNS) < 2.0**100) & (np.abs(_PATTERNS) >= 2.0**-126)]
SIGMOIDS = ["hard", "smooth", "real"]


@pytest.fixture
def sigmoid(request, qkeras):  # noqa: F811
    """Set QKeras's internal sigmoid for one test."""
    qkeras.quantizers.set_internal_sigmoid(request.param)
    yield request.param
    qkeras.quantizers.set_internal_sigmoid("hard")


def values(step):
    """Return the sweep, and codes and ties of the grid with their neighbours."""
    return np.concatenate([SWEEP, numbers(step)]).astype(np.float32)


def check(ours, theirs, x, *, without_ste=True):
    """Compare values, numpy's with the layers', and gradients."""
    # Whole vectors: TensorFlow computes what is left over with other last bits.
    x = np.concatenate([x, np.zeros(-len(x) % 64, np.float32)])
    default = np.asarray(theirs(x))
    upstream = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    their_gradient = gradient(theirs, x, upstream)
    expected = default
    if without_ste:
        theirs.use_ste = False
        expected = np.asarray(theirs(x))
    same(ours.quantize(x), expected)
    same(np.asarray(ours(x)), expected)
    assert np.all(np.abs(default - expected) <= ulp(x, expected))
    same(gradient(ours, x, upstream), their_gradient)


RELUS = [
    (bits, integer, slope, bound, clip)
    for (bits, integer), slope, (bound, clip) in itertools.product(
        [(2, 0), (4, 2), (8, 1)],
        (0.0, 0.25, 1.0, 2.0, 2.0**-5),
        [(None, True), (1.0, True), (None, False), (1.5, False), (0.7, False)],
    )
]


@pytest.mark.parametrize("arguments", RELUS, ids=str)
def test_quantized_relu(qkeras, arguments):  # noqa: F811
    bits, integer, slope, bound, clip = arguments
    named = {"relu_upper_bound": bound, "is_quantized_clip": clip}
    theirs = qkeras.quantized_relu(bits, integer, 0, slope, **named)
    ours = get(theirs)
    assert ours == quantizers.quantized_relu(bits, integer, 0, slope, **named)
    edge = float(theirs.max()) if clip or bound is None else bound
    x = np.concatenate([values(2.0 ** (integer - bits)), around([edge, -edge])])
    check(ours, theirs, x)


@pytest.mark.parametrize("sigmoid", SIGMOIDS, indirect=True)
@pytest.mark.parametrize("bound", [None, 0.7])
@pytest.mark.parametrize(("bits", "integer"), [(1, 0), (3, 0), (6, 2)])
def test_quantized_relu_with_sigmoid(qkeras, sigmoid, bits, integer, bound):  # noqa: F811
    theirs = qkeras.quantized_relu(
        bits, integer, 1, relu_upper_bound=bound, is_quantized_clip=bound is None
    )
    ours = get(theirs)
    assert isinstance(ours, QuantizedSigmoidReLU)
    check(ours, theirs, values(2.0 ** (integer - bits)))


@pytest.mark.parametrize("sigmoid", SIGMOIDS, indirect=True)
@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 5, 16])
@pytest.mark.parametrize("kind", ["tanh", "sigmoid"])
def test_squashing(qkeras, sigmoid, real, symmetric, bits, kind):  # noqa: F811
    arguments = {"symmetric": symmetric, f"use_real_{kind}": real}
    theirs = getattr(qkeras, f"quantized_{kind}")(bits, **arguments)
    check(get(theirs), theirs, values(2.0 ** (1 - bits)), without_ste=False)


@pytest.mark.parametrize("alpha", [None, 0.3])
@pytest.mark.parametrize("symmetric", [0, 1])
@pytest.mark.parametrize(("bits", "integer"), [(3, 0), (12, 5)])
@pytest.mark.parametrize(("shift", "bound"), [(3, 6), (2, 4), (1, 5)])
def test_hard_swish(qkeras, bits, integer, symmetric, alpha, shift, bound):  # noqa: F811
    theirs = qkeras.quantized_hswish(
        bits, integer, symmetric, alpha, relu_shift=shift, relu_upper_bound=bound
    )
    x = values(2.0 ** (integer - bits + 1))
    x = x[np.abs(x) < 1e18]  # x^2 does not overflow
    check(get(theirs), theirs, x)


POWERS = [
    (bits, maximum, quadratic, rounding)
    for bits, maximum, quadratic, rounding in itertools.product(
        (2, 5, 8), (None, 0.25, 1.0, 3.0), (False, True), ("rnd", "floor")
    )
]


def away_from_thresholds(x, quantizer):
    """Return numbers farther than 128 units in the last place from a threshold."""
    thresholds = np.float32(quantizer.stages()[0].thresholds)
    distance = np.abs(x[:, None] - thresholds) / np.spacing(np.abs(thresholds))
    exact = np.float32([0.0, 1e-7, quantizer.max_value or 0.0])
    return x[np.all((distance > 128) | np.isin(np.abs(thresholds), exact), axis=1)]


@pytest.mark.parametrize("arguments", POWERS, ids=str)
def test_powers_of_two(qkeras, arguments):  # noqa: F811
    bits, maximum, quadratic, rounding = arguments
    theirs = qkeras.quantized_po2(
        bits, maximum, quadratic_approximation=quadratic, log2_rounding=rounding
    )
    ours = get(theirs)
    assert isinstance(ours, PowerOfTwo)
    edges = [1e-7, -1e-7, *([maximum, -maximum] if maximum else [])]
    x = np.concatenate([values(1.0), around(np.float32(edges))])
    check(ours, theirs, away_from_thresholds(x, ours))


@pytest.mark.parametrize("slope", [0, 0.25, 2.0])
@pytest.mark.parametrize("arguments", POWERS[::3], ids=str)
def test_relu_to_powers_of_two(qkeras, arguments, slope):  # noqa: F811
    bits, maximum, quadratic, rounding = arguments
    theirs = qkeras.quantized_relu_po2(
        bits, maximum, slope, quadratic_approximation=quadratic, log2_rounding=rounding
    )
    ours = get(theirs)
    assert isinstance(ours, PowerOfTwoReLU)
    edges = [1e-7, -1e-7, *([maximum, -maximum] if maximum else [])]
    x = np.concatenate([values(1.0), around(np.float32(edges))])
    check(ours, theirs, away_from_thresholds(x, ours))


def thresholds(exponent, rounding, quadratic, reach):
    """Return numbers around the smallest one of an exponent."""
    first = np.float32(_first_with_exponent(exponent, rounding, quadratic))
    return (first.view(np.int32) + np.arange(-reach, reach, dtype=np.int32)).view(
        np.float32
    )


@pytest.mark.parametrize("rounding", ["rnd", "floor"])
@pytest.mark.parametrize("quadratic", [False, True])
def test_powers_of_two_of_single_numbers(qkeras, rounding, quadratic):  # noqa: F811
    """One number at a time QKeras has our thresholds to the last bit."""
    theirs = qkeras.quantized_po2(
        9, use_ste=False, quadratic_approximation=quadratic, log2_rounding=rounding
    )
    ours = PowerOfTwo(9, quadratic=quadratic, rounding=rounding)
    for exponent in (-11, -8, -1, 0, 1, 6, 13, 40, 60):
        x = thresholds(exponent, rounding, quadratic, 2)
        same(ours.quantize(x), [np.asarray(theirs(x[i : i + 1]))[0] for i in range(4)])


def test_powers_of_two_of_arrays(qkeras):  # noqa: F811
    """How far the last bits of TensorFlow's vectorized logarithm reach."""
    theirs, ours = qkeras.quantized_po2(9, use_ste=False), PowerOfTwo(9)
    for exponent in range(-22, 128):
        x = thresholds(exponent, "rnd", False, 128)
        different = np.flatnonzero(ours.quantize(x) != np.asarray(theirs(x)))
        reach = np.max(np.abs(different + 0.5 - 128), initial=0.0)
        assert reach < (1 if -11 <= exponent <= 12 else 64), exponent


def get_factory(kind):
    return getattr(quantizers, f"quantized_{kind}")


KINDS = ["tanh", "sigmoid", "hswish", "po2", "relu_po2", "relu"]


@pytest.mark.parametrize("kind", KINDS)
def test_signatures(qkeras, kind):  # noqa: F811
    """QKeras's arguments, in its order, with its defaults."""
    ours, theirs = (
        inspect.signature(getattr(module, f"quantized_{kind}")).parameters.values()
        for module in (quantizers, qkeras)
    )
    assert [(p.name, p.default, p.kind) for p in ours] == [
        (p.name, p.default, p.kind) for p in theirs
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quantized_relu(4,2,negative_slope=0.25)", QuantizedLeakyReLU(
            4, 2, negative_slope=0.25, saturating_gradient=True)),
        ("quantized_relu(4,2,relu_upper_bound=1.5)", QuantizedReLU(4, 2)),
        ("quantized_relu(4,2,relu_upper_bound=1.5,is_quantized_clip=False)",
         QuantizedLeakyReLU(4, 2, upper_bound=1.5)),
        ("quantized_relu(4,2,is_quantized_clip=False)", QuantizedLeakyReLU(4, 2)),
        ("quantized_relu(4,2,1)", QuantizedSigmoidReLU(4, 2)),
        ("quantized_tanh(4)", QuantizedTanh(4)),
        ("quantized_tanh(4,symmetric=True)", QuantizedTanh(4, symmetric=True)),
        ("quantized_tanh(4,use_real_tanh=1)", QuantizedTanh(4, function="tanh")),
        ("quantized_sigmoid(3)", QuantizedSigmoid(3)),
        ("quantized_hswish(4,1,1)", QuantizedHardSwish(4, 1, symmetric=True)),
        ("quantized_po2(4)", PowerOfTwo(4)),
        ("quantized_po2(4,2)", PowerOfTwo(4, 2.0)),
        ("quantized_relu_po2(4,2,0.25)", PowerOfTwoReLU(4, 2.0, 0.25)),
    ],
)  # fmt: skip
def test_strings(text, expected):
    assert get(text) == expected
    assert get(repr(expected)) == expected
    stored = quantizers.serialize(expected)
    assert quantizers.deserialize(stored) == expected
    assert type(expected).from_config(expected.get_config()) == expected


def test_internal_sigmoid_of_objects_only(qkeras):  # noqa: F811
    """A string means the same whatever QKeras has set."""
    qkeras.quantizers.set_internal_sigmoid("smooth")
    try:
        assert get(qkeras.quantized_tanh(4)) == QuantizedTanh(4, function="smooth_tanh")
        assert get("quantized_tanh(4)") == QuantizedTanh(4)
    finally:
        qkeras.quantizers.set_internal_sigmoid("hard")


REFUSED = [
    (kind, argument, value)
    for kind in KINDS
    for argument, value in [
        ("use_stochastic_rounding", True),
        ("qnoise_factor", 0.5),
        ("use_ste", False),
        ("alpha", "auto"),
    ]
    if argument in inspect.signature(get_factory(kind)).parameters
]


@pytest.mark.parametrize(("kind", "argument", "value"), REFUSED)
def test_refused_options(qkeras, kind, argument, value):  # noqa: F811
    name = f"quantized_{kind}"
    for refused in (
        lambda: get(f"{name}({argument}={value!r})"),
        lambda: get(getattr(qkeras, name)(**{argument: value})),
    ):
        with pytest.raises(ValueError, match=name) as error:
            refused()
        assert f"Received: {argument}={value!r}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("quantized_relu(4,0,1,0.25)", "negative_slope=0.25"),
        ("quantized_relu(4,0,0,0.3)", "negative_slope=0.3"),
        ("quantized_relu(4,relu_upper_bound=0,is_quantized_clip=False)", "bound=0"),
        ("quantized_relu(1,0,0,0.5)", "bits=1"),
        ("quantized_tanh(1)", "bits=1"),
        ("quantized_hswish(4,relu_upper_bound=-1)", "bound=-1"),
        ("quantized_po2(1)", "bits=1"),
        ("quantized_po2(4,-1)", "max_value=-1"),
        ("quantized_po2(4,log2_rounding='ceil')", "'ceil'"),
        ("quantized_relu_po2(4,None,0.3)", "negative_slope=0.3"),
        ("QuantizedLeakyReLU(4,negative_slope='a')",
         "Received: negative_slope='a'"),
        ("QuantizedLeakyReLU(4,negative_slope=None)",
         "Received: negative_slope=None"),
        ("QuantizedTanh(4,function='relu')", "'relu'"),
        ("QuantizedSigmoid(4,function='hard_tanh')", "'hard_tanh'"),
        ("QuantizedLeakyReLU(4,upper_bound=1.0,saturating_gradient=True)",
         "saturating_gradient=True"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(text, received):
    with pytest.raises(ValueError) as error:
        get(text)
    assert "Received: " in str(error.value)
    assert received in str(error.value)


def test_no_grid_of_equal_steps():
    """Reading finds one that holds the rounded weights; activations are steps."""
    q = PowerOfTwo(5)
    assert q.fixed() is None
    assert q.fixed(np.float32([0.5])) is None
    assert isinstance(q.stages()[0], StepFunction)


@pytest.mark.parametrize(
    "quantizer",
    [PowerOfTwo(4), PowerOfTwoReLU(4, negative_slope=0.5), PowerOfTwoReLU(4, 2.0)],
    ids=repr,
)
def test_stages_are_the_quantizer(quantizer):
    """What export and hardware read has the bits of what trains."""
    (steps,) = quantizer.stages()
    x = np.concatenate([SWEEP, around(np.float32(steps.thresholds))])
    same(steps._forward(np, x), quantizer.quantize(x))
    same(np.asarray(steps(keras.ops.convert_to_tensor(x))), quantizer.quantize(x))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("real", [False, True])
def test_compiled(jit_compile, real):
    """Traced and on XLA the same bits; tanh and sigmoid are the backend's."""
    quantizers = [
        QuantizedLeakyReLU(6, 2, negative_slope=0.25, upper_bound=1.7),
        QuantizedSigmoidReLU(5, 1, function="sigmoid" if real else "hard_sigmoid"),
        QuantizedTanh(12, function="tanh" if real else "smooth_tanh", symmetric=True),
        QuantizedSigmoid(12, function="sigmoid" if real else "smooth_sigmoid"),
        QuantizedHardSwish(12, 2),
        PowerOfTwo(8),
        PowerOfTwoReLU(5, 2.0, 0.5),
    ]
    x = np.concatenate([SWEEP, numbers(0.25)])
    function = tf.function(
        lambda v: [q(v) for q in quantizers], jit_compile=jit_compile
    )
    for quantizer, received in zip(quantizers, function(x), strict=True):
        different = received.numpy() != quantizer.quantize(x)
        smooth = real and hasattr(quantizer, "function")
        assert np.mean(different) <= (1e-3 if smooth else 0.0), quantizer


@pytest.mark.parametrize(
    ("quantizer", "activation"),
    [
        (QuantizedTanh(16), "hard_tanh"),
        (QuantizedTanh(16, function="tanh"), "tanh"),
        (QuantizedSigmoid(16, function="sigmoid"), "sigmoid"),
        (QuantizedHardSwish(20, 4), "hard_silu"),
        (QuantizedLeakyReLU(20, 4), "relu"),
        (QuantizedTanh(4, function="smooth_tanh"), None),
        (QuantizedSigmoid(4), None),
        (QuantizedHardSwish(4, bound=4), None),
        (QuantizedLeakyReLU(4, upper_bound=1.0), None),
        (QuantizedSigmoidReLU(4), None),
        (PowerOfTwoReLU(4, 2.0), None),
        (PowerOfTwoReLU(4), "relu"),
        (PowerOfTwo(4), "linear"),
    ],
    ids=repr,
)
def test_keras_activation(quantizer, activation):
    """What dequantize_model leaves: the same but for rounding, or a refusal."""
    layers = [keras.layers.Flatten(), QuantActivation(quantizer, name="a")]
    model = keras.Sequential([keras.Input((64,)), *layers])
    if activation is None:
        with pytest.raises(UnsupportedModelError, match="'a'.*no Keras activation"):
            dequantize_model(model)
        return
    assert quantizer.keras_activation == activation
    plain = dequantize_model(model)
    x = np.linspace(-6, 6, 64, dtype=np.float32)[None]
    power = isinstance(quantizer, (PowerOfTwo, PowerOfTwoReLU))
    tolerance = {"rtol": 0.5, "atol": 0.1} if power else {"atol": 1e-4}
    np.testing.assert_allclose(plain(x), quantizer.quantize(x), **tolerance)
