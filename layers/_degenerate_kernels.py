"""The warning of kernels that a quantizer leaves almost nothing of."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..errors import QuantizationWarning
from ..quantizers import FixedPoint, Quantizer
from ._weights import values_of, weight_of

_SHARE = 0.9
_FEWEST = 32  # weights; of fewer, all may well be small
_ROWS = 2**20  # weights that are looked at, at most


def warn_of_degenerate_kernels(layer: Any) -> None:
    """Warn where more than 90 % of a kernel's codes are zero or saturated.

    Weights that are zero themselves do not count, and nothing is said of fewer than 32
    others. Binary and ternary quantizers have few codes on purpose; quantizers that
    learn adapt. Nothing is said where the weights have no values yet, as in a traced
    function.

    Args:
        layer: A built layer with `quantizer_arguments`.
    """
    for argument in layer.quantizer_arguments:
        quantizer = getattr(layer, argument)
        stem = argument.removesuffix("_quantizer")
        if stem == "bias" or not isinstance(quantizer, Quantizer):
            continue
        values = _rows(values_of(weight_of(layer, argument)))
        if values is None or np.count_nonzero(values) < _FEWEST:
            continue
        grid = quantizer.fixed(values)
        if not isinstance(grid, FixedPoint):
            continue
        zero, saturated = _shares(values, grid)
        if max(zero, saturated) > _SHARE:
            what = "zero" if zero >= saturated else "saturated"
            hint = "smaller" if zero >= saturated else "larger"
            warnings.warn(
                f"{max(zero, saturated):.0%} of the {stem} of layer {layer.name!r} is "
                f"{what} behind its quantizer, {quantizer!r}, whose step is "
                f"{float(np.max(grid.step)):g} while the largest weight is "
                f"{float(np.max(np.abs(values))):.3g}; choose a {hint} `integer` or "
                "scale, or another initializer.",
                QuantizationWarning,
                stacklevel=2,
            )


def _rows(values: np.ndarray | None) -> np.ndarray | None:
    if values is None:
        return None
    return values.reshape(-1, values.shape[-1])[: max(1, _ROWS // values.shape[-1])]


def _shares(values: np.ndarray, grid: FixedPoint) -> tuple[float, float]:
    nonzero = values != 0
    beyond = (values < grid.min - grid.step / 2) | (values > grid.max + grid.step / 2)
    count = np.count_nonzero(nonzero)
    zero = np.count_nonzero(nonzero & (grid.codes(values) == 0)) / count
    return zero, np.count_nonzero(beyond) / count
