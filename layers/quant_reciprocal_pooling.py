"""Average pooling without a divider: sums times a quantized reciprocal."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy, QuantizedLayer


class _ReciprocalPooling(QuantizedLayer):
    """Mixin, first in the bases: the arithmetic of both layers."""

    quantizer_arguments = ("average_quantizer", "output_quantizer")

    def _build_at_init(self) -> None:
        """Leave the layer open: Keras's would refuse the noise point."""

    def _quantized_shape(self, argument: str, input_shape: Any) -> Any:
        if argument == "average_quantizer":
            return ()
        return super()._quantized_shape(argument, input_shape)

    @abstractmethod
    def _sum_and_count(self, inputs: Any) -> tuple[Any, int]:
        """Return the sums, and how many values are in each."""

    def reciprocal(self, count: int) -> Any:
        """Return what the sum of `count` values is multiplied by."""
        value = ops.convert_to_tensor(1.0 / count, "float32")
        return self._quantized(self.average_quantizer, value)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output."""
        total, count = self._sum_and_count(inputs)
        average = total * ops.cast(self.reciprocal(count), total.dtype)
        return self._finish(average, training)


@register_keras_serializable(package="kerasqnn")
class QuantReciprocalAveragePooling2D(
    _ReciprocalPooling, keras.layers.AveragePooling2D
):
    """`keras.layers.AveragePooling2D` that multiplies by a quantized `1 / n`.

    Formula, with `n` the number of values in a full window:

        y = output_quantizer(noise(average(n * inputs) * average_quantizer(1 / n)))

    Hardware has no divider then, only a multiplication by a constant. As in QKeras, the
    values are scaled before they are averaged; a window at the border with
    `padding="same"` is averaged over the values in it.

    Args:
        *args: Those of `keras.layers.AveragePooling2D`, in its order.
        average_quantizer: Quantizer of `1 / n`, or None.
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_height, new_width, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.QuantReciprocalAveragePooling2D(
    ...     (1, 3), average_quantizer="quantized_bits(4,0,keep_negative=0)")
    >>> float(layer.reciprocal(3))  # 1/3 is 5/16
    0.3125
    >>> float(layer(keras.ops.ones((1, 1, 3, 1)))[0, 0, 0, 0])
    0.9375

    References:
        - QKeras `QAveragePooling2D`.
    """

    def _sum_and_count(self, inputs: Any) -> tuple[Any, int]:
        count = math.prod(self.pool_size)
        scaled = inputs * ops.cast(float(count), inputs.dtype)
        return keras.layers.AveragePooling2D.call(self, scaled), count


@register_keras_serializable(package="kerasqnn")
class NoisyQuantReciprocalAveragePooling2D(Noisy, QuantReciprocalAveragePooling2D):
    """`QuantReciprocalAveragePooling2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantReciprocalGlobalAveragePooling2D(
    _ReciprocalPooling, keras.layers.GlobalAveragePooling2D
):
    """`keras.layers.GlobalAveragePooling2D` that multiplies by a quantized `1 / n`.

    Formula, with `n = height * width`:

        y = output_quantizer(noise(sum(inputs) * average_quantizer(1 / n)))

    Args:
        *args: Those of `keras.layers.GlobalAveragePooling2D`, in its order.
        average_quantizer: Quantizer of `1 / n`, or None.
        output_quantizer: Quantizer of the average, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the average before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`; height and
        width must be known.

    Output shape:
        `(batch, channels)` or, with `keepdims=True`, `(batch, 1, 1, channels)`.

    Raises:
        ValueError: If a string names no quantizer or noise, or height or width is not
            known.

    References:
        - QKeras `QGlobalAveragePooling2D`.
    """

    @property
    def _axes(self) -> tuple[int, int]:
        return (1, 2) if self.data_format == "channels_last" else (2, 3)

    def build(self, input_shape: Any) -> None:
        """Check that the number of values is known."""
        super().build(input_shape)
        if None in [input_shape[a] for a in self._axes]:
            raise ValueError(
                f"Layer {self.name!r} multiplies by 1 / (height * width), which must "
                f"be known. Received: input_shape={tuple(input_shape)}"
            )

    def _sum_and_count(self, inputs: Any) -> tuple[Any, int]:
        count = math.prod(inputs.shape[a] for a in self._axes)
        return ops.sum(inputs, axis=self._axes, keepdims=self.keepdims), count


@register_keras_serializable(package="kerasqnn")
class NoisyQuantReciprocalGlobalAveragePooling2D(
    Noisy, QuantReciprocalGlobalAveragePooling2D
):
    """`QuantReciprocalGlobalAveragePooling2D` that always has a noise point.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
