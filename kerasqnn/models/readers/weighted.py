"""Readers of layers that multiply with a kernel."""

from __future__ import annotations

from typing import Any

from keras import layers

from ... import layers as quant_layers
from ...layers._folding import FoldedLayer
from ..graph import Parameter, Tensor
from .registry import parameter, reads


def kernel_and_bias(layer: Any) -> dict[str, Parameter]:
    """Return the weights of a layer with one kernel, as the forward pass uses them."""
    if isinstance(layer, FoldedLayer):
        kernel, bias = layer.folded_kernel_and_bias()
        quantizer = getattr(layer, layer.kernel_quantizer_argument)
        return {
            "kernel": parameter(kernel, quantizer),
            "bias": parameter(bias, layer.bias_quantizer),
        }
    argument = "kernel_quantizer"
    if isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        argument = "depthwise_quantizer"
    weights = {"kernel": parameter(layer.kernel, getattr(layer, argument, None))}
    if layer.bias is not None:
        quantizer = getattr(layer, "bias_quantizer", None)
        weights["bias"] = parameter(layer.bias, quantizer)
    return weights


@reads(
    layers.Dense,
    quant_layers.QuantDense,
    quant_layers.NoisyQuantDense,
    quant_layers.QuantDenseBatchNorm,
    quant_layers.NoisyQuantDenseBatchNorm,
)
def _dense(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    outputs = reading.add("dense", inputs, weights=kernel_and_bias(layer))
    return reading.finish(layer, outputs)


@reads(
    layers.Conv2D,
    quant_layers.QuantConv2D,
    quant_layers.NoisyQuantConv2D,
    quant_layers.QuantConv2DBatchNorm,
    quant_layers.NoisyQuantConv2DBatchNorm,
)
def _conv2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    outputs = reading.add(
        "conv2d",
        inputs,
        weights=kernel_and_bias(layer),
        strides=tuple(layer.strides),
        padding=layer.padding,
        dilation=tuple(layer.dilation_rate),
        groups=layer.groups,
    )
    return reading.finish(layer, outputs)
