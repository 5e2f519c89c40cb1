"""Readers of pooling layers."""

from __future__ import annotations

from typing import Any

from keras import layers

from ... import layers as quant_layers
from ..graph import Tensor
from .registry import reads
from .sequences import (
    OPEN_LENGTH,
    as_image,
    as_sequence,
    has_fixed_length,
    image_shape,
)

_POOLS = ("MaxPooling", "AveragePooling")
_PREFIXES = ("", "Quant", "NoisyQuant")


def _classes(reach: str, rank: int) -> list[type]:
    """Return Keras's pooling layers of one rank, and kerasqnn's."""
    return [
        getattr(quant_layers if prefix else layers, f"{prefix}{reach}{pool}{rank}D")
        for prefix in _PREFIXES
        for pool in _POOLS
    ]


def _kind(layer: Any, stem: str) -> str:
    return stem.format("max" if "Max" in type(layer).__name__ else "average")


@reads(*_classes("", 2))
def _pool2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    outputs = reading.add(
        _kind(layer, "{}_pool2d"),
        inputs,
        pool_size=tuple(layer.pool_size),
        strides=tuple(layer.strides),
        padding=layer.padding,
    )
    return reading.finish(layer, outputs)


@reads(*_classes("", 1))
def _pool1d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    if not has_fixed_length(inputs):
        return reading.as_layer(inputs, OPEN_LENGTH)
    outputs = reading.add(
        _kind(layer, "{}_pool2d"),
        as_image(inputs, reading),
        shape=image_shape(reading),
        pool_size=(1, *layer.pool_size),
        strides=(1, *layer.strides),
        padding=layer.padding,
    )
    return reading.finish(layer, as_sequence(outputs, reading))


@reads(*_classes("Global", 2))
def _global_pool2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    kind = _kind(layer, "global_{}_pool2d")
    outputs = reading.add(kind, inputs, keepdims=bool(layer.keepdims))
    return reading.finish(layer, outputs)


@reads(*_classes("Global", 1))
def _global_pool1d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    if not has_fixed_length(inputs):
        return reading.as_layer(inputs, OPEN_LENGTH)
    batch, _, channels = inputs[0].shape
    outputs = reading.add(
        _kind(layer, "global_{}_pool2d"),
        as_image(inputs, reading),
        shape=(batch, channels),
        keepdims=False,
    )
    if layer.keepdims:
        outputs = reading.reshape(outputs, (1, channels), "/sequence")
    return reading.finish(layer, outputs)
