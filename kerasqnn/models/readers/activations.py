"""Readers of activations, stand-alone quantizers and noise points."""

from __future__ import annotations

from typing import Any

from keras import layers

from ... import layers as quant_layers
from ...quantizers.functions import ClippedLinear, LeakyReLU
from ..graph import Tensor
from .registry import reads


@reads(quant_layers.QuantInput)
def _quant_input(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.activation(layer.quantizer, inputs, "")


@reads(layers.Activation, quant_layers.QuantActivation)
def _activation(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.activation(layer.activation, inputs, "")


@reads(layers.ReLU)
def _relu(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    bound, slope = layer.max_value, float(layer.negative_slope or 0.0)
    if bound is None and not slope and not layer.threshold:
        return reading.add("relu", inputs)
    if not slope and not layer.threshold:
        return reading.activation(ClippedLinear(low=0.0, high=bound), inputs, "")
    if bound is None and not layer.threshold:
        return reading.activation(LeakyReLU(slope), inputs, "")
    return reading.add("activation", inputs, function=layer)


@reads(layers.LeakyReLU)
def _leaky_relu(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.activation(LeakyReLU(layer.negative_slope), inputs, "")


@reads(layers.Softmax)
def _softmax(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("softmax", inputs, axis=layer.axis)


@reads(quant_layers.NoisePoint)
def _noise_point(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("noise", inputs, point=layer)
