"""Transposed convolutions with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._convolution import QuantizedConvolution
from ._quantized import Noisy


class _QuantizedConvTranspose(QuantizedConvolution):
    quantizer_arguments = ("kernel_quantizer", "bias_quantizer")

    def _convolve(self, inputs: Any) -> Any:
        return ops.conv_transpose(
            inputs,
            self._quantized(self.kernel_quantizer, self.kernel),
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@register_keras_serializable(package="kerasqnn")
class QuantConv1DTranspose(_QuantizedConvTranspose, keras.layers.Conv1DTranspose):
    """`keras.layers.Conv1DTranspose` with quantized weights.

    Formula: `activation(noise(conv_transpose(inputs, kernel_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.Conv1DTranspose`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        kernel_quantizer: Quantizer of the kernel, or None. A scale must be one number:
            the kernel's last axis holds the inputs.
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
class NoisyQuantConv1DTranspose(Noisy, QuantConv1DTranspose):
    """`QuantConv1DTranspose` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantConv2DTranspose(_QuantizedConvTranspose, keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` with quantized weights.

    Formula: `activation(noise(conv_transpose(inputs, kernel_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.Conv2DTranspose`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        kernel_quantizer: Quantizer of the kernel, or None. A scale must be one number:
            the kernel's last axis holds the inputs.
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
class NoisyQuantConv2DTranspose(Noisy, QuantConv2DTranspose):
    """`QuantConv2DTranspose` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantConv3DTranspose(_QuantizedConvTranspose, keras.layers.Conv3DTranspose):
    """`keras.layers.Conv3DTranspose` with quantized weights.

    Formula: `activation(noise(conv_transpose(inputs, kernel_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.Conv3DTranspose`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        kernel_quantizer: Quantizer of the kernel, or None. A scale must be one number:
            the kernel's last axis holds the inputs.
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
class NoisyQuantConv3DTranspose(Noisy, QuantConv3DTranspose):
    """`QuantConv3DTranspose` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
