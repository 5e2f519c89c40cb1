"""Separable convolutions with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._convolution import QuantizedConvolution
from ._quantized import Noisy


class _QuantizedSeparableConv(QuantizedConvolution):
    quantizer_arguments = (
        "depthwise_quantizer",
        "pointwise_quantizer",
        "bias_quantizer",
    )

    def _convolve(self, inputs: Any) -> Any:
        return ops.separable_conv(
            inputs,
            self._quantized(self.depthwise_quantizer, self.depthwise_kernel),
            self._quantized(self.pointwise_quantizer, self.pointwise_kernel),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@register_keras_serializable(package="kerasqnn")
class QuantSeparableConv1D(_QuantizedSeparableConv, keras.layers.SeparableConv1D):
    """`keras.layers.SeparableConv1D` with quantized weights.

    Formula: `activation(noise(separable_conv(inputs,
    depthwise_quantizer(depthwise_kernel), pointwise_quantizer(pointwise_kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.SeparableConv1D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        depthwise_quantizer: Quantizer of the depthwise kernel, or None. A vector of
            scales runs along its last axis, the depth multiplier.
        pointwise_quantizer: Quantizer of the pointwise kernel, or None; scales one a
            channel run along the filters. Between the two nothing is quantized.
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
class NoisyQuantSeparableConv1D(Noisy, QuantSeparableConv1D):
    """`QuantSeparableConv1D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantSeparableConv2D(_QuantizedSeparableConv, keras.layers.SeparableConv2D):
    """`keras.layers.SeparableConv2D` with quantized weights.

    Formula: `activation(noise(separable_conv(inputs,
    depthwise_quantizer(depthwise_kernel), pointwise_quantizer(pointwise_kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.SeparableConv2D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        depthwise_quantizer: Quantizer of the depthwise kernel, or None. A vector of
            scales runs along its last axis, the depth multiplier.
        pointwise_quantizer: Quantizer of the pointwise kernel, or None; scales one a
            channel run along the filters. Between the two nothing is quantized.
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
class NoisyQuantSeparableConv2D(Noisy, QuantSeparableConv2D):
    """`QuantSeparableConv2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
