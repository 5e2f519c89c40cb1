"""Quantizers as hls4ml layers: an assignment rounds and saturates."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models import Operation
from ...quantizers import Binary, FixedPoint, Ternary
from .lowering import Lowering
from .types import FixedType, type_of_grid, type_of_quantizer, type_of_values

# 0 where a number is at least zero, -1 where it is below.
_SIGN = FixedType(True, 1, 1, "TRN", "SAT")


def lower_quantizer(operation: Operation, lowering: Lowering) -> None:
    """Append the layers of a quantizer; none, if the layer before stands for it."""
    quantizer = operation.attributes["quantizer"]
    (layer,) = lowering.read(operation)
    if isinstance(quantizer, Binary):
        _binary(operation, lowering, layer)
    elif isinstance(quantizer, Ternary):
        _ternary(operation, lowering, layer)
    else:
        _fixed_point(operation, lowering, layer)


def _fixed_point(operation: Operation, lowering: Lowering, layer: str) -> None:
    quantizer: FixedPoint = operation.attributes["quantizer"]
    producer = lowering.model.chip.producer(operation.input)
    plain = quantizer.alpha == 1.0
    if lowering.quantizer_after(producer) is operation:
        if not plain:
            _scale(operation, lowering, layer, quantizer.alpha, 0.0)
        return
    scale = quantizer.grid_step
    if not scale.ndim:
        result = type_of_quantizer(quantizer, float(scale))
        tensor = operation.output if plain else None
        name = operation.name if plain else f"{operation.name}_grid"
        source = lowering.types[layer]["result"]
        if not source.reaches(result):
            wide = source.widened_to(result)
            layer = lowering.cast(operation, f"{name}_wide", layer, wide)
        layer = lowering.cast(operation, name, layer, result, tensor)
        if not plain:
            _scale(operation, lowering, layer, quantizer.alpha, 0.0)
        return
    # One step a channel: rounded on the integers, and scaled back.
    codes = type_of_quantizer(quantizer, 1.0)
    layer = _normalize(
        operation, lowering, layer, 1.0 / scale.astype(np.float64), 0.0, codes
    )
    _scale(operation, lowering, layer, quantizer.step, 0.0)


def _binary(operation: Operation, lowering: Lowering, layer: str) -> None:
    alpha = operation.attributes["quantizer"].step.astype(np.float64)
    sign = lowering.cast(operation, f"{operation.name}_sign", layer, _SIGN)
    _scale(operation, lowering, sign, 2.0 * alpha, alpha)


def _ternary(operation: Operation, lowering: Lowering, layer: str) -> None:
    """The difference of two signs: -1 below the threshold, 0 at least on it."""
    quantizer: Ternary = operation.attributes["quantizer"]
    step = lowering.grid(operation.input).step
    limit = np.asarray(quantizer.threshold, np.float32).astype(np.float64)
    # The smallest number of the grid that is not below the threshold.
    threshold = np.ceil(limit / step) * step
    above = _normalize(operation, lowering, layer, 1.0, -threshold, _SIGN)
    below = _normalize(operation, lowering, layer, -1.0, -threshold, _SIGN)
    shape = lowering.shape(operation.output)
    difference = lowering.add(
        "Merge",
        f"{operation.name}_difference",
        [above, below],
        operation,
        {"result": FixedType(True, 2, 2)},
        op="subtract",
        output_shape=shape,
    )
    _scale(operation, lowering, difference, quantizer.step, 0.0)


def _scale(
    operation: Operation, lowering: Lowering, layer: str, scale: Any, offset: Any
) -> None:
    """Append the last layer of a quantizer: one factor and offset a channel."""
    result = type_of_grid(lowering.grid(operation.output))
    _normalize(
        operation, lowering, layer, scale, offset, result, tensor=operation.output
    )


def _normalize(
    operation: Operation,
    lowering: Lowering,
    layer: str,
    scale: Any,
    offset: Any,
    result: FixedType,
    tensor: str | None = None,
) -> str:
    shape = lowering.shape(operation.input)
    channels = (shape[-1],)
    scales = np.broadcast_to(np.asarray(scale, np.float64), channels).copy()
    offsets = np.broadcast_to(np.asarray(offset, np.float64), channels).copy()
    if np.all(scales == 1.0) and not np.any(offsets):
        return lowering.cast(operation, operation.name, layer, result, tensor)
    return lowering.add(
        "BatchNormalization",
        operation.name,
        [layer],
        operation,
        {
            "scale": type_of_values(scales),
            "bias": type_of_values(offsets),
            "result": result,
        },
        tensor=tensor,
        n_in=int(np.prod(shape)),
        n_filt=shape[-1] if len(shape) > 1 else -1,
        scale_data=scales,
        bias_data=offsets,
    )
