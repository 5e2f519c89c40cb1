"""Average pooling whose result is quantized, with noise."""

from __future__ import annotations

import keras
from keras.saving import register_keras_serializable

from ._pooling import QuantizedMaskedPooling, QuantizedPooling
from ._quantized import Noisy


@register_keras_serializable(package="kerasqnn")
class QuantAveragePooling1D(QuantizedPooling, keras.layers.AveragePooling1D):
    """`keras.layers.AveragePooling1D` with a quantized output.

    Formula: `output_quantizer(noise(average))`, with the average over each window.
    Where the number of averaged values is a power of two, the average of values on a
    power-of-two grid is exact. Without quantizer and noise the output is bit-identical
    to Keras's layer.

    Args:
        *args: Those of `keras.layers.AveragePooling1D`, in its order.
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, steps, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_steps, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantAveragePooling1D(Noisy, QuantAveragePooling1D):
    """`QuantAveragePooling1D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantAveragePooling2D(QuantizedPooling, keras.layers.AveragePooling2D):
    """`keras.layers.AveragePooling2D` with a quantized output.

    Formula: `output_quantizer(noise(average))`, with the average over each window.
    Where the number of averaged values is a power of two, the average of values on a
    power-of-two grid is exact. Without quantizer and noise the output is bit-identical
    to Keras's layer.

    Args:
        *args: Those of `keras.layers.AveragePooling2D`, in its order.
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_height, new_width, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantAveragePooling2D(Noisy, QuantAveragePooling2D):
    """`QuantAveragePooling2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantAveragePooling3D(QuantizedPooling, keras.layers.AveragePooling3D):
    """`keras.layers.AveragePooling3D` with a quantized output.

    Formula: `output_quantizer(noise(average))`, with the average over each window.
    Where the number of averaged values is a power of two, the average of values on a
    power-of-two grid is exact. Without quantizer and noise the output is bit-identical
    to Keras's layer.

    Args:
        *args: Those of `keras.layers.AveragePooling3D`, in its order.
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, depth, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_depth, new_height, new_width, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantAveragePooling3D(Noisy, QuantAveragePooling3D):
    """`QuantAveragePooling3D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantGlobalAveragePooling1D(
    QuantizedMaskedPooling, keras.layers.GlobalAveragePooling1D
):
    """`keras.layers.GlobalAveragePooling1D` with a quantized output.

    Formula: `output_quantizer(noise(average))`, with the average over each channel,
    masked steps left out. Where the number of averaged values is a power of two, the
    average of values on a power-of-two grid is exact. Without quantizer and noise the
    output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.GlobalAveragePooling1D`, in its order.
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, steps, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, channels)` or, with `keepdims=True`, `(batch, 1, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGlobalAveragePooling1D(Noisy, QuantGlobalAveragePooling1D):
    """`QuantGlobalAveragePooling1D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantGlobalAveragePooling2D(
    QuantizedPooling, keras.layers.GlobalAveragePooling2D
):
    """`keras.layers.GlobalAveragePooling2D` with a quantized output.

    Formula: `output_quantizer(noise(average))`, with the average over each channel.
    Where the number of averaged values is a power of two, the average of values on a
    power-of-two grid is exact. Without quantizer and noise the output is bit-identical
    to Keras's layer.

    Args:
        *args: Those of `keras.layers.GlobalAveragePooling2D`, in its order.
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, channels)` or, with `keepdims=True`, `(batch, 1, 1, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGlobalAveragePooling2D(Noisy, QuantGlobalAveragePooling2D):
    """`QuantGlobalAveragePooling2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantGlobalAveragePooling3D(
    QuantizedPooling, keras.layers.GlobalAveragePooling3D
):
    """`keras.layers.GlobalAveragePooling3D` with a quantized output.

    Formula: `output_quantizer(noise(average))`, with the average over each channel.
    Where the number of averaged values is a power of two, the average of values on a
    power-of-two grid is exact. Without quantizer and noise the output is bit-identical
    to Keras's layer.

    Args:
        *args: Those of `keras.layers.GlobalAveragePooling3D`, in its order.
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, depth, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, channels)` or, with `keepdims=True`, `(batch, 1, 1, 1, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGlobalAveragePooling3D(Noisy, QuantGlobalAveragePooling3D):
    """`QuantGlobalAveragePooling3D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
