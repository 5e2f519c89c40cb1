"""Dense layers with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy, QuantizedLayer


@register_keras_serializable(package="kerasqnn")
class QuantDense(QuantizedLayer, keras.layers.Dense):
    """`keras.layers.Dense` with quantized kernel and bias.

    Formula: `activation(noise(inputs @ kernel_quantizer(kernel) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, in training and in inference, with the gradients that each quantizer states.
    Without quantizers and noise the output is bit-identical to Keras's layer.

    Args:
        units: Number of outputs; this and all following arguments up to
            `quantization_config` are those of `keras.layers.Dense`.
        activation: A Keras activation, or a quantizer such as `"quantized_relu(4,2)"`.
        use_bias: As Keras.
        kernel_initializer: As Keras.
        bias_initializer: As Keras.
        kernel_regularizer: As Keras.
        bias_regularizer: As Keras.
        activity_regularizer: As Keras.
        kernel_constraint: As Keras.
        bias_constraint: As Keras.
        lora_rank: As Keras.
        lora_alpha: As Keras.
        quantization_config: As Keras.
        kernel_quantizer: Quantizer of the kernel, or None; scales one a channel run
            along the outputs.
        bias_quantizer: Quantizer of the bias, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, ..., inputs)`.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.QuantDense(2, kernel_quantizer="quantized_bits(4,0,1)")
    >>> layer(keras.ops.ones((1, 3))).shape
    TensorShape([1, 2])
    """

    quantizer_arguments = ("kernel_quantizer", "bias_quantizer")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output."""
        x = ops.matmul(inputs, self._quantized(self.kernel_quantizer, self.kernel))
        if self.bias is not None:
            x = ops.add(x, self._quantized(self.bias_quantizer, self.bias))
        return self._finish(x, training)


@register_keras_serializable(package="kerasqnn")
class NoisyQuantDense(Noisy, QuantDense):
    """`QuantDense` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
