"""Einsum layers with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy, QuantizedLayer


@register_keras_serializable(package="kerasqnn")
class QuantEinsumDense(QuantizedLayer, keras.layers.EinsumDense):
    """`keras.layers.EinsumDense` with quantized kernel and bias.

    Formula: `activation(noise(einsum(equation, inputs, kernel_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.EinsumDense`, in its order; `activation` may also
            be a quantizer such as `"quantized_relu(4,2)"`.
        kernel_quantizer: Quantizer of the kernel, or None; scales one a channel run
            along the kernel's last axis.
        bias_quantizer: Quantizer of the bias, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        As the equation says.

    Output shape:
        As the equation says.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.
    """

    quantizer_arguments = ("kernel_quantizer", "bias_quantizer")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output."""
        kernel = self._quantized(self.kernel_quantizer, self.kernel)
        x = ops.einsum(self.equation, inputs, kernel)
        if self.bias is not None:
            x = ops.add(x, self._quantized(self.bias_quantizer, self.bias))
        return self._finish(x, training)


@register_keras_serializable(package="kerasqnn")
class NoisyQuantEinsumDense(Noisy, QuantEinsumDense):
    """`QuantEinsumDense` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
