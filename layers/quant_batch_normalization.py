"""Batch normalization as one quantized multiplication and addition a channel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import QuantizedLayer


@register_keras_serializable(package="kerasqnn")
class QuantBatchNormalization(QuantizedLayer, keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with quantized scale and offset.

    Formula, a channel at a time, with the batch statistics in training and the moving
    ones in inference:

        s = scale_quantizer(gamma / sqrt(variance + epsilon))
        o = offset_quantizer(beta - mean * s)
        y = noise(x * s + o)

    With both quantizers on power-of-two grids `y` is exact in every tool that gets the
    model, which plain batch normalization cannot be in fixed point. Without quantizers
    the output is bit-identical to Keras's layer.

    Args:
        axis: As Keras, like all following arguments up to `synchronized`.
        momentum: As Keras.
        epsilon: As Keras.
        center: As Keras.
        scale: As Keras.
        beta_initializer: As Keras.
        gamma_initializer: As Keras.
        moving_mean_initializer: As Keras.
        moving_variance_initializer: As Keras.
        beta_regularizer: As Keras.
        gamma_regularizer: As Keras.
        beta_constraint: As Keras.
        gamma_constraint: As Keras.
        renorm: As Keras; must be False where a quantizer is set.
        renorm_clipping: As Keras.
        renorm_momentum: As Keras.
        synchronized: As Keras.
        scale_quantizer: Quantizer of `s`, or None.
        offset_quantizer: Quantizer of `o`, or None.
        noise: A `kerasqnn.noise` source or string, or None.

    Input shape:
        Any, with the channels along `axis`.

    Output shape:
        That of the input.

    Raises:
        ValueError: If a quantizer is combined with `renorm=True`.
    """

    quantizer_arguments = ("scale_quantizer", "offset_quantizer")

    def _set_quantizers(self, noise: Any = None, **given: Any) -> None:
        super()._set_quantizers(noise, **given)
        if self.renorm and self.is_quantized:
            raise ValueError(
                "Batch renormalization cannot be quantized. Allowed with "
                "scale_quantizer or offset_quantizer: renorm=False. "
                "Received: renorm=True"
            )

    def _quantized_shape(self, argument: str, input_shape: Any) -> Any:
        return tuple(self.moving_mean.shape)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the normalized inputs."""
        if not self.is_quantized:
            outputs = super().call(inputs, training=training, mask=mask)
            return self._finish(outputs, training)
        x = ops.cast(inputs, "float32")
        mean, variance = self._statistics(x, training, mask)
        scale, offset = self._scale_and_offset(mean, variance)
        shape = [1] * len(x.shape)
        shape[self.axis] = -1
        outputs = x * ops.reshape(scale, shape) + ops.reshape(offset, shape)
        return self._finish(ops.cast(outputs, self.compute_dtype), training)

    def _statistics(self, x: Any, training: bool | None, mask: Any) -> tuple[Any, Any]:
        moving_mean = ops.cast(self.moving_mean, x.dtype)
        moving_variance = ops.cast(self.moving_variance, x.dtype)
        if not (training and self.trainable):
            return moving_mean, moving_variance
        mean, variance = self._moments(x, mask)
        for moving, old, new in (
            (self.moving_mean, moving_mean, mean),
            (self.moving_variance, moving_variance, variance),
        ):
            moving.assign(old * self.momentum + new * (1.0 - self.momentum))
        return mean, variance

    def _scale_and_offset(self, mean: Any, variance: Any) -> tuple[Any, Any]:
        scale = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * ops.cast(self.gamma, scale.dtype)
        scale = self._quantized(self.scale_quantizer, scale)
        offset = -mean * scale
        if self.center:
            offset = ops.cast(self.beta, scale.dtype) - mean * scale
        return scale, self._quantized(self.offset_quantizer, offset)

    def inference_scale_and_offset(self) -> tuple[Any, Any]:
        """Return `s` and `o` of inference as numpy arrays of shape `(channels,)`."""
        scale, offset = self._scale_and_offset(
            ops.convert_to_tensor(self.moving_mean),
            ops.convert_to_tensor(self.moving_variance),
        )
        return ops.convert_to_numpy(scale), ops.convert_to_numpy(offset)
