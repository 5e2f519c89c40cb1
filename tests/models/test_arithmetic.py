"""analyse: bounds that hold and are reached, lost exactness, worst-case widths."""

import itertools
import math
from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl

from kerasqnn import layers as ql
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.models import analyse, evaluate, evaluate_exactly, read_model
from kerasqnn.models.grids import Grid, exponent_of_lsb
from kerasqnn.quantizers import FixedPoint

from ..chain.random_models import random_case
from .zoo import EXACT, FLOAT, INPUT, KERNEL, data, fill, functional, wide


def facts_of(model):
    """Return the facts of a model's output, and the whole analysis."""
    graph = read_model(model)
    arithmetic = analyse(graph)
    return arithmetic.facts[graph.outputs[0]], arithmetic


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0),
        ([0.0, -0.0], 0),
        ([1.0], 0),
        ([0.0, 6.0], 1),
        ([6.0, -8.0], 1),
        ([0.75, 4.0], -2),
        ([2.0**-149], -149),
        ([2.0**127], 127),
        ([1.0 + 2.0**-52], -52),
        ([[0.5], [3.0]], -1),
        (np.float32([0.1]), -27),
    ],
)
def test_exponent_of_lsb(values, expected):
    """The largest power of two that divides them all."""
    assert exponent_of_lsb(np.array(values)) == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(-(2.0**100), 2.0**100), min_size=1, max_size=5))
def test_exponent_of_lsb_at_random(values):
    """All are multiples of it, and not all of the next larger."""
    values = [v for v in values if abs(v) > 2.0**-900] or [1.0]
    step = Fraction(2) ** exponent_of_lsb(np.array(values))
    assert all((Fraction(v) / step).denominator == 1 for v in values)
    assert any((Fraction(v) / (2 * step)).denominator == 2 for v in values)


def test_grid():
    """Magnitude and bits, a channel at a time."""
    grid = Grid(0.25, np.array([-2.0, 0.0]), np.array([1.0, 8.0]))
    assert grid.magnitude.tolist() == [2.0, 8.0]
    assert grid.bits == 5  # 8 = 32 steps
    assert Grid(1.0, np.array(0.0), np.array(0.0)).bits == 1
    assert Grid(1.0, np.array(-9.0), np.array(3.0)).bits == 4


def every_input(quantizer, count):
    """Return all combinations of a quantizer's values."""
    codes = np.arange(quantizer.code_min, quantizer.code_max + 1)
    rows = list(itertools.product(codes * float(quantizer.step), repeat=count))
    return np.array(rows, np.float32)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("signed", [True, False])
def test_bounds_of_a_sum_are_reached(seed, signed):
    """Over all inputs: the least and the greatest sum, and partial sum in any order."""
    quantizer = FixedPoint(2 + (not signed), 1, signed=signed)
    dense = ql.QuantDense(3, **KERNEL)
    model = fill(functional((3,), ql.QuantInput(quantizer), dense), seed)
    facts, arithmetic = facts_of(model)
    x = every_input(quantizer, 3).astype(np.float64)
    kernel = dense.kernel_quantizer.quantize(dense.kernel).astype(np.float64)
    bias = dense.bias_quantizer.quantize(dense.bias).astype(np.float64)
    sums = x @ kernel + bias
    np.testing.assert_array_equal(facts.grid.low, sums.min(axis=0))
    np.testing.assert_array_equal(facts.grid.high, sums.max(axis=0))
    biases = np.broadcast_to(bias, (len(x), 1, 3))
    terms = np.concatenate([x[:, :, None] * kernel, biases], axis=1)
    subsets = np.array(list(itertools.product((0, 1), repeat=4)))
    partial = np.abs(np.einsum("st,ntj->snj", subsets, terms)).max()
    (bits,) = arithmetic.accumulator_bits.values()
    step = facts.grid.step
    assert partial <= step * 2**bits
    # `reach` adds up sizes, which a partial sum of one sign may not: one bit at most.
    assert partial > step * 2 ** (bits - 2) or bits == 1
    np.testing.assert_array_equal(sums / step, np.rint(sums / step))


def test_padding_counts_as_zero():
    """Numbers from 2 to 5 sum up to 8 at least, but at the padded border to 2."""
    quantizer = FixedPoint(2, 1)
    shift = kl.Conv2D(1, 1, name="shift")
    conv = kl.Conv2D(1, 2, padding="same", use_bias=False)
    model = functional((2, 2, 1), ql.QuantInput(quantizer), shift, conv)
    shift.set_weights([np.ones((1, 1, 1, 1)), np.array([4.0])])
    conv.set_weights([np.ones((2, 2, 1, 1))])
    y = model.predict(every_input(quantizer, 4).reshape(-1, 2, 2, 1), verbose=0)
    facts, arithmetic = facts_of(model)
    assert float(arithmetic.facts["shift"].grid.low[0]) == 2.0
    assert facts.grid.low <= y.min() == 2.0
    assert facts.grid.high == y.max() == 20.0


def check_tensors(graph, facts, values):
    """Assert that values lie on the grids and within the bounds; count them."""
    checked = 0
    for name in graph.tensors:
        grid = facts[name].grid
        if grid is not None and name in values:
            value = np.asarray(values[name], np.float64)
            codes = value / grid.step
            np.testing.assert_array_equal(codes, np.rint(codes), err_msg=name)
            assert np.all(value >= grid.low) and np.all(value <= grid.high), name
            assert np.max(np.abs(codes), initial=0) <= 2.0**grid.bits
            checked += 1
    return checked


@pytest.mark.parametrize("seed", range(24))
def test_facts_hold_for_random_models(seed):
    """Values stay on the grids within the bounds; what is called exact is exact.

    Large models of every layer, of which some lose exactness on the way.
    """
    case = random_case(seed)
    graph = read_model(case.model)
    arithmetic = analyse(graph)
    facts = arithmetic.facts
    inputs = dict(zip(graph.inputs, case.inputs, strict=True))
    values = {k: np.asarray(v) for k, v in evaluate(graph.operations, inputs).items()}
    faithful = {n: v for n, v in values.items() if facts[n].faithful}
    checked = check_tensors(graph, facts, faithful)
    assert all(facts[n].reproducible for n in faithful)
    assert all(f.reason for f in facts.values() if not f.reproducible)
    assert all(f.blame in {o.name for o in graph} for f in facts.values() if f.blame)
    try:
        exact = evaluate_exactly(graph, arithmetic, case.inputs)
    except UnsupportedModelError:
        assert any(f.grid is None for f in facts.values())
        return
    assert check_tensors(graph, facts, exact) >= checked > 0
    for name, value in faithful.items():
        np.testing.assert_array_equal(exact[name], value, err_msg=name)


def test_the_check_of_random_models_can_fail():
    """Bounds narrowed by one step are left by the values of a random model."""
    model = EXACT["dense"]()
    graph = read_model(model)
    facts = analyse(graph).facts
    values = evaluate(graph.operations, {graph.inputs[0]: data(4)})
    check_tensors(graph, facts, values)
    (name,) = graph.outputs
    step, low, high = (getattr(facts[name].grid, n) for n in ("step", "low", "high"))
    top = np.max(np.asarray(values[name])) - step
    for wrong in (Grid(step, low, top), Grid(2 * step, low, high)):
        broken = {**facts, name: type(facts[name])(wrong)}
        with pytest.raises(AssertionError):
            check_tensors(graph, broken, values)


def test_wide_sums_are_flagged():
    """At 2^24 float32 still holds every integer, at one more it does not."""
    facts, arithmetic = facts_of(wide(10239.0))
    assert facts.reproducible and facts.faithful
    assert arithmetic.accumulator_bits == {"sum": 24}
    assert arithmetic.wide_operations == {}
    facts, arithmetic = facts_of(wide(10240.0))
    assert arithmetic.wide_operations == {"sum": 25}
    assert not facts.reproducible and not facts.faithful
    assert facts.blame == "sum"
    assert "'sum' needs 25 bits" in facts.reason
    assert float(facts.grid.high[0]) == 2**24 + 1


@pytest.mark.parametrize("name", EXACT)
def test_models_on_a_grid(name):
    """Every one is reproducible, and all but plain normalization faithful."""
    facts, arithmetic = facts_of(EXACT[name]())
    assert facts.reproducible and not facts.reason and facts.blame is None
    assert facts.faithful or "scale_offset" in name
    assert arithmetic.wide_operations == {} or "Keras" in name


@pytest.mark.parametrize("name", FLOAT)
def test_models_in_floating_point(name):
    """Where the bits depend on the tool, a reason names the layer."""
    model = FLOAT[name]()
    facts, _ = facts_of(model)
    assert not facts.reproducible and not facts.faithful
    assert f"{facts.blame.split('/')[0]!r}" in facts.reason


def test_what_is_lost_stays_lost():
    """The first loss is kept, through quantizers and further sums."""
    model = functional(
        (4,),
        kl.Dense(3, name="first"),
        ql.QuantActivation("quantized_bits(4,1)", name="q"),
        ql.QuantDense(2, name="last", **KERNEL),
    )
    graph = read_model(model)
    arithmetic = analyse(graph)
    for name in ("first", "q", "last"):
        assert arithmetic.facts[name].blame == "first"
        assert "no power-of-two grid" in arithmetic.facts[name].reason
    assert arithmetic.facts["q"].grid is not None


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        (kl.AveragePooling2D((2, 4)), ""),
        (kl.AveragePooling2D(1, padding="same"), ""),
        (kl.AveragePooling2D(3), "averages 9 values"),
        (kl.AveragePooling2D(2, padding="same"), "averages 4 values"),
        (kl.GlobalAveragePooling2D(), "averages 30 values"),
    ],
)
def test_averages(pool, reason):
    """Only a power of two divides exactly, and only without padding."""
    facts, arithmetic = facts_of(functional((6, 5, 2), ql.QuantInput(INPUT), pool))
    assert facts.reproducible == (not reason)
    assert reason in facts.reason
    if not reason:
        count = math.prod(pool.pool_size)
        assert facts.grid.step == 2.0**-3 / count
        assert facts.grid.high == 4 - 2.0**-3


def test_average_of_many_values_is_wide():
    """The sum, not the average, must fit."""
    quantizer = FixedPoint(16, 16, signed=False)
    for rows, bits in ((16, 24), (32, 25)):
        pool = kl.AveragePooling2D((rows, 16))
        model = functional((rows, 16, 1), ql.QuantInput(quantizer), pool)
        facts, arithmetic = facts_of(model)
        assert list(arithmetic.accumulator_bits.values()) == [bits]
        assert ("25 bits" in facts.reason) == (bits > 24)


def test_quantizers_bound_their_inputs():
    """By their range, and by what the input can be."""
    facts, _ = facts_of(functional((2,), ql.QuantInput("quantized_bits(4,1)")))
    grid = facts.grid
    assert (grid.step, float(grid.low), float(grid.high)) == (0.25, -2.0, 1.75)
    narrow = functional(
        (2,),
        ql.QuantInput("quantized_bits(4,1)"),
        ql.QuantActivation("quantized_relu(8,4)"),
    )
    grid = facts_of(narrow)[0].grid
    assert (grid.step, float(grid.low), float(grid.high)) == (1 / 16, 0.0, 1.75)
    wraps = functional(
        (2,),
        ql.QuantInput("quantized_bits(4,1)"),
        ql.QuantActivation(FixedPoint(3, 0, overflow="WRAP")),
    )
    grid = facts_of(wraps)[0].grid
    assert (float(grid.low), float(grid.high)) == (-1.0, 0.75)
    channels = functional((2,), ql.QuantInput(FixedPoint(3, 2, alpha=(0.5, 2.0))))
    grid = facts_of(channels)[0].grid
    assert (grid.step, grid.low.tolist(), grid.high.tolist()) == (
        0.5,
        [-2.0, -8.0],
        [1.5, 6.0],
    )
    other = functional((2,), ql.QuantInput(FixedPoint(3, scale=0.3)))
    assert facts_of(other)[0].grid is None


def test_sums_of_two_and_three():
    """Two operands round once, the same everywhere; three in some order."""
    x = keras.Input((3,))
    two, three = (keras.Model(x, kl.Add(name="add")([x] * n)) for n in (2, 3))
    assert facts_of(two)[0].reproducible
    assert facts_of(two)[0].grid is None
    assert facts_of(three)[0].blame == "add"
    maximum = keras.Model(x, kl.Maximum()([x] * 3))
    assert facts_of(maximum)[0].reproducible
