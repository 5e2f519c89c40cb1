"""Maximum pooling whose result is quantized, with noise."""

from __future__ import annotations

import keras
from keras.saving import register_keras_serializable

from ._pooling import QuantizedPooling
from ._quantized import Noisy


@register_keras_serializable(package="kerasqnn")
class QuantMaxPooling1D(QuantizedPooling, keras.layers.MaxPooling1D):
    """`keras.layers.MaxPooling1D` with a quantized output.

    Formula: `output_quantizer(noise(maximum))`, with the maximum over each window.
    The maximum of values on a grid lies on that grid. Without quantizer and noise the
    output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.MaxPooling1D`, in its order.
        output_quantizer: Quantizer of the maximum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the maximum before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, steps, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_steps, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantMaxPooling1D(Noisy, QuantMaxPooling1D):
    """`QuantMaxPooling1D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantMaxPooling2D(QuantizedPooling, keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` with a quantized output.

    Formula: `output_quantizer(noise(maximum))`, with the maximum over each window.
    The maximum of values on a grid lies on that grid. Without quantizer and noise the
    output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.MaxPooling2D`, in its order.
        output_quantizer: Quantizer of the maximum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the maximum before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_height, new_width, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantMaxPooling2D(Noisy, QuantMaxPooling2D):
    """`QuantMaxPooling2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantMaxPooling3D(QuantizedPooling, keras.layers.MaxPooling3D):
    """`keras.layers.MaxPooling3D` with a quantized output.

    Formula: `output_quantizer(noise(maximum))`, with the maximum over each window.
    The maximum of values on a grid lies on that grid. Without quantizer and noise the
    output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.MaxPooling3D`, in its order.
        output_quantizer: Quantizer of the maximum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the maximum before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, depth, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_depth, new_height, new_width, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantMaxPooling3D(Noisy, QuantMaxPooling3D):
    """`QuantMaxPooling3D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantGlobalMaxPooling1D(QuantizedPooling, keras.layers.GlobalMaxPooling1D):
    """`keras.layers.GlobalMaxPooling1D` with a quantized output.

    Formula: `output_quantizer(noise(maximum))`, with the maximum of each channel.
    The maximum of values on a grid lies on that grid. Without quantizer and noise the
    output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.GlobalMaxPooling1D`, in its order.
        output_quantizer: Quantizer of the maximum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the maximum before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, steps, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, channels)` or, with `keepdims=True`, `(batch, 1, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGlobalMaxPooling1D(Noisy, QuantGlobalMaxPooling1D):
    """`QuantGlobalMaxPooling1D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantGlobalMaxPooling2D(QuantizedPooling, keras.layers.GlobalMaxPooling2D):
    """`keras.layers.GlobalMaxPooling2D` with a quantized output.

    Formula: `output_quantizer(noise(maximum))`, with the maximum of each channel.
    The maximum of values on a grid lies on that grid. Without quantizer and noise the
    output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.GlobalMaxPooling2D`, in its order.
        output_quantizer: Quantizer of the maximum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the maximum before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, channels)` or, with `keepdims=True`, `(batch, 1, 1, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGlobalMaxPooling2D(Noisy, QuantGlobalMaxPooling2D):
    """`QuantGlobalMaxPooling2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantGlobalMaxPooling3D(QuantizedPooling, keras.layers.GlobalMaxPooling3D):
    """`keras.layers.GlobalMaxPooling3D` with a quantized output.

    Formula: `output_quantizer(noise(maximum))`, with the maximum of each channel.
    The maximum of values on a grid lies on that grid. Without quantizer and noise the
    output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.GlobalMaxPooling3D`, in its order.
        output_quantizer: Quantizer of the maximum, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the maximum before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, depth, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, channels)` or, with `keepdims=True`, `(batch, 1, 1, 1, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGlobalMaxPooling3D(Noisy, QuantGlobalMaxPooling3D):
    """`QuantGlobalMaxPooling3D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
