"""What is known of tensors behind the functions of activations."""

from __future__ import annotations

import numpy as np

from ..quantizers.functions import ClippedLinear, Lookup, StepFunction
from ..quantizers.quantized_softmax import TableSoftmax
from .arithmetic_rules import Outcome, derive, rounds_exactly, rule, too_wide
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
        levels = _between(function, given.grid.low.min(), given.grid.high.max())
    return derive(inputs, _grid_of(levels)), None


@rule("table_softmax")
def _table_softmax(
    operation: Operation, inputs: list[Facts], tensors: list[Tensor]
) -> Outcome:
    function: TableSoftmax = operation.attributes["function"]
    table, count = function.exp_table, tensors[0].shape[-1]
    powers = _grid_of(_between(table, 0.0, float(function.difference.max)))
    if powers is None or count is None:
        return derive(inputs, None), None
    # The largest input's exponential is among them, so that no sum is smaller.
    ends = np.array([powers.high, count * powers.high])
    sums = function.sum._forward(np, ends)
    inverses = _grid_of(_between(function.inverse_table, *sums))
    width = bits_needed(count * powers.magnitude, powers.step)
    if inverses is None:
        return derive(inputs, None), width
    out = Grid(
        powers.step * inverses.step,
        powers.low * inverses.low,
        powers.high * inverses.high,
    )
    faithful = out.bits <= FLOAT32_BITS
    given = inputs[0].grid
    if given is not None:
        reach = np.asarray(given.high.max() - given.low.min())
        distances = Grid(given.step, np.zeros(()), reach)
        faithful &= distances.bits <= FLOAT32_BITS
        faithful &= rounds_exactly(function.difference, distances)
    loses = too_wide(operation, width)
    return (
        derive(inputs, out, loses=loses, operation=operation, faithful=faithful),
        width,
    )


def _between(table: Lookup, low: float, high: float) -> np.ndarray:
    """The levels of a table for inputs between two of its grid."""
    first, last = (round(float(v) / table.step) - table.first for v in (low, high))
    return np.array(table.levels[first : last + 1])


def _grid_of(levels: np.ndarray) -> Grid | None:
    """The grid that holds some numbers, if they are finite."""
    if not np.all(np.isfinite(levels)):
        return None
    step = 2.0 ** exponent_of_lsb(levels)
    return Grid(step, np.asarray(levels.min()), np.asarray(levels.max()))
