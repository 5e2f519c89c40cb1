"""Batch normalization as one quantized multiplication and addition a channel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from ..quantizers import QuantizedWeight
from ._normalization import INVERSES, inverse_deviation, rounded
from ._quantized import QuantizedLayer


@register_keras_serializable(package="kerasqnn")
class QuantBatchNormalization(QuantizedLayer, keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with quantized scale and offset.

    Formula, a channel at a time, with the batch statistics in training and the moving
    ones in inference:

        s = scale_quantizer(
            gamma_quantizer(gamma) / sqrt(variance_quantizer(variance) + epsilon)
        )
        o = offset_quantizer(beta_quantizer(beta) - mean_quantizer(mean) * s)
        y = noise(x * s + o)

    With both quantizers on power-of-two grids `y` is exact in every tool that gets the
    model, which plain batch normalization cannot be in fixed point. The other four are
    those of QKeras, whose `inverse_quantizer` is `scale_quantizer`. Without quantizers
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
        inverse: How `gamma / sqrt` is computed where a quantizer is set: `"divide"`,
            correctly rounded, with the same bits in every backend, eager, traced or
            compiled by XLA; `"rsqrt"`, as Keras and QKeras 0.9; or `"reciprocal"` of
            the square root, as qkeras-v3 in traced functions. TensorFlow approximates
            the last two, whose last bits depend on the processor and on XLA.
        scale_quantizer: Quantizer of `s`, or None.
        offset_quantizer: Quantizer of `o`, or None.
        gamma_quantizer: Quantizer of `gamma`, or None.
        beta_quantizer: Quantizer of `beta`, or None.
        mean_quantizer: Quantizer of the mean, or None.
        variance_quantizer: Quantizer of the variance, or None.
        noise: A `kerasqnn.noise` source or string, or None.

    Input shape:
        Any, with the channels along `axis`.

    Output shape:
        That of the input.

    Raises:
        ValueError: If a quantizer is combined with `renorm=True`, or `inverse` is
            unknown.

    References:
        - QKeras `QBatchNormalization`.
    """

    quantizer_arguments = (
        "scale_quantizer",
        "offset_quantizer",
        "gamma_quantizer",
        "beta_quantizer",
        "mean_quantizer",
        "variance_quantizer",
    )
    option_defaults = {"inverse": "divide"}

    def _set_options(self, inverse: str) -> None:  # type: ignore[override]
        if inverse not in INVERSES:
            raise ValueError(unknown_name("`inverse`", inverse, INVERSES))
        self.inverse = inverse

    def _set_quantizers(self, noise: Any = None, **given: Any) -> None:
        super()._set_quantizers(noise, **given)
        if self.renorm and self.is_quantized:
            raise ValueError(
                "Batch renormalization cannot be quantized. Allowed with quantizers: "
                "renorm=False. Received: renorm=True"
            )

    @property
    def is_quantized(self) -> bool:
        """Whether the layer computes other bits than Keras's."""
        inverse = getattr(self, "inverse", None)
        return super().is_quantized or inverse == "reciprocal"

    def _quantized_shape(self, argument: str, input_shape: Any) -> Any:
        return tuple(self.moving_mean.shape)

    def _quantized_weights(self) -> dict[str, QuantizedWeight]:
        scale, offset = self.inference_scale_and_offset()
        values = {"scale": scale, "offset": offset}
        quantizers = {name: getattr(self, f"{name}_quantizer") for name in values}
        return super()._quantized_weights() | {
            name: QuantizedWeight.holding(values[name], quantizer)
            for name, quantizer in quantizers.items()
            if quantizer is not None
        }

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
        outputs = x * ops.reshape(scale, shape)
        if self.scale_quantizer is None:  # the product is on no grid
            outputs = rounded(outputs)
        outputs = outputs + ops.reshape(offset, shape)
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
        variance = self._quantized(self.variance_quantizer, variance) + self.epsilon
        gamma = None
        if self.scale:
            gamma = self._quantized(self.gamma_quantizer, self.gamma)
            gamma = ops.cast(gamma, variance.dtype)
        scale = inverse_deviation(variance, gamma, self.inverse)
        scale = self._quantized(self.scale_quantizer, scale)
        mean = self._quantized(self.mean_quantizer, mean)
        offset = rounded(-mean * scale)
        if self.center:
            beta = self._quantized(self.beta_quantizer, self.beta)
            offset = offset + ops.cast(beta, scale.dtype)
        return scale, self._quantized(self.offset_quantizer, offset)

    def inference_scale_and_offset(self) -> tuple[Any, Any]:
        """Return `s` and `o` of inference as numpy arrays of shape `(channels,)`."""
        scale, offset = self._scale_and_offset(
            ops.convert_to_tensor(self.moving_mean),
            ops.convert_to_tensor(self.moving_variance),
        )
        return ops.convert_to_numpy(scale), ops.convert_to_numpy(offset)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, Keras's and kerasqnn's."""
        return {**super().get_config(), "inverse": self.inverse}
