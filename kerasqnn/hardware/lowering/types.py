"""The fixed-point type of every number in the hardware, from what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...models import Grid
from ...models.grids import exponent_of_lsb
from ...quantizers import FixedPoint

# QONNX rounding mode -> ap_fixed rounding mode.
ROUNDING = {
    "ROUND": "RND_CONV",
    "FLOOR": "TRN",
    "DOWN": "TRN_ZERO",
    "HALF_UP": "RND_INF",
    "HALF_DOWN": "RND_ZERO",
}


@dataclass(frozen=True)
class FixedType:
    """`ap_[u]fixed<width, integer, rounding, overflow>`; prints as hls4ml writes it.

    Attributes:
        signed: Whether there are negative numbers.
        width: Bits, sign included.
        integer: Bits before the binary point, sign included; may be negative.
        rounding: ap_fixed rounding mode.
        overflow: ap_fixed overflow mode.
    """

    signed: bool
    width: int
    integer: int
    rounding: str = "TRN"
    overflow: str = "WRAP"

    @property
    def fractional(self) -> int:
        """Bits behind the binary point; may be negative."""
        return self.width - self.integer

    def reaches(self, other: FixedType) -> bool:
        """Whether the largest number here is not below the step of `other`.

        Where it is, ap_fixed reads a bit that does not exist when it rounds.
        """
        return self.integer >= -other.fractional

    def widened_to(self, other: FixedType) -> FixedType:
        """Return a type of the same numbers, and more, that reaches `other`."""
        more = max(0, -other.fractional - self.integer)
        return FixedType(self.signed, self.width + more, self.integer + more)

    def __str__(self) -> str:
        numbers = f"{self.width},{self.integer},{self.rounding},{self.overflow},0"
        return f"{'' if self.signed else 'u'}fixed<{numbers}>"


def type_of_range(step: float, low: float, high: float) -> FixedType:
    """Return the narrowest type with all multiples of `step` from `low` to `high`.

    Args:
        step: A power of two.
        low: Smallest number.
        high: Largest number.
    """
    signed = low < 0
    codes = int(high / step), -int(low / step) - 1
    width = max(max(c, 0).bit_length() for c in codes) + signed
    width = max(width, 1)
    return FixedType(signed, width, width + round(np.log2(step)))


def type_of_grid(grid: Grid) -> FixedType:
    """Return the narrowest type that holds every number of a grid."""
    return type_of_range(grid.step, float(grid.low.min()), float(grid.high.max()))


def type_of_values(values: np.ndarray) -> FixedType:
    """Return the narrowest type that holds the given numbers."""
    step = 2.0 ** exponent_of_lsb(values)
    return type_of_range(step, float(values.min()), float(values.max()))


def type_of_quantizer(quantizer: FixedPoint, step: float) -> FixedType:
    """Return the type whose assignment rounds and saturates as a quantizer does.

    Args:
        quantizer: Gives bits, sign, rounding and overflow.
        step: The step that rounding leads to.
    """
    fractional = -round(np.log2(step))
    return FixedType(
        quantizer.signed,
        quantizer.bits,
        quantizer.bits - fractional,
        ROUNDING[quantizer.rounding],
        quantizer.overflow,
    )


def accumulator_type(
    kernel: np.ndarray, bias: np.ndarray, grid: Grid, result: Grid
) -> FixedType:
    """Return the type of the partial sums of a dense layer or a convolution.

    Args:
        kernel: Its kernel, float64; every output sees every channel.
        bias: Its bias, float64.
        grid: Its input.
        result: Its output.
    """
    channels = np.ones(kernel.shape[-2])[:, np.newaxis]
    ends = (
        kernel * (grid.low.reshape(-1, 1) * channels),
        kernel * (grid.high.reshape(-1, 1) * channels),
    )
    axes = tuple(range(kernel.ndim - 1))
    # Products may come in any order, and padding puts zeros among them.
    low = np.sum(np.minimum(np.minimum(*ends), 0.0), axis=axes)
    high = np.sum(np.maximum(np.maximum(*ends), 0.0), axis=axes)
    low, high = low + np.minimum(bias, 0.0), high + np.maximum(bias, 0.0)
    return type_of_range(result.step, float(low.min()), float(high.max()))


def average_accumulator_type(count: int, grid: Grid, result: Grid) -> FixedType:
    """Return the type of the sum of `count` numbers, with the bits of its quotient."""
    low, high = float(grid.low.min()) * count, float(grid.high.max()) * count
    return type_of_range(result.step, min(low, 0.0), max(high, 0.0))


def weight_types(**values: Any) -> dict[str, FixedType]:
    """Return the narrowest type of each array."""
    return {name: type_of_values(array) for name, array in values.items()}
