"""Everything that is read is evaluated in integers, or refused with the true reason."""

from __future__ import annotations

import re
from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.models import analyse, read_model, readers
from kerasqnn.models.integer_operations import STEPS
from kerasqnn.quantizers import Binary, FixedPoint, Ternary
from kerasqnn.quantizers.functions import HardSwish

from ..layers.cases import CASES
from .zoo import INPUT, KERNEL, data, fill, functional, outputs

KINDS = {
    kind
    for row in readers.__doc__.splitlines()
    if row.startswith("| `")
    for kind in re.findall(r"`(\w+)`", row.split("|")[1])
}
# Those of floating point: a layer 'f' each, and what is said of it.
FLOAT = {
    "softmax": (kl.Softmax(name="f"), "computes softmax in floating point"),
    "activation": (
        kl.Activation("tanh", name="f"),
        "computes tanh in floating point",
    ),
    "layer": (
        kl.LayerNormalization(name="f"),
        "of class LayerNormalization, which Keras runs as a whole, in floating point",
    ),
}


def test_kinds():
    """Each kind of the readers' table has a step, or is one of floating point."""
    assert len(KINDS) > 20
    assert {"input", *STEPS} | set(FLOAT) == KINDS
    assert not set(STEPS) & set(FLOAT)


def _refused(model, x, reason):
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        kerasqnn.integer_reference(model, x)
    assert caught.value.layer == "f"
    assert "'f'" in str(caught.value)


@pytest.mark.parametrize("kind", FLOAT)
def test_kinds_of_floating_point(kind):
    layer, reason = FLOAT[kind]
    model = functional((4,), ql.QuantInput(INPUT), layer)
    assert read_model(model).of_kind(kind)
    _refused(model, data(4), reason)


LAYERS = {
    "half": (lambda: ql.QuantDense(3, dtype="mixed_float16", name="f"), "float16"),
    "first": (
        lambda: kl.MaxPooling2D(data_format="channels_first", name="f"),
        "channels first",
    ),
    "thirds": (lambda: _merged(kl.Average(name="f"), 3), "divides by 3, and only"),
    "learned": (
        lambda: ql.QuantActivation("LearnedBits(4)", name="f"),
        "LearnedBits without `integer`, which is for weights",
    ),
    "widths": (
        lambda: _uneven(),
        "LearnedBits whose widths are not all the same",
    ),
    "auto": (
        lambda: ql.QuantActivation("quantized_bits(4,0,alpha='auto')", name="f"),
        "AutoFixedPoint.*computed from the values of every call",
    ),
    "divided": (
        lambda: lambda x: ql.QuantDense(2, name="f")(
            kl.Activation(HardSwish())(x)
        ),
        "divided by 3, which lie on no power-of-two grid",
    ),
    "divided output": (
        lambda: kl.Activation(HardSwish(), name="f"),
        "divided by 3, which lie on no power-of-two grid",
    ),
}  # fmt: skip


def _merged(merge, count):
    return lambda x: merge([ql.QuantActivation(INPUT)(x) for _ in range(count)])


def _uneven():
    quantizer = kerasqnn.quantizers.LearnedBits(2, 2, granularity="channel")
    layer = ql.QuantActivation(quantizer, name="f")
    layer.build((None, 4, 4, 4))
    quantizer.fraction.assign([1.0, 2.0, 3.0, 4.0])
    return layer


@pytest.mark.parametrize("case", LAYERS)
def test_reasons(case):
    """Not 'floating point' where the reason is another."""
    make, reason = LAYERS[case]
    x = inputs = keras.Input((4, 4, 4))
    model = keras.Model(inputs, make()(ql.QuantInput(INPUT)(x)))
    _refused(model, data(4, 4, 4), reason)


def _behind_inputs(case):
    """The layer of a case behind a quantizer for each of its inputs."""
    layer = case.make(name="f")
    shapes = case.shape
    if not isinstance(shapes, (list, dict)):
        x = keras.Input(shapes)
        return keras.Model(x, layer(ql.QuantInput(INPUT)(x)))
    values = shapes.values() if isinstance(shapes, dict) else shapes
    inputs = [keras.Input(s) for s in values]
    grids = [ql.QuantInput(INPUT)(x) for x in inputs]
    if isinstance(shapes, dict):
        return keras.Model(inputs, layer(**dict(zip(shapes, grids, strict=True))))
    return keras.Model(inputs, layer(grids))


# By what the names of its cases match: why a layer is refused.
REFUSED = {
    r"Attention|Einsum|LayerNormalization|Transpose|[gv]3D|Dot":
        r"of class \w+, which Keras runs as a whole, in floating point",
    "ReciprocalAverage.*full": "averages fewer values in windows at its border",
    "(RNN|LSTM|GRU)-plain": "activation in floating point between its time steps",
    r"(?<!Reciprocal)GlobalAverage": r"averages \d+ values",
    r"(?<!ReciprocalGlobal)AveragePooling.*full":
        r"averages \d+ values, and only .* without padding",
    "LearnedDense|LearnedDepthwise|LearnedPooling|LearnedInput": "no powers of two",
    "LearnedOffset": "its quantizer, Affine, has none",
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.below is None])
def test_layers(name):
    """Equal to the model where float32 holds its sums; or refused, with the reason."""
    model = fill(_behind_inputs(CASES[name]))
    x = [data(*i.shape[1:]) for i in model.inputs]
    for pattern, reason in REFUSED.items():
        if re.search(pattern, name):
            _refused(model, x, reason)
            return
    result = kerasqnn.integer_reference(model, x)
    graph = read_model(model).without_noise()
    facts = analyse(graph).facts[graph.outputs[0]]
    expected = keras.tree.flatten(outputs(model, x))
    for tensor, values in zip(result.outputs, expected, strict=True):
        if facts.faithful:
            np.testing.assert_array_equal(tensor.values, values)
        # Elsewhere float32 rounds weights that no quantizer puts on a grid.
        np.testing.assert_allclose(tensor.values, values, rtol=1e-5, atol=1e-5)


QUANTIZERS = [
    "quantized_bits(4,1)", "quantized_relu(4,1)",
    "quantized_relu(4,2,negative_slope=0.25)",
    "binary", "ternary", "Heaviside()", "quantized_linear(4,1)", "quantized_po2(4)",
    "quantized_relu_po2(4)", "quantized_tanh(4)", "quantized_sigmoid(4)",
    "quantized_hswish(5,2)", "QuantizedHardSwish(6,2)",
    "LearnedStepSize(4,power_of_two=True)",
    "PACT(4,alpha=2.0,power_of_two=True)", "LearnedBits(2,2)",
    "Gradual('quantized_bits(3,1)')", "stochastic_binary", "stochastic_ternary",
    "StochasticRounding('FixedPoint(4,1)')",
    "TableFunction('tanh',input='FixedPoint(6,2)',output='FixedPoint(5)')",
    "TableFunction('silu',input='FixedPoint(7,2)',output='FixedPoint(9,2)')",
]  # fmt: skip


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("place", ["input", "activation"])
def test_quantizers(quantizer, place):
    """In both places: of the input in float32, of an activation in integers."""
    first = quantizer if place == "input" else INPUT
    steps = [ql.QuantInput(first), ql.QuantDense(8, **KERNEL)]
    if place == "activation":
        steps += [ql.QuantActivation(quantizer), ql.QuantDense(3, **KERNEL)]
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((4,)), *steps])
    x = data(4, samples=200)
    result = kerasqnn.integer_reference(model, x)
    np.testing.assert_array_equal(result.values, outputs(model, x))
    for tensor in result.tensors.values():
        assert np.all((tensor.low <= tensor.codes) & (tensor.codes <= tensor.high))


@pytest.mark.parametrize("merge", ["Add", "Subtract", "Multiply", "Maximum", "Minimum"])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 1), (1, 1), (1, 2, 3)])
def test_merges_of_unlike_shapes(merge, shape):
    """Broadcast as Keras does, with bounds for each channel of the result."""
    inputs = [keras.Input((2, 3)), keras.Input(shape)]
    grids = [
        ql.QuantInput(q)(x) for q, x in zip((INPUT, "ternary"), inputs, strict=True)
    ]
    wide = ql.QuantDense(grids[0].shape[-1], **KERNEL)(grids[0])
    layer = getattr(kl, merge)()
    merged = layer([wide, grids[1], grids[0]][: 2 if merge == "Subtract" else 3])
    model = fill(keras.Model(inputs, ql.QuantDense(2, **KERNEL)(merged)))
    x = [data(2, 3), data(*shape)]
    result = kerasqnn.integer_reference(model, x)
    np.testing.assert_array_equal(result.values, outputs(model, x))
    graph = read_model(model)
    for name, facts in analyse(graph).facts.items():
        if name in result.tensors:
            values = result.tensors[name].values
            assert facts.faithful
            assert np.all((facts.grid.low <= values) & (values <= facts.grid.high))


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize("arguments", [(3.0, 6.0), (2.5, 5.0), (2.0, 4.0)])
def test_quotients(mode, arguments):
    """Rounded once: the judge is Python's fractions."""
    function = HardSwish(*arguments)
    quantizers = [
        FixedPoint(6, 3, rounding=mode),
        FixedPoint(4, -2, rounding=mode, overflow="WRAP"),
        FixedPoint(5, 1, rounding=mode, scale=(0.5, 1.0, 4.0)),
        Ternary(1.0, threshold=0.33),
        Binary(),
    ]
    grid = FixedPoint(10, 4)
    x = np.arange(grid.code_min, grid.code_max + 1, dtype=np.float32) * grid.step
    x = np.repeat(x[:, None], 3, axis=1)
    shift, bound = Fraction(function.shift), Fraction(function.bound)

    def exact(v):
        return v * min(max(v + shift, 0), bound) / bound

    rationals = [exact(Fraction(float(v))) for v in x[:, 0]]
    for quantizer in quantizers:
        model = keras.Sequential([
            keras.Input((3,)), ql.QuantInput(grid),
            kl.Activation(function, name="product"), ql.QuantActivation(quantizer),
        ])  # fmt: skip
        result = kerasqnn.integer_reference(model, x)
        tensor = result.outputs[0]
        assert np.all((tensor.low <= tensor.codes) & (tensor.codes <= tensor.high))
        np.testing.assert_array_equal(result.values, outputs(model, x))
        if isinstance(quantizer, FixedPoint) and quantizer.overflow == "SAT":
            for channel, step in enumerate(np.broadcast_to(quantizer.step, 3)):
                scaled = [r / Fraction(float(step)) for r in rationals]
                codes = [_rounded(s, mode) for s in scaled]
                codes = np.clip(codes, quantizer.code_min, quantizer.code_max)
                np.testing.assert_array_equal(
                    result.values[:, channel], codes * float(step)
                )
    # As tight as can be, among all inputs.
    middle = result.tensors["product"]
    assert (middle.codes.min(), middle.codes.max()) == (middle.low, middle.high)


def _rounded(value, mode):
    floor = value.numerator // value.denominator
    rest = value - floor
    half = Fraction(1, 2)
    up = {
        "FLOOR": False, "CEIL": rest > 0,
        "ROUND": rest > half or (rest == half and floor % 2 == 1),
        "HALF_UP": rest > half or (rest == half and value > 0),
        "HALF_DOWN": rest > half or (rest == half and value < 0),
    }[mode]  # fmt: skip
    return floor + up


def test_an_average_that_pads_nothing():
    """`padding="same"` of windows that fit."""
    model = functional(
        (4, 6, 2), ql.QuantInput(INPUT), kl.AveragePooling2D(2, padding="same")
    )
    x = data(4, 6, 2)
    assert analyse(graph := read_model(model)).facts[graph.outputs[0]].faithful
    result = kerasqnn.integer_reference(model, x)
    np.testing.assert_array_equal(result.values, outputs(model, x))
