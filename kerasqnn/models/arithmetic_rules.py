"""How each kind of operation changes what is known of the tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..quantizers import Affine, FixedPoint, UniformQuantizer
from .floating_point import why_floating_point
from .graph import Operation, Tensor
from .grids import FLOAT32_BITS, Facts, Grid, bits_needed, exponent_of_lsb
from .windows import is_padded

# These modes add or subtract a half first.
_HALF_MODES = ("HALF_UP", "HALF_DOWN")

Outcome = tuple[Facts, int | None]
Rule = Callable[[Operation, list[Facts], list[Tensor]], Outcome]
RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Register the rule of some kinds of operations."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def derive(
    inputs: list[Facts],
    grid: Grid | None,
    *,
    loses: str = "",
    operation: Operation | None = None,
    faithful: bool = True,
) -> Facts:
    """Facts of a result: what inputs lost stays lost; `loses` says what it loses."""
    for given in inputs:
        if not given.reproducible:
            return Facts(grid, False, False, given.reason, given.blame)
    if loses and operation is not None:
        return Facts(grid, False, False, loses, operation.name)
    faithful = faithful and grid is not None and all(f.faithful for f in inputs)
    return Facts(grid, True, faithful)


@rule("input")
def _input(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    return Facts(None), None


def no_grid(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    """Facts of a kind without a rule: it computes in floating point."""
    loses = f"layer {operation.layer!r} {why_floating_point(operation)}"
    return derive(inputs, None, loses=loses, operation=operation), None


@rule("quantize")
def _quantize(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    quantizer: UniformQuantizer = operation.attributes["quantizer"]
    (given,) = inputs
    if not quantizer.is_power_of_two:
        return derive(inputs, None), None
    # A quantizer puts even an unbounded value on its grid.
    low = quantizer.min.astype(np.float64)
    high = quantizer.max.astype(np.float64)
    if given.grid is not None and not _may_wrap(quantizer):
        low = np.maximum(low, quantizer._forward(np, given.grid.low + 0.0 * low))
        high = np.minimum(high, quantizer._forward(np, given.grid.high + 0.0 * high))
    step = float(np.min(quantizer.step))
    faithful = rounds_exactly(quantizer, given.grid)
    return derive(inputs, Grid(step, low, high), faithful=faithful), None


def rounds_exactly(quantizer: UniformQuantizer, grid: Grid | None) -> bool:
    """Whether float32 holds what a quantizer adds before it rounds or wraps."""
    if grid is not None and isinstance(quantizer, Affine):
        reach = max(-quantizer.code_min, quantizer.code_max) + 1
        magnitude = np.minimum(grid.magnitude, reach * quantizer.scale)
        magnitude = magnitude + abs(quantizer.zero_point) * quantizer.scale
        return bits_needed(magnitude, min(grid.step, quantizer.scale)) <= FLOAT32_BITS
    if grid is None or not isinstance(quantizer, FixedPoint):
        return True
    step = quantizer.grid_step.astype(np.float64)
    magnitude, added = grid.magnitude, []
    if quantizer.rounding in _HALF_MODES:
        added.append(step / 2)
    if quantizer.overflow != "WRAP":
        limit = max(-quantizer.code_min, quantizer.code_max)
        magnitude = np.minimum(magnitude, limit * step)
    elif quantizer.signed:
        added.append(-quantizer.code_min * step)
    if not added:
        return True
    finest = min([grid.step, *(float(np.min(a)) for a in added)])
    return bits_needed(magnitude + sum(added), finest) <= FLOAT32_BITS


def _may_wrap(quantizer: UniformQuantizer) -> bool:
    return isinstance(quantizer, FixedPoint) and quantizer.overflow == "WRAP"


@rule("noise")
def _noise(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    return inputs[0], None


def no_input_grid(operation: Operation, inputs: list[Facts]) -> Outcome:
    """Facts of a sum of numbers on no grid."""
    loses = (
        f"layer {operation.layer!r} adds up numbers that lie on no power-of-two grid, "
        "so that the result depends on the order of the sum; quantize its input, "
        "kernel and bias to power-of-two steps"
    )
    return derive(inputs, None, loses=loses, operation=operation), None


def too_wide(operation: Operation, bits: int) -> str:
    """Say what a sum of so many bits loses, and a way out; nothing if it fits."""
    if bits <= FLOAT32_BITS:
        return ""
    bare = [n for n, w in operation.weights.items() if w.quantizer is None]
    way_out = "use fewer bits or inputs"
    if bare:
        way_out = f"quantize its {' and '.join(bare)}"
    return (
        f"layer {operation.layer!r} needs {bits} bits for its sums in the worst case, "
        f"more than the {FLOAT32_BITS} that float32 holds; {way_out}"
    )


@rule("dense", "conv2d")
def _weighted_sum(
    operation: Operation, inputs: list[Facts], tensors: list[Tensor]
) -> Outcome:
    grid = inputs[0].grid
    if grid is None:
        return no_input_grid(operation, inputs)
    kernel = operation.weights["kernel"].value.astype(np.float64)
    groups = operation.attributes.get("groups", 1)
    low, high, reach = _sum_bounds(kernel, grid, groups, operation.kind == "conv2d")
    step = grid.step * 2.0 ** exponent_of_lsb(kernel)
    if "bias" in operation.weights:
        bias = operation.weights["bias"].value.astype(np.float64)
        low, high, reach = low + bias, high + bias, reach + np.abs(bias)
        step = min(step, 2.0 ** exponent_of_lsb(bias)) if np.any(bias) else step
    width = bits_needed(reach, step)
    loses = too_wide(operation, width)
    out = derive(inputs, Grid(step, low, high), loses=loses, operation=operation)
    return out, width


def _sum_bounds(
    kernel: np.ndarray, grid: Grid, groups: int, padded: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds of a weighted sum and of the absolute value of its partial sums."""
    channels, outputs = kernel.shape[-2], kernel.shape[-1]
    weights = kernel.reshape(-1, channels, groups, outputs // groups)
    shape = (1, groups, channels, 1)
    grouped = np.moveaxis(weights, 1, 2)

    def per_channel(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, (groups * channels,)).reshape(shape)

    low, high = per_channel(grid.low), per_channel(grid.high)
    if padded:  # padding puts zeros among the inputs
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    positive, negative = np.maximum(grouped, 0.0), np.minimum(grouped, 0.0)
    sum_low = np.sum(positive * low + negative * high, axis=(0, 2)).reshape(-1)
    sum_high = np.sum(positive * high + negative * low, axis=(0, 2)).reshape(-1)
    magnitude = np.maximum(np.abs(low), np.abs(high))
    reach = np.sum(np.abs(grouped) * magnitude, axis=(0, 2)).reshape(-1)
    return sum_low, sum_high, reach


@rule("scale_offset")
def _scale_offset(
    operation: Operation, inputs: list[Facts], tensors: list[Tensor]
) -> Outcome:
    grid = inputs[0].grid
    if grid is None or operation.attributes["axis"] != len(tensors[0].shape) - 1:
        return derive(inputs, None), None
    scale = operation.weights["scale"].value.astype(np.float64)
    offset = operation.weights["offset"].value.astype(np.float64)
    ends = np.stack([grid.low * scale, grid.high * scale])
    low, high = ends.min(axis=0) + offset, ends.max(axis=0) + offset
    step = grid.step * 2.0 ** exponent_of_lsb(scale)
    step = min(step, 2.0 ** exponent_of_lsb(offset)) if np.any(offset) else step
    width = bits_needed(grid.magnitude * np.abs(scale) + np.abs(offset), step)
    # Elementwise float32 arithmetic is reproducible even where it rounds.
    faithful = width <= FLOAT32_BITS
    return derive(inputs, Grid(step, low, high), faithful=faithful), width


@rule("relu")
def _relu(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    grid = inputs[0].grid
    if grid is not None:
        grid = Grid(grid.step, np.maximum(grid.low, 0.0), np.maximum(grid.high, 0.0))
    return derive(inputs, grid), None


@rule("max_pool2d", "global_max_pool2d")
def _same_values(operation: Operation, inputs: list[Facts], _: list[Tensor]) -> Outcome:
    return inputs[0], None


@rule("reshape")
def _reshape(
    operation: Operation, inputs: list[Facts], tensors: list[Tensor]
) -> Outcome:
    grid = inputs[0].grid
    if grid is not None and grid.low.ndim:
        target = operation.attributes["target_shape"]
        channels, last = grid.low.shape[0], target[-1]
        if last is not None and last % channels == 0:
            repeats = last // channels
            low, high = np.tile(grid.low, repeats), np.tile(grid.high, repeats)
        else:
            low, high = grid.low.min(), grid.high.max()
        grid = Grid(grid.step, np.asarray(low), np.asarray(high))
    return derive(inputs, grid), None


@rule("average_pool2d", "global_average_pool2d")
def _average(
    operation: Operation, inputs: list[Facts], tensors: list[Tensor]
) -> Outcome:
    grid = inputs[0].grid
    if grid is None:
        return no_input_grid(operation, inputs)
    size = tensors[0].shape[1:3]
    window = operation.attributes.get("pool_size", size)
    count = int(np.prod([d or 0 for d in window]))
    if count < 1 or count & (count - 1) or is_padded(operation, size, window):
        loses = (
            f"layer {operation.layer!r} averages {count} values, and only a power of "
            "two without padding divides exactly; choose such a pool size"
        )
        return derive(inputs, None, loses=loses, operation=operation), None
    width = bits_needed(grid.magnitude * count, grid.step)
    averaged = Grid(grid.step / count, grid.low, grid.high)
    loses = too_wide(operation, width)
    return derive(inputs, averaged, loses=loses, operation=operation), width


@rule("add", "subtract", "multiply", "maximum", "minimum")
def _merge(operation: Operation, inputs: list[Facts], tensors: list[Tensor]) -> Outcome:
    grids = [f.grid for f in inputs]
    if any(g is None for g in grids):
        # One rounding of two operands is the same everywhere; of three it is not.
        if operation.kind in ("maximum", "minimum") or len(inputs) == 2:
            return derive(inputs, None), None
        return no_input_grid(operation, inputs)
    total = grids[0]
    if total is None:
        return derive(inputs, None), None
    width = 0
    for grid in grids[1:]:
        if grid is not None:
            total = COMBINE[operation.kind](total, grid)
            width = max(width, bits_needed(total.magnitude, total.step))
    if total.low.ndim:  # bounds of one channel, where it is broadcast
        channels = (max(t.shape[-1] or 1 for t in tensors),)
        low, high = (np.broadcast_to(b, channels) for b in (total.low, total.high))
        total = Grid(total.step, low, high)
    if operation.kind in ("maximum", "minimum"):
        return derive(inputs, total), None
    loses = too_wide(operation, width)
    return derive(inputs, total, loses=loses, operation=operation), width


def _product(a: Grid, b: Grid) -> Grid:
    ends = np.stack([a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high])
    return Grid(a.step * b.step, ends.min(axis=0), ends.max(axis=0))


COMBINE: dict[str, Callable[[Grid, Grid], Grid]] = {
    "add": lambda a, b: Grid(min(a.step, b.step), a.low + b.low, a.high + b.high),
    "subtract": lambda a, b: Grid(min(a.step, b.step), a.low - b.high, a.high - b.low),
    "multiply": _product,
    "maximum": lambda a, b: Grid(
        min(a.step, b.step), np.maximum(a.low, b.low), np.maximum(a.high, b.high)
    ),
    "minimum": lambda a, b: Grid(
        min(a.step, b.step), np.minimum(a.low, b.low), np.minimum(a.high, b.high)
    ),
}


@rule("concatenate")
def _concatenate(
    operation: Operation, inputs: list[Facts], tensors: list[Tensor]
) -> Outcome:
    grids = [f.grid for f in inputs]
    present = [g for g in grids if g is not None]
    if len(present) < len(grids):
        return derive(inputs, None), None
    step = min(g.step for g in present)
    if operation.attributes["axis"] == len(tensors[0].shape) - 1:
        widths = [t.shape[-1] or 0 for t in tensors]
        pairs = list(zip(present, widths, strict=True))
        low = np.concatenate([np.broadcast_to(g.low, (w,)) for g, w in pairs])
        high = np.concatenate([np.broadcast_to(g.high, (w,)) for g, w in pairs])
    else:
        low = np.minimum.reduce(np.broadcast_arrays(*(g.low for g in present)))
        high = np.maximum.reduce(np.broadcast_arrays(*(g.high for g in present)))
    return derive(inputs, Grid(step, low, high)), None
