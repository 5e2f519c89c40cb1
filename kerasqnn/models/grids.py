"""Grids: the numbers that a tensor can hold, and what is known of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..quantizers.exact_grids import exponent_of_lsb as exponent_of_lsb

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


def bits_needed(magnitude: Any, step: float) -> int:
    """Return the bits, without a sign bit, of the largest magnitude over `step`."""
    largest = float(np.max(magnitude, initial=0.0)) / step
    return max(1, math.ceil(math.log2(largest))) if largest > 1 else 1


Outcome = tuple[Facts, int | None]
