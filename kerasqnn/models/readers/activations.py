"""Readers of activations, stand-alone quantizers and noise points."""

from __future__ import annotations

from typing import Any

from keras import layers

from ... import layers as quant_layers
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
    if layer.max_value is None and not layer.negative_slope and not layer.threshold:
        return reading.add("relu", inputs)
    return reading.add("activation", inputs, function=layer)


@reads(layers.Softmax)
def _softmax(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("softmax", inputs, axis=layer.axis)


@reads(quant_layers.NoisePoint)
def _noise_point(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("noise", inputs, point=layer)
