"""The same values and gradients as the real QKeras.

QKeras returns `x + (q - x)` by default, which is `q` only where float32 holds `q - x`.
With `use_ste=False` it returns `q`; its own gradient is then zero, so that the
gradients are compared with the default. `binary` and `ternary` have no such option.
"""

import inspect
import itertools

import numpy as np
import pytest

from kerasqnn import quantizers
from kerasqnn.layers import QuantDense
from kerasqnn.quantizers import FixedPoint, QuantizedReLU, get

from .test_fixed_point import gradient
from .values import around, same

NORMAL = np.random.default_rng(0).normal(0, 2, (40, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def qkeras():
    """The package; imported here because it sets KERAS_BACKEND."""
    return pytest.importorskip("qkeras")


def numbers(step):
    """Return random numbers, codes and ties with neighbours, zeros, large numbers."""
    halves = np.arange(-36, 37) * np.float32(step) / 2
    large = [1e3, -1e3, 1e6, -1e6, 0.0, -0.0, 1e-30, -1e-30]
    near = np.concatenate([around(halves), np.float32(large)])
    return np.concatenate([NORMAL.ravel(), near, np.zeros(-len(near) % 4, "f4")])


def ulp(*arrays):
    """Return the distance of neighbouring float32 numbers at the largest size."""
    return np.spacing(np.max([np.abs(a) for a in arrays], axis=0).astype(np.float32))


BITS = [
    (bits, integer, symmetric, keep, alpha)
    for (bits, integer), symmetric, keep, alpha in itertools.product(
        [(2, 0), (3, 1), (4, -1), (5, 6), (8, 0), (16, 4)],
        (0, 1),
        (True, False),
        (None, 1.0, 0.3),
    )
]


LINEAR = [a for a in BITS if a[4] != 1.0]


@pytest.mark.parametrize("arguments", BITS, ids=str)
def test_quantized_bits(qkeras, arguments):
    """Equal to QKeras without its straight-through sum; within an ulp of x with it."""
    bits, integer, symmetric, keep, alpha = arguments
    x = numbers(2.0 ** (integer - bits + keep))
    ours = get(qkeras.quantized_bits(*arguments))
    assert ours == quantizers.quantized_bits(*arguments)
    text = f"quantized_bits({bits},{integer},{symmetric},{keep},alpha={alpha})"
    assert ours == get(text)
    expected = ours.quantize(x)
    plain = qkeras.quantized_bits(*arguments, use_ste=False)
    same(expected, np.asarray(plain(x)))
    same(np.asarray(ours(x)), expected)
    default = np.asarray(qkeras.get_quantizer(text)(x))
    assert np.all(np.abs(default - expected) <= ulp(x, expected))
    if alpha != 0.3:  # x and q are close, and float32 holds their difference
        inside = (ours.min <= x) & (x <= ours.max)
        same(default[inside], expected[inside])
    upstream = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    theirs = gradient(qkeras.get_quantizer(text), x, upstream)
    same(gradient(ours, x, upstream), theirs)


@pytest.mark.parametrize("alpha", [None, 0.5, 0.3])
@pytest.mark.parametrize("keep_negative", [True, False])
def test_one_bit(qkeras, alpha, keep_negative):
    """One signed bit is the sign in QKeras, and Binary here."""
    x = numbers(0.5)
    arguments = (1, 0, 0, keep_negative, alpha)
    ours = get(qkeras.quantized_bits(*arguments))
    expected = np.asarray(qkeras.quantized_bits(*arguments, use_ste=False)(x))
    same(ours.quantize(x), expected)
    upstream = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    theirs = gradient(qkeras.quantized_bits(*arguments), x, upstream)
    same(gradient(ours, x, upstream), theirs)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("integer", [-1, 0, 2, 6])
def test_quantized_relu(qkeras, bits, integer):
    """Equal, by default too: the sum starts from the clipped x, near q everywhere."""
    if integer < 0:  # QKeras raises 2 to it in integers, and fails; scaled instead
        theirs = qkeras.quantized_relu(bits, integer + 3, use_ste=False)
        scale = np.float32(2.0**-3)
        x = numbers(2.0 ** (integer - bits))
        expected = np.asarray(theirs(x / scale)) * scale
        same(QuantizedReLU(bits, integer).quantize(x), expected)
        return
    x = numbers(2.0 ** (integer - bits))
    ours = get(qkeras.quantized_relu(bits, integer))
    assert ours == QuantizedReLU(bits, integer)
    assert ours == get(f"quantized_relu({bits},{integer})")
    expected = ours.quantize(x)
    same(np.asarray(qkeras.quantized_relu(bits, integer, use_ste=False)(x)), expected)
    same(np.asarray(qkeras.quantized_relu(bits, integer)(x)), expected)
    same(np.asarray(ours(x)), expected)
    upstream = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    edge = np.float32([0, ours.max, np.nextafter(ours.max, np.float32(np.inf))])
    x[:3] = edge
    theirs = gradient(qkeras.quantized_relu(bits, integer), x, upstream)
    same(gradient(ours, x, upstream), theirs)


@pytest.mark.parametrize(
    "text",
    [
        "binary()",
        "binary(alpha=1.0)",
        "binary(alpha=0.3)",
        "binary(use_01=True)",
        "binary(use_01=True,alpha=0.3)",
        "ternary()",
        "ternary(threshold=0.5)",
        "ternary(alpha=1.0)",
        "ternary(alpha=0.3)",
        "ternary(alpha=0.3,threshold=0.7)",
    ],
)
def test_signs(qkeras, text):
    """Within an ulp of the straight-through sum, which is far less than a code."""
    theirs, ours = qkeras.get_quantizer(text), get(text)
    assert get(theirs) == ours
    edge = np.float32(getattr(ours, "threshold", 0.33))
    x = np.concatenate([numbers(0.5), around([edge, -edge])])
    expected = ours.quantize(x)
    base = np.tanh(x) if "alpha" not in text else x
    assert np.all(np.abs(np.asarray(theirs(x)) - expected) <= ulp(base, expected))
    small = np.abs(x) < 100
    codes = np.rint(np.asarray(theirs(x))[small] / ours.alpha)
    np.testing.assert_array_equal(codes, ours.codes(x)[small])
    codes = {0, 1} if "use_01" in text else {-1, 1}
    assert set(ours.codes(x)) == (codes if "binary" in text else {-1, 0, 1})
    upstream = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    same(gradient(ours, x, upstream), gradient(theirs, x, upstream))


@pytest.mark.parametrize("kind", ["quantized_bits", "binary", "ternary"])
def test_one_alpha_a_channel(qkeras, kind):
    """An array that broadcasts along the last axis."""
    alpha = np.array([[0.25, 0.3, 1.0, 7.0]], np.float32)
    ours = getattr(quantizers, kind)(alpha=alpha)
    if kind == "quantized_bits":  # QKeras compares an array with a string, and fails
        rows = [
            qkeras.quantized_bits(alpha=float(a), use_ste=False)(NORMAL[:, i])
            for i, a in enumerate(alpha[0])
        ]
        same(ours.quantize(NORMAL), np.stack(rows, axis=-1))
        return
    theirs = getattr(qkeras, kind)(alpha=alpha)
    assert get(theirs) == ours
    received, expected = np.asarray(theirs(NORMAL)), ours.quantize(NORMAL)
    assert np.all(np.abs(received - expected) <= ulp(NORMAL, expected))
    upstream = np.random.default_rng(1).normal(size=NORMAL.shape).astype(np.float32)
    same(gradient(ours, NORMAL, upstream), gradient(theirs, NORMAL, upstream))


@pytest.mark.parametrize(
    "kind",
    [
        "quantized_bits",
        "quantized_linear",
        "quantized_relu",
        "binary",
        "ternary",
        "stochastic_binary",
        "stochastic_ternary",
    ],
)
def test_signatures(qkeras, kind):
    """QKeras's arguments, in its order, with its defaults."""
    ours = inspect.signature(getattr(quantizers, kind)).parameters.values()
    theirs = inspect.signature(getattr(qkeras, kind)).parameters.values()
    assert [(p.name, p.default, p.kind) for p in ours] == [
        (p.name, p.default, p.kind) for p in theirs
    ]


REFUSED = [
    ("quantized_bits", "qnoise_factor", 0.5),
    ("quantized_bits", "use_ste", False),
    ("quantized_bits", "elements_per_scale", 2),
    ("quantized_bits", "min_po2_exponent", -1),
    ("quantized_bits", "max_po2_exponent", 1),
    ("quantized_relu", "use_stochastic_rounding", True),
    ("quantized_relu", "qnoise_factor", 0.5),
    ("quantized_relu", "use_ste", False),
    ("binary", "use_stochastic_rounding", True),
    ("binary", "elements_per_scale", 2),
    ("binary", "min_po2_exponent", -1),
    ("binary", "max_po2_exponent", 1),
    ("quantized_linear", "qnoise_factor", 0.5),
    ("quantized_linear", "bits", 1),
    ("ternary", "threshold", "auto"),
    ("ternary", "use_stochastic_rounding", True),
]


@pytest.mark.parametrize(("kind", "argument", "value"), REFUSED)
def test_refused_options(qkeras, kind, argument, value):
    """By name: as a string, as an argument, and in a QKeras object."""
    refusals = [
        lambda: get(f"{kind}({argument}={value!r})"),
        lambda: getattr(quantizers, kind)(**{argument: value}),
        lambda: get(getattr(qkeras, kind)(**{argument: value})),
    ]
    for refused in refusals:
        with pytest.raises(ValueError) as error:
            refused()
        assert f"Received: {argument}={value!r}" in str(error.value)
        assert kind in str(error.value)


def test_refused_together(qkeras):
    """A scale from training."""
    with pytest.raises(ValueError, match="post_training_scale"):
        quantizers.quantized_bits(4, post_training_scale=np.array([0.5]))
    with pytest.raises(ValueError, match="bits=4.5"):
        get("quantized_bits(4.5)")


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [
        ("quantized_bits", "scale_axis", 0),
        ("quantized_bits", "var_name", "w"),
        ("quantized_bits", "use_variables", True),
        ("quantized_relu", "var_name", "w"),
        ("quantized_relu", "use_variables", True),
        ("quantized_relu", "relu_upper_bound", 1.0),
        ("quantized_linear", "scale_axis", 0),
        ("quantized_linear", "use_variables", True),
        ("binary", "training", True),
        ("binary", "scale_axis", 0),
        ("ternary", "number_of_unrolls", 3),
    ],
)
def test_options_without_effect(qkeras, kind, argument, value):
    """They change nothing in QKeras while the scale is fixed, and nothing here."""
    plain, theirs = (getattr(qkeras, kind)(**a) for a in ({}, {argument: value}))
    same(np.asarray(theirs(NORMAL)), np.asarray(plain(NORMAL)))
    ours = getattr(quantizers, kind)()
    assert get(f"{kind}({argument}={value!r})") == ours
    assert get(theirs) == ours


def test_other_qkeras_quantizers_are_refused(qkeras):
    """By the class's name, with those that there are."""
    with pytest.raises(ValueError, match="Allowed: .*quantized_bits.*quantized_ulaw"):
        get(qkeras.quantized_ulaw(4))
    with pytest.raises(ValueError, match="bernoulli"):  # it draws at inference too
        get(qkeras.bernoulli())


@pytest.mark.parametrize("arguments", LINEAR, ids=str)
def test_quantized_linear(qkeras, arguments):
    """Within an ulp of the straight-through sum; the gradient ends at the range."""
    bits, integer, symmetric, keep, alpha = arguments
    x = numbers(2.0 ** (integer - bits + keep) * (alpha or 1.0))
    theirs = qkeras.quantized_linear(*arguments)
    ours = get(theirs)
    assert ours == quantizers.quantized_linear(*arguments)
    expected = ours.quantize(x)
    received = np.asarray(theirs(x))
    assert np.all(np.abs(received - expected) <= ulp(x, expected))
    inside = (ours.min <= x) & (x <= ours.max)
    codes = np.rint(received[inside].astype(float) / float(ours.step))
    np.testing.assert_array_equal(codes, ours.codes(x)[inside])
    upstream = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    # QKeras multiplies the gradient with the scale and divides by it again.
    rounds = 0.0 if alpha is None else 1e-6
    theirs = gradient(theirs, x, upstream)
    np.testing.assert_allclose(gradient(ours, x, upstream), theirs, rtol=rounds)


def test_layers_do_not_change_the_quantizer(qkeras):
    """QKeras's layers turn alpha=None into "auto_po2" in the user's own object."""
    theirs = qkeras.quantized_bits(4)
    before = dict(vars(theirs))
    layer = QuantDense(2, kernel_quantizer=theirs, activation=qkeras.quantized_relu(3))
    layer.build((None, 3))
    assert layer.kernel_quantizer == FixedPoint(4)
    assert layer.activation == QuantizedReLU(3)
    assert vars(theirs) == before
