"""Functions in front of the grid of an activation, in integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import UnsupportedModelError
from ..quantizers.functions import Lookup
from .graph import Operation
from .integer_operations import step
from .integers import (
    BITS,
    Integers,
    aligned,
    check_bits,
    from_float32,
    quantize,
    signed_bits,
)


def _constant(value: float, like: int, layer: str) -> Integers:
    """Return one number; zero with the step of what it is used with."""
    codes, exponent = from_float32(np.asarray(value, np.float32), layer)
    return Integers(codes, exponent if value else like, codes, codes)


def _times(x: Integers, factor: float, layer: str) -> Integers:
    """Return the product with a positive number."""
    codes, exponent = from_float32(np.asarray(factor, np.float32), layer)
    largest = max(abs(int(x.low.min())), abs(int(x.high.max())))
    check_bits(largest * int(codes), layer)
    products = (v * codes for v in (x.codes, x.low, x.high))
    scaled, low, high = products
    return Integers(scaled, x.exponent + exponent, low, high)


def _each(function: Callable[..., Any], *tensors: Integers) -> Integers:
    """Return a function, which keeps the order, of tensors of one step."""
    return Integers(
        function(*(t.codes for t in tensors)),
        tensors[0].exponent,
        np.asarray(function(*(t.low for t in tensors))),
        np.asarray(function(*(t.high for t in tensors))),
    )


@step("clipped_linear")
def _clipped_linear(operation: Operation, x: Integers) -> tuple[Integers, None]:
    function, layer = operation.attributes["function"], operation.layer
    y = _times(x, function.slope, layer)
    steps = ((function.offset or None, np.add), (function.high, np.minimum),
             (function.low, np.maximum))  # fmt: skip
    for value, combine in steps:
        if value is not None:
            pair = aligned([y, _constant(value, y.exponent, layer)], layer)
            y = _each(combine, *pair)
            check_bits(max(-int(y.low.min()), int(y.high.max())), layer)
    return y, None


@step("leaky_relu")
def _leaky_relu(operation: Operation, x: Integers) -> tuple[Integers, None]:
    layer = operation.layer
    below = _times(x, operation.attributes["function"].slope, layer)
    pair = aligned([x, below], layer)
    return _each(lambda a, b: np.where(a > 0, a, b), *pair), None


@step("step_function")
def _step_function(operation: Operation, x: Integers) -> tuple[Integers, None]:
    function, layer = operation.attributes["function"], operation.layer
    levels = np.asarray(function.levels, np.float32)
    thresholds = np.asarray(function.thresholds, np.float32)
    if not (np.all(np.isfinite(levels)) and np.all(np.isfinite(thresholds))):
        raise UnsupportedModelError(
            f"Layer {layer!r} has infinite levels or thresholds.", layer=layer
        )
    # x >= t where the code is at least the next integer above t.
    places = [-(-Fraction(float(t)) // Fraction(2) ** x.exponent) for t in thresholds]
    edges = np.asarray([min(max(p, -(2**BITS)), 2**BITS) for p in places], np.int64)
    codes, exponent = from_float32(levels, layer)
    low, high = np.asarray(codes.min()), np.asarray(codes.max())
    found = np.searchsorted(edges, x.codes, side="right")
    return Integers(codes[found], exponent, low, high), None


def _looked_up(x: Integers, table: Lookup, layer: str) -> Integers:
    """Return the levels of numbers on a table's grid."""
    codes, exponent = from_float32(np.asarray(table.levels, np.float32), layer)
    x = x.at(round(math.log2(table.step)), layer)
    first, last = int(x.low.min()) - table.first, int(x.high.max()) - table.first
    reached = codes[first : last + 1]
    low, high = np.asarray(reached.min()), np.asarray(reached.max())
    return Integers(codes[x.codes - table.first], exponent, low, high)


@step("lookup")
def _lookup(operation: Operation, x: Integers) -> tuple[Integers, None]:
    return _looked_up(x, operation.attributes["function"], operation.layer), None


@step("table_softmax")
def _table_softmax(operation: Operation, x: Integers) -> tuple[Integers, int]:
    function, layer = operation.attributes["function"], operation.layer
    reach = np.asarray(x.high.max() - x.low.min())
    largest = x.codes.max(axis=-1, keepdims=True)
    distances = Integers(largest - x.codes, x.exponent, np.zeros_like(reach), reach)
    distances = quantize(distances, function.difference, layer)
    powers = _looked_up(distances, function.exp_table, layer)
    highest = powers.high * x.codes.shape[-1]
    check_bits(int(highest), layer)
    # The exponential of no distance is among them, so that no sum is smaller.
    sums = Integers(
        powers.codes.sum(axis=-1, keepdims=True), powers.exponent, powers.high, highest
    )
    inverses = _looked_up(
        quantize(sums, function.sum, layer), function.inverse_table, layer
    )
    y = Integers(
        powers.codes * inverses.codes,
        powers.exponent + inverses.exponent,
        powers.low * inverses.low,
        powers.high * inverses.high,
    )
    return y, signed_bits(0, highest)
