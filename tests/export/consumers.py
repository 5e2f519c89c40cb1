"""A perceptron and a convolutional network for the tests of targets and layouts."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers as kl

from kerasqnn import layers as ql

KERNEL = "quantized_bits(4,0,1)"
BIAS = "quantized_bits(6,1,1)"


def perceptron() -> keras.Model:
    """Two dense layers with a batch normalization between them."""
    inputs = keras.Input((9,), name="features")
    x = ql.QuantInput("quantized_bits(7,2,1)", name="grid")(inputs)
    x = ql.QuantDense(8, kernel_quantizer=KERNEL, bias_quantizer=BIAS, name="hidden")(x)
    x = ql.QuantActivation("quantized_relu(5,2)", name="rectified")(x)
    x = ql.QuantDense(4, kernel_quantizer=KERNEL, bias_quantizer=BIAS, name="logits")(x)
    return filled(keras.Model(inputs, x))


def convolutional() -> keras.Model:
    """Padded and strided convolutions, pooling, a residual sum, Flatten, dense."""
    inputs = keras.Input((8, 6, 3), name="image")
    x = ql.QuantInput("quantized_bits(8,2,1)", name="grid")(inputs)
    x = ql.QuantConv2D(
        4, 3, padding="same", kernel_quantizer=KERNEL, bias_quantizer=BIAS, name="first"
    )(x)
    x = ql.QuantActivation("quantized_relu(5,2)", name="rectified")(x)
    x = kl.MaxPooling2D(2, name="pool")(x)
    y = ql.QuantConv2D(
        4, 1, kernel_quantizer=KERNEL, bias_quantizer=BIAS, name="branch",
        activation="quantized_bits(6,3,1)",
    )(x)  # fmt: skip
    x = kl.Add(name="residual")([x, y])
    x = ql.QuantConv2D(
        5, 2, strides=2, kernel_quantizer=KERNEL, use_bias=False, name="second",
        activation="quantized_bits(6,3,1)",
    )(x)  # fmt: skip
    x = kl.Flatten(name="flat")(x)
    x = ql.QuantActivation("quantized_bits(5,2,1)", name="narrow")(x)
    x = ql.QuantDense(4, kernel_quantizer=KERNEL, bias_quantizer=BIAS, name="logits")(x)
    return filled(keras.Model(inputs, x))


def filled(model: keras.Model) -> keras.Model:
    """Give the weights random values."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(rng.normal(size=weight.shape) * 0.5)
    return model


def samples(model: keras.Model, count: int = 20) -> np.ndarray:
    """Inputs beyond saturation, on a grid that fixed point types hold."""
    shape = (count, *model.inputs[0].shape[1:])
    x = np.random.default_rng(0).normal(size=shape) * 3
    return (np.round(x * 2**12) / 2**12).astype(np.float32)


def channels_first(images: np.ndarray) -> np.ndarray:
    """Images as PyTorch and FINN have them."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
