"""Learned steps: the grid of inference, the gradients of the papers, training."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasqnn import layers
from kerasqnn.errors import QuantizationWarning
from kerasqnn.models import read_model
from kerasqnn.quantizers import PACT, LearnedStepSize, deserialize, get, serialize

from .values import corners, same

STEPS = [2.0**-7, 0.25, 3.0, 0.1, 0.7234567]


def _set_step(quantizer, step, shape=(4, 3)):
    """Give a quantizer a step; build it first, if it is not."""
    if not quantizer.built:
        quantizer.build(shape)
    if isinstance(quantizer, PACT):
        quantizer.alpha.assign(step * quantizer.code_max)
    else:
        quantizer.start.assign(np.broadcast_to(np.float32(step), quantizer.start.shape))
    return quantizer


def _make(kind, bits, step, **options):
    if kind is PACT:
        options.pop("signed", None)
    return _set_step(kind(bits, **options), step)


@pytest.mark.parametrize("kind", [LearnedStepSize, PACT])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12, 16])
@pytest.mark.parametrize("power_of_two", [True, False])
def test_the_grid_is_the_call(kind, signed, bits, power_of_two):
    """`fixed()` gives the bits of the layer: codes, ties, ends, huge numbers."""
    quantizer = _make(kind, bits, 1.0, signed=signed, power_of_two=power_of_two)
    compiled = tf.function(quantizer, jit_compile=True)
    for step in STEPS:
        _set_step(quantizer, step)
        grid = quantizer.fixed()
        assert (grid.bits, grid.code_max) == (bits, quantizer.code_max)
        assert grid.signed == (signed and kind is LearnedStepSize)
        same(grid.step, np.float32(quantizer.step))
        if power_of_two:
            assert grid.is_power_of_two
            assert abs(np.log2(float(quantizer.step) / step)) <= 0.5 + 1e-6
        ends = np.arange(-4, 5) / 2 + [[grid.code_min], [grid.code_max]]
        x = np.concatenate([corners(float(grid.step)), (ends * grid.step).ravel()])
        x = x.astype(np.float32)
        expected = grid.quantize(x)
        same(np.asarray(quantizer(x)) + 0.0, expected + 0.0)
        if bits in (4, 16):
            same(np.asarray(compiled(x)) + 0.0, expected + 0.0)
        codes = grid.codes(x)
        assert codes.min() == grid.code_min and codes.max() == grid.code_max
        same(grid.quantize(codes * grid.step), (codes * grid.step).astype(np.float32))


def test_a_step_a_channel():
    """Each channel has its own step; `fixed()` holds them all."""
    steps = np.float32([0.1, 0.5, 3.0])
    for power_of_two in (False, True):
        quantizer = LearnedStepSize(4, per_channel=True, power_of_two=power_of_two)
        _set_step(quantizer, steps)
        x = np.random.default_rng(0).normal(0, 4, (50, 3)).astype(np.float32)
        grid = quantizer.fixed(x)
        expected = np.float32([0.125, 0.5, 4.0]) if power_of_two else steps
        same(grid.step, expected)
        same(grid.quantize(x), np.asarray(quantizer(x)) + 0.0)
        for i, step in enumerate(steps):
            alone = _make(LearnedStepSize, 4, step, power_of_two=power_of_two)
            same(np.asarray(alone(x[:, i])), np.asarray(quantizer(x))[:, i])
    with pytest.raises(ValueError, match="last axis needs a known size"):
        LearnedStepSize(4, per_channel=True).build((None, 3, None))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("signed", [True, False])
def test_first_batch_sets_the_step(per_channel, signed):
    """2 mean |x| / sqrt(code_max), once, in training; zeros set nothing."""
    quantizer = LearnedStepSize(4, signed=signed, per_channel=per_channel)
    quantizer.build((None, 3))
    x = np.random.default_rng(0).normal(0, 4, (50, 3)).astype(np.float32)
    default = 2.0**-3 if signed else 2.0**-4
    assert np.all(quantizer.step == default)
    quantizer(x)
    quantizer(np.zeros((2, 3)), training=True)
    assert np.all(quantizer.step == default)
    quantizer(x, training=True)
    mean = np.mean(np.abs(x), axis=0 if per_channel else None)
    expected = 2 * mean / np.sqrt(7 if signed else 15)
    np.testing.assert_allclose(quantizer.step, expected, rtol=1e-5)
    quantizer(2 * x, training=True)
    np.testing.assert_allclose(quantizer.step, expected, rtol=1e-5)


def test_a_grid_from_no_data_is_said():
    """Before training, of activations; the bits are those of the layer."""
    layer = layers.QuantDense(
        2, kernel_quantizer="LearnedStepSize(3)", activation="LearnedStepSize(5)"
    )
    model = keras.Sequential([keras.Input((4,)), layer])
    x = np.random.default_rng(0).normal(0, 4, (9, 4)).astype(np.float32)
    with pytest.warns(QuantizationWarning, match="FixedPoint.bits, 0.*Train") as said:
        read_model(model)
    texts = {str(w.message) for w in said if w.category is QuantizationWarning}
    assert len(texts) == 1 and "LearnedStepSize(bits=5" in texts.pop()
    values = layer.kernel_quantizer.fixed(layer.kernel).quantize(layer.kernel)
    same(values, np.asarray(layer.kernel_quantizer(layer.kernel)) + 0.0)
    model(x, training=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", QuantizationWarning)
        read_model(model)


def _gradients(quantizer, x, upstream, variable):
    with tf.GradientTape() as tape:
        tensor = tf.constant(x)
        tape.watch(tensor)
        y = tf.reduce_sum(quantizer(tensor) * upstream)
    return (np.asarray(g) for g in tape.gradient(y, [tensor, variable.value]))


@pytest.mark.parametrize("shape", [(20, 3), (None, 20, 3)])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_gradient_of_lsq(shape, per_channel, power_of_two):
    """That of the paper, times 1 / sqrt(n code_max)."""
    quantizer = LearnedStepSize(3, per_channel=per_channel, power_of_two=power_of_two)
    _set_step(quantizer, 0.75, shape)
    random = np.random.default_rng(0)
    x, upstream = random.normal(0, 2, (2, *(shape[0] or 5, *shape[1:])[-2:], 3)), 0
    x = x.reshape(-1, *shape[1:]).astype(np.float32)
    upstream = random.normal(size=x.shape).astype(np.float32)
    dx, ds = _gradients(quantizer, x, upstream, quantizer.change)
    codes = x / np.float32(1.0 if power_of_two else 0.75)
    inside = (codes >= -4) & (codes <= 3)
    np.testing.assert_array_equal(dx, np.where(inside, upstream, 0))
    slope = np.where(inside, np.rint(codes) - codes, np.where(codes < 0, -4, 3))
    assert 0 < np.mean(inside) < 1
    count = x[0].size if shape[0] is None else x.size
    count = count / 3 if per_channel else count
    axes = tuple(range(x.ndim - 1)) if per_channel else None
    expected = np.sum(upstream * slope, axis=axes) / np.sqrt(count * 3)
    np.testing.assert_allclose(ds, expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_pact():
    """The bound gets what arrives at or above it, the inputs what is inside."""
    quantizer = _make(PACT, 2, 1.0)
    x = np.float32([-1, 0, 0.1, 1.5, 2.9, 3.0, 3.1, 9])
    upstream = np.float32([1, 2, 4, 8, 16, 32, 64, 128])
    dx, da = _gradients(quantizer, x, upstream, quantizer.alpha)
    np.testing.assert_array_equal(dx, [0, 0, 4, 8, 16, 0, 0, 0])
    assert da == 32 + 64 + 128


def test_regularizer_of_pact():
    """The bound's regularizer is among the losses, and is kept."""
    quantizer = PACT(4, alpha=2.0, regularizer=keras.regularizers.L2(0.5))
    copy = deserialize(serialize(quantizer))
    copy.build((None, 3))
    assert float(sum(copy.losses)) == 2.0


@pytest.mark.parametrize("step", [-1.0, 1e-30])
def test_a_step_stays_positive(step):
    """An optimizer that goes too far leaves a grid all the same."""
    quantizer = _make(LearnedStepSize, 4, 0.5)
    quantizer.change.assign(step - 0.5)
    assert float(quantizer.step) == 2.0**-40
    x = np.float32([-1, 0, 1])
    same(np.asarray(quantizer(x)) + 0.0, quantizer.fixed().quantize(x) + 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "LearnedStepSize(4)",
        "LearnedStepSize(bits=5, signed=False, per_channel=True, power_of_two=True)",
        "PACT(4)",
        "PACT(bits=3, alpha=2.5, power_of_two=True)",
    ],
)
def test_text_and_configuration(text):
    """Read from a string, printed as one, kept by the configuration."""
    quantizer = get(text)
    for copy in (get(repr(quantizer)), deserialize(serialize(quantizer))):
        assert type(copy) is type(quantizer) and copy is not quantizer
        assert repr(copy) == repr(quantizer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LearnedStepSize(1)", "Binary"),
        ("LearnedStepSize(25)", "`bits` must be"),
        ("LearnedStepSize(4, step=1)", "step"),
        ("PACT(4, alpha=0)", "`alpha` must be a positive number"),
        ("PACT(4, alpha='x')", "`alpha` must be a positive number.*alpha='x'"),
    ],
)
def test_refusals(text, message):
    """Arguments out of range, and unknown ones."""
    with pytest.raises(ValueError, match=message):
        get(text)
    with pytest.raises(ValueError, match="before it is built"):
        LearnedStepSize(4).fixed()


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_dtypes(dtype):
    """Computed in float32 or better; the result has the inputs' dtype."""
    quantizer = _make(LearnedStepSize, 4, 0.75)
    x = keras.ops.cast(np.float32([-7, -1, 0, 1, 7]), dtype)
    y = quantizer(x)
    assert keras.backend.standardize_dtype(y.dtype) == (
        "float32" if dtype == "int32" else dtype
    )
    np.testing.assert_array_equal(y, [-6, -0.75, 0, 0.75, 5.25])
