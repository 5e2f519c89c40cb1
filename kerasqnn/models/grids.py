"""Grids: the numbers that a tensor can hold, and what is known of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..quantizers import FixedPoint

FLOAT32_BITS = 24
FLOAT64_BITS = 53


@dataclass(frozen=True)
class Grid:
    """Multiples of `step` from `low` to `high`.

    Attributes:
        step: A power of two.
        low: Smallest value, float64, shape `()` or `(channels,)` along the last axis.
        high: Largest value, with the shape of `low`.
    """

    step: float
    low: np.ndarray
    high: np.ndarray

    @property
    def magnitude(self) -> np.ndarray:
        """Largest absolute value, with the shape of `low`."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def bits(self) -> int:
        """Bits of the codes, without a sign bit."""
        return bits_needed(self.magnitude, self.step)


@dataclass(frozen=True)
class Facts:
    """What is known of one tensor.

    Attributes:
        grid: The grid of its exact values, or None where there is no usable grid.
        reproducible: Whether every float32 tool computes the same bits.
        faithful: Whether these bits are the exact values on the grid.
        reason: Where and why `reproducible` was lost first, else the empty string.
        blame: Name of the operation where that happened, or None.
    """

    grid: Grid | None
    reproducible: bool = True
    faithful: bool = True
    reason: str = ""
    blame: str | None = None


def exponent_of_lsb(values: np.ndarray) -> int:
    """Return the exponent of the largest power of two that divides every value."""
    values = np.asarray(values, np.float64).ravel()
    values = values[values != 0]
    if not values.size:
        return 0
    mantissa, exponent = np.frexp(values)
    integers = np.abs(mantissa * 2.0**FLOAT64_BITS).astype(np.int64)
    trailing = np.log2((integers & -integers).astype(np.float64)).astype(np.int64)
    return int(np.min(exponent - FLOAT64_BITS + trailing))


def bits_needed(magnitude: Any, step: float) -> int:
    """Return the bits, without a sign bit, of the largest magnitude over `step`."""
    largest = float(np.max(magnitude, initial=0.0)) / step
    return max(1, math.ceil(math.log2(largest))) if largest > 1 else 1


def grid_of_values(values: np.ndarray) -> FixedPoint | None:
    """Return the coarsest power-of-two grid that holds every value.

    For weights whose quantizer is no single grid, such as one with a width an element:
    quantizing the quantized values on this grid changes none of them.

    Returns:
        The grid, signed; None where it needs more than 16 bits.
    """
    step = 2.0 ** exponent_of_lsb(values)
    codes = np.asarray(values, np.float64) / step
    largest = max(np.max(codes, initial=0.0), -np.min(codes, initial=0.0) - 1.0, 1.0)
    bits = int(largest).bit_length() + 1 if np.isfinite(largest) else 64
    integer = round(math.log2(step)) + bits - 1
    if bits > 16 or abs(integer) > 32:
        return None
    return FixedPoint(bits, integer)


Outcome = tuple[Facts, int | None]
