"""Functions in front of grids: the same bits along the chain, or refused by name."""

import keras
import numpy as np
import pytest

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import run_reference
from kerasqnn.models import analyse, read_model
from kerasqnn.models.evaluation import evaluate, evaluate_exactly

WEIGHTS = {
    "kernel_quantizer": "quantized_bits(4,0,1)",
    "bias_quantizer": "quantized_bits(4,0,1)",
}


def model_with(activation):
    """An input grid, the activation of a layer, and another layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = layers.QuantInput("quantized_bits(6,2)", name="grid")(inputs)
    if isinstance(activation, keras.Layer):
        x = activation(layers.QuantDense(5, **WEIGHTS)(x))
    else:
        x = layers.QuantDense(5, activation=activation, name="first", **WEIGHTS)(x)
    return keras.Model(inputs, layers.QuantDense(3, name="last", **WEIGHTS)(x))


def data(model):
    shape = (300, *model.input_shape[1:])
    return np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)


EXACT = [
    "quantized_relu(4,2,negative_slope=0.25)",
    "quantized_relu(4,1,negative_slope=2.0)",
    "quantized_relu(4,2,relu_upper_bound=1.5,is_quantized_clip=False)",
    "quantized_relu(4,2,relu_upper_bound=0.6875,is_quantized_clip=False)",
    "quantized_relu(4,2,1)",
    "quantized_tanh(4)",
    "quantized_tanh(4,symmetric=True)",
    "QuantizedTanh(5,function='smooth_tanh')",
    "quantized_sigmoid(4)",
    "quantized_sigmoid(3,symmetric=True)",
    "QuantizedSigmoid(5,function='smooth_sigmoid')",
    "quantized_relu_po2(4)",
    "quantized_relu_po2(4,log2_rounding='floor')",
    "quantized_relu_po2(3,4,0.5)",
    "quantized_relu_po2(3,4,quadratic_approximation=True)",
    "quantized_po2(4)",
    "TableFunction('tanh', input='FixedPoint(8,2)', output='FixedPoint(6)')",
    "TableFunction('elu', input='FixedPoint(5,1)', output='FixedPoint(6,2)')",
    "QuantizedSoftmax(8)",
    "QuantizedSoftmax(5, difference='FixedPoint(4,3)', sum='FixedPoint(5,2)')",
    "relu6",
    "hard_tanh",
]  # fmt: skip
# On no grid in between: reproducible, but no integers.
FLOAT = [
    "quantized_hswish(6,2)",
    "quantized_hswish(6,2,relu_shift=2,relu_upper_bound=4)",
]


def branches(activations, image=False):
    """One model with a branch, and an output, for every activation."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 2) if image else (6,))
    grid = layers.QuantInput("quantized_bits(6,2)", name="grid")(inputs)
    outputs = []
    for activation in activations:
        if image:
            x = layers.QuantConv2D(3, 3, activation=activation, **WEIGHTS)(grid)
            x = keras.layers.Flatten()(x)
        else:
            x = layers.QuantDense(5, activation=activation, **WEIGHTS)(grid)
        outputs.append(layers.QuantDense(3, **WEIGHTS)(x))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("image", [False, True])
def test_same_bits(image, tmp_path):
    """Keras, the reading, exact integers, ONNX Runtime and qonnx."""
    activations = (EXACT + FLOAT)[:: 4 if image else 1]
    model = branches(activations, image)
    x = data(model)
    expected = model.predict(x, verbose=0)
    graph = read_model(model)
    arithmetic = analyse(graph)
    values = evaluate(graph, {graph.inputs[0]: x})
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", check=False)
    run = kerasqnn.run_qonnx(path, x)
    outputs = zip(activations, graph.outputs, expected, run, strict=True)
    for activation, tensor, want, got in outputs:
        assert len(np.unique(want)) > 20
        np.testing.assert_array_equal(values[tensor], want, activation)
        np.testing.assert_array_equal(got, want, activation)
        facts = arithmetic.facts[tensor]
        assert facts.reproducible
        assert facts.faithful == (activation in EXACT), activation
    for got, want in zip(run_reference(path, x), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_exact_integers():
    """The values are those of exact arithmetic, on the grids that analyse names."""
    model = branches(EXACT)
    x, graph = data(model), read_model(model)
    arithmetic = analyse(graph)
    exact = evaluate_exactly(graph, arithmetic, [x])
    floats = evaluate(graph, {graph.inputs[0]: x})
    for name, value in exact.items():
        np.testing.assert_array_equal(value, floats[name], name)
        grid = arithmetic.facts[name].grid
        if grid is not None:
            assert np.all(value % grid.step == 0), name
            assert np.all((grid.low <= value) & (value <= grid.high)), name


@pytest.mark.parametrize("layer", [
    keras.layers.ReLU(max_value=1.5),
    keras.layers.LeakyReLU(0.25),
    keras.layers.ReLU(negative_slope=0.5),
], ids=lambda layer: layer.name)  # fmt: skip
def test_layers_of_keras(layer, tmp_path):
    model = model_with(layer)
    x = data(model)
    expected = model.predict(x, verbose=0)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), expected)
    assert analyse(graph := read_model(model)).facts[graph.outputs[0]].faithful


def test_leaky_relu_that_rounds(tmp_path):
    """Slope 0.2: one product rounds alike everywhere, and a grid takes it in."""
    inputs = keras.Input((6,))
    x = layers.QuantInput("quantized_bits(6,2)")(inputs)
    x = layers.QuantDense(5, activation="leaky_relu", **WEIGHTS)(x)
    x = layers.QuantActivation("quantized_bits(5,2)")(x)
    model = keras.Model(inputs, layers.QuantDense(3, **WEIGHTS)(x))
    x = data(model)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(
        kerasqnn.run_qonnx(path, x), model.predict(x, verbose=0)
    )


REFUSED = {
    "quantized_tanh(4,use_real_tanh=True)": "computes tanh in floating point",
    "QuantizedTanh(4,function='sigmoid_tanh')": "computes sigmoid in floating point",
    "quantized_sigmoid(4,use_real_sigmoid=True)": "computes sigmoid in floating point",
    "hard_sigmoid": "computes hard_sigmoid in floating point",
    "hard_silu": "computes hard_silu in floating point",
    "tanh": "computes tanh in floating point",
    "sigmoid": "computes sigmoid in floating point",
}


@pytest.mark.parametrize("activation", REFUSED)
def test_refused_by_name(activation, tmp_path):
    model = model_with(activation)
    with pytest.raises(UnsupportedModelError, match=REFUSED[activation]) as error:
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    assert error.value.layer == "first"
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", exact=False)
    x = data(model)
    different = kerasqnn.run_qonnx(path, x) != model.predict(x, verbose=0)
    # Where the last bit of the function decides, a code flips: never many.
    assert not activation.startswith("quantized") or np.mean(different) < 0.02


def test_sums_after_a_rounded_product_are_refused(tmp_path):
    """0.1875 x + 0.5 of numbers without a grid: one rounding in some tools, or two."""
    inputs = keras.Input((6,))
    x = layers.QuantInput("QuantizedSigmoid(5,function='smooth_sigmoid')", name="s")(
        inputs
    )
    model = keras.Model(inputs, layers.QuantDense(3, **WEIGHTS)(x))
    with pytest.raises(UnsupportedModelError, match=r"'s' multiplies by 0\.1875"):
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("activation", [*EXACT[::3], *FLOAT[:1]])
def test_hardware_refuses(activation, tmp_path):
    """By the layer's name: no function of these has bit-exact hardware."""
    with pytest.raises(UnsupportedModelError, match="bit-exact hardware") as error:
        kerasqnn.deploy(model_with(activation), "arty", tmp_path / "project")
    assert error.value.layer == "first"
    assert not (tmp_path / "project").exists()


def test_power_of_two_weights(tmp_path):
    """Shifts as weights: to the hardware emulation, too."""
    weights = {
        "kernel_quantizer": "quantized_po2(4)",
        "bias_quantizer": "PowerOfTwo(4)",
    }
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = layers.QuantInput("quantized_bits(6,2)")(inputs)
    x = layers.QuantDense(5, activation="quantized_relu(5,3)", **weights)(x)
    model = keras.Model(inputs, layers.QuantDense(3, **weights)(x))
    x = data(model)
    expected = model.predict(x, verbose=0)
    assert len(np.unique(expected)) > 20
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), expected)
    deployment = kerasqnn.deploy(model, "arty", tmp_path / "project")
    np.testing.assert_array_equal(deployment.emulate(x), expected)
