"""What quantizers and noise do inside the layers, against numpy."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasqnn import layers
from kerasqnn.layers import (
    NoisePoint,
    NoisyQuantConv2D,
    NoisyQuantDense,
    QuantActivation,
    QuantConv2D,
    QuantDense,
)
from kerasqnn.noise import Additive
from kerasqnn.quantizers import Binary, FixedPoint, QuantizedReLU, get

from .cases import CASES

KERNEL = FixedPoint(4, 0, alpha=(0.5, 1.0, 2.0))
BIAS = FixedPoint(5, 2, rounding="FLOOR")
RELU = QuantizedReLU(5, 3)
QUANTIZERS = {"kernel_quantizer": KERNEL, "bias_quantizer": BIAS}


def _inputs(*shape):
    numbers = np.random.default_rng(0).normal(0, 1.5, shape)
    return (np.rint(numbers * 8) / 8).astype(np.float32)


def _filled(layer, x):
    """Build and give random weights; sums are exact, since all is on a grid."""
    layer.build(x.shape)
    numbers = np.random.default_rng(1)
    layer.kernel.assign(numbers.normal(size=layer.kernel.shape))
    if layer.bias is not None:
        layer.bias.assign(numbers.normal(size=layer.bias.shape))
    return layer


def _same(received, expected):
    np.testing.assert_array_equal(np.asarray(received), np.asarray(expected))


def test_dense_formula():
    """activation(x @ Q(kernel) + Q(bias)), the scales along the outputs."""
    x = _inputs(6, 5)
    layer = _filled(QuantDense(3, activation=RELU, **QUANTIZERS), x)
    kernel, bias = KERNEL.quantize(layer.kernel), BIAS.quantize(layer.bias)
    assert np.any(kernel != np.asarray(layer.kernel))
    sums = x.astype(np.float64) @ kernel + bias
    _same(layer(x), RELU.quantize(sums))
    linear = _filled(QuantDense(3, **QUANTIZERS), x)
    _same(linear(x), sums)
    _same(linear(x, training=True), sums)


def test_conv_formula():
    """The same at every position of the image."""
    x = _inputs(4, 5, 6, 2)
    layer = _filled(QuantConv2D(3, (2, 3), activation=RELU, **QUANTIZERS), x)
    kernel, bias = KERNEL.quantize(layer.kernel), BIAS.quantize(layer.bias)
    windows = np.lib.stride_tricks.sliding_window_view(
        x.astype(np.float64), (2, 3), axis=(1, 2)
    )
    sums = np.einsum("nyxcij,ijcf->nyxf", windows, kernel) + bias
    _same(layer(x), RELU.quantize(sums))


def test_one_quantizer_alone():
    """The other weight stays as it is."""
    x = _inputs(6, 5)
    layer = _filled(QuantDense(3, kernel_quantizer="ternary"), x)
    kernel = get("ternary").quantize(layer.kernel)
    np.testing.assert_allclose(layer(x), x @ kernel + layer.bias, rtol=1e-6, atol=1e-6)
    layer = _filled(QuantDense(3, bias_quantizer="binary"), x)
    expected = keras.ops.matmul(x, layer.kernel) + Binary().quantize(layer.bias)
    _same(layer(x), expected)


def test_stored_weights_stay_float():
    """The quantizer acts at every call on what the optimizer has left."""
    x = _inputs(6, 5)
    layer = _filled(QuantDense(3, use_bias=False, kernel_quantizer="binary"), x)
    before = np.array(layer.kernel)
    layer(x, training=True)
    _same(layer.kernel, before)
    layer.kernel.assign(-before)
    _same(layer(x), x @ Binary().quantize(-before))


@pytest.mark.parametrize("quantizer", ["quantized_bits(4)", "binary", "ternary"])
def test_gradients_reach_the_weights(quantizer):
    """The quantizer's gradient times that of the sum."""
    x = _inputs(6, 5)
    layer = _filled(QuantDense(3, kernel_quantizer=quantizer), x)
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(layer(x) * _inputs(6, 3))
    gradient = tape.gradient(y, layer.kernel.value)
    upstream = tf.constant(x.T @ _inputs(6, 3))
    quantizer = layer.kernel_quantizer
    _same(gradient, quantizer._gradient(tf.constant(layer.kernel), upstream))


@pytest.mark.parametrize("make", [lambda **k: QuantDense(3, **k)], ids=["dense"])
def test_noise_acts_before_the_activation(make):
    """activation(noise(sum)): the output stays on the activation's grid."""
    x = _inputs(400, 5)
    noise = Additive(1.0, when="always", seed=3)
    layer = _filled(make(activation=RELU, noise=noise, **QUANTIZERS), x)
    clean = _filled(make(**QUANTIZERS), x)(x)
    y = layer(x)
    _same(y, RELU.quantize(NoisePoint(noise)(clean)))
    _same(RELU.quantize(y), y)
    assert np.any(np.asarray(y) != RELU.quantize(clean))


PAIRS = [
    (NoisyQuantDense, QuantDense, {"units": 3}, (6, 5)),
    (NoisyQuantConv2D, QuantConv2D, {"filters": 3, "kernel_size": 2}, (4, 5, 6, 2)),
]


@pytest.mark.parametrize(("noisy", "quiet", "kwargs", "shape"), PAIRS)
@pytest.mark.parametrize("options", [{}, {**QUANTIZERS, "activation": RELU}])
def test_noisy_layers_only_add_the_point(noisy, quiet, kwargs, shape, options):
    """Same configuration, weights, output; but the noise."""
    x = _inputs(*shape)
    one, two = (_filled(c(**kwargs, **options), x) for c in (noisy, quiet))
    assert noisy.call is quiet.call and issubclass(noisy, quiet)
    assert two.noise_point is None
    configs = [layer.get_config() for layer in (one, two)]
    different = {k for k in configs[0] if configs[0][k] != configs[1][k]}
    assert different == {"name", "noise"}
    assert one.noise_point.noise == Additive(0.0)
    names = [w.name for w in two.weights]
    assert [w.name for w in one.weights] == [*names, *POINT_WEIGHTS]
    for training in (False, True):
        _same(one(x, training=training), two(x, training=training))
    one.noise_point.level, one.noise_point.when = 2.0, "always"
    assert np.any(np.asarray(one(x)) != np.asarray(two(x)))
    silent = noisy(**kwargs, **options, noise=None)
    assert silent.noise_point is None
    assert [w.name for w in _filled(silent, x).weights] == names


POINT_WEIGHTS = ["level", "on_in_training", "on_in_inference"]


def test_activation_arguments():
    """Quantizers by string, object, configuration; Keras's by name and function."""
    x = _inputs(3, 4)
    config = keras.saving.serialize_keras_object(RELU)
    for activation in ("quantized_relu(5,3)", RELU, config):
        assert QuantActivation(activation).activation == RELU
        assert QuantDense(3, activation=activation).activation == RELU
        _same(QuantActivation(activation)(x), RELU.quantize(x))
    assert QuantDense(3, activation="tanh").activation is keras.activations.tanh
    assert QuantDense(3).activation is keras.activations.linear
    _same(QuantActivation("relu")(x), np.maximum(x, 0))


def test_a_layer_is_quantized_by_its_weights():
    """`is_quantized` tells whether Keras's own quantization is closed."""
    assert QuantDense(3, kernel_quantizer="binary").is_quantized
    assert QuantDense(3, bias_quantizer="binary").is_quantized
    assert not QuantDense(3, activation=RELU, noise="additive(1)").is_quantized


def test_public_names():
    """All layers are found under kerasqnn.layers and are registered for saving."""
    for cls in (v for v in vars(layers).values() if isinstance(v, type)):
        registered = keras.saving.get_registered_object(f"kerasqnn>{cls.__name__}")
        assert registered is cls


# Those with kernels in them; folded, recurrent and attention layers, which compute more
# than one product, have tests of their own.
WITH_KERNELS = [
    name
    for name, case in CASES.items()
    if re.search(r"(Dense|Conv\dD|Conv\dDTranspose)-quantized$", name)
]


@pytest.mark.parametrize("name", WITH_KERNELS)
def test_keras_with_quantized_weights(name):
    """The layer is Keras's with each weight quantized by its own quantizer."""
    case = CASES[name]
    ours, x = case.make(), case.inputs()
    peer = getattr(keras.layers, case.cls.__name__.split("Quant")[-1])
    kept = {k: v for k, v in case.kwargs.items() if not k.endswith("_quantizer")}
    theirs = peer(**{**kept, "activation": None})
    for layer in (ours, theirs):
        layer.build(x.shape)
    numbers = np.random.default_rng(3)
    names = [w.name for w in theirs.weights]
    values = [numbers.normal(0, 1, w.shape).astype(np.float32) for w in theirs.weights]
    for weight in ours.weights:
        if weight.name in names:
            weight.assign(values[names.index(weight.name)])
    quantized = []
    for weight, value in zip(names, values, strict=True):
        argument = f"{weight.removesuffix('_kernel')}_quantizer"
        if not hasattr(ours, argument):
            argument = "depthwise_quantizer"
        quantized.append(getattr(ours, argument).quantize(value))
        assert np.any(quantized[-1] != value)
    theirs.set_weights(quantized)
    expected = ours.activation.quantize(np.asarray(theirs(x)))
    np.testing.assert_array_equal(np.asarray(ours(x)), expected)
