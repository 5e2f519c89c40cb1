"""evaluate is the model; evaluate_exactly is integer arithmetic."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

from kerasqnn import layers as ql
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.models import analyse, evaluate, evaluate_exactly, read_model
from kerasqnn.models.windows import same_padding
from kerasqnn.quantizers import FixedPoint

from .zoo import EXACT, FLOAT, INPUT, KERNEL, RELU, data, fill, functional, wide


def run(model, x):
    """Return all tensors of the evaluated graph, and the output's name."""
    graph = read_model(model)
    return evaluate(graph.operations, {graph.inputs[0]: x}), graph.outputs[0]


def exactly(model, *x):
    """Return all tensors in exact arithmetic, and the output's name."""
    graph = read_model(model)
    return evaluate_exactly(graph, analyse(graph), x), graph.outputs[0]


@pytest.mark.parametrize("name", EXACT)
def test_models_on_a_grid(name):
    """All three agree bit for bit: graph, model, and the exact values."""
    model = EXACT[name]()
    x = data(*model.input_shape[1:])
    expected = model.predict(x, verbose=0)
    values, output = run(model, x)
    np.testing.assert_array_equal(values[output], expected, strict=True)
    graph = read_model(model)
    facts = analyse(graph).facts
    assert facts[output].reproducible
    if facts[output].faithful:
        exact, _ = exactly(model, x)
        assert exact.keys() == values.keys()
        for tensor in graph.tensors:
            np.testing.assert_array_equal(exact[tensor], values[tensor])
    else:  # batch normalization without quantizers, whose float32 products round
        assert "scale_offset" in name


@pytest.mark.parametrize("name", FLOAT)
def test_models_in_floating_point(name):
    """The graph is the same operations as the model runs, so even these agree."""
    model = FLOAT[name]()
    x = data(*model.input_shape[1:])
    values, output = run(model, x)
    np.testing.assert_array_equal(values[output], model(x))
    # Compiled, TensorFlow may fuse operations, and then rounds otherwise.
    compiled = model.predict(x, verbose=0)
    np.testing.assert_allclose(values[output], compiled, rtol=1e-6, atol=1e-6)


def test_a_whole_network():
    """Convolutions, normalization, pools, a shared layer, a nested model, two heads."""
    inner = keras.Sequential(
        [keras.Input((8,)), ql.QuantDense(8, activation=RELU, **KERNEL)]
    )
    shared = ql.QuantConv2D(4, 3, padding="same", activation=RELU, **KERNEL)
    first, second = keras.Input((8, 8, 4)), keras.Input((8,))
    x = shared(ql.QuantInput(INPUT)(first))
    x = kl.Add()([x, shared(x)])
    x = ql.QuantBatchNormalization(
        scale_quantizer="quantized_bits(5,1)", offset_quantizer="quantized_bits(6,3)"
    )(x)
    x = kl.MaxPooling2D(2)(ql.QuantActivation(RELU)(x))
    x = kl.GlobalAveragePooling2D()(kl.Dropout(0.5)(x))
    x = kl.Concatenate()([x, kl.Flatten()(ql.QuantInput(INPUT)(second))])
    x = ql.QuantActivation("quantized_bits(6,3)")(x)
    y = inner(ql.NoisyQuantDense(8, activation=RELU, **KERNEL)(x))
    model = fill(keras.Model([first, second], [ql.QuantDense(3, **KERNEL)(y), y]))
    inputs = [data(8, 8, 4), data(8)]
    graph = read_model(model)
    values = evaluate(graph.operations, dict(zip(graph.inputs, inputs, strict=True)))
    exact, _ = exactly(model, *inputs)
    assert analyse(graph).facts[graph.outputs[0]].faithful
    for name, expected in zip(
        graph.outputs, model.predict(inputs, verbose=0), strict=True
    ):
        assert len(np.unique(expected)) > 5
        np.testing.assert_array_equal(values[name], expected)
        np.testing.assert_array_equal(exact[name], expected)


def test_hook_and_start_in_the_middle():
    """A hook replaces tensors; the rest of a graph runs from given ones."""
    model = EXACT["dense"]()
    x = data(4)
    graph = read_model(model)
    values, output = run(model, x)
    seen = []

    def hook(operation, tensor):
        seen.append(operation.name)
        return tensor + 1 if operation.kind == "dense" else tensor

    changed = evaluate(graph.operations, {graph.inputs[0]: x}, hook)
    assert seen == [o.name for o in graph]
    (dense,) = graph.of_kind("dense")
    np.testing.assert_array_equal(changed[dense.output], values[dense.output] + 1)
    activation = graph.operation(output).attributes["quantizer"]
    np.testing.assert_array_equal(
        changed[output], activation(np.asarray(values[dense.output] + 1))
    )
    start = graph.operations.index(dense) + 1
    rest = evaluate(graph.operations[start:], {dense.output: values[dense.output]})
    np.testing.assert_array_equal(rest[output], values[output])


def test_noise_counts_as_off():
    """Whatever the points are set to."""
    model = EXACT["noise"]()
    x = data(4)
    expected = model.predict(x, verbose=0)
    point = model.layers[2]
    point.when, point.level = "always", 5.0
    assert np.any(model.predict(x, verbose=0) != expected)
    values, output = run(model, x)
    np.testing.assert_array_equal(values[output], expected)
    np.testing.assert_array_equal(exactly(model, x)[0][output], expected)


def test_wide_sums_are_exact_in_integers():
    """Beyond 24 bits float32 loses the last ones; the exact evaluation does not."""
    model = wide(10240.0)
    x = np.array([[8191.0], [8190.0], [1.0]], np.float32)
    exact, output = exactly(model, x)
    expected = [[int(v) * 2047 + 10240] for v in x[:, 0]]
    np.testing.assert_array_equal(exact[output], expected)
    received = model.predict(x, verbose=0).astype(np.float64)
    assert received[0, 0] != expected[0][0]
    assert received[2, 0] == expected[2][0]


@pytest.mark.parametrize("rounding", ["ROUND", "HALF_UP", "HALF_DOWN", "FLOOR", "CEIL"])
def test_inputs_count_as_float32_quantizes_them(rounding):
    """Beside a tie, for a denormal, and for what overflows float32 in the division."""
    quantizer = FixedPoint(4, 0, rounding=rounding)
    model = functional((8,), ql.QuantInput(quantizer), ql.QuantDense(2, **KERNEL))
    tie = np.float32(0.0625)
    row = [tie, np.nextafter(tie, np.float32(0)), np.nextafter(tie, np.float32(1)),
           -tie, 1e-40, -1e-40, 3e38, -3e38]  # fmt: skip
    x = np.array([row], np.float32)
    exact, output = exactly(model, x)
    np.testing.assert_array_equal(exact[output], model.predict(x, verbose=0))


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: functional((4,), kl.Dense(3, name="d")), "d"),
        (
            lambda: functional((4,), ql.QuantInput(INPUT), kl.Softmax(name="s")),
            "s",
        ),
        (
            lambda: functional((4,), ql.QuantInput(FixedPoint(4, scale=0.3), name="q")),
            "q",
        ),
        (lambda: functional((4,), kl.ReLU(name="r")), "r"),
    ],
)
def test_what_has_no_exact_values_is_refused(make, layer):
    """With the layer's name."""
    model = make()
    with pytest.raises(UnsupportedModelError, match=f"'{layer}'.*power-of") as error:
        exactly(model, data(4))
    assert error.value.layer == layer


def test_sums_beyond_53_bits_are_refused():
    """Float64 would not hold them either."""
    steps = [
        ql.QuantInput(FixedPoint(24, 0), name="in"),
        ql.QuantDense(1, kernel_quantizer=FixedPoint(24, 23), name="first"),
        ql.QuantDense(1, kernel_quantizer=FixedPoint(24, 23), name="second"),
    ]
    model = functional((1,), *steps)
    for layer in model.layers[-2:]:
        layer.kernel.assign([[2.0**23 - 1]])
        layer.bias.assign([0.0])
    with pytest.raises(UnsupportedModelError, match="'second'.*53 bits"):
        exactly(model, data(1))


def taps(size, window, stride, dilation):
    """Return which taps of a window of ones lie inside, as Keras pads it."""
    x = np.ones((1, size, 1, 1), np.float32)
    kernel = (2.0 ** np.arange(window)).astype(np.float32).reshape(window, 1, 1, 1)
    y = ops.conv(
        x, kernel, strides=(stride, 1), padding="same", dilation_rate=(dilation, 1)
    )
    return np.asarray(y)[0, :, 0, 0]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding(stride, dilation):
    """Each sum of powers of two tells which taps of which window are padding."""
    if stride > 1 and dilation > 1:
        return  # Keras refuses both together
    for size, window in itertools.product(range(1, 12), range(1, 6)):
        before, after = same_padding(size, window, stride, dilation)
        padded = np.pad(np.ones(size), (before, after))
        reach = (window - 1) * dilation + 1
        starts = range(0, len(padded) - reach + 1, stride)
        powers = 2.0 ** np.arange(window)
        rows = [padded[s : s + reach : dilation] @ powers for s in starts]
        np.testing.assert_array_equal(rows, taps(size, window, stride, dilation))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (3, 1)])
@pytest.mark.parametrize("kind", [kl.MaxPooling2D, kl.AveragePooling2D])
def test_exact_pools(kind, strides, padding):
    """Against Keras; an average needs a power of two and no padding to be on a grid."""
    if kind is kl.AveragePooling2D and padding == "same":
        return
    pool = kind((4, 2), strides=strides, padding=padding)
    model = functional((9, 7, 3), ql.QuantInput(INPUT), pool)
    x = data(9, 7, 3) - 3
    exact, output = exactly(model, x)
    np.testing.assert_array_equal(exact[output], model.predict(x, verbose=0))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": (2, 3)},
        {"dilation_rate": (2, 1)},
        {"groups": 2},
        {"groups": 4, "strides": 2},
        {"use_bias": False},
    ],
    ids=str,
)
def test_exact_convolutions(options, padding):
    """Against Keras, whose float32 is exact here."""
    conv = ql.QuantConv2D(
        8, (3, 2), padding=padding, kernel_quantizer="quantized_bits(4,0)",
        bias_quantizer="quantized_bits(5,1)", **options,
    )  # fmt: skip
    model = functional((9, 7, 4), ql.QuantInput(INPUT), conv)
    x = data(9, 7, 4)
    exact, output = exactly(model, x)
    np.testing.assert_array_equal(exact[output], model.predict(x, verbose=0))
    assert len(np.unique(exact[output])) > 50
