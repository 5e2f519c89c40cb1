"""Depthwise convolutions with batch normalization folded into quantized weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._folding import FoldedLayer
from ._quantized import Noisy
from .quant_depthwise_conv import _QuantizedDepthwiseConv


@register_keras_serializable(package="kerasqnn")
class QuantDepthwiseConv2DBatchNorm(
    FoldedLayer, _QuantizedDepthwiseConv, keras.layers.DepthwiseConv2D
):
    """`keras.layers.DepthwiseConv2D` and batch normalization, with quantized weights.

    Formula, with `s(v) = gamma / sqrt(v + epsilon)` a channel:

        k = depthwise_quantizer(s(v) * kernel)
        b = bias_quantizer(s(v) * (bias - m) + beta)
        y = activation(noise(depthwise_conv(inputs, k) + b))

    with the moving mean `m` and variance `v`. Training, its two folding modes, freezing
    and gradients are those of `QuantDenseBatchNorm`; see there. With `inverse="rsqrt"`
    the bits are those of qkeras-v3's `QDepthwiseConv2DBatchnorm`.

    Args:
        *args: Those of `keras.layers.DepthwiseConv2D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        momentum: As `keras.layers.BatchNormalization`, like all arguments from here to
            `gamma_constraint`.
        ema_freeze_delay: Number of training steps, 0 or more, after which the moving
            statistics are frozen; None or a negative number: never.
        folding_mode: `"ema_stats_folding"` or `"batch_stats_folding"`.
        inverse: How `gamma / sqrt` is computed: `"divide"`, correctly rounded and the
            same with XLA; or as QKeras does, see `QuantBatchNormalization`.
        depthwise_quantizer: Quantizer of the folded kernel, or None. A
            vector of scales runs along the kernel's last axis, the depth multiplier.
        bias_quantizer: Quantizer of the folded bias, or None. The fold has a bias with
            `use_bias=False` too.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_height, new_width, channels * depth_multiplier)`.

    Raises:
        ValueError: If a string names no quantizer, noise, activation, folding mode or
            inverse.
    """

    kernel_quantizer_argument = "depthwise_quantizer"

    def _along_kernel(self, vector: Any) -> Any:
        return ops.reshape(vector, (-1, self.depth_multiplier))


@register_keras_serializable(package="kerasqnn")
class NoisyQuantDepthwiseConv2DBatchNorm(Noisy, QuantDepthwiseConv2DBatchNorm):
    """`QuantDepthwiseConv2DBatchNorm` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
