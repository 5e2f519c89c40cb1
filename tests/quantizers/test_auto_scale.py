"""Scales from the weights: QKeras's values, the same bits in every tool.

QKeras returns `x + (scale * code - x)`, within an ulp of `scale * code`; its scales are
compared bit for bit, and its values where `use_ste=False` gives them as they are.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasqnn import quantizers
from kerasqnn._values import parse_call
from kerasqnn.quantizers import (
    AutoBinary,
    AutoFixedPoint,
    AutoLinear,
    AutoTernary,
    FixedPoint,
    get,
)
from kerasqnn.quantizers.reductions import nearest_power_of_two, ordered_sum

from .test_fixed_point import gradient
from .test_qkeras import qkeras, ulp  # noqa: F401
from .values import around, same

SHAPES = [(7,), (1,), (5, 3), (40, 6), (3, 3, 4, 6), (2, 3, 4)]
KINDS = [
    "quantized_bits(bits=4,symmetric=1,alpha={!r})",
    "quantized_bits(bits=2,integer=1,alpha={!r})",
    "quantized_bits(bits=8,integer=-2,alpha={!r})",
    "quantized_bits(bits=3,keep_negative=0,alpha={!r})",
    "quantized_linear(bits=4,alpha={!r})",
    "quantized_linear(bits=8,integer=2,symmetric=0,alpha={!r})",
    "quantized_linear(bits=3,keep_negative=False,alpha={!r})",
    "binary(alpha={!r})",
    "binary(alpha={!r},use_01=True)",
    "ternary(alpha={!r})",
    "ternary(alpha={!r},number_of_unrolls=1)",
    "stochastic_ternary(alpha={!r})",
    "stochastic_binary(alpha={!r})",
]


def weights(seed, shape, trouble="", size=1.0):
    """Return random weights; with zeros, ties, empty channels or one sign."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, size, shape).astype(np.float32)
    if trouble == "sparse":
        x *= rng.random(shape) < 0.4
    elif trouble == "empty channel":
        x[..., 0] = 0.0
    elif trouble == "zeros":
        x *= 0.0
    elif trouble == "ties":
        x = np.round(4 * x / np.abs(x).max()) / 4
    elif trouble == "positive":
        x = np.abs(x)
    elif trouble == "negative":
        x = -np.abs(x)
    return x.astype(np.float32)


TROUBLES = ["", "sparse", "empty channel", "zeros", "ties", "positive", "negative"]
any_weights = st.builds(
    weights,
    st.integers(0, 2**32 - 1),
    st.sampled_from(SHAPES),
    st.sampled_from(TROUBLES),
    st.sampled_from([1e-28, 1e-6, 1e-3, 1.0, 3e3, 1e28]),
)


def traced(theirs, x):
    """Return QKeras's values and steps, of x's shape, as `predict` computes them.

    In an eager call TensorFlow divides by a constant, in a traced one it multiplies by
    the inverse.
    """

    def function(x):
        values = theirs(x)
        return values, getattr(theirs, "quantization_scale", theirs.scale)

    values, step = map(np.asarray, tf.function(function, autograph=False)(x))
    if type(theirs).__name__ == "quantized_bits":
        step = step * 2.0 ** (theirs.integer - theirs.bits + theirs.keep_negative)
    return values, np.broadcast_to(step.astype(np.float32), x.shape)


def check_as_qkeras(qkeras, text, x):  # noqa: F811
    """Equal scales; equal values, but for the straight-through sum."""
    name, _, named = parse_call(text, "")
    theirs, ours = getattr(qkeras, name)(**named), get(text)
    ours = getattr(ours, "inference", ours)
    assert getattr(get(theirs), "inference", get(theirs)) == ours
    if "quantized_bits" in text:
        theirs.use_ste = False
    (received, step), expected = traced(theirs, tf.constant(x)), ours.quantize(x)
    same(np.broadcast_to(ours.step(x), x.shape), step)
    slack = 0.0 if "quantized_bits" in text else ulp(x, expected)
    assert np.all(np.abs(received - expected) <= slack)
    same(np.asarray(ours(tf.constant(x))), expected)


@pytest.mark.parametrize("mode", ["auto", "auto_po2"])
@pytest.mark.parametrize("kind", KINDS)
def test_as_qkeras(qkeras, kind, mode):  # noqa: F811
    """Every kind on random weights of rank 1 to 4, tiny and huge, zeros and ties."""

    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @given(any_weights)
    def check(x):
        check_as_qkeras(qkeras, kind.format(mode), x)

    check()


@pytest.mark.parametrize(
    "text",
    [
        "quantized_bits(bits=4,alpha='auto',scale_axis=0)",
        "quantized_bits(bits=4,alpha='auto_po2',scale_axis=0)",
        "quantized_bits(bits=4,alpha='auto_po2',scale_axis=[2,3])",
        "quantized_bits(bits=4,integer=1,alpha='auto_po2',scale_axis=2,elements_per_scale=2)",
        "quantized_bits(bits=4,alpha='auto_po2',scale_axis=[2,3],elements_per_scale=2)",
        "quantized_bits(bits=4,alpha='auto_po2',scale_axis=[2,3],elements_per_scale=[4,3])",
        "quantized_bits(bits=4,integer=2,alpha='auto_po2',min_po2_exponent=-3,max_po2_exponent=-3)",
        "quantized_bits(bits=4,alpha='auto_po2',min_po2_exponent=-2,max_po2_exponent=60)",
        "quantized_bits(bits=4,alpha='auto_po2',min_po2_exponent=-60,max_po2_exponent=-4)",
        "quantized_linear(bits=4,alpha='auto_po2',scale_axis=2)",
        "quantized_linear(bits=4,alpha='auto',scale_axis=1)",
        "binary(alpha='auto',scale_axis=2)",
        "binary(alpha='auto',scale_axis=[2,3],elements_per_scale=[2,3])",
        "binary(alpha='auto_po2',scale_axis=3,elements_per_scale=2)",
        "binary(alpha='auto_po2',min_po2_exponent=1,max_po2_exponent=2)",
    ],
)
def test_axes_groups_and_exponents(qkeras, text):  # noqa: F811
    """Scales along other axes, for groups of neighbours, and with bounds."""
    for seed, trouble in enumerate(TROUBLES[:4]):
        x = weights(seed, (3, 2, 4, 6), trouble)
        check_as_qkeras(qkeras, text, x)
        x = np.abs(x) * np.arange(1, 7, dtype=np.float32)
        check_as_qkeras(qkeras, text, x)


OBJECTS = [
    AutoFixedPoint(4, 1, mode="auto"),
    AutoFixedPoint(4, 1, mode="auto_po2"),
    AutoFixedPoint(16, mode="auto_po2", axis=(0, -1), group=(1, 2), max_exponent=-4),
    AutoLinear(3, mode="auto", symmetric=False),
    AutoLinear(3, mode="auto_po2", signed=False),
    AutoBinary(mode="auto_po2", zero_one=True),
    AutoTernary(mode="auto_po2", iterations=3),
]
LEAST_SQUARES = [AutoBinary(mode="auto"), AutoTernary(mode="auto")]


@pytest.mark.parametrize("ours", OBJECTS, ids=repr)
def test_same_bits_in_every_tool(ours):
    """Numpy, TensorFlow eager, traced and compiled by XLA: the order of sums is ours.

    With `ops.mean` in place of `ordered_sum`, XLA gives other scales.
    """
    traced = tf.function(ours.__call__, autograph=False)
    compiled = tf.function(ours.__call__, autograph=False, jit_compile=True)
    for seed in range(4):
        x = weights(seed, (3, 5, 4, 6), TROUBLES[seed])
        expected = ours.quantize(x)
        for call in (ours, traced, compiled):
            same(call(tf.constant(x)).numpy(), expected)


@pytest.mark.parametrize("ours", LEAST_SQUARES, ids=repr)
def test_least_squares_of_the_backend(ours):
    """As numpy eager and traced; within rounding errors of the mean under XLA."""
    x = weights(0, (3, 3, 40, 6))
    expected = ours.quantize(x)
    same(tf.function(ours.__call__, autograph=False)(x).numpy(), expected)
    compiled = tf.function(ours.__call__, autograph=False, jit_compile=True)
    np.testing.assert_allclose(compiled(x), expected, rtol=360 * 2.0**-24)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([*OBJECTS, *LEAST_SQUARES]), any_weights)
def test_fixed(ours, x):
    """The grid for these values quantizes them to the same bits."""
    if isinstance(ours.axis, tuple):
        if x.ndim == 1 or x.shape[-1] % 2:
            return
        assert ours.fixed(x) is None or len(np.unique(ours.step(x)[1:])) <= 6
    grid = ours.fixed(x)
    if grid is None:  # no scale: a number of either sign times zero
        assert isinstance(ours.axis, tuple) or not np.all(ours.step(x))
        return
    same(grid.quantize(x), ours.quantize(x))
    same(np.asarray(grid(tf.constant(x))), ours.quantize(x))
    if ours.mode == "auto_po2":
        assert grid.is_power_of_two


def test_steps_that_are_no_normal_numbers():
    """Are zero, as TensorFlow makes them: all values then are."""
    quantizer, x = AutoFixedPoint(4, mode="auto"), np.float32([[2e-38], [-1.5e-38]])
    tools = [np.asarray(quantizer(x)), tf.function(quantizer, jit_compile=True)(x)]
    for values in (quantizer.quantize(x), *tools):
        np.testing.assert_array_equal(values, np.zeros_like(x))
    assert quantizer.step(x) == 0
    assert quantizer.quantize(x * 8).any()


def test_no_grid():
    """None for an activation, and for steps along another axis than the last."""
    ours = AutoFixedPoint(4, mode="auto_po2", axis=0)
    assert ours.fixed() is None
    assert ours.fixed([[1.0, 2.0], [10.0, 20.0]]) is None
    assert ours.fixed([[1.0, 2.0], [2.0, 1.0]]) == FixedPoint(
        4, 0, rounding="HALF_UP", overflow="SAT_SYM", scale=2.0
    )
    assert ours.stages() == (ours,)


@pytest.mark.parametrize("mode", ["auto", "auto_po2"])
@pytest.mark.parametrize("kind", KINDS[:11])
def test_gradient(qkeras, kind, mode):  # noqa: F811
    """QKeras's: none through the scale, 1 within the range of the linear one.

    There QKeras multiplies with the scale and divides by it again.
    """
    text = kind.format(mode)
    x = weights(3, (40, 6))
    upstream = weights(4, x.shape)
    ours = gradient(get(text), x, upstream)
    theirs = qkeras.get_quantizer(text)
    theirs = gradient(tf.function(theirs.__call__, autograph=False), x, upstream)
    exact = "linear" not in text
    np.testing.assert_allclose(ours, theirs, rtol=0 if exact else 1e-6)
    if text == "quantized_linear(bits=4,alpha='auto_po2')":
        assert np.count_nonzero(ours == 0) > 0


def test_post_training_scale(qkeras):  # noqa: F811
    """A scale that QKeras keeps from training is a fixed grid."""
    x = weights(0, (40, 2))
    for keep in (True, False):
        arguments = (4, 1, 1, keep, "auto")
        scale = np.array([[0.3, 0.5]])
        ours = get(qkeras.quantized_bits(*arguments, post_training_scale=scale))
        theirs = qkeras.quantized_bits(
            *arguments, use_ste=False, post_training_scale=scale
        )
        assert isinstance(ours, FixedPoint)
        same(ours.quantize(x), np.asarray(theirs(tf.constant(x))))


def test_nearest_power_of_two():
    """Exact above and below every middle, at every power of two and beside it."""
    exponents = np.arange(-100, 100)
    middles = np.sqrt(2.0) * 2.0**exponents  # float64; none is a float32 number
    near = around(middles).astype(np.float64).reshape(3, -1)
    expected = np.where(near > middles, 2.0 ** (exponents + 1), 2.0**exponents)
    # The float32 number nearest to the middle may go either way.
    np.testing.assert_array_equal(nearest_power_of_two(np, near[1:]), expected[1:])
    powers = np.float32(2.0) ** exponents.astype(np.float32)
    beside = nearest_power_of_two(np, around(powers)).reshape(3, -1)
    same(beside, np.broadcast_to(powers, beside.shape))


def test_ordered_sum():
    """Pairs of halves, the odd one last; each sum in float32."""
    x = weights(0, (7, 2))
    pairs = np.concatenate([x[:3] + x[3:6], x[6:]])
    quads = pairs[:2] + pairs[2:]
    same(ordered_sum(np, x, (0,)), quads[0] + quads[1])
    assert ordered_sum(np, x, (0, 1)).shape == ()
    same(ordered_sum(np, x, ()), x)


@pytest.mark.parametrize("value", [*OBJECTS, *LEAST_SQUARES], ids=repr)
def test_value_objects(value):
    """Immutable, equal by value, back from the repr and the configuration."""
    with pytest.raises(AttributeError, match="immutable"):
        value.mode = "auto"
    assert get(repr(value)) == value
    stored = json.loads(json.dumps(quantizers.serialize(value)))
    assert quantizers.deserialize(stored) == value
    assert hash(get(stored)) == hash(value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: AutoFixedPoint(4, mode="best"), "'best'"),
        (lambda: AutoFixedPoint(1, mode="auto"), "bits=1"),
        (lambda: AutoLinear(1, mode="auto"), "bits=1"),
        (lambda: AutoFixedPoint(4, mode="auto", min_exponent=1), "min_exponent=1"),
        (lambda: AutoFixedPoint(4, mode="auto", group=2), "group=2"),
        (lambda: AutoFixedPoint(4, mode="auto_po2", group=(1, 2)), "group=(1, 2)"),
        (lambda: AutoFixedPoint(4, mode="auto_po2", iterations=0), "iterations=0"),
        (lambda: AutoBinary(mode="auto", axis="last"), "axis='last'"),
        (lambda: AutoBinary(mode="auto", axis=3).quantize([[1.0]]), "axis=3"),
        (lambda: AutoBinary(mode="auto", group=2).quantize([[1.0]]), "group=2"),
        (lambda: AutoBinary(mode="auto").quantize(1.0), "shape=()"),
        (lambda: get("quantized_bits(1,alpha='auto')"), "bits=1"),
        (lambda: get("quantized_bits(4,alpha='best')"), "'best'"),
        (lambda: get("quantized_bits(4,alpha='auto',scale_axis=-1)"), "scale_axis=-1"),
        (
            lambda: get("quantized_bits(4,alpha='auto',min_po2_exponent=1)"),
            "min_po2_exponent=1",
        ),
        (
            lambda: get("quantized_bits(4,alpha='auto_po2',elements_per_scale=2)"),
            "scale_axis=None",
        ),
        (lambda: get("quantized_linear(1)"), "bits=1"),
        (lambda: get("ternary('auto',threshold=0.5)"), "threshold=0.5"),
    ],
)
def test_refused(make, text):
    """Each error names the argument and what was received."""
    with pytest.raises(ValueError) as error:
        make()
    assert "Received" in str(error.value)
    assert text in str(error.value)


def test_unknown_batch():
    """Not for activations: their scale would change with the batch."""
    ours = AutoFixedPoint(4, mode="auto_po2")
    call = tf.function(ours.__call__, autograph=False)
    with pytest.raises(ValueError, match="not for activations"):
        call.get_concrete_function(tf.TensorSpec((None, 3), "float32"))
