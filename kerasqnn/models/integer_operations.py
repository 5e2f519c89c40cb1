"""Each kind of operation in integers: the result, and the accumulator it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import UnsupportedModelError
from .graph import Operation
from .integers import (
    Integers,
    aligned,
    check_bits,
    from_float32,
    quantize,
    signed_bits,
)
from .windows import is_padded, padding_of

Step = Callable[..., tuple[Integers, int | None]]
STEPS: dict[str, Step] = {}


def step(*kinds: str) -> Callable[[Step], Step]:
    """Register what computes these kinds of operations."""

    def register(function: Step) -> Step:
        STEPS.update(dict.fromkeys(kinds, function))
        return function

    return register


@step("quantize")
def _quantize(operation: Operation, x: Integers) -> tuple[Integers, None]:
    return quantize(x, operation.attributes["quantizer"], operation.layer), None


# -- weighted sums -----------------------------------------------------------------


@step("dense", "conv2d")
def _weighted_sum(operation: Operation, x: Integers) -> tuple[Integers, int]:
    layer = operation.layer
    kernel, exponent = from_float32(operation.weights["kernel"].value, layer)
    groups = operation.attributes.get("groups", 1)
    padded = is_padded(operation, x.codes.shape[1:3], kernel.shape[:2])
    low, high, ends = _bounds(kernel, x, groups, padded, layer)
    sums = Integers(np.zeros(0, np.int64), exponent + x.exponent, low, high)
    none = np.zeros((), np.int64)
    bias = Integers(none, sums.exponent, none, none)
    if "bias" in operation.weights:
        codes, place = from_float32(operation.weights["bias"].value, layer)
        if np.any(codes):
            bias = Integers(codes, place, codes, codes)
    partial = Integers(sums.codes, sums.exponent, *ends)
    sums, partial, bias = aligned([sums, partial, bias], layer)
    lowest = partial.low + np.minimum(bias.low, 0)
    highest = partial.high + np.maximum(bias.high, 0)
    check_bits(max(-int(lowest.min()), int(highest.max())), layer)
    run = _convolve if operation.kind == "conv2d" else _matmul
    codes = run(operation, x.codes, kernel)
    shifted = codes << (exponent + x.exponent - sums.exponent)
    out = Integers(
        shifted + bias.codes, sums.exponent, sums.low + bias.low, sums.high + bias.high
    )
    return out, signed_bits(lowest, highest)


def _bounds(
    kernel: np.ndarray, x: Integers, groups: int, padded: bool, layer: str
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return the range of the sums by output, and that of all partial sums."""
    channels, outputs = kernel.shape[-2], kernel.shape[-1]
    weights = kernel.reshape(-1, channels, groups, outputs // groups)
    shape = (1, groups, channels)
    low = np.broadcast_to(x.low, (groups * channels,)).reshape(shape)
    high = np.broadcast_to(x.high, (groups * channels,)).reshape(shape)
    low, high = (np.swapaxes(b, 1, 2)[..., None] for b in (low, high))
    reach = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
    estimate = np.sum(np.abs(weights.astype(np.float64)) * reach, axis=(0, 1))
    check_bits(float(np.max(estimate)) * 1.001, layer)
    ends = weights * low, weights * high
    smallest, largest = np.minimum(*ends), np.maximum(*ends)
    partial = np.minimum(smallest, 0), np.maximum(largest, 0)
    totals = partial if padded else (smallest, largest)
    lowest, highest = (t.sum(axis=(0, 1)).reshape(-1) for t in totals)
    return lowest, highest, (
        partial[0].sum(axis=(0, 1)).reshape(-1),
        partial[1].sum(axis=(0, 1)).reshape(-1),
    )  # fmt: skip


def _matmul(operation: Operation, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.matmul(x, kernel)


def _convolve(operation: Operation, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the convolution as a sum over the taps of the kernel."""
    groups = operation.attributes["groups"]
    total: Any = 0
    for row, column, window in taps(operation, x, kernel.shape[:2], 0):
        parts = [
            np.matmul(inputs, weights)
            for inputs, weights in zip(
                np.split(window, groups, axis=-1),
                np.split(kernel[row, column], groups, axis=-1),
                strict=True,
            )
        ]
        total = total + np.concatenate(parts, axis=-1)
    return total


def taps(
    operation: Operation, x: np.ndarray, window: tuple[int, ...], fill: int
) -> Any:
    """Yield row, column and what each position of a window sees."""
    a = operation.attributes
    strides, dilation = a["strides"], a.get("dilation", (1, 1))
    pads = [(0, 0), (0, 0)]
    if a["padding"] != "valid":
        pads = padding_of(operation, x.shape[1:3], window)
    x = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    sizes = [
        (x.shape[1 + i] - (window[i] - 1) * dilation[i] - 1) // strides[i] + 1
        for i in (0, 1)
    ]
    for row in range(window[0]):
        for column in range(window[1]):
            top, left = row * dilation[0], column * dilation[1]
            bottom = top + (sizes[0] - 1) * strides[0] + 1
            right = left + (sizes[1] - 1) * strides[1] + 1
            view = x[:, top : bottom : strides[0], left : right : strides[1], :]
            yield row, column, view


@step("scale_offset")
def _scale_offset(operation: Operation, x: Integers) -> tuple[Integers, int]:
    layer, axis = operation.layer, operation.attributes["axis"]
    scale, scale_place = from_float32(operation.weights["scale"].value, layer)
    offset, place = from_float32(operation.weights["offset"].value, layer)
    last = axis == x.codes.ndim - 1
    low, high = (x.low, x.high) if last else (x.low.min(), x.high.max())
    reach = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
    check_bits(float(np.max(reach * np.abs(scale))) * 1.001, layer)
    ends = np.stack([low * scale, high * scale])
    shape = [1] * x.codes.ndim
    shape[axis] = -1
    exponent = x.exponent + scale_place
    scaled = Integers(
        x.codes * scale.reshape(shape), exponent, ends.min(axis=0), ends.max(axis=0)
    )
    added = Integers(offset.reshape(shape), place if np.any(offset) else exponent,
                     offset, offset)  # fmt: skip
    scaled, added = aligned([scaled, added], layer)
    low, high = scaled.low + added.low, scaled.high + added.high
    check_bits(max(-int(low.min()), int(high.max())), layer)
    width = signed_bits(
        np.minimum(low, np.minimum(scaled.low, added.low)),
        np.maximum(high, np.maximum(scaled.high, added.high)),
    )
    if not last:
        low, high = np.asarray(low.min()), np.asarray(high.max())
    return Integers(scaled.codes + added.codes, scaled.exponent, low, high), width


# -- the rest ----------------------------------------------------------------------


@step("noise")
def _same(operation: Operation, x: Integers) -> tuple[Integers, None]:
    return x, None


@step("relu")
def _relu(operation: Operation, x: Integers) -> tuple[Integers, None]:
    parts = (np.maximum(v, 0) for v in (x.codes, x.low, x.high))
    codes, low, high = parts
    return Integers(codes, x.exponent, low, high), None


@step("max_pool2d")
def _max_pool(operation: Operation, x: Integers) -> tuple[Integers, None]:
    window = operation.attributes["pool_size"]
    lowest = int(x.codes.min(initial=0))
    views = [v for _, _, v in taps(operation, x.codes, window, lowest)]
    return Integers(np.maximum.reduce(views), x.exponent, x.low, x.high), None


@step("global_max_pool2d")
def _global_max(operation: Operation, x: Integers) -> tuple[Integers, None]:
    keep = operation.attributes["keepdims"]
    codes = x.codes.max(axis=(1, 2), keepdims=keep)
    return Integers(codes, x.exponent, x.low, x.high), None


@step("average_pool2d", "global_average_pool2d")
def _average(operation: Operation, x: Integers) -> tuple[Integers, int]:
    a, layer = operation.attributes, operation.layer
    whole = operation.kind == "global_average_pool2d"
    window = x.codes.shape[1:3] if whole else a["pool_size"]
    count = int(window[0]) * int(window[1])
    if count & (count - 1) or is_padded(operation, x.codes.shape[1:3], window):
        raise UnsupportedModelError(
            f"Layer {layer!r} averages {count} values, and only a power of two without "
            "padding divides exactly; choose such a pool size.",
            layer=layer,
        )
    largest = max(abs(int(x.low.min())), abs(int(x.high.max()))) * count
    check_bits(largest, layer)
    if whole:
        codes = x.codes.sum(axis=(1, 2), keepdims=a["keepdims"])
    else:
        codes = sum(v for _, _, v in taps(operation, x.codes, window, 0))
    low, high = x.low * count, x.high * count
    exponent = x.exponent - (count.bit_length() - 1)
    width = signed_bits(np.minimum(low, 0), np.maximum(high, 0))
    return Integers(codes, exponent, low, high), width


@step("reshape")
def _reshape(operation: Operation, x: Integers) -> tuple[Integers, None]:
    shape = (len(x.codes), *(d or -1 for d in operation.attributes["target_shape"]))
    codes = x.codes.reshape(shape)
    channels, last = x.low.size if x.low.ndim else 1, codes.shape[-1]
    if x.low.ndim and last % channels == 0:
        low, high = (np.tile(b, last // channels) for b in (x.low, x.high))
    else:
        low, high = np.asarray(x.low.min()), np.asarray(x.high.max())
    return Integers(codes, x.exponent, low, high), None


_MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
}


@step(*_MERGES)
def _merge(operation: Operation, *tensors: Integers) -> tuple[Integers, int | None]:
    total, width = tensors[0], 1
    for other in tensors[1:]:
        total = _merge_two(operation, total, other)
        width = max(width, signed_bits(total.low, total.high))
    return total, None if operation.kind in ("maximum", "minimum") else width


def _merge_two(operation: Operation, a: Integers, b: Integers) -> Integers:
    merge, layer = _MERGES[operation.kind], operation.layer
    exponent = a.exponent + b.exponent
    if operation.kind != "multiply":
        a, b = aligned([a, b], layer)
        exponent = a.exponent
    # Python's own integers, which have no width.
    corners = [
        merge(p.astype(object), q.astype(object))
        for p in (a.low, a.high)
        for q in (b.low, b.high)
    ]
    low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)
    check_bits(max(-int(np.min(low)), int(np.max(high))), layer)
    codes = merge(a.codes, b.codes)
    # The last axis of one may be a single number, repeated.
    shape = codes.shape[-1:] if np.ndim(low) else ()
    bounds = (np.broadcast_to(np.asarray(v, np.int64), shape) for v in (low, high))
    return Integers(codes, exponent, *bounds)


@step("concatenate")
def _concatenate(operation: Operation, *given: Integers) -> tuple[Integers, None]:
    axis = operation.attributes["axis"]
    tensors = aligned(list(given), operation.layer)
    codes = np.concatenate([t.codes for t in tensors], axis=axis)
    if axis == codes.ndim - 1:
        shapes = [t.codes.shape[-1:] for t in tensors]
        pairs = list(zip(tensors, shapes, strict=True))
        low = np.concatenate([np.broadcast_to(t.low, s) for t, s in pairs])
        high = np.concatenate([np.broadcast_to(t.high, s) for t, s in pairs])
    else:
        low = np.minimum.reduce(np.broadcast_arrays(*(t.low for t in tensors)))
        high = np.maximum.reduce(np.broadcast_arrays(*(t.high for t in tensors)))
    return Integers(codes, tensors[0].exponent, low, high), None
