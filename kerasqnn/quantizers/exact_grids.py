"""The grids that given numbers lie on."""

from __future__ import annotations

import math

import numpy as np

from .fixed_point import FixedPoint

_FLOAT64_BITS = 53


def exponent_of_lsb(values: np.ndarray) -> int:
    """Return the exponent of the largest power of two that divides every value."""
    values = np.asarray(values, np.float64).ravel()
    values = values[values != 0]
    if not values.size:
        return 0
    mantissa, exponent = np.frexp(values)
    integers = np.abs(mantissa * 2.0**_FLOAT64_BITS).astype(np.int64)
    trailing = np.log2((integers & -integers).astype(np.float64)).astype(np.int64)
    return int(np.min(exponent - _FLOAT64_BITS + trailing))


def grid_of_values(values: np.ndarray, most_bits: int = 16) -> FixedPoint | None:
    """Return the coarsest power-of-two grid that holds every value.

    For weights whose quantizer is no single grid, such as one with a width an element:
    quantizing the quantized values on this grid changes none of them.

    Args:
        values: The weights, quantized.
        most_bits: Bits that the grid may have, sign included, at most 24.

    Returns:
        The grid, signed; None where it needs more bits.
    """
    step = 2.0 ** exponent_of_lsb(values)
    codes = np.asarray(values, np.float64) / step
    largest = max(np.max(codes, initial=0.0), -np.min(codes, initial=0.0) - 1.0, 1.0)
    bits = int(largest).bit_length() + 1 if np.isfinite(largest) else 64
    integer = round(math.log2(step)) + bits - 1
    if bits > most_bits or abs(integer) > 32:
        return None
    return FixedPoint(bits, integer)
