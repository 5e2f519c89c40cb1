"""Convolutions with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._convolution import QuantizedConvolution
from ._quantized import Noisy


class _QuantizedConv(QuantizedConvolution):
    quantizer_arguments = ("kernel_quantizer", "bias_quantizer")

    def _convolve(self, inputs: Any) -> Any:
        kernel = self._quantized(self.kernel_quantizer, self.kernel)
        return self._convolve_with(inputs, kernel)

    def _convolve_with(self, inputs: Any, kernel: Any) -> Any:
        padding = self.padding
        if padding == "causal":  # in one dimension
            inputs = ops.pad(inputs, self._compute_causal_padding())
            padding = "valid"
        return ops.conv(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@register_keras_serializable(package="kerasqnn")
class QuantConv1D(_QuantizedConv, keras.layers.Conv1D):
    """`keras.layers.Conv1D` with quantized weights.

    Formula: `activation(noise(conv(inputs, kernel_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.Conv1D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        kernel_quantizer: Quantizer of the kernel, or None; scales one a channel run
            along the filters.
        bias_quantizer: Quantizer of the bias, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, steps, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_steps, filters)`.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantConv1D(Noisy, QuantConv1D):
    """`QuantConv1D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantConv2D(_QuantizedConv, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with quantized weights.

    Formula: `activation(noise(conv(inputs, kernel_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.Conv2D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        kernel_quantizer: Quantizer of the kernel, or None; scales one a channel run
            along the filters.
        bias_quantizer: Quantizer of the bias, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_height, new_width, filters)`.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantConv2D(Noisy, QuantConv2D):
    """`QuantConv2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantConv3D(_QuantizedConv, keras.layers.Conv3D):
    """`keras.layers.Conv3D` with quantized weights.

    Formula: `activation(noise(conv(inputs, kernel_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.Conv3D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        kernel_quantizer: Quantizer of the kernel, or None; scales one a channel run
            along the filters.
        bias_quantizer: Quantizer of the bias, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, depth, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantConv3D(Noisy, QuantConv3D):
    """`QuantConv3D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
