"""Learned bit widths: the arithmetic, HGQ's gradients, the count of bits."""

import numpy as np
import pytest
import tensorflow as tf

from kerasqnn.quantizers import LearnedBits, deserialize, get, serialize

from .values import corners, same

LOG2 = np.log(2.0)


def _values(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def _set(quantizer, shape, fraction, integer=None):
    quantizer.build(shape)
    quantizer.fraction.assign(np.broadcast_to(fraction, quantizer.fraction.shape))
    if integer is not None:
        quantizer.integer.assign(np.broadcast_to(integer, quantizer.integer.shape))
    return quantizer


def _round(x, fraction):
    return np.ldexp(np.rint(np.ldexp(x.astype(np.float64), fraction)), -fraction)


@pytest.mark.parametrize("granularity", ["tensor", "channel", "element"])
def test_weights(granularity):
    """Multiples of 2^-f, whatever their size; `fixed()` where one grid serves."""
    x = _values(5, 3)
    fraction = np.random.default_rng(1).uniform(-2, 6, (5, 3)).astype(np.float32)
    fraction = {"tensor": fraction[0, 0], "channel": fraction[0]}.get(
        granularity, fraction
    )
    quantizer = _set(LearnedBits(granularity=granularity), x.shape, fraction)
    expected = _round(x, np.rint(fraction).astype(int)).astype(np.float32)
    same(np.asarray(quantizer(x)), expected)
    same(np.asarray(tf.function(quantizer, jit_compile=True)(x)), expected)
    assert np.any(expected == 0) and np.any(expected != x)
    grid = quantizer.fixed(x)
    assert quantizer.fixed() is None
    if granularity == "element":
        assert grid is None
    else:
        same(grid.quantize(x) + 0.0, expected + 0.0)
        codes = grid.codes(x)  # with one bit less they would not fit, but for 2 bits
        half = 2 ** (grid.bits - 2)
        assert grid.bits == 2 or codes.max() >= half or codes.min() < -half


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("fraction", "integer"), [(3, 2), (0, 4), (5, -3), (-3, 5), (13, 2), (2.4, 1.6)]
)
def test_activations(signed, fraction, integer):
    """Clipped to the range, rounded: the grid of `fixed()`, codes, ties and ends."""
    quantizer = LearnedBits(0, 0, signed=signed)
    _set(quantizer, (None, 3), fraction, integer)
    f, i = round(fraction), round(integer)
    grid = quantizer.fixed()
    assert (grid.bits, grid.integer, grid.signed) == (f + i + signed, i, signed)
    ends = (np.arange(-4, 5) / 2 + [[grid.code_min], [grid.code_max]]) * 2.0**-f
    x = np.concatenate([corners(2.0**-f), ends.ravel()]).astype(np.float32)
    expected = grid.quantize(x) + 0.0
    same(np.asarray(quantizer(x)) + 0.0, expected)
    same(np.asarray(tf.function(quantizer, jit_compile=True)(x)) + 0.0, expected)
    assert np.max(quantizer.widths()) == f + i


def test_activations_keep_a_bit():
    """However few bits are asked for, one is left."""
    quantizer = _set(LearnedBits(0, 0, signed=False), (None, 3), -5, 1)
    assert (quantizer.fixed().bits, float(quantizer.widths())) == (1, 1)
    assert set(np.asarray(quantizer(_values(50)))) == {0.0, 1.0}


def test_channels_of_an_activation():
    """Each its own width; a single grid serves while the widths are equal."""
    x = _values(40, 3) * 3
    fraction, integer = [1, 2, 4], [2, 1, 0]
    quantizer = LearnedBits(0, 0, granularity="channel")
    _set(quantizer, (None, 3), fraction, integer)
    assert quantizer.fixed() is None and quantizer.stages() == (quantizer,)
    for c in range(3):
        alone = _set(LearnedBits(0, 0), (None,), fraction[c], integer[c])
        same(np.asarray(quantizer(x))[:, c], np.asarray(alone(x[:, c])))
    quantizer.integer.assign([3, 2, 0])
    same(quantizer.fixed().quantize(x) + 0.0, np.asarray(quantizer(x)) + 0.0)
    assert quantizer.fixed().bits == 5


def _gradients(quantizer, x, upstream, *variables):
    with tf.GradientTape() as tape:
        tensor = tf.constant(x)
        tape.watch(tensor)
        y = tf.reduce_sum(quantizer(tensor) * upstream)
    sources = [tensor, *(v.value for v in variables)]
    return [np.asarray(g) for g in tape.gradient(y, sources)]


@pytest.mark.parametrize("granularity", ["tensor", "channel", "element"])
def test_gradient_of_weights(granularity):
    """ln 2 (x - y), summed over what shares a width."""
    x, upstream = _values(5, 3), _values(5, 3, seed=1)
    quantizer = _set(LearnedBits(granularity=granularity), x.shape, 1)
    dx, df = _gradients(quantizer, x, upstream, quantizer.fraction)
    axes = {"tensor": (0, 1), "channel": (0,), "element": ()}[granularity]
    slope = upstream * LOG2 * (x - _round(x, 1))
    np.testing.assert_array_equal(dx, upstream)
    np.testing.assert_allclose(df, np.sum(slope, axis=axes), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("signed", [True, False])
def test_gradient_of_activations(signed):
    """That of rounding inside the range, of its ends outside."""
    x, upstream = _values(50, 3), _values(50, 3, seed=1)
    quantizer = _set(LearnedBits(0, 0, signed=signed), (None, 3), 2, 1)
    variables = quantizer.fraction, quantizer.integer
    dx, df, di = _gradients(quantizer, x, upstream, *variables)
    low, high = -2.0 * signed, 1.75
    above, below = x > high, x < low
    inside = ~(above | below)
    assert np.all([above.any(), below.any(), inside.any()])
    np.testing.assert_array_equal(dx, upstream * inside)
    by_fraction = np.where(above, 0.25, inside * (x - _round(x, 2)))
    by_integer = np.where(above, 2.0, np.where(below, low, 0))
    for received, slope in ((df, by_fraction), (di, by_integer)):
        expected = np.sum(upstream * slope) * LOG2
        np.testing.assert_allclose(received, expected, rtol=1e-4)


def test_widths_of_weights():
    """Bits from the largest value's first to the last; none for a zero."""
    x = np.float32([[0.9, -1.0, 0.1], [3.9, 0.25, -8.0]])
    quantizer = _set(LearnedBits(granularity="element"), x.shape, 2)
    widths = np.asarray(quantizer.widths(x))
    np.testing.assert_array_equal(widths, [[3, 3, 0], [5, 1, 6]])  # 3.9 becomes 4
    quantizer = _set(LearnedBits(granularity="channel"), x.shape, 2)
    np.testing.assert_array_equal(quantizer.widths(x), [[5, 3, 6]] * 2)
    with tf.GradientTape() as tape:
        bits = tf.reduce_sum(quantizer.widths(x))
    gradient = tape.gradient(bits, quantizer.fraction.value)
    np.testing.assert_array_equal(gradient, [2, 2, 2])


@pytest.mark.parametrize(
    "text",
    ["LearnedBits(4)", "LearnedBits(3, 2, signed=False, granularity='channel')"],
)
def test_text_and_configuration(text):
    """Read from a string, printed as one, kept by the configuration."""
    quantizer = get(text)
    for copy in (get(repr(quantizer)), deserialize(serialize(quantizer))):
        assert type(copy) is LearnedBits and repr(copy) == repr(quantizer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LearnedBits(21)", "`fraction` must be"),
        ("LearnedBits(4, -21)", "`integer` must be"),
        ("LearnedBits(4, granularity='row')", "`granularity`.*Allowed: channel"),
    ],
)
def test_refusals(text, message):
    """Arguments out of range; sizes that are not known."""
    with pytest.raises(ValueError, match=message):
        get(text)
    with pytest.raises(ValueError, match="each element.*must be known"):
        LearnedBits(granularity="element").build((None, None, 3))


def test_before_it_is_built():
    """Every question about its widths names the way out."""
    for quantizer in (LearnedBits(name="widths"), LearnedBits(2, 2, name="widths")):
        for ask in (quantizer.fixed, quantizer.widths):
            with pytest.raises(ValueError, match="'widths' has no variables before"):
                ask([1.0])
