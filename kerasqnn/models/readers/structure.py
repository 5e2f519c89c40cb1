"""Readers of layers that merge, reshape or pass on tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers

from ... import layers as quant_layers
from ..graph import Parameter, Tensor
from .registry import reads
from .sequences import (
    OPEN_LENGTH,
    as_image,
    as_sequence,
    has_fixed_length,
    image_shape,
)


@reads(layers.Flatten, layers.Reshape)
def _reshape(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("reshape", inputs, target_shape=reading.shapes[0][1:])


@reads(layers.Permute)
def _permute(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("permute", inputs, axes=(0, *layer.dims))


@reads(layers.ZeroPadding2D)
def _zero_padding2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("zero_padding", inputs, pads=tuple(map(tuple, layer.padding)))


@reads(layers.ZeroPadding1D)
def _zero_padding1d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    if not has_fixed_length(inputs):
        return reading.as_layer(inputs, OPEN_LENGTH)
    outputs = reading.add(
        "zero_padding",
        as_image(inputs, reading),
        shape=image_shape(reading),
        pads=((0, 0), tuple(layer.padding)),
    )
    return as_sequence(outputs, reading)


_OPEN_SHAPES = "has inputs of no fixed shape"


def _with_twins(name: str) -> list[type]:
    quantized = [getattr(quant_layers, f"{p}Quant{name}") for p in ("", "Noisy")]
    return [getattr(layers, name), *quantized]


_KINDS = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
_MERGES = {cls: kind.lower() for kind in _KINDS for cls in _with_twins(kind)}


@reads(*_MERGES)
def _merge(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    aligned = _of_one_rank(inputs, reading)
    if aligned is None:
        return reading.as_layer(inputs, _OPEN_SHAPES)
    return reading.finish(layer, reading.add(_MERGES[type(layer)], aligned))


@reads(*_with_twins("Average"))
def _average(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    count, channels = len(inputs), reading.shapes[0][-1]
    aligned = _of_one_rank(inputs, reading)
    if channels is None or aligned is None:
        return reading.as_layer(inputs, _OPEN_SHAPES)
    if count & (count - 1):
        reason = f"divides by {count}, and only powers of two divide exactly"
        return reading.as_layer(inputs, reason)
    weights = {
        "scale": Parameter(np.full(channels, 1 / count, np.float32)),
        "offset": Parameter(np.zeros(channels, np.float32)),
    }
    outputs = reading.add(
        "scale_offset",
        reading.add("add", aligned, part="/sum"),
        weights=weights,
        axis=len(reading.shapes[0]) - 1,
    )
    return reading.finish(layer, outputs)


def _of_one_rank(inputs: list[Tensor], reading: Any) -> list[Tensor] | None:
    """Return the tensors with axes of size 1 behind the batch, as Keras's merges do.

    None where that would need a shape that is not known.
    """
    rank = max(len(t.shape) for t in inputs)
    aligned = []
    for tensor in inputs:
        if len(tensor.shape) < rank:
            if None in tensor.shape[1:]:
                return None
            ones = (1,) * (rank - len(tensor.shape))
            target = (*ones, *tensor.shape[1:])
            (tensor,) = reading.reshape([tensor], target, "/aligned")
        aligned.append(tensor)
    return aligned


@reads(*_with_twins("Concatenate"))
def _concatenate(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    axis = layer.axis % len(inputs[0].shape)
    return reading.finish(layer, reading.add("concatenate", inputs, axis=axis))


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
