"""Readers of layers that multiply with a kernel."""

from __future__ import annotations

from typing import Any

from keras import layers

from ... import layers as quant_layers
from ..graph import Parameter, Tensor
from .registry import parameter, reads


def _kernel_and_bias(layer: Any) -> dict[str, Parameter]:
    weights = {
        "kernel": parameter(layer.kernel, getattr(layer, "kernel_quantizer", None))
    }
    if layer.bias is not None:
        quantizer = getattr(layer, "bias_quantizer", None)
        weights["bias"] = parameter(layer.bias, quantizer)
    return weights


@reads(layers.Dense, quant_layers.QuantDense, quant_layers.NoisyQuantDense)
def _dense(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    outputs = reading.add("dense", inputs, weights=_kernel_and_bias(layer))
    return reading.finish(layer, outputs)


@reads(layers.Conv2D, quant_layers.QuantConv2D, quant_layers.NoisyQuantConv2D)
def _conv2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    outputs = reading.add(
        "conv2d",
        inputs,
        weights=_kernel_and_bias(layer),
        strides=tuple(layer.strides),
        padding=layer.padding,
        dilation=tuple(layer.dilation_rate),
        groups=layer.groups,
    )
    return reading.finish(layer, outputs)
