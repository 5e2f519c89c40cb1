"""What is known of tensors behind the functions of activations."""

from __future__ import annotations

import numpy as np

from ..quantizers.functions import ClippedLinear, Lookup, StepFunction
from .arithmetic_rules import Outcome, derive, rule
from .graph import Operation, Tensor
from .grids import FLOAT32_BITS, Facts, Grid, bits_needed, exponent_of_lsb


@rule("clipped_linear")
def _clipped_linear(
    operation: Operation, inputs: list[Facts], _: list[Tensor]
) -> Outcome:
    function: ClippedLinear = operation.attributes["function"]
    grid, slope = inputs[0].grid, function.slope
    exponent = exponent_of_lsb(np.array(slope))
    product_bits = 1 if slope == 2.0**exponent else FLOAT32_BITS + 1
    if grid is not None and product_bits > 1:
        product_bits = bits_needed(grid.magnitude * slope, grid.step * 2.0**exponent)
    if product_bits > FLOAT32_BITS and function.offset:
        # Some compilers round a product and a sum once, others twice.
        loses = (
            f"layer {operation.layer!r} multiplies by {slope}, which float32 rounds, "
            "before it adds; quantize its input to fewer bits"
        )
        return derive(inputs, None, loses=loses, operation=operation), None
    if grid is None:
        return derive(inputs, None), None
    step = min([grid.step * 2.0**exponent, *_steps_of(function.offset)])
    low, high = grid.low * slope + function.offset, grid.high * slope + function.offset
    reach = grid.magnitude * slope + abs(function.offset)
    faithful = bits_needed(reach, step) <= FLOAT32_BITS
    for bound, clip in ((function.low, np.maximum), (function.high, np.minimum)):
        if bound is not None:
            if np.any(clip(low, bound) != low) or np.any(clip(high, bound) != high):
                step = min([step, *_steps_of(bound)])
            low, high = clip(low, bound), clip(high, bound)
    return derive(inputs, Grid(step, low, high), faithful=faithful), None


def _steps_of(value: float) -> list[float]:
    """The power of two that divides a number, if it is not zero."""
    return [2.0 ** exponent_of_lsb(np.array(value))] if value else []


@rule("leaky_relu")
def _leaky_relu(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    grid, slope = inputs[0].grid, operation.attributes["function"].slope
    if grid is None:
        return derive(inputs, None), None
    low, high = (np.where(v > 0, v, v * slope) for v in (grid.low, grid.high))
    step = grid.step * min(1.0, 2.0 ** exponent_of_lsb(np.array(slope)))
    # One product rounds alike everywhere.
    faithful = bits_needed(grid.magnitude * max(slope, 1.0), step) <= FLOAT32_BITS
    return derive(inputs, Grid(step, low, high), faithful=faithful), None


@rule("hard_swish")
def _hard_swish(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    # A sum, a product and a division that round once each: the same bits everywhere.
    return derive(inputs, None), None


@rule("step_function")
def _step_function(
    operation: Operation, inputs: list[Facts], _: list[Tensor]
) -> Outcome:
    function: StepFunction = operation.attributes["function"]
    levels, (given,) = np.array(function.levels), inputs
    if given.grid is not None:
        ends = [given.grid.low.min(), given.grid.high.max()]
        first, last = np.searchsorted(function.thresholds, ends, side="right")
        levels = levels[first : last + 1]
    return derive(inputs, _grid_of(levels)), None


@rule("lookup")
def _lookup(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    function: Lookup = operation.attributes["function"]
    levels, (given,) = np.array(function.levels), inputs
    if given.grid is not None:
        ends = [given.grid.low.min(), given.grid.high.max()]
        first, last = (round(end / function.step) - function.first for end in ends)
        levels = levels[first : last + 1]
    return derive(inputs, _grid_of(levels)), None


def _grid_of(levels: np.ndarray) -> Grid | None:
    """The grid that holds some numbers, if they are finite."""
    if not np.all(np.isfinite(levels)):
        return None
    step = 2.0 ** exponent_of_lsb(levels)
    return Grid(step, np.asarray(levels.min()), np.asarray(levels.max()))
