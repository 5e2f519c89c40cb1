"""Paddings, permuted axes and poolings by a reciprocal, in integers."""

from __future__ import annotations

import math

import numpy as np

from .graph import Operation
from .integer_operations import step, taps
from .integers import Integers, check_bits, from_float32, signed_bits


@step("zero_padding")
def _zero_padding(operation: Operation, x: Integers) -> tuple[Integers, None]:
    codes = np.pad(x.codes, [(0, 0), *operation.attributes["pads"], (0, 0)])
    low, high = np.minimum(x.low, 0), np.maximum(x.high, 0)
    return Integers(codes, x.exponent, low, high), None


@step("permute")
def _permute(operation: Operation, x: Integers) -> tuple[Integers, None]:
    axes, low, high = operation.attributes["axes"], x.low, x.high
    if axes[-1] != x.codes.ndim - 1:
        low, high = np.asarray(low.min()), np.asarray(high.max())
    return Integers(x.codes.transpose(axes), x.exponent, low, high), None


@step("slice")
def _slice(operation: Operation, x: Integers) -> tuple[Integers, None]:
    a = operation.attributes
    part = slice(a["start"], a["stop"])
    index = [slice(None)] * x.codes.ndim
    index[a["axis"]] = part
    low, high = x.low, x.high
    if low.ndim and a["axis"] == x.codes.ndim - 1:
        low, high = low[part], high[part]
    return Integers(x.codes[tuple(index)], x.exponent, low, high), None


@step("reciprocal_pool2d", "global_reciprocal_pool2d")
def _reciprocal_pool(operation: Operation, x: Integers) -> tuple[Integers, int]:
    a, layer = operation.attributes, operation.layer
    window = a.get("pool_size", x.codes.shape[1:3])
    count = math.prod(int(n) for n in window)
    code, place = from_float32(operation.weights["reciprocal"].value, layer)
    largest = max(abs(int(x.low.min())), abs(int(x.high.max()))) * count
    check_bits(largest * max(1, abs(int(code))), layer)
    if "pool_size" in a:
        sums = sum(v for _, _, v in taps(operation, x.codes, window, 0))
    else:
        sums = x.codes.sum(axis=(1, 2), keepdims=a["keepdims"])
    low, high = x.low * count, x.high * count
    width = signed_bits(np.minimum(low, 0), np.maximum(high, 0))
    ends = np.stack([low * code, high * code])
    bounds = ends.min(axis=0), ends.max(axis=0)
    return Integers(sums * code, x.exponent + place, *bounds), width
