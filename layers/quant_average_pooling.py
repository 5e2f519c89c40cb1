"""Average pooling whose result is quantized, with noise."""

from __future__ import annotations

from typing import Any

import keras
from keras.saving import register_keras_serializable

from ._quantized import Noisy, QuantizedLayer


class _QuantizedPooling(QuantizedLayer):
    quantizer_arguments = ("output_quantizer",)

    def _build_at_init(self) -> None:
        """Leave the layer open: Keras's would refuse the noise point."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output."""
        return self._finish(super().call(inputs), training)


@register_keras_serializable(package="kerasqnn")
class QuantAveragePooling2D(_QuantizedPooling, keras.layers.AveragePooling2D):
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
class QuantGlobalAveragePooling2D(
    _QuantizedPooling, keras.layers.GlobalAveragePooling2D
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
        `(batch, channels)` or, with
        `keepdims=True`, `(batch, 1, 1, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGlobalAveragePooling2D(Noisy, QuantGlobalAveragePooling2D):
    """`QuantGlobalAveragePooling2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
