"""The quantizers once more, in exact rational arithmetic with explicit roundings."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

TINY = Fraction(1, 2**126)


def float32(value: Fraction) -> Fraction:
    """Return the nearest number of 24 significant bits, ties to even.

    The exponent is unbounded, so that nothing overflows or underflows.
    """
    if value == 0:
        return value
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    return round(value / unit) * unit


def _signed(value: Fraction, rounded: int) -> int:
    return rounded if value >= 0 else -rounded


_HALF = Fraction(1, 2)
ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "ROUND": round,  # Python rounds a Fraction half to even
    "FLOOR": math.floor,
    "CEIL": math.ceil,
    "UP": lambda c: _signed(c, math.ceil(abs(c))),
    "DOWN": math.trunc,
    # These two add or subtract 1/2 in float32 first, as QONNX's reference does.
    "HALF_UP": lambda c: _signed(c, math.floor(float32(abs(c) + _HALF))),
    "HALF_DOWN": lambda c: _signed(c, math.ceil(float32(abs(c) - _HALF))),
}


def single(value: Any) -> Fraction:
    """Return a Python or numpy number as float32 holds it; denormals are zero."""
    number = Fraction(float(np.float32(value)))
    return Fraction(0) if abs(number) < TINY else number


def grid(
    bits: int, integer: int = 0, *, signed: bool = True, scale: float = 1.0
) -> Fraction:
    """Return the step on which a FixedPoint rounds."""
    return float32(single(scale) * Fraction(2) ** (integer - bits + signed))


def code_range(bits: int, signed: bool, overflow: str) -> tuple[int, int]:
    """Return the smallest and largest code."""
    if not signed:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)) + (overflow == "SAT_SYM"), 2 ** (bits - 1) - 1


def fixed_point(
    x: Any,
    bits: int,
    integer: int = 0,
    *,
    signed: bool = True,
    rounding: str = "ROUND",
    overflow: str = "SAT",
    scale: float = 1.0,
    alpha: float = 1.0,
) -> tuple[float, int]:
    """Return the value and the code that FixedPoint with these arguments gives."""
    step = grid(bits, integer, signed=signed, scale=scale)
    low, high = code_range(bits, signed, overflow)
    code = float32(single(x) / step)
    if overflow == "WRAP":
        rounded = (ROUNDINGS[rounding](code) - low) % 2**bits + low
    else:
        rounded = ROUNDINGS[rounding](min(max(code, Fraction(low)), Fraction(high)))
    value = float32(float32(rounded * step) * single(alpha))
    return float(value), rounded


def quantize(x: np.ndarray, **arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    """Apply `fixed_point` to finite numbers; return the values and the codes."""
    values, codes = zip(*(fixed_point(v, **arguments) for v in x), strict=True)
    return np.array(values, np.float32), np.array(codes)
