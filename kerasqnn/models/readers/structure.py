"""Readers of layers that merge, reshape or pass on tensors."""

from __future__ import annotations

from typing import Any

from keras import layers

from ..graph import Tensor
from .registry import reads


@reads(layers.Flatten, layers.Reshape)
def _reshape(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("reshape", inputs, target_shape=reading.shapes[0][1:])


_MERGES = {
    layers.Add: "add",
    layers.Subtract: "subtract",
    layers.Multiply: "multiply",
    layers.Maximum: "maximum",
    layers.Minimum: "minimum",
}


@reads(*_MERGES)
def _merge(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add(_MERGES[type(layer)], inputs)


@reads(layers.Concatenate)
def _concatenate(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("concatenate", inputs, axis=layer.axis % len(inputs[0].shape))


@reads(
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
)
def _identity(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return inputs
