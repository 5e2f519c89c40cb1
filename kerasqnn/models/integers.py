"""Numbers as int64 codes times a power of two, with bounds; and their rounding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import UnsupportedModelError
from ..quantizers import Binary, FixedPoint, Heaviside, Ternary, UniformQuantizer

BITS = 62  # of a magnitude; int64 then holds it, and the sum of two
_SAFE_SHIFT = 36  # a nonzero code of it exceeds every quantizer's range


@dataclass(frozen=True)
class Integers:
    """A tensor of exact values `codes * 2^exponent`.

    Attributes:
        codes: int64 array.
        exponent: Of the step, a power of two.
        low: Smallest possible code, int64, `()` or `(channels,)` along the last axis.
        high: Largest possible code, like `low`.
    """

    codes: np.ndarray
    exponent: int
    low: np.ndarray
    high: np.ndarray

    @property
    def step(self) -> float:
        """The value of code 1."""
        return 2.0**self.exponent

    @property
    def values(self) -> np.ndarray:
        """The values as float64; exact up to 53 bits."""
        return np.ldexp(self.codes.astype(np.float64), self.exponent)

    def at(self, exponent: int, layer: str) -> Integers:
        """Return the same values with a smaller step."""
        shift = self.exponent - exponent
        if not shift:
            return self
        largest = int(max(abs(int(self.low.min())), abs(int(self.high.max()))))
        check_bits(largest << shift, layer)
        if not largest:
            shift = 0
        return Integers(
            self.codes << shift, exponent, self.low << shift, self.high << shift
        )


@dataclass(frozen=True)
class Quotients(Integers):
    """Exact values `codes * 2^exponent / divisor`, on their way to a quantizer.

    Attributes:
        divisor: Odd, at least 1.
    """

    divisor: int

    @property
    def values(self) -> np.ndarray:
        """The values as float64, rounded once."""
        return super().values / self.divisor


def check_bits(magnitude: Any, layer: str) -> None:
    """Raise where a magnitude exceeds what is computed with."""
    if magnitude >= 2**BITS:
        raise UnsupportedModelError(
            f"Layer {layer!r} needs more than {BITS} bits for its exact values; use "
            "fewer bits, or steps that lie closer together.",
            layer=layer,
        )


def signed_bits(low: Any, high: Any) -> int:
    """Return the bits of the smallest two's complement number from low to high."""
    smallest, largest = int(np.min(low)), int(np.max(high))
    return 1 + max((-smallest - 1).bit_length() if smallest < 0 else 0,
                   largest.bit_length() if largest > 0 else 0)  # fmt: skip


def aligned(tensors: list[Integers], layer: str) -> list[Integers]:
    """Return tensors with their common, smallest step."""
    exponent = min(t.exponent for t in tensors)
    return [t.at(exponent, layer) for t in tensors]


def from_float32(values: np.ndarray, layer: str) -> tuple[np.ndarray, int]:
    """Return float32 values exactly, as codes and the largest exponent that serves."""
    mantissas, exponents = np.frexp(values.astype(np.float64))
    codes = (mantissas * 2.0**24).astype(np.int64)
    exponents = exponents.astype(np.int64) - 24
    nonzero = codes != 0
    if not np.any(nonzero):
        return np.zeros_like(codes), 0
    while np.any(even := nonzero & (codes % 2 == 0)):
        codes = np.where(even, codes // 2, codes)
        exponents = exponents + even
    exponent = int(exponents[nonzero].min())
    shifts = np.where(nonzero, exponents - exponent, 0)
    check_bits(int(np.abs(codes).max()) << int(shifts.max()), layer)
    return codes << shifts, exponent


def shift_right(codes: Any, shift: Any, rounding: str) -> np.ndarray:
    """Return `codes / 2^shift`, rounded to integers; `shift` from 0 to 62.

    Args:
        codes: int64 array.
        shift: int64, broadcast against `codes`.
        rounding: One of `kerasqnn.quantizers.ROUNDING_MODES`.
    """
    floor = codes >> shift
    rest = codes - (floor << shift)  # from 0 to 2^shift - 1
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 1)
    some, over, tie = rest > 0, rest > half, rest == half
    positive = codes > 0
    up = {
        "FLOOR": np.zeros_like(some),
        "CEIL": some,
        "DOWN": some & ~positive,
        "UP": some & positive,
        "ROUND": over | (tie & (floor % 2 == 1)),
        "HALF_UP": over | (tie & positive),
        "HALF_DOWN": over | (tie & ~positive),
    }[rounding]
    return floor + up


def exponents_of(steps: np.ndarray) -> np.ndarray:
    """Return the exponents of powers of two."""
    return np.frexp(steps.astype(np.float64))[1].astype(np.int64) - 1


def quantize(x: Integers, quantizer: UniformQuantizer, layer: str) -> Integers:
    """Return what a quantizer makes of exact values, in integer arithmetic."""
    check_quantizer(quantizer, layer)
    if isinstance(x, Quotients):
        x = _comparable(x, quantizer, layer)
    steps = exponents_of(quantizer.step)
    codes = _codes(x.codes, x.exponent, quantizer)
    low: Any
    high: Any
    if getattr(quantizer, "overflow", "") == "WRAP":
        low, high = np.int64(quantizer.code_min), np.int64(quantizer.code_max)
    else:  # rounding and saturating keep the order
        low = _codes(x.low, x.exponent, quantizer)
        high = _codes(x.high, x.exponent, quantizer)
    return _on_common_step(codes, low, high, steps, layer)


def _comparable(x: Quotients, quantizer: Any, layer: str) -> Integers:
    """Return integers that lie where the quotients lie between a quantizer's limits.

    These limits are multiples of half a step, and a threshold. The bit below stands for
    all that lies beyond, as the sticky bit of a floating-point unit.
    """
    if isinstance(quantizer, FixedPoint):
        finest = int(exponents_of(quantizer.grid_step).min()) - 1
    else:
        finest = from_float32(np.asarray(getattr(quantizer, "threshold", 0.0)), layer)[
            1
        ]
    exponent = min(x.exponent, finest)
    shift = x.exponent - exponent
    largest = max(abs(int(x.low.min())), abs(int(x.high.max())))
    check_bits(largest << (shift + 1), layer)

    def between(codes: np.ndarray) -> np.ndarray:
        floor, rest = np.divmod(codes << shift, x.divisor)
        return 2 * floor + (rest > 0)

    return Integers(between(x.codes), exponent - 1, between(x.low), between(x.high))


def quantize_float(x: np.ndarray, quantizer: UniformQuantizer, layer: str) -> Integers:
    """Return what a quantizer makes of float32 inputs.

    Rounding an input happens in float32, in the model and in what feeds a chip.
    """
    check_quantizer(quantizer, layer)
    steps = exponents_of(quantizer.step)
    low, high = np.int64(quantizer.code_min), np.int64(quantizer.code_max)
    return _on_common_step(quantizer.codes(x), low, high, steps, layer)


def _on_common_step(
    codes: np.ndarray, low: Any, high: Any, steps: np.ndarray, layer: str
) -> Integers:
    exponent = int(steps.min())
    shifts = steps - exponent
    largest = max(int(np.max(np.abs(low))), int(np.max(np.abs(high))))
    check_bits(largest << int(shifts.max()), layer)
    return Integers(
        codes << shifts, exponent, np.asarray(low << shifts), np.asarray(high << shifts)
    )


def check_quantizer(quantizer: UniformQuantizer, layer: str) -> None:
    """Raise where a quantizer has no integer arithmetic."""
    known = (FixedPoint, Binary, Heaviside, Ternary)
    if not any(type(quantizer)._forward is k._forward for k in known):
        reason = f"its quantizer, {type(quantizer).__name__}, has none"
    elif not quantizer.is_power_of_two:
        reason = "its quantizer's steps are no powers of two"
    else:
        return
    raise UnsupportedModelError(
        f"Layer {layer!r} has no integer evaluation: {reason}.", layer=layer
    )


def _codes(codes: Any, exponent: int, quantizer: Any) -> np.ndarray:
    if isinstance(quantizer, (Binary, Heaviside)):
        return np.where(codes >= 0, np.int64(1), np.int64(quantizer.code_min))
    if isinstance(quantizer, Ternary):
        thresholds = np.asarray(quantizer.threshold, np.float32)
        smallest = np.asarray(
            [
                min(-(-Fraction(float(t)) // Fraction(2) ** exponent), 2**BITS)
                for t in thresholds.ravel()
            ]
        ).reshape(thresholds.shape)
        return np.where(np.abs(codes) >= smallest, np.sign(codes), np.int64(0))
    shift = exponents_of(quantizer.grid_step) - exponent
    rounded = shift_right(codes, np.clip(shift, 0, 62), quantizer.rounding)
    left = np.maximum(-shift, 0)
    if quantizer.overflow == "WRAP":
        count = np.int64(2**quantizer.bits)
        wrapped = np.where(left < quantizer.bits, rounded % count, 0)
        wrapped = (wrapped << np.minimum(left, quantizer.bits)) % count
        return np.where(wrapped > quantizer.code_max, wrapped - count, wrapped)
    # Beyond the range already, whatever the shift to the left.
    bound = 2 * max(-quantizer.code_min, quantizer.code_max, 1)
    near = np.clip(rounded, -bound, bound) << np.minimum(left, _SAFE_SHIFT)
    return np.clip(near, quantizer.code_min, quantizer.code_max)
