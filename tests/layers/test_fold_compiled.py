"""What is computed of batch statistics: numpy's float32 bits, with XLA and without."""

import keras
import numpy as np
import pytest

from kerasqnn import layers

CHANNELS = 196_608
STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")


def _values(seed=0):
    """Return random parameters and statistics of all channels."""
    numbers = np.random.default_rng(seed)
    values = {name: numbers.normal(size=CHANNELS) for name in (*STATISTICS, "bias")}
    values["moving_variance"] = numbers.uniform(1e-4, 4, CHANNELS)
    return {name: value.astype(np.float32) for name, value in values.items()}


def _predictions(layer, x):
    """Return what models with and without XLA predict."""
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    answers = []
    for jit_compile in (False, True):
        model.compile(jit_compile=jit_compile)
        answers.append(model.predict(x, verbose=0))
    return answers


def _quantize(quantizer, value):
    return value if quantizer is None else quantizer.quantize(value)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("bits", [None, 16, 24])
def test_folded_dense(bits, scale):
    """Kernel and bias of 196,608 channels: of numpy, read, predicted, compiled."""
    quantizer = None if bits is None else f"quantized_bits({bits},4,1,alpha=1.0)"
    layer = layers.QuantDenseBatchNorm(
        CHANNELS, scale=scale, kernel_quantizer=quantizer, bias_quantizer=quantizer
    )
    layer.build((None, 1))
    norm, values = layer.batch_normalization, _values()
    kernel = _values(1)["bias"]
    layer.kernel.assign(kernel[None])
    layer.bias.assign(values["bias"])
    for name in STATISTICS[not scale :]:
        getattr(norm, name).assign(values[name])
    deviation = np.sqrt(values["moving_variance"] + np.float32(norm.epsilon))
    factor = (values["gamma"] if scale else np.float32(1)) / deviation
    bias = factor * (values["bias"] - values["moving_mean"]) + values["beta"]
    read = layer.folded_kernel_and_bias()
    np.testing.assert_array_equal(read[0][0], factor * kernel)
    np.testing.assert_array_equal(read[1], bias)
    kernel = _quantize(layer.kernel_quantizer, factor * kernel)
    bias = _quantize(layer.bias_quantizer, bias)
    expected = np.stack([kernel + bias, bias])
    for answer in _predictions(layer, np.float32([[1], [0]])):
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("quantized", ["scale", "offset", "both"])
def test_quant_batch_normalization(quantized):
    """Scale and offset, and a product on no grid: of numpy, predicted, compiled."""
    names = ("scale", "offset") if quantized == "both" else (quantized,)
    given = {f"{n}_quantizer": "quantized_bits(24,8,1,alpha=1.0)" for n in names}
    layer = layers.QuantBatchNormalization(**given)
    layer.build((None, CHANNELS))
    values = _values()
    for name in STATISTICS:
        getattr(layer, name).assign(values[name])
    deviation = np.sqrt(values["moving_variance"] + np.float32(layer.epsilon))
    scale = _quantize(layer.scale_quantizer, values["gamma"] / deviation)
    offset = values["beta"] - values["moving_mean"] * scale
    offset = _quantize(layer.offset_quantizer, offset)
    x = np.stack([np.zeros(CHANNELS, np.float32), _values(1)["bias"]])
    if layer.scale_quantizer is not None:
        x = np.sign(x)  # so that the product is exact
    for answer in _predictions(layer, x):
        np.testing.assert_array_equal(answer, x * scale + offset)


@pytest.mark.parametrize("kind", ["Conv1D", "Conv2D", "DepthwiseConv2D"])
def test_folded_convolutions(kind):
    """Powers of two as inputs make each output one weight: with XLA and without."""
    rank = 1 if kind == "Conv1D" else 2
    count = 3 if kind == "DepthwiseConv2D" else 1
    size = {"depth_multiplier": 1000} if count == 3 else {"filters": 3000}
    name = "depthwise" if count == 3 else "kernel"
    layer = getattr(layers, f"Quant{kind}BatchNorm")(
        kernel_size=1, **size, **{f"{name}_quantizer": "quantized_bits(24,4,1)"}
    )
    x = np.ones((1, *[2] * rank, count), np.float32)
    layer.build(x.shape)
    numbers = np.random.default_rng(0)
    for weight in layer.weights[:-1]:
        weight.assign(numbers.uniform(0.4, 1.4, weight.shape))
    without, compiled = _predictions(layer, x)
    np.testing.assert_array_equal(compiled, without)
    kernel, bias = layer.folded_kernel_and_bias()
    quantizer = getattr(layer, f"{name}_quantizer")
    expected = quantizer.quantize(kernel).reshape(-1) + bias
    np.testing.assert_array_equal(compiled.reshape(-1, 3000)[0], expected)
