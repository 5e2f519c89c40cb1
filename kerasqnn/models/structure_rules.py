"""What is known behind paddings, permuted axes, and poolings by a reciprocal."""

from __future__ import annotations

import math

import numpy as np

from .arithmetic_rules import Outcome, derive, no_input_grid, rule, too_wide
from .graph import Operation, Tensor
from .grids import FLOAT32_BITS, Facts, Grid, bits_needed, exponent_of_lsb

# So many sums of a pooling are tried out at most.
_MOST_SUMS = 2**20


@rule("zero_padding")
def _zero_padding(
    operation: Operation, inputs: list[Facts], _: list[Tensor]
) -> Outcome:
    grid = inputs[0].grid
    if grid is not None:
        grid = Grid(grid.step, np.minimum(grid.low, 0.0), np.maximum(grid.high, 0.0))
    return derive(inputs, grid), None


@rule("permute")
def _permute(
    operation: Operation, inputs: list[Facts], tensors: list[Tensor]
) -> Outcome:
    grid = inputs[0].grid
    moves_channels = operation.attributes["axes"][-1] != len(tensors[0].shape) - 1
    if grid is not None and moves_channels:
        low, high = np.asarray(grid.low.min()), np.asarray(grid.high.max())
        grid = Grid(grid.step, low, high)
    return derive(inputs, grid), None


@rule("slice")
def _slice(operation: Operation, inputs: list[Facts], tensors: list[Tensor]) -> Outcome:
    grid, a = inputs[0].grid, operation.attributes
    if grid is not None and grid.low.ndim and a["axis"] == len(tensors[0].shape) - 1:
        part = slice(a["start"], a["stop"])
        grid = Grid(grid.step, grid.low[part], grid.high[part])
    return derive(inputs, grid), None


@rule("reciprocal_pool2d", "global_reciprocal_pool2d")
def _reciprocal_pool(
    operation: Operation, inputs: list[Facts], tensors: list[Tensor]
) -> Outcome:
    grid = inputs[0].grid
    if grid is None:
        return no_input_grid(operation, inputs)
    window = operation.attributes.get("pool_size", tensors[0].shape[1:3])
    count = math.prod(n or 0 for n in window)
    sums = Grid(grid.step, grid.low * count, grid.high * count)
    width = bits_needed(sums.magnitude, sums.step)
    loses = too_wide(operation, width)
    if operation.kind == "reciprocal_pool2d":
        loses = loses or _divides(operation, count, sums)
    reciprocal = operation.weights["reciprocal"].value.astype(np.float64)
    ends = np.stack([sums.low * reciprocal, sums.high * reciprocal])
    step = grid.step * 2.0 ** exponent_of_lsb(reciprocal)
    # One product rounds alike everywhere.
    faithful = bits_needed(np.abs(ends), step) <= FLOAT32_BITS
    out = Grid(step, ends.min(axis=0), ends.max(axis=0))
    return (
        derive(inputs, out, loses=loses, operation=operation, faithful=faithful),
        width,
    )


def _divides(operation: Operation, count: int, sums: Grid) -> str:
    """Say why the average of `count` times the inputs may not be their sum.

    Tools divide the sum by `count`, which is exact, or multiply it by the float32 next
    to `1 / count`, which has to be tried.
    """
    scaled = Grid(sums.step, sums.low * count, sums.high * count)
    width = bits_needed(scaled.magnitude, scaled.step * (count & -count))
    if width > FLOAT32_BITS:
        return too_wide(operation, width)
    low, high = (round(float(v) / sums.step) for v in (sums.low.min(), sums.high.max()))
    if not count & (count - 1):
        return ""
    codes = np.arange(low, high + 1 if high - low < _MOST_SUMS else low, dtype="f4")
    products = codes * np.float32(count) * (np.float32(1) / np.float32(count))
    if codes.size and np.array_equal(products, codes):
        return ""
    return (
        f"layer {operation.layer!r} averages {count} values, and some tools divide by "
        "that where others multiply by its reciprocal, with other bits; choose a pool "
        "size that is a power of two, or quantize its input to fewer bits"
    )
