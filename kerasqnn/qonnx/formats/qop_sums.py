"""Sums of quantized operators: their bias, and whether float32 holds them."""

from __future__ import annotations

import numpy as np

from ...models.grids import FLOAT32_BITS, Grid
from .qop_units import Unit
from .quantization import Quantization
from .table import refusal


def bias_codes(unit: Unit, x: Quantization, exact: bool) -> np.ndarray | None:
    """Return the bias of a product as integers times x_scale * w_scale, or None.

    Args:
        unit: The product.
        x: Quantizer of the input.
        exact: Refuse a bias that is not on that grid; else it is rounded to it.

    Returns:
        int32, one a channel.

    Raises:
        UnsupportedModelError: If the bias is not on the grid, or has more than 32 bits.
    """
    if unit.bias is None:
        return None
    steps = x.scale.astype(np.float64) * unit.weight.scale
    bias = unit.bias / steps
    off_grid = exact and np.any(bias != np.rint(bias))
    if off_grid or np.max(np.abs(bias)) >= 2**31:
        raise refusal(
            unit.node, "qop", "high-precision output",
            "its bias must be integers of 32 bits times x_scale * w_scale. "
            f"Received: {np.array2string(unit.bias, threshold=4)} with the step "
            f"{np.min(steps):g}", "Quantize the bias with that step.",
        )  # fmt: skip
    return np.rint(bias).astype(np.int32)


def grid_of_sums(
    unit: Unit, bias: np.ndarray | None, x: Quantization, y: Quantization
) -> Grid:
    """Return the grid of a product's sums.

    Args:
        unit: The product.
        bias: Its codes, or None.
        x: Quantizer of the input.
        y: Quantizer of the output.

    Returns:
        Step and bounds.

    Raises:
        UnsupportedModelError: If float32 does not hold all sums, or may round when
            they are scaled.
    """
    steps = x.scale.astype(np.float64) * unit.weight.scale
    factors = steps / y.scale
    scales = np.concatenate([np.ravel(v) for v in (steps, factors, y.scale)])
    normal = (scales > 2.0**-100) & (scales < 2.0**100)
    if not np.all((np.frexp(scales)[0] == 0.5) & normal):
        raise refusal(
            unit.node, "qop", "high-precision output",
            "scales must be powers of two: ONNX Runtime multiplies them in float32, "
            f"and rounds. Received: x_scale * w_scale / y_scale = {np.min(factors):g}",
            "Use powers of two, convert with to=\"qcdq\", or pass exact=False to "
            "accept one step of difference.",
        )  # fmt: skip
    largest = max(abs(x.low - int(x.zero_point)), abs(x.high - int(x.zero_point)))
    others = tuple(i for i in range(unit.codes.ndim) if i != unit.channel_axis)
    sums = largest * np.abs(unit.codes).sum(axis=others)
    sums = sums + (0 if bias is None else np.abs(bias.astype(np.int64)))
    if np.max(sums, initial=0) > 2**FLOAT32_BITS:
        raise refusal(
            unit.node, "qop", "high-precision output",
            "its sums must have at most 24 bits, which float32 holds. "
            f"Received: sums up to {np.max(sums)}",
            "Use fewer bits, or keep the model in QONNX.",
        )  # fmt: skip
    bound = np.max(sums * steps, initial=0.0)
    return Grid(float(np.min(steps)), -bound, bound)
