"""Batch normalization in the order of the fused kernel that Keras 2 uses."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable


@register_keras_serializable(package="kerasqnn")
class CenteredBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that takes the mean off first, at inference.

    Formula, a channel at a time:

        y = (x - mean) * (gamma / sqrt(variance + epsilon)) + beta

    These are the bits of TensorFlow's fused kernel, with which Keras 2 normalizes
    images. Keras 3 computes `x * s + (beta - mean * s)`, whose last bits are others.
    Training is that of Keras 3.

    Args:
        *args: Those of `keras.layers.BatchNormalization`, in its order.

    Input shape:
        Any, with the channels along `axis`.

    Output shape:
        That of the input.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.CenteredBatchNormalization(epsilon=0.25)
    >>> layer.build((None, 1))
    >>> _ = layer.moving_mean.assign([3.0])
    >>> _ = layer.moving_variance.assign([3.75])
    >>> float(layer(keras.ops.array([[5.0]]))[0, 0])
    1.0
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the normalized inputs."""
        if training and self.trainable:
            return super().call(inputs, training=training, mask=mask)
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        shape = [1] * len(x.shape)
        shape[self.axis] = -1

        def along_axis(value: Any) -> Any:
            return ops.reshape(ops.cast(value, x.dtype), shape)

        scale = ops.rsqrt(along_axis(self.moving_variance) + self.epsilon)
        if self.scale:
            scale = scale * along_axis(self.gamma)
        outputs = (x - along_axis(self.moving_mean)) * scale
        if self.center:
            outputs = outputs + along_axis(self.beta)
        return ops.cast(outputs, self.compute_dtype)
