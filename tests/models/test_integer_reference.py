"""Integers alone give what exact evaluation and, where it is exact, Keras give."""

from __future__ import annotations

import itertools
from fractions import Fraction
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.models import analyse, evaluate_exactly, read_model
from kerasqnn.models.graph import Operation
from kerasqnn.models.integer_operations import STEPS
from kerasqnn.models.integers import (
    Integers,
    check_bits,
    quantize,
    shift_right,
    signed_bits,
)
from kerasqnn.quantizers import ROUNDING_MODES, Binary, FixedPoint, Ternary
from kerasqnn.quantizers.functions import ClippedLinear, LeakyReLU, StepFunction

from ..chain.random_models import random_case
from .zoo import EXACT, INPUT, KERNEL, data, functional, outputs, wide


@pytest.mark.parametrize("kind", [k for k in EXACT if "first axis" not in k])
def test_each_kind_of_operation(kind):
    """Against float64 integers and, where float32 is exact, Keras itself."""
    model = EXACT[kind]()
    x = [data(*shape[1:]) for shape in [i.shape for i in model.inputs]]
    received = kerasqnn.integer_reference(model, x)
    graph = read_model(model).without_noise()
    arithmetic = analyse(graph)
    exact = evaluate_exactly(graph, arithmetic, x)
    for name, tensor in received.tensors.items():
        np.testing.assert_array_equal(tensor.values, exact[name])
        assert np.all(tensor.codes >= tensor.low), name
        assert np.all(tensor.codes <= tensor.high), name
    if arithmetic.facts[graph.outputs[0]].faithful:
        np.testing.assert_array_equal(received.values, outputs(model, x))


def test_normalization_along_another_axis():
    """Which the exact evaluation refuses; Keras's float32 rounds scale and sum."""
    model = EXACT["scale_offset first axis"]()
    x = data(3, 4)
    result = kerasqnn.integer_reference(model, x)
    np.testing.assert_allclose(result.values, outputs(model, x), rtol=1e-6, atol=1e-6)


def test_random_models():
    """Every tensor of every model that has an exact evaluation, and Keras's outputs."""
    compared = faithful = 0
    for seed in range(60):
        case = random_case(seed)
        graph = read_model(case.model).without_noise()
        arithmetic = analyse(graph)
        try:
            exact = evaluate_exactly(graph, arithmetic, case.inputs)
        except UnsupportedModelError:
            continue
        compared += 1
        received = kerasqnn.integer_reference(case.model, case.inputs)
        for name, tensor in received.tensors.items():
            np.testing.assert_array_equal(tensor.values, exact[name], err_msg=name)
        for name, bits in received.accumulator_bits.items():
            assert bits <= arithmetic.accumulator_bits[name] + 2, name
        if not all(arithmetic.facts[t].faithful for t in graph.outputs):
            continue
        faithful += 1
        expected = keras.tree.flatten(outputs(case.model, case.data))
        for tensor, values in zip(received.outputs, expected, strict=True):
            np.testing.assert_array_equal(tensor.values, values)
    assert compared >= 25
    assert faithful >= 15


def test_a_wide_layer_where_keras_rounds():
    """Float32 loses the last bit of 2^24 + 1; the integers do not."""
    model = wide(10240.0)
    x = np.array([[8191.0], [1.0]], np.float32)
    result = kerasqnn.integer_reference(model, x)
    expected = np.array([[8191 * 2047 + 10240], [2047 + 10240]])
    np.testing.assert_array_equal(result.values, expected)
    np.testing.assert_array_equal(np.ldexp(result.codes, result.outputs[0].exponent),
                                  expected)  # fmt: skip
    received = np.asarray(model(x)).astype(np.float64)
    assert received[0, 0] != expected[0, 0]
    assert received[1, 0] == expected[1, 0]


def test_beyond_float64():
    """58 bits, where evaluate_exactly refuses; Python's integers are the judge."""
    quantizer = FixedPoint(24, 23)
    model = functional(
        (1,), ql.QuantInput(FixedPoint(12, 11)),
        ql.QuantDense(1, kernel_quantizer=quantizer, use_bias=False),
        ql.QuantDense(1, kernel_quantizer=quantizer, use_bias=False, name="last"),
    )  # fmt: skip
    for layer in model.layers[-2:]:
        layer.kernel.assign([[2.0**23 - 1]])
    x = np.array([[2047.0], [-2047.0], [3.0]], np.float32)
    result = kerasqnn.integer_reference(model, x)
    assert [int(c) for c in result.codes[:, 0]] == [
        int(v) * (2**23 - 1) ** 2 for v in x[:, 0]
    ]
    assert result.accumulator_bits["last"] == 58
    graph = read_model(model)
    with pytest.raises(UnsupportedModelError, match="53 bits"):
        evaluate_exactly(graph, analyse(graph), [x])
    wider = functional(
        (1,), ql.QuantInput(FixedPoint(18, 17)), *model.layers[2:], 
    )  # fmt: skip
    for layer in wider.layers[-2:]:
        layer.kernel.assign([[2.0**23 - 1]])
    with pytest.raises(UnsupportedModelError, match="'last'.*62 bits"):
        kerasqnn.integer_reference(wider, x)


@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"use_bias": False}])
def test_accumulators_are_the_smallest(options):
    """Every input, every subset of the products: as wide as said, and not wider."""
    numbers = np.random.default_rng(3)
    for _ in range(20):
        conv = ql.QuantConv2D(
            2, (1, 2), kernel_quantizer=FixedPoint(3, 2), name="c",
            bias_quantizer=FixedPoint(4, 3), **options,
        )  # fmt: skip
        model = functional((1, 3, 2), ql.QuantInput(FixedPoint(2, 1)), conv)
        conv.kernel.assign(2 * numbers.integers(-2, 2, (1, 2, 2, 2)) + 1)
        if conv.use_bias:
            conv.bias.assign(numbers.integers(-8, 8, 2))
        result = kerasqnn.integer_reference(model, np.zeros((1, 1, 3, 2)))
        kernel = FixedPoint(3, 2).quantize(conv.kernel).reshape(4, 2)
        bias = np.asarray(conv.bias) if conv.use_bias else np.zeros(2)
        sums = [
            float(sum(w * x for w, x in zip(kernel[:, o], given, strict=True)) + b)
            for o in (0, 1)
            for b in (0.0, bias[o])
            for given in itertools.product((-2, -1, 0, 1), repeat=4)
        ]
        expected = signed_bits(int(min(sums)), int(max(sums)))
        assert result.accumulator_bits == {"c": expected}


def _run(kind, inputs, attributes, **weights):
    """Return one operation's result for lists `(codes, low, high)`."""
    held = {k: SimpleNamespace(value=np.float32(v)) for k, v in weights.items()}
    names = tuple("abc"[: len(inputs)])
    operation = Operation("o", kind, names, ("o",), "o", attributes, held)
    given = (Integers(np.int64(c), 0, np.int64(a), np.int64(b)) for c, a, b in inputs)
    result, width = STEPS[kind](operation, *given)
    assert np.all((result.low <= result.codes) & (result.codes <= result.high))
    return width


def test_bounds_and_accumulators_by_hand():
    """Where a part of a sum needs more than the sum, and where padding joins in."""
    square = {"strides": (1, 1), "padding": "same", "groups": 1}
    ones, image = np.ones((1, 2, 1, 1)), np.full((1, 1, 3, 1), 2)
    assert _run("conv2d", [(image, 2, 3)], square, kernel=ones) == 4
    weighted = {"kernel": [[3], [3], [3], [1]], "bias": [4]}
    assert _run("dense", [([[1] * 4], -2, 1)], {}, **weighted) == 6
    moved = {"scale": [1.0], "offset": [-65.0]}
    assert _run("scale_offset", [([[1], [2]], 1, 2)], {"axis": 1}, **moved) == 8
    rows = [([[[1, 5]] * 3], [1, 5], [1, 5])]  # bounds along another axis
    scales = {"scale": [1.0, 2.0, -2.0], "offset": [0.0] * 3}
    assert _run("scale_offset", rows, {"axis": 1}, **scales) == 5
    parts = [([[7]], 0, 7), ([[7]], 0, 7), ([[-7]], -7, -7)]
    assert _run("add", parts, {}) == 5
    pool = {"pool_size": (1, 2), "strides": (1, 2), "padding": "valid"}
    assert _run("average_pool2d", [(image[:, :, :2], 2, 3)], pool) == 4
    check_bits(2**62 - 1, "o")
    with pytest.raises(UnsupportedModelError, match="62 bits"):
        check_bits(2**62, "o")


def rounded(value: Fraction, mode: str) -> int:
    """Return a fraction rounded, from the definition of each mode."""
    floor = value.numerator // value.denominator
    rest = value - floor
    if not rest:
        return floor
    away, toward = (floor + 1, floor) if value > 0 else (floor, floor + 1)
    nearest = floor + (rest > Fraction(1, 2))
    tie = rest == Fraction(1, 2)
    return {
        "FLOOR": floor,
        "CEIL": floor + 1,
        "UP": away,
        "DOWN": toward,
        "ROUND": floor + floor % 2 if tie else nearest,
        "HALF_UP": away if tie else nearest,
        "HALF_DOWN": toward if tie else nearest,
    }[mode]


@pytest.mark.parametrize("mode", ROUNDING_MODES)
def test_shifts_round(mode):
    """All small codes and shifts, and the largest of both."""
    codes = np.concatenate([np.arange(-130, 131), [2**61, -(2**61), 2**62 - 1]])
    for shift in (0, 1, 2, 3, 7, 8, 61, 62):
        received = shift_right(codes, np.int64(shift), mode)
        expected = [rounded(Fraction(int(c), 2**shift), mode) for c in codes]
        assert received.tolist() == expected


QUANTIZERS = {
    "sat": {}, "sym": {"overflow": "SAT_SYM"}, "unsigned": {"signed": False},
    "alpha": {"alpha": 4.0}, "channels": {"scale": (0.5, 1.0, 8.0)},
    "wrap": {"overflow": "WRAP"},
    "unsigned wrap": {"overflow": "WRAP", "signed": False},
}  # fmt: skip


@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("case", QUANTIZERS)
def test_quantizers(case, mode):
    """Steps above, at and far from the quantizer's; against its float32 formula."""
    numbers = np.random.default_rng(5)
    for integer, exponent in itertools.product((-3, 0, 2), (-30, -6, -1, 0, 3, 30)):
        quantizer = FixedPoint(4, integer, rounding=mode, **QUANTIZERS[case])
        codes = numbers.integers(-4000, 4001, (200, 3))
        ends = np.asarray(-4000), np.asarray(4000)
        result = quantize(Integers(codes, exponent, *ends), quantizer, "q")
        x = np.ldexp(codes.astype(np.float64), exponent)
        np.testing.assert_array_equal(result.values, quantizer.quantize(x))
        assert np.all((result.low <= result.codes) & (result.codes <= result.high))


@pytest.mark.parametrize(
    "quantizer",
    [Binary(0.5), Ternary(2.0, threshold=0.33), Ternary(1.0, threshold=[0.33, 9.0])],
)
def test_sign_quantizers(quantizer):
    """At zero and on both sides of the threshold, as close as float32 has numbers."""
    threshold = np.float32(0.33)
    near = [np.nextafter(threshold, np.float32(d)) for d in (0, 1)]
    x = np.array([0.0, threshold, *near], np.float64)
    codes = np.ldexp(np.stack([x, -x], axis=-1), 30).astype(np.int64)
    ends = np.asarray(codes.min()), np.asarray(codes.max())
    result = quantize(Integers(codes, -30, *ends), quantizer, "q")
    np.testing.assert_array_equal(
        result.values, quantizer.quantize(np.ldexp(codes.astype(np.float64), -30))
    )


FUNCTIONS = {
    "clipped_linear": [
        ClippedLinear(0.5, 0.5, 0.0, 1.0), ClippedLinear(high=6.0, low=0.0),
        ClippedLinear(0.25, -3.0),
    ],
    "leaky_relu": [LeakyReLU(0.125), LeakyReLU(1.5)],
    "step_function": [StepFunction([-0.3, 0.0, 1.0], [-1.0, 0.5, 2.0, 0.25])],
}  # fmt: skip


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_functions(kind):
    """Against their float32 formula, which is exact at few bits."""
    codes = np.concatenate([np.arange(-200, 201), [0, 4000, -4000]])[:, None]
    for function, exponent in itertools.product(FUNCTIONS[kind], (-5, -1, 0, 3)):
        ends = np.asarray(-4000), np.asarray(4000)
        operation = Operation("f", kind, ("x",), ("f",), "f", {"function": function})
        result, _ = STEPS[kind](operation, Integers(codes, exponent, *ends))
        x = np.ldexp(codes.astype(np.float32), exponent)
        np.testing.assert_array_equal(result.values, function._forward(np, x))
        assert np.all((result.low <= result.codes) & (result.codes <= result.high))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([kl.Dense(3, name="d")], "'d'.*QuantInput"),
        ([], "is an input.*QuantInput"),
        ([ql.QuantInput(INPUT), kl.Softmax(name="s")], "'s'.*floating point"),
        ([ql.QuantInput(FixedPoint(4, scale=0.3), name="q")], "'q'.*powers of two"),
        (
            [ql.QuantInput(INPUT), kl.Reshape((2, 2, 1)),
             kl.AveragePooling2D((1, 2), 1, padding="same", name="a")],
            "'a' averages",
        ),
    ],
)  # fmt: skip
def test_refusals(steps, message):
    """With the layer's name and a way out."""
    model = functional((4,), *steps)
    with pytest.raises(UnsupportedModelError, match=message):
        kerasqnn.integer_reference(model, data(4))


def test_several_inputs_and_outputs():
    """As `predict` takes and returns them."""
    first, second = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    x, y = ql.QuantInput(INPUT)(first), ql.QuantInput("quantized_bits(3,0)")(second)
    model = keras.Model(
        [first, second], [kl.Add()([x, y]), ql.QuantDense(2, **KERNEL)(y)]
    )
    inputs = {"a": data(4), "b": data(4)}
    result = kerasqnn.integer_reference(model, inputs)
    expected = model(list(inputs.values()))
    assert len(result.codes) == len(result.values) == 2
    for received, wanted in zip(result.values, expected, strict=True):
        np.testing.assert_array_equal(received, np.asarray(wanted))
