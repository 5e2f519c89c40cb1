"""Readers of pooling layers."""

from __future__ import annotations

import math
from typing import Any

from keras import layers, ops

from ... import layers as quant_layers
from ..graph import Parameter, Tensor
from ..windows import same_padding
from .registry import quantized_parameter, reads
from .sequences import (
    OPEN_LENGTH,
    as_image,
    as_sequence,
    has_fixed_length,
    image_shape,
)

_POOLS = ("MaxPooling", "AveragePooling")
_PREFIXES = ("", "Quant", "NoisyQuant")
_OPEN_SIZE = "has images of no fixed size"
_FEWER = "averages fewer values in windows at its border; choose padding='valid'"


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


@reads(
    quant_layers.QuantReciprocalAveragePooling2D,
    quant_layers.NoisyQuantReciprocalAveragePooling2D,
)
def _reciprocal_pool2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    if None in inputs[0].shape[1:]:
        return reading.as_layer(inputs, _OPEN_SIZE)
    rows_columns = (n or 0 for n in inputs[0].shape[1:3])
    sizes = zip(rows_columns, layer.pool_size, layer.strides, strict=True)
    if layer.padding == "same" and any(any(same_padding(*size)) for size in sizes):
        return reading.as_layer(inputs, _FEWER)
    outputs = reading.add(
        "reciprocal_pool2d",
        inputs,
        weights=_reciprocal(layer, math.prod(layer.pool_size)),
        pool_size=tuple(layer.pool_size),
        strides=tuple(layer.strides),
        padding="valid",
    )
    return reading.finish(layer, outputs)


@reads(
    quant_layers.QuantReciprocalGlobalAveragePooling2D,
    quant_layers.NoisyQuantReciprocalGlobalAveragePooling2D,
)
def _global_reciprocal_pool2d(
    layer: Any, inputs: list[Tensor], reading: Any
) -> list[Tensor]:
    count = math.prod(n or 0 for n in inputs[0].shape[1:3])
    outputs = reading.add(
        "global_reciprocal_pool2d",
        inputs,
        weights=_reciprocal(layer, count),
        keepdims=bool(layer.keepdims),
    )
    return reading.finish(layer, outputs)


def _reciprocal(layer: Any, count: int) -> dict[str, Parameter]:
    value = ops.convert_to_numpy(layer.reciprocal(count))
    return {"reciprocal": quantized_parameter(value, layer.average_quantizer)}
