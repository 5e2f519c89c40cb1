"""The two networks of the demonstration."""

from __future__ import annotations

from typing import Any

import keras

from ..layers import (
    NoisyQuantConv2D,
    NoisyQuantDense,
    QuantActivation,
    QuantBatchNormalization,
    QuantConv2D,
    QuantInput,
)
from ..noise import Additive

_WEIGHTS: dict[str, Any] = {
    "kernel_quantizer": "quantized_bits(4,0,1)",
    "bias_quantizer": "quantized_bits(6,0,1)",
}


def digits_mlp(noise: float) -> keras.Model:
    """Return a 64-32-10 network for 8x8 digits with 4-bit weights.

    Args:
        noise: Standard deviation of the training noise at each layer's output.
    """
    return keras.Sequential(
        [
            keras.Input((64,), name="pixels"),
            QuantInput("quantized_bits(6,0,keep_negative=0)", name="grid"),
            NoisyQuantDense(
                32,
                activation="quantized_relu(4,2)",
                noise=Additive(noise),
                name="hidden",
                **_WEIGHTS,
            ),
            NoisyQuantDense(10, noise=Additive(noise), name="logits", **_WEIGHTS),
        ],
        name="digits",
    )


def fashion_mnist_cnn(noise: float) -> keras.Model:
    """Return a small residual network for 28x28 images with 4-bit weights.

    Args:
        noise: Standard deviation of the training noise at each convolution's output.
    """
    pixels = keras.Input((28, 28, 1), name="pixels")
    x = QuantInput("quantized_bits(8,0,keep_negative=0)", name="grid")(pixels)
    x = QuantConv2D(
        8,
        3,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_quantizer="quantized_bits(4,0,1)",
        name="conv_1",
    )(x)
    x = QuantBatchNormalization(
        scale_quantizer="quantized_bits(8,3)",
        offset_quantizer="quantized_bits(8,3)",
        name="norm_1",
    )(x)
    x = QuantActivation("quantized_relu(4,2)", name="relu_1")(x)
    skip = x
    x = NoisyQuantConv2D(
        8,
        3,
        padding="same",
        activation="quantized_relu(4,2)",
        noise=Additive(noise),
        name="conv_2",
        **_WEIGHTS,
    )(x)
    x = keras.layers.Add(name="residual")([x, skip])
    x = QuantActivation("quantized_relu(4,3)", name="relu_2")(x)
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = NoisyQuantDense(10, noise=Additive(noise), name="logits", **_WEIGHTS)(x)
    return keras.Model(pixels, x, name="fashion_mnist")
