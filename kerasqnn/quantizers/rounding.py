"""The rounding modes of QONNX, written once for numpy and for `keras.ops`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Each function takes the array namespace (`numpy` or `keras.ops`) and the array. The
# formulas, and with them the last-bit behaviour in float32, are those of qonnx 1.0.
RoundingFunction = Callable[[Any, Any], Any]


def _half_even(xp: Any, x: Any) -> Any:
    return xp.round(x)


def _floor(xp: Any, x: Any) -> Any:
    return xp.floor(x)


def _ceil(xp: Any, x: Any) -> Any:
    return xp.ceil(x)


def _away_from_zero(xp: Any, x: Any) -> Any:
    return xp.sign(x) * xp.ceil(xp.abs(x))


def _toward_zero(xp: Any, x: Any) -> Any:
    return xp.sign(x) * xp.floor(xp.abs(x))


def _half_up(xp: Any, x: Any) -> Any:
    return xp.sign(x) * xp.floor(xp.abs(x) + 0.5)


def _half_down(xp: Any, x: Any) -> Any:
    return xp.sign(x) * xp.ceil(xp.abs(x) - 0.5)


ROUNDING_MODES: dict[str, RoundingFunction] = {
    "ROUND": _half_even,
    "FLOOR": _floor,
    "CEIL": _ceil,
    "UP": _away_from_zero,
    "DOWN": _toward_zero,
    "HALF_UP": _half_up,
    "HALF_DOWN": _half_down,
}
"""Name -> function. ROUND: half to even; FLOOR, CEIL; UP: away from zero; DOWN: toward
zero; HALF_UP: ties away from zero; HALF_DOWN: ties toward zero."""
