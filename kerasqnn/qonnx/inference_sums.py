"""What weighted sums can hold, and whether they are exact in any order."""

from __future__ import annotations

import math

import numpy as np

from .inference_rules import UNKNOWN, Node, Values, fits_float32, rule, values_of


@rule("MatMul")
def _matmul(node: Node) -> Values:
    left, right = node.array(0), node.array(1)
    if right is not None and right.ndim >= 1:
        return _weighted_sum(node.inputs[0], np.moveaxis(right, -2, 0)
                             if right.ndim > 1 else right[:, None])  # fmt: skip
    if left is not None and left.ndim >= 1:
        return _weighted_sum(node.inputs[1], np.moveaxis(left, -1, 0))
    return UNKNOWN


@rule("Gemm")
def _gemm(node: Node) -> Values:
    given = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | node.attributes
    weights = node.array(1)
    plain = given["alpha"] == 1.0 and given["beta"] == 1.0
    if weights is None or weights.ndim != 2 or not plain:
        return UNKNOWN
    offset = node.inputs[2] if node.has(2) else None
    return _weighted_sum(
        node.inputs[0], weights.T if given["transB"] else weights, offset
    )


@rule("Conv")
def _conv(node: Node) -> Values:
    weights = node.array(1)
    if weights is None or weights.ndim < 3 or not weights.size:
        return UNKNOWN
    offset = node.inputs[2] if node.has(2) else None
    summed = weights.reshape(len(weights), -1).T
    return _weighted_sum(_with_zero(node.inputs[0]), summed, offset)


@rule("ConvTranspose")
def _conv_transpose(node: Node) -> Values:
    weights = node.array(1)
    if weights is None or weights.ndim < 3 or not weights.size:
        return UNKNOWN
    offset = node.inputs[2] if node.has(2) else None
    summed = np.moveaxis(weights, 1, -1).reshape(-1, weights.shape[1])
    return _weighted_sum(_with_zero(node.inputs[0]), summed, offset)


def _with_zero(x: Values) -> Values:
    """Values of a tensor around which zeros are padded."""
    return Values(x.step, min(x.low, 0.0), max(x.high, 0.0))


def _weighted_sum(
    x: Values, weights: np.ndarray, offset: Values | None = None
) -> Values:
    """Values of sums over the first axis of the weights times x, plus an offset.

    Unknown where a partial sum, in some order, may not be exact in float32.
    """
    kernel = values_of(weights)
    if x.step is None or kernel.step is None or not math.isfinite(x.reach):
        return UNKNOWN
    offset = offset or Values(kernel.step * x.step, 0.0, 0.0)
    if offset.step is None:
        return UNKNOWN
    step = min(kernel.step * x.step, offset.step)
    absolute = np.abs(weights).sum(axis=0)
    reach = float(np.max(absolute, initial=0.0)) * x.reach + offset.reach
    if not fits_float32(reach, step):
        return UNKNOWN
    positive, negative = np.maximum(weights, 0), np.minimum(weights, 0)
    low = (positive * x.low + negative * x.high).sum(axis=0)
    high = (positive * x.high + negative * x.low).sum(axis=0)
    return Values(
        step,
        float(np.min(low, initial=np.inf if low.size else 0.0)) + offset.low,
        float(np.max(high, initial=-np.inf if high.size else 0.0)) + offset.high,
    )
