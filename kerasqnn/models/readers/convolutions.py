"""Readers of one-dimensional, depthwise and separable convolutions: all are `conv2d`.

A sequence is an image of one row, a depthwise convolution one with a group a channel,
a separable one two convolutions one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers

from ... import layers as quant_layers
from ...quantizers import UniformQuantizer
from ..graph import Parameter, Tensor
from .registry import parameter, reads
from .sequences import (
    OPEN_LENGTH,
    as_image,
    as_sequence,
    has_fixed_length,
    image_shape,
)
from .weighted import kernel_and_bias


@reads(
    layers.Conv1D,
    quant_layers.QuantConv1D,
    quant_layers.NoisyQuantConv1D,
    quant_layers.QuantConv1DBatchNorm,
    quant_layers.NoisyQuantConv1DBatchNorm,
)
def _conv1d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    if not has_fixed_length(inputs):
        return reading.as_layer(inputs, OPEN_LENGTH)
    weights = kernel_and_bias(layer)
    kernel = weights["kernel"]
    outputs = reading.add(
        "conv2d",
        as_image(inputs, reading),
        shape=image_shape(reading),
        weights={**weights, "kernel": Parameter(kernel.value[None], kernel.quantizer)},
        strides=(1, *layer.strides),
        padding=layer.padding,
        dilation=(1, *layer.dilation_rate),
        groups=layer.groups,
    )
    return reading.finish(layer, as_sequence(outputs, reading))


@reads(
    layers.DepthwiseConv1D,
    quant_layers.QuantDepthwiseConv1D,
    quant_layers.NoisyQuantDepthwiseConv1D,
    layers.DepthwiseConv2D,
    quant_layers.QuantDepthwiseConv2D,
    quant_layers.NoisyQuantDepthwiseConv2D,
    quant_layers.QuantDepthwiseConv2DBatchNorm,
    quant_layers.NoisyQuantDepthwiseConv2DBatchNorm,
)
def _depthwise(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    sequence = layer.rank == 1
    if sequence and not has_fixed_length(inputs):
        return reading.as_layer(inputs, OPEN_LENGTH)
    weights = kernel_and_bias(layer)
    outputs = reading.add(
        "conv2d",
        as_image(inputs, reading) if sequence else inputs,
        shape=image_shape(reading) if sequence else None,
        **_depthwise_attributes(layer, weights["kernel"], weights.get("bias")),
    )
    return reading.finish(layer, as_sequence(outputs, reading) if sequence else outputs)


@reads(
    layers.SeparableConv1D,
    quant_layers.QuantSeparableConv1D,
    quant_layers.NoisyQuantSeparableConv1D,
    layers.SeparableConv2D,
    quant_layers.QuantSeparableConv2D,
    quant_layers.NoisyQuantSeparableConv2D,
)
def _separable(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    sequence = layer.rank == 1
    if sequence and not has_fixed_length(inputs):
        return reading.as_layer(inputs, OPEN_LENGTH)
    depthwise, pointwise = (
        parameter(getattr(layer, f"{n}_kernel"), getattr(layer, f"{n}_quantizer", None))
        for n in ("depthwise", "pointwise")
    )
    shape = image_shape(reading) if sequence else reading.shapes[0]
    channels = pointwise.value.shape[-2]
    between = reading.add(
        "conv2d",
        as_image(inputs, reading) if sequence else inputs,
        part="/depthwise",
        shape=(*shape[:-1], channels),
        **_depthwise_attributes(layer, depthwise),
    )
    kernel = pointwise.value.reshape(1, 1, channels, -1)
    weights = {"kernel": Parameter(kernel, pointwise.quantizer)}
    if layer.bias is not None:
        quantizer = getattr(layer, "bias_quantizer", None)
        weights["bias"] = parameter(layer.bias, quantizer)
    outputs = reading.add(
        "conv2d",
        between,
        shape=shape,
        weights=weights,
        strides=(1, 1),
        padding="valid",
        dilation=(1, 1),
        groups=1,
    )
    return reading.finish(layer, as_sequence(outputs, reading) if sequence else outputs)


def _depthwise_attributes(
    layer: Any, kernel: Parameter, bias: Parameter | None = None
) -> dict[str, Any]:
    """A depthwise convolution as one with a group a channel."""
    value = kernel.value[None] if layer.rank == 1 else kernel.value
    *window, channels, multiplier = value.shape
    weights = {
        "kernel": Parameter(
            value.reshape(*window, 1, channels * multiplier),
            _repeated(kernel.quantizer, channels),
        )
    }
    if bias is not None:
        weights["bias"] = bias
    # TensorFlow wants equal strides; over one row any stride is the same.
    strides, dilation = tuple(layer.strides), tuple(layer.dilation_rate)
    return {
        "weights": weights,
        "strides": strides * 2 if layer.rank == 1 else strides,
        "padding": layer.padding,
        "dilation": (1, *dilation) if layer.rank == 1 else dilation,
        "groups": channels,
        "depthwise": True,
    }


def _repeated(
    quantizer: UniformQuantizer | None, times: int
) -> UniformQuantizer | None:
    """Return a quantizer of `times` blocks of channels, each as the given one's."""
    if quantizer is None or np.size(quantizer.step) == 1:
        return quantizer
    config = quantizer.get_config()
    tiled = {k: v * times if isinstance(v, tuple) else v for k, v in config.items()}
    return type(quantizer).from_config(tiled)
