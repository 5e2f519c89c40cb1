"""Depthwise convolutions with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._convolution import QuantizedConvolution
from ._quantized import Noisy


class _QuantizedDepthwiseConv(QuantizedConvolution):
    quantizer_arguments = ("depthwise_quantizer", "bias_quantizer")

    def _convolve(self, inputs: Any) -> Any:
        kernel = self._quantized(self.depthwise_quantizer, self.kernel)
        return self._convolve_with(inputs, kernel)

    def _convolve_with(self, inputs: Any, kernel: Any) -> Any:
        return ops.depthwise_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@register_keras_serializable(package="kerasqnn")
class QuantDepthwiseConv1D(_QuantizedDepthwiseConv, keras.layers.DepthwiseConv1D):
    """`keras.layers.DepthwiseConv1D` with quantized weights.

    Formula: `activation(noise(depthwise_conv(inputs, depthwise_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.DepthwiseConv1D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        depthwise_quantizer: Quantizer of the kernel, or None. A vector of scales runs
            along the kernel's last axis, the depth multiplier.
        bias_quantizer: Quantizer of the bias, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, steps, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_steps, channels * depth_multiplier)`.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantDepthwiseConv1D(Noisy, QuantDepthwiseConv1D):
    """`QuantDepthwiseConv1D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantDepthwiseConv2D(_QuantizedDepthwiseConv, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with quantized weights.

    Formula: `activation(noise(depthwise_conv(inputs, depthwise_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.DepthwiseConv2D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        depthwise_quantizer: Quantizer of the kernel, or None. A vector of scales runs
            along the kernel's last axis, the depth multiplier.
        bias_quantizer: Quantizer of the bias, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_height, new_width, channels * depth_multiplier)`.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantDepthwiseConv2D(Noisy, QuantDepthwiseConv2D):
    """`QuantDepthwiseConv2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
