"""FixedPoint and QuantizedReLU: golden values, exact formulas, QONNX, gradients."""

import itertools
from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from qonnx.custom_op.general.intquant import int_quant

from kerasqnn.quantizers import (
    ROUNDING_MODES,
    FixedPoint,
    QuantizedLinear,
    QuantizedReLU,
)
from kerasqnn.quantizers.fixed_point import OVERFLOW_MODES

from . import exact
from .values import corners, same

MODES = [
    {"signed": s, "rounding": r, "overflow": o}
    for s, r, o in itertools.product((True, False), ROUNDING_MODES, OVERFLOW_MODES)
    if s or o != "SAT_SYM"
]
GRIDS = [
    {"bits": 2},
    {"bits": 3, "integer": 1, "alpha": 0.7},
    {"bits": 4, "integer": -2, "scale": 0.3},
    {"bits": 6, "integer": 8, "scale": 1.7, "alpha": 1e-3},
    {"bits": 24, "integer": 23},
]


def name(arguments):
    return "-".join(str(v) for v in arguments.values())


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("ROUND", [-2, -2, -2, -1, -0.0, -0.0, -0.0, 0, 0, 0, 1, 2, 2, 2, 3]),
        ("FLOOR", [-3, -2, -2, -2, -1, -1, -0.0, 0, 0, 0, 0, 1, 2, 2, 3]),
        ("CEIL", [-2, -2, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3]),
        ("UP", [-3, -2, -2, -2, -1, -1, 0, 0, 1, 1, 1, 2, 2, 3, 3]),
        ("DOWN", [-2, -2, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 3]),
        ("HALF_UP", [-3, -2, -2, -1, -1, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3]),
        ("HALF_DOWN", [-2, -2, -1, -1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3]),
    ],
)
def test_golden_roundings(rounding, expected):
    """Written by hand from the names' definitions."""
    halves = [-2.5, -2, -1.5, -1.25, -0.5, -0.25, -0.0, 0, 0.25, 0.5, 0.75, 1.5, 2]
    x = np.array([*halves, 2.5, 3.25], np.float32)
    same(FixedPoint(3, 2, rounding=rounding).quantize(x), np.float32(expected))
    assert FixedPoint(3, 2, rounding=rounding).codes(x).tolist() == expected


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        ("SAT", [-4, -4, -4, -4, -3, 3, 3, 3, 3]),
        ("SAT_SYM", [-3, -3, -3, -3, -3, 3, 3, 3, 3]),
        ("WRAP", [0, 3, 3, -4, -3, 3, -4, -4, 0]),
    ],
)
def test_golden_overflows(overflow, expected):
    """Saturation, its symmetric kind, and wrapping modulo 8."""
    x = np.array([-8, -5, -4.6, -4, -3, 3, 3.6, 4, 8], np.float32)
    same(FixedPoint(3, 2, overflow=overflow).quantize(x), np.float32(expected))


def test_golden_unsigned():
    """Codes 0 to 3; nothing below zero; wrapping modulo 4."""
    x = np.array([-9, -0.25, -0.0, 0.2, 0.3, 0.5, 1.5, 1.8, 9.0], np.float32)
    sat = FixedPoint(2, 1, signed=False).quantize(x)
    same(sat, np.float32([0, 0, 0, 0, 0.5, 0.5, 1.5, 1.5, 1.5]))
    wrap = FixedPoint(2, 1, signed=False, overflow="WRAP").quantize(x)
    same(wrap, np.float32([1, 0, 0, 0, 0.5, 0.5, 1.5, 0, 1]))
    same(QuantizedReLU(2, 1).quantize(x), sat)


@pytest.mark.parametrize("bits", range(1, 7))
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("overflow", OVERFLOW_MODES)
@pytest.mark.parametrize("integer", [-3, 0, 4])
def test_every_code_stands_for_itself(bits, signed, overflow, integer):
    """All codes, from the arguments alone; one step beyond saturates or wraps."""
    if (bits == 1 and signed) or (overflow == "SAT_SYM" and not signed):
        return
    q = FixedPoint(bits, integer, signed=signed, overflow=overflow)
    low, high = exact.code_range(bits, signed, overflow)
    codes = np.arange(low, high + 1)
    step = float(exact.grid(bits, integer, signed=signed))
    values = (codes * step).astype(np.float32)
    same(q.quantize(values), values)
    same(q.codes(values), codes)
    same(np.asarray(q(values)), values)
    assert (q.code_min, q.code_max) == (low, high)
    assert (float(q.min), float(q.max), float(q.step)) == (
        low * step,
        high * step,
        step,
    )
    beyond = np.array([(low - 1) * step, (high + 1) * step], np.float32)
    wraps = overflow == "WRAP"
    assert q.codes(beyond).tolist() == ([high, low] if wraps else [low, high])


@pytest.mark.parametrize("modes", MODES, ids=name)
@pytest.mark.parametrize("grid", GRIDS, ids=name)
def test_exact_formula(modes, grid):
    """Numpy and Keras give what rational arithmetic gives, to the last bit."""
    arguments = {**grid, **modes}
    x = corners(float(exact.grid(signed=modes["signed"], **_without_alpha(grid))))
    expected, codes = exact.quantize(x, **arguments)
    q = FixedPoint(**arguments)
    same(q.quantize(x), expected)
    same(np.asarray(q(x)), expected)
    same(q.codes(x), codes)


def _without_alpha(grid):
    return {k: v for k, v in grid.items() if k != "alpha"}


@pytest.mark.parametrize("grid", GRIDS, ids=name)
def test_optimizing_compilers_keep_the_bits(grid):
    """Grappler and XLA would multiply by the reciprocal of a step that is constant."""
    x = np.concatenate([corners(0.3), corners(1.7), corners(0.25)])
    x = x[np.abs(x) >= 2.0**-100]  # each compiler treats denormals its own way
    for modes in MODES[:: len(MODES) // 5]:
        q = FixedPoint(**grid, **modes)
        expected = q.quantize(x)
        same(tf.function(q)(x).numpy(), expected)
        same(tf.function(q, jit_compile=True)(x).numpy(), expected)


@pytest.mark.parametrize(
    "modes", [m for m in MODES if m["overflow"] != "WRAP"], ids=name
)
@pytest.mark.parametrize("grid", GRIDS, ids=name)
def test_qonnx_reference(modes, grid):
    """QONNX's own Quant, followed by a Mul node for alpha."""
    q = FixedPoint(**grid, **modes)
    x = corners(float(q.grid_step))
    x = x[(x == 0) | (np.abs(x) >= 2.0**-126)]  # qonnx computes with denormals
    with np.errstate(over="ignore"):
        expected = int_quant(
            x,
            np.asarray(q.grid_step),
            np.float32(0),
            np.float32(q.bits),
            modes["signed"],
            modes["overflow"] == "SAT_SYM",
            modes["rounding"],
        )
    expected = expected * np.float32(grid.get("alpha", 1.0))
    assert expected.dtype == np.float32
    same(q.quantize(x), expected)


@st.composite
def arguments_and_numbers(draw):
    """Constructor arguments, and numbers near the grid they give."""
    modes = draw(st.sampled_from(MODES))
    bits = draw(st.integers(1 + modes["signed"], 24))
    positive = st.floats(0.001, 1000.0)
    arguments = {
        **modes,
        "bits": bits,
        "integer": draw(st.integers(-20, 24)),
        "scale": draw(positive),
        "alpha": draw(positive),
    }
    step = np.float32(exact.grid(**{k: arguments[k] for k in _GRID}))
    codes = st.floats(-(2.0**26), 2.0**26, width=32)
    multiples = st.integers(-(2**25), 2**25).map(lambda n: n / 2)
    numbers = draw(st.lists(st.one_of(codes, multiples), min_size=1, max_size=8))
    return arguments, np.array(numbers, np.float32) * step


_GRID = ("bits", "integer", "signed", "scale")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(arguments_and_numbers())
def test_exact_formula_at_random(case):
    """Any width, grid, scale and mode."""
    arguments, x = case
    q = FixedPoint(**arguments)
    same(q.quantize(x), exact.quantize(x, **arguments)[0])
    same(np.asarray(q(x)), q.quantize(x))
    assert float(q.grid_step) == exact.grid(**{k: arguments[k] for k in _GRID})
    step = exact.float32(Fraction(float(q.grid_step)) * exact.single(q.alpha))
    assert float(q.step) == step
    low, high = exact.code_range(q.bits, q.signed, q.overflow)
    assert float(q.min) == exact.float32(low * step)
    assert float(q.max) == exact.float32(high * step)
    assert q.min.dtype == q.max.dtype == q.step.dtype == np.float32


def test_half_modes_round_as_documented_beside_a_tie():
    """The number below 1/2 rounds up with HALF_UP, as it does in QONNX."""
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert FixedPoint(4, 3, rounding="HALF_UP").quantize(below) == 1.0
    assert FixedPoint(4, 3, rounding="ROUND").quantize(below) == 0.0


@pytest.mark.parametrize("argument", ["scale", "alpha"])
def test_one_factor_a_channel(argument):
    """The last axis holds the channels; every one is a quantizer of its own."""
    factors = (0.25, 0.3, 1.0, 7.0)
    x = np.random.default_rng(0).normal(0, 3, (5, 2, 4)).astype(np.float32)
    q = FixedPoint(5, 2, **{argument: factors})
    single = [FixedPoint(5, 2, **{argument: f}) for f in factors]
    expected = [s.quantize(x[..., i]) for i, s in enumerate(single)]
    same(q.quantize(x), np.stack(expected, axis=-1))
    same(np.asarray(q(x)), q.quantize(x))
    codes = [s.codes(x[..., i]) for i, s in enumerate(single)]
    same(q.codes(x), np.stack(codes, axis=-1))
    for bound in ("step", "min", "max"):
        expected = np.array([getattr(s, bound) for s in single])
        same(getattr(q, bound), expected)
    assert not q.is_power_of_two
    assert FixedPoint(5, 2, **{argument: (0.25, 8.0)}).is_power_of_two
    # A (1, 1, channels) array, as QKeras keeps it, is a vector.
    assert FixedPoint(5, 2, **{argument: np.reshape(factors, (1, 1, 4))}) == q


def test_power_of_two_needs_both_grids():
    """Alpha 2/3 on scale 3/2 has steps of 2^k but rounds between other numbers."""
    q = FixedPoint(4, scale=1.5, alpha=np.float32(2.0) / np.float32(1.5))
    assert float(q.step) == 0.25
    assert not q.is_power_of_two
    assert FixedPoint(4, scale=2.0, alpha=0.5).is_power_of_two


def test_other_kinds_of_input():
    """Scalars, lists, empty arrays, integers, float64, NaN."""
    q = FixedPoint(4, 1)
    assert q.quantize(0.3).shape == ()
    same(q.quantize([[0.3], [9]]), np.float32([[0.25], [1.75]]))
    assert q.quantize(np.zeros((0, 3))).shape == (0, 3)
    for integers in ([1, -7], np.array([1, 249], np.uint8)):
        result = q(integers)
        assert keras.backend.standardize_dtype(result.dtype) == "float32"
        same(np.asarray(result), q.quantize(integers))
    wide = q(keras.ops.convert_to_tensor(np.array([0.3, 0.375])))
    assert np.asarray(wide).dtype == np.float64
    assert np.isnan(q.quantize(np.nan))
    with pytest.raises(ValueError, match="finite"):
        q.codes([np.nan])
    assert q.codes([np.inf, -np.inf]).tolist() == [7, -8]


def test_half_precision():
    """24 bits of codes overflow float16; computed in float32 they do not."""
    x = np.array([0.3, -2.5, 1.0], np.float16)
    for q in (FixedPoint(24, 1), FixedPoint(4, 1), FixedPoint(20, 2, alpha=0.3)):
        result = np.asarray(q(x))
        same(result, q.quantize(x).astype(np.float16))


def gradient(quantizer, x, upstream):
    """Return the gradient of sum(upstream * quantizer(x))."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = quantizer(x)
    return tape.gradient(y, x, output_gradients=tf.constant(upstream)).numpy()


@pytest.mark.parametrize("wrap", [lambda q: q, tf.function])
def test_gradients(wrap):
    """Straight through everywhere; for the ReLU only where 0 < x <= max."""
    x = np.array([-9, -1, -0.0, 0, 1e-9, 0.5, 1.74, 1.75, 1.76, 9], np.float32)
    upstream = np.random.default_rng(0).normal(size=10).astype(np.float32)
    for q in (FixedPoint(4, 1), FixedPoint(4, 1, alpha=3.0, overflow="WRAP")):
        same(gradient(wrap(q), x, upstream), upstream)
    inside = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0], bool)
    same(
        gradient(wrap(QuantizedReLU(3, 1)), x, upstream),
        np.where(inside, upstream, np.float32(0)),
    )


def test_quantizes_a_keras_variable():
    """Weights are variables; the gradient reaches them."""
    weight = keras.Variable(np.array([0.3, 5.0], np.float32))
    with tf.GradientTape() as tape:
        y = FixedPoint(4, 1)(weight)
    same(y.numpy(), np.float32([0.25, 1.75]))
    same(tape.gradient(y, weight.value).numpy(), np.ones(2, np.float32))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"bits": 0}, "`bits` must be an integer from 1 to 24. Received: bits=0"),
        ({"bits": 25}, "bits=25"),
        ({"bits": 4.5}, "bits=4.5"),
        ({"bits": True}, "bits=True"),
        ({"bits": None}, "bits=None"),
        ({"bits": float("nan")}, "bits=nan"),
        ({"bits": float("inf")}, "bits=inf"),
        ({"bits": "4"}, "bits='4'"),
        ({"bits": 1}, "Binary"),
        ({"bits": 4, "integer": 33}, "integer=33"),
        ({"bits": 4, "rounding": "round"}, "Did you mean 'ROUND'"),
        ({"bits": 4, "overflow": "SAT_SYN"}, "Did you mean 'SAT_SYM'"),
        ({"bits": 4, "overflow": "SAT_SYM", "signed": False}, "signed=False"),
        ({"bits": 4, "scale": 0.0}, "scale=0.0"),
        ({"bits": 4, "scale": -1.0}, "scale=-1.0"),
        ({"bits": 4, "alpha": float("nan")}, "alpha=nan"),
        ({"bits": 4, "alpha": [0.5, np.inf]}, "alpha="),
        ({"bits": 4, "alpha": []}, "alpha="),
        ({"bits": 4, "alpha": [[1.0, 2.0], [3.0, 4.0]]}, "vector"),
        ({"bits": 4, "alpha": "auto"}, "alpha='auto'"),
        ({"bits": 4, "scale": (1.0, 2.0), "alpha": (1.0, 2.0, 3.0)}, "one number a"),
        ({"bits": 4, "alpha": 1e39}, "range of float32"),
        ({"bits": 4, "alpha": 1e-39}, "range of float32"),
        ({"bits": 24, "integer": -32, "scale": 1e-30}, "range of float32"),
        ({"bits": 4, "integer": 32, "scale": 1e30}, "range of float32"),
        ({"bits": 4, "scale": 1e-30, "alpha": 1e-30}, "range of float32"),
    ],
)
def test_refused_arguments(arguments, text):
    """Each error names the argument and what was received."""
    with pytest.raises(ValueError) as error:
        FixedPoint(**arguments)
    assert text in str(error.value)
    assert "Received" in str(error.value)


def test_relu_is_the_unsigned_fixed_point():
    """Same values for every rounding; no options that it has no use for."""
    x = corners(0.25)
    for rounding in ROUNDING_MODES:
        relu = QuantizedReLU(4, 2, rounding=rounding)
        plain = FixedPoint(4, 2, signed=False, rounding=rounding)
        same(relu.quantize(x), plain.quantize(x))
        same(np.asarray(relu(x)), relu.quantize(x))
        assert relu != plain
    with pytest.raises(TypeError):
        QuantizedReLU(4, 2, signed=True)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "quantizer",
    [
        FixedPoint(8, 2, rounding="FLOOR", scale=2.0 ** (np.arange(24) % 5 - 2)),
        FixedPoint(8, 2, scale=np.linspace(0.3, 2, 24)),
        QuantizedLinear(6, 1, scale=2.0 ** (np.arange(24) % 5 - 2)),
    ],
    ids=["floor", "any scale", "linear"],
)
def test_compilers_divide_exactly(quantizer, compiled):
    """What TensorFlow computes for the inverses of a vector of constants is rounded."""
    x = (np.random.default_rng(0).integers(-150, 150, (500, 24)) / 16).astype("float32")
    function = tf.function(lambda x: quantizer(x), jit_compile=compiled)
    np.testing.assert_array_equal(function(tf.constant(x)), quantizer.quantize(x))
