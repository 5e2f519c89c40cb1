"""Random quantizers; mostly such that the whole chain can be exact."""

from __future__ import annotations

import random
from typing import Any

from kerasqnn.quantizers import Binary, FixedPoint, QuantizedReLU, Ternary

_ROUNDINGS = ("ROUND", "FLOOR", "DOWN", "HALF_UP", "HALF_DOWN")
_ODD_ROUNDINGS = ("CEIL", "UP")
_POWERS = (0.25, 0.5, 2.0, 4.0)
_FACTORS = (0.3, 0.7, 1.5, 3.0)


def _mostly(rng: random.Random, usual: Any, others: tuple[Any, ...], p: float) -> Any:
    return rng.choice(others) if rng.random() < p else usual


def _powers(rng: random.Random, channels: int) -> tuple[float, ...]:
    return tuple(2.0 ** rng.randint(-2, 2) for _ in range(channels))


def input_quantizer(rng: random.Random, odd: bool) -> Any:
    """Return a quantizer for an input."""
    if odd:
        return rng.choice(
            [Binary(), Ternary(), FixedPoint(4, 1, alpha=0.5), FixedPoint(4, scale=0.3)]
        )
    if rng.random() < 0.3:
        return f"quantized_bits({rng.randint(2, 8)},{rng.randint(-1, 2)},1)"
    signed = rng.random() < 0.6
    return FixedPoint(
        rng.randint(2, 8),
        rng.randint(-1, 3),
        signed=signed,
        rounding=_mostly(rng, "ROUND", (*_ROUNDINGS, *_ODD_ROUNDINGS), 0.3),
        overflow=_mostly(rng, "SAT", ("SAT_SYM",) if signed else ("SAT",), 0.2),
        scale=_mostly(rng, 1.0, _POWERS, 0.1),
    )


def activation_quantizer(
    rng: random.Random, *, odd: bool, unsigned: bool, channels: int, wraps: bool
) -> Any:
    """Return a quantizer for an activation of that many channels."""
    bits, integer = rng.randint(2, 8), rng.randint(-1, 4)
    if odd:
        return _odd_quantizer(rng, bits, integer, channels)
    if rng.random() < 0.35:
        return rng.choice(
            [
                f"quantized_relu({bits},{integer})",
                f"quantized_bits({bits},{integer})",
                f"quantized_bits({bits},{integer},1)",
                QuantizedReLU(bits, integer, rounding=rng.choice(_ROUNDINGS)),
            ]
        )
    signed = not unsigned and rng.random() < 0.7
    overflow = _mostly(rng, "SAT", ("SAT_SYM",) if signed else ("SAT",), 0.2)
    return FixedPoint(
        bits,
        integer,
        signed=signed,
        rounding=_mostly(rng, "ROUND", _ROUNDINGS, 0.4),
        overflow="WRAP" if wraps else overflow,
        scale=_mostly(rng, 1.0, _POWERS, 0.1),
        alpha=_mostly(rng, 1.0, (*_POWERS, _powers(rng, channels)), 0.1),
    )


def _odd_quantizer(rng: random.Random, bits: int, integer: int, channels: int) -> Any:
    return rng.choice(
        [
            Binary(rng.choice([1.0, 0.5])),
            Ternary(threshold=rng.choice([0.33, 0.5])),
            FixedPoint(bits, integer, scale=rng.choice(_FACTORS)),
            FixedPoint(bits, integer, alpha=rng.choice(_FACTORS)),
            FixedPoint(bits, integer, scale=_powers(rng, channels)),
            FixedPoint(bits, integer, rounding=rng.choice(_ODD_ROUNDINGS)),
            FixedPoint(bits, integer, overflow="WRAP"),
            FixedPoint(1, integer, signed=False),
        ]
    )


def kernel_quantizer(rng: random.Random, channels: int, odd: bool) -> Any:
    """Return a quantizer for a kernel of that many output channels."""
    bits, integer = rng.randint(2, 6), rng.randint(-1, 1)
    if odd:
        factors = tuple(rng.choice(_FACTORS) for _ in range(channels))
        return rng.choice(
            [
                None,
                FixedPoint(bits, integer, alpha=rng.choice(_FACTORS)),
                FixedPoint(bits, integer, alpha=factors),
                FixedPoint(bits, integer, scale=0.5, alpha=0.3),
                Binary(factors),
            ]
        )
    alpha = _mostly(rng, 1.0, (*_POWERS, _powers(rng, channels)), 0.25)
    return rng.choice(
        [
            f"quantized_bits({bits},{integer},1)",
            f"quantized_bits({bits},{integer},alpha=1)",
            FixedPoint(
                bits,
                integer,
                signed=rng.random() < 0.85,
                rounding=_mostly(rng, "ROUND", (*_ROUNDINGS, *_ODD_ROUNDINGS), 0.3),
                scale=_mostly(rng, 1.0, (*_POWERS, _powers(rng, channels)), 0.2),
                alpha=alpha,
            ),
            FixedPoint(bits, integer, overflow="SAT_SYM", alpha=alpha),
            FixedPoint(bits, integer, overflow="WRAP"),
            Binary(alpha),
            Ternary(alpha, threshold=rng.choice([0.1, 0.33, 0.5])),
        ]
    )


def vector_quantizer(rng: random.Random, odd: bool) -> Any:
    """Return a quantizer for a bias or an offset."""
    if odd:
        return rng.choice([None, Binary(), FixedPoint(6, 2, scale=0.3)])
    return rng.choice(
        [
            f"quantized_bits({rng.randint(2, 8)},{rng.randint(0, 2)},1)",
            FixedPoint(rng.randint(2, 8), rng.randint(0, 3), overflow="SAT_SYM"),
        ]
    )
