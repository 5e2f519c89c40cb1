"""Convolutions with batch normalization folded into quantized weights."""

from __future__ import annotations

import keras
from keras.saving import register_keras_serializable

from ._folding import FoldedLayer
from ._quantized import Noisy
from .quant_conv import _QuantizedConv


@register_keras_serializable(package="kerasqnn")
class QuantConv1DBatchNorm(FoldedLayer, _QuantizedConv, keras.layers.Conv1D):
    """`keras.layers.Conv1D` and batch normalization, with quantized weights.

    Formula, with `s(v) = gamma / sqrt(v + epsilon)` a channel:

        k = kernel_quantizer(s(v) * kernel)
        b = bias_quantizer(s(v) * (bias - m) + beta)
        y = activation(noise(conv(inputs, k) + b))

    with the moving mean `m` and variance `v`. Training, its two folding modes, freezing
    and gradients are those of `QuantDenseBatchNorm`; see there.

    Args:
        *args: Those of `keras.layers.Conv1D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        momentum: As `keras.layers.BatchNormalization`, like all arguments from here to
            `gamma_constraint`.
        ema_freeze_delay: Number of training steps, 0 or more, after which the moving
            statistics are frozen; None or a negative number: never.
        folding_mode: `"ema_stats_folding"` or `"batch_stats_folding"`.
        inverse: How `gamma / sqrt` is computed: `"divide"`, correctly rounded and the
            same with XLA; or as QKeras does, see `QuantBatchNormalization`.
        kernel_quantizer: Quantizer of the folded kernel, or None; scales one a
            channel run along the filters.
        bias_quantizer: Quantizer of the folded bias, or None. The fold has a bias with
            `use_bias=False` too.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, steps, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_steps, filters)`.

    Raises:
        ValueError: If a string names no quantizer, noise, activation, folding mode or
            inverse.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantConv1DBatchNorm(Noisy, QuantConv1DBatchNorm):
    """`QuantConv1DBatchNorm` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantConv2DBatchNorm(FoldedLayer, _QuantizedConv, keras.layers.Conv2D):
    """`keras.layers.Conv2D` and batch normalization, with quantized weights.

    Formula, with `s(v) = gamma / sqrt(v + epsilon)` a channel:

        k = kernel_quantizer(s(v) * kernel)
        b = bias_quantizer(s(v) * (bias - m) + beta)
        y = activation(noise(conv(inputs, k) + b))

    with the moving mean `m` and variance `v`. Training, its two folding modes, freezing
    and gradients are those of `QuantDenseBatchNorm`; see there. With
    `inverse="reciprocal"` the bits are those of qkeras-v3's `QConv2DBatchnorm`.

    Args:
        *args: Those of `keras.layers.Conv2D`, in its order; `activation`
            may also be a quantizer such as `"quantized_relu(4,2)"`.
        momentum: As `keras.layers.BatchNormalization`, like all arguments from here to
            `gamma_constraint`.
        ema_freeze_delay: Number of training steps, 0 or more, after which the moving
            statistics are frozen; None or a negative number: never.
        folding_mode: `"ema_stats_folding"` or `"batch_stats_folding"`.
        inverse: How `gamma / sqrt` is computed: `"divide"`, correctly rounded and the
            same with XLA; or as QKeras does, see `QuantBatchNormalization`.
        kernel_quantizer: Quantizer of the folded kernel, or None; scales one a
            channel run along the filters.
        bias_quantizer: Quantizer of the folded bias, or None. The fold has a bias with
            `use_bias=False` too.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_height, new_width, filters)`.

    Raises:
        ValueError: If a string names no quantizer, noise, activation, folding mode or
            inverse.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantConv2DBatchNorm(Noisy, QuantConv2DBatchNorm):
    """`QuantConv2DBatchNorm` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
