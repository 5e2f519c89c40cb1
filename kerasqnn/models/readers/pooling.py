"""Readers of pooling layers."""

from __future__ import annotations

from typing import Any

from keras import layers

from ... import layers as quant_layers
from ..graph import Tensor
from .registry import reads


@reads(
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    quant_layers.QuantAveragePooling2D,
    quant_layers.NoisyQuantAveragePooling2D,
)
def _pool2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    maximum = isinstance(layer, layers.MaxPooling2D)
    outputs = reading.add(
        "max_pool2d" if maximum else "average_pool2d",
        inputs,
        pool_size=tuple(layer.pool_size),
        strides=tuple(layer.strides),
        padding=layer.padding,
    )
    return reading.finish(layer, outputs)


@reads(
    layers.GlobalMaxPooling2D,
    layers.GlobalAveragePooling2D,
    quant_layers.QuantGlobalAveragePooling2D,
    quant_layers.NoisyQuantGlobalAveragePooling2D,
)
def _global_pool2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    maximum = isinstance(layer, layers.GlobalMaxPooling2D)
    kind = "global_max_pool2d" if maximum else "global_average_pool2d"
    outputs = reading.add(kind, inputs, keepdims=bool(layer.keepdims))
    return reading.finish(layer, outputs)
