"""Layer normalization with quantized scale, offset and output, with noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy, QuantizedLayer


@register_keras_serializable(package="kerasqnn")
class QuantLayerNormalization(QuantizedLayer, keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` with quantized parameters and output.

    Formula, with mean and variance over `axis` of each sample:

        y = (x - mean) / sqrt(variance + epsilon)
        output_quantizer(noise(y * gamma_quantizer(gamma) + beta_quantizer(beta)))

    Mean, variance and the root are float32 numbers that depend on the sample and are
    not quantized, so that two tools may differ in the last bit before
    `output_quantizer`; export and hardware refuse the layer. Without quantizers and
    noise the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.LayerNormalization`, in its order.
        gamma_quantizer: Quantizer of the scale `gamma`, or None.
        beta_quantizer: Quantizer of the offset `beta`, or None.
        output_quantizer: Quantizer of the output, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        Any.

    Output shape:
        That of the input.

    Raises:
        ValueError: If a string names no quantizer or noise.
    """

    quantizer_arguments = ("gamma_quantizer", "beta_quantizer", "output_quantizer")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the normalized inputs."""
        if self.gamma_quantizer is None and self.beta_quantizer is None:
            return self._finish(super().call(inputs), training)
        gamma, beta = self.gamma, self.beta
        outputs = ops.layer_normalization(
            inputs,
            None if gamma is None else self._quantized(self.gamma_quantizer, gamma),
            None if beta is None else self._quantized(self.beta_quantizer, beta),
            self.axis,
            self.epsilon,
            rms_scaling=self.rms_scaling,
        )
        return self._finish(ops.cast(outputs, self.compute_dtype), training)


@register_keras_serializable(package="kerasqnn")
class NoisyQuantLayerNormalization(Noisy, QuantLayerNormalization):
    """`QuantLayerNormalization` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
