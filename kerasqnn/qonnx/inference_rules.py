"""How each standard operator changes which numbers a tensor can hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto

from ..models.grids import FLOAT32_BITS, Grid, exponent_of_lsb
from .operators import attributes_of, may_pool_padding

_SMALLEST_STEP = 2.0**-126


class Values(NamedTuple):
    """Bounds of the numbers in a tensor, and their common step.

    Attributes:
        step: Power of two that divides every value, or None if none is known.
        low: Smallest value.
        high: Largest value.
    """

    step: float | None
    low: float
    high: float

    @property
    def reach(self) -> float:
        """Largest absolute value."""
        return max(abs(self.low), abs(self.high))

    @property
    def grid(self) -> Grid | None:
        """The grid, or None where no step is known."""
        if self.step is None:
            return None
        return Grid(self.step, np.asarray(self.low), np.asarray(self.high))

    def in_float32(self) -> Values:
        """Return what is known of these numbers once they are rounded to float32."""
        if self.step is not None and fits_float32(self.reach, self.step):
            return self
        with np.errstate(over="ignore"):
            low, high = (float(np.float32(b)) for b in (self.low, self.high))
        return Values(None, low, high)


UNKNOWN = Values(None, -math.inf, math.inf)
_BOOLEAN = Values(1.0, 0.0, 1.0)


def fits_float32(reach: float, step: float) -> bool:
    """Whether float32 holds every multiple of a step up to a magnitude."""
    return step >= _SMALLEST_STEP and reach <= step * 2.0**FLOAT32_BITS


def values_of(array: np.ndarray) -> Values:
    """Return step and bounds of the numbers in an array."""
    if array.dtype.kind not in "fiub" or not array.size:
        return UNKNOWN if array.size else Values(1.0, 0.0, 0.0)
    numbers = array.astype(np.float64)
    if not np.all(np.isfinite(numbers)):
        return UNKNOWN
    step = 2.0 ** exponent_of_lsb(numbers)
    return Values(step, float(numbers.min()), float(numbers.max()))


@dataclass(frozen=True)
class Node:
    """A node with what is known of its inputs.

    Attributes:
        proto: The node.
        inputs: Values of each input.
        arrays: The constant inputs, None for the others.
    """

    proto: NodeProto
    inputs: list[Values]
    arrays: list[np.ndarray | None]

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The attributes by name."""
        return attributes_of(self.proto)

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.inputs) and bool(self.proto.input[index])

    def array(self, index: int) -> np.ndarray | None:
        """Return a constant input in float64, None if it is computed or missing."""
        value = self.arrays[index] if self.has(index) else None
        return None if value is None else value.astype(np.float64)


Rule = Callable[[Node], Values]
RULES: dict[str, Rule] = {}


def rule(*op_types: str) -> Callable[[Rule], Rule]:
    """Register the rule of some operators."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(op_types, rule))
        return rule

    return register


def _steps(*values: Values) -> float | None:
    steps = [v.step for v in values]
    return None if None in steps else min(s for s in steps if s is not None)


def _union(*values: Values) -> Values:
    lows, highs = [v.low for v in values], [v.high for v in values]
    return Values(_steps(*values), min(lows), max(highs))


@rule(
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice",
    "Split", "Gather", "GatherElements", "GatherND", "Expand", "Tile", "Dropout",
    "GlobalMaxPool", "ReduceMax", "ReduceMin", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
def _keep(node: Node) -> Values:
    return node.inputs[0]


@rule("MaxPool")
def _max_pool(node: Node) -> Values:
    x = node.inputs[0]
    return Values(None, -math.inf, x.high) if may_pool_padding(node.attributes) else x


@rule("Concat")
def _concat(node: Node) -> Values:
    return _union(*node.inputs)


@rule("Where")
def _where(node: Node) -> Values:
    return _union(*node.inputs[1:])


@rule("Pad")
def _pad(node: Node) -> Values:
    if node.attributes.get("mode", "constant") != "constant":
        return node.inputs[0]
    padding = node.inputs[2] if node.has(2) else Values(1.0, 0.0, 0.0)
    return _union(node.inputs[0], padding)


@rule(
    "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or",
    "IsNaN", "IsInf",
)  # fmt: skip
def _boolean(_: Node) -> Values:
    return _BOOLEAN


@rule("Relu")
def _relu(node: Node) -> Values:
    (x,) = node.inputs
    return Values(x.step, max(x.low, 0.0), max(x.high, 0.0))


@rule("Neg")
def _neg(node: Node) -> Values:
    (x,) = node.inputs
    return Values(x.step, -x.high, -x.low)


@rule("Abs")
def _abs(node: Node) -> Values:
    (x,) = node.inputs
    return Values(x.step, max(x.low, -x.high, 0.0), x.reach)


@rule("Sign")
def _sign(node: Node) -> Values:
    (x,) = node.inputs
    return Values(1.0, float(np.sign(x.low)), float(np.sign(x.high)))


@rule("Clip")
def _clip(node: Node) -> Values:
    x = node.inputs[0]
    for index, highest in ((1, False), (2, True)):
        if node.has(index):
            x = _bounded(x, node.inputs[index], highest)
    return x


@rule("Min")
def _minimum(node: Node) -> Values:
    first, *others = node.inputs
    for other in others:
        first = _bounded(first, other, True)
    return first


@rule("Max")
def _maximum(node: Node) -> Values:
    first, *others = node.inputs
    for other in others:
        first = _bounded(first, other, False)
    return first


def _bounded(x: Values, bound: Values, highest: bool) -> Values:
    """Values of the smaller (`highest`) or larger one of two numbers."""
    choose = min if highest else max
    never = x.high <= bound.low if highest else x.low >= bound.high
    step = x.step if never else _steps(x, bound)
    return Values(step, choose(x.low, bound.low), choose(x.high, bound.high))


@rule("Round", "Floor", "Ceil")
def _round(node: Node) -> Values:
    (x,) = node.inputs
    to_integer = {"Round": np.rint, "Floor": np.floor, "Ceil": np.ceil}
    function = to_integer[node.proto.op_type]
    # Infinite bounds mean that the numbers may be infinite: no integers.
    step = max(1.0, x.step or 1.0) if math.isfinite(x.reach) else None
    return Values(step, float(function(x.low)), float(function(x.high)))


@rule("Cast")
def _cast(node: Node) -> Values:
    (x,) = node.inputs
    target = node.attributes["to"]
    if target in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return x
    if target in (TensorProto.INT64, TensorProto.INT32) and x.reach < 2**31:
        return Values(max(1.0, x.step or 1.0), math.trunc(x.low), math.trunc(x.high))
    return _BOOLEAN if target == TensorProto.BOOL else UNKNOWN


@rule("Add", "Sum")
def _add(node: Node) -> Values:
    step = _steps(*node.inputs)
    low, high = sum(v.low for v in node.inputs), sum(v.high for v in node.inputs)
    if step is not None and not fits_float32(sum(v.reach for v in node.inputs), step):
        return UNKNOWN if len(node.inputs) > 2 else Values(None, low, high)
    return Values(step, low, high)


@rule("Sub")
def _sub(node: Node) -> Values:
    x, y = node.inputs
    return Values(_steps(x, y), x.low - y.high, x.high - y.low)


@rule("Mul")
def _mul(node: Node) -> Values:
    return _product(*node.inputs)


def _product(x: Values, y: Values) -> Values:
    corners = [a * b for a in (x.low, x.high) for b in (y.low, y.high)]
    if any(math.isnan(c) for c in corners):
        return UNKNOWN
    step = None if x.step is None or y.step is None else x.step * y.step
    return Values(step, min(corners), max(corners))


@rule("Div")
def _div(node: Node) -> Values:
    divisor = node.array(1)
    if divisor is None or np.any(divisor == 0):
        return UNKNOWN
    inverse = 1 / divisor
    quotient = _product(node.inputs[0], values_of(inverse))
    mantissa, _ = np.frexp(divisor)
    exact = bool(np.all(np.abs(mantissa) == 0.5))
    return quotient if exact else quotient._replace(step=None)


@rule("QuantizeLinear")
def _quantize_linear(node: Node) -> Values:
    zero_point = node.arrays[2] if node.has(2) else np.uint8(0)
    if zero_point is None or zero_point.dtype.kind not in "iu":
        return UNKNOWN
    info = np.iinfo(zero_point.dtype)
    return Values(1.0, float(info.min), float(info.max))


@rule("DequantizeLinear")
def _dequantize_linear(node: Node) -> Values:
    zero = values_of(np.zeros(1)) if not node.has(2) else node.inputs[2]
    codes = node.inputs[0]
    shifted = Values(_steps(codes, zero), codes.low - zero.high, codes.high - zero.low)
    return _product(shifted, node.inputs[1])
