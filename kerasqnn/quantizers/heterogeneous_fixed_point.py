"""Fixed point with a width for each element of a tensor, as HGQ2 trains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .fixed_point import OVERFLOW_MODES, FixedPoint
from .functions import ClippedLinear
from .quantizer import Quantizer, UniformQuantizer, constant, divide
from .rounding import ROUNDING_MODES

Widths = int | bool | tuple[Any, ...]
_LARGEST = 24  # bits of a code, sign included
_LIMIT = 64
_WRAP_LIMIT = 2.0**100  # far beyond what float32 holds to the unit

# Modes of `ap_fixed` as one of QONNX's after a shift in steps; a code that saturates is
# the same before and after the shift.
_SHIFTED: dict[str, tuple[float, str]] = {
    "RND": (0.5, "FLOOR"),
    "RND_CONV": (0.0, "ROUND"),
    "RND_INF": (0.0, "HALF_UP"),
    "RND_MIN_INF": (-0.5, "CEIL"),
    "RND_ZERO": (0.0, "HALF_DOWN"),
    "TRN": (0.0, "FLOOR"),
    "TRN_ZERO": (0.0, "DOWN"),
}
AP_ROUNDING_MODES: tuple[str, ...] = tuple(_SHIFTED)


@register_keras_serializable(package="kerasqnn")
class HeterogeneousFixedPoint(Quantizer):
    """Fixed point as `ap_fixed`, with bits for each element, channel or tensor.

    Formula, in float32, with `i = integer`, `f = fraction` and `k` 1 if `signed`, else
    0, each of them a number or an array that is laid along the last axes:

        y = 2^-f * clip(round(x * 2^f), -k * 2^(i+f), 2^(i+f) - 1)

    With `overflow="SAT_SYM"` the smallest code is `-k * (2^(i+f) - 1)`; with `"WRAP"`
    the code wraps modulo `2^(k+i+f)`. An element without bits, `k + i + f <= 0`, is 0.
    These are HGQ2's values wherever `|x|` is below `2^22` steps; where it is not, HGQ2
    wraps what float32 has rounded.

    Gradient: 1 inside the range, 0 outside and for an element without bits; with
    `"WRAP"`, 1 everywhere.

    An activation with one width for all is exported as `FixedPoint` is; one with widths
    an element is for training and inference.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("HeterogeneousFixedPoint(1, 2)")

    Args:
        integer: Bits before the binary point, sign excluded; may be negative.
        fraction: Bits behind it; may be negative. `k + i + f` is at most 24.
        signed: Whether there are negative codes.
        rounding: As `ap_fixed`: `"RND"` (half up, to plus infinity), `"RND_CONV"` (half
            to even), `"RND_INF"`, `"RND_MIN_INF"`, `"RND_ZERO"`, `"TRN"` (floor) or
            `"TRN_ZERO"`.
        overflow: `"SAT"`, `"SAT_SYM"` or `"WRAP"`.

    Raises:
        ValueError: If an argument is out of range, or the shapes do not fit.

    Example:

    >>> from kerasqnn.quantizers import HeterogeneousFixedPoint
    >>> q = HeterogeneousFixedPoint(integer=(1, 1, 0), fraction=(0, 2, 0), signed=False)
    >>> q.quantize([[0.5, 0.7, 9.0]]).tolist()
    [[1.0, 0.75, 0.0]]

    References:
        - HGQ2; Sun et al., HGQ: High Granularity Quantization for Real-time Neural
          Networks on FPGAs, 2024; `ap_fixed` of Vitis HLS.
    """

    integer: Widths
    fraction: Widths
    signed: Widths
    rounding: str
    overflow: str
    _step: np.ndarray
    _low: np.ndarray
    _high: np.ndarray
    _count: np.ndarray

    def __init__(
        self,
        integer: Any,
        fraction: Any,
        *,
        signed: Any = True,
        rounding: str = "RND",
        overflow: str = "SAT",
    ) -> None:
        if rounding not in _SHIFTED:
            raise ValueError(unknown_name("`rounding`", rounding, _SHIFTED))
        if overflow not in OVERFLOW_MODES:
            raise ValueError(unknown_name("`overflow`", overflow, OVERFLOW_MODES))
        i, f = _whole("integer", integer), _whole("fraction", fraction)
        k = _whole("signed", signed)
        if np.any((k != 0) & (k != 1)):
            raise ValueError(f"`signed` must be True or False. Received: {signed=}")
        try:
            bits = k + i + f
        except ValueError:
            raise ValueError(
                "`integer`, `fraction` and `signed` must be numbers or arrays whose "
                f"shapes broadcast. Received: {i.shape}, {f.shape}, {k.shape}"
            ) from None
        if np.max(bits, initial=0) > _LARGEST:
            raise ValueError(
                f"`signed + integer + fraction` must be at most {_LARGEST}. "
                f"Received: {int(bits.max())}"
            )
        codes = np.where(bits > 0, np.ldexp(1.0, np.maximum(i + f, 0)), 1.0)
        kept = k * (bits > 0)
        self._set(
            bits=int(np.max(bits, initial=0)),
            integer=_plain(i),
            fraction=_plain(f),
            signed=_plain(k.astype(bool)),
            rounding=rounding,
            overflow=overflow,
            _step=np.ldexp(np.float32(1), -f),
            _low=np.float32(kept * ((overflow == "SAT_SYM") - codes)),
            _high=np.float32(codes - 1.0),
            _count=np.float32(codes * (1 + kept)),
        )

    def _forward(self, xp: Any, x: Any) -> Any:
        low, high = (constant(xp, v, x) for v in (self._low, self._high))
        codes = divide(xp, x, self._step)
        round_ = _rounding(self.rounding)
        if self.overflow == "WRAP":
            count = constant(xp, self._count, x)
            codes = round_(xp, xp.clip(codes, -_WRAP_LIMIT, _WRAP_LIMIT))
            codes = codes - xp.floor(divide(xp, codes, self._count)) * count
            codes = xp.where(codes > high, codes - count, codes)
        else:
            codes = round_(xp, xp.minimum(xp.maximum(codes, low), high))
        return codes * constant(xp, self._step, x)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        if self.overflow == "WRAP":
            return upstream
        codes = divide(ops, x, self._step)
        low, high = (constant(ops, v, x) for v in (self._low, self._high))
        inside = ops.logical_and(codes >= low, codes <= high)
        inside = ops.logical_and(inside, high > low)
        return upstream * ops.cast(inside, upstream.dtype)

    def _uniform(self, rounding: str) -> FixedPoint | None:
        """Return the grid with another rounding mode, if there is one for all."""
        if self._step.ndim or self._low.ndim or self.bits < 1 + bool(self.signed):
            return None
        integer = int(self.integer)  # type: ignore[arg-type]
        if abs(integer) > 32:
            return None
        return FixedPoint(
            self.bits,
            integer,
            signed=bool(self.signed),
            rounding=rounding,
            overflow=self.overflow if self.signed else self._unsigned_overflow,
        )

    @property
    def _unsigned_overflow(self) -> str:
        return "WRAP" if self.overflow == "WRAP" else "SAT"

    def fixed(self, values: Any = None) -> UniformQuantizer | None:
        """Return the grid, if it is one for all and rounds as one of QONNX's modes."""
        shift, rounding = _SHIFTED[self.rounding]
        return None if shift else self._uniform(rounding)

    def stages(self) -> tuple[Any, ...]:
        """Return a shift by half a step, where the rounding needs it, and the grid."""
        shift, rounding = _SHIFTED[self.rounding]
        grid = self._uniform(rounding)
        if grid is None:
            return (self,)
        offset = ClippedLinear(offset=float(shift * self._step))
        return (offset, grid) if shift else (grid,)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "integer": self.integer,
            "fraction": self.fraction,
            "signed": self.signed,
            "rounding": self.rounding,
            "overflow": self.overflow,
        }


def _rounding(mode: str) -> Callable[[Any, Any], Any]:
    shift, name = _SHIFTED[mode]
    round_ = ROUNDING_MODES[name]
    return (lambda xp, x: round_(xp, x + shift)) if shift else round_


def _whole(name: str, value: Any) -> np.ndarray:
    """Return whole numbers within the limits as an array, or raise."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if not array.size or not np.all((array == np.rint(array)) & (abs(array) <= _LIMIT)):
        raise ValueError(
            f"`{name}` must be an integer, or an array of integers, from {-_LIMIT} to "
            f"{_LIMIT}. Received: {name}={value!r}"
        )
    return array.astype(np.int64)


def _plain(array: np.ndarray) -> Any:
    """Return an array as nested tuples, which compare and hash."""
    if array.ndim:
        return tuple(_plain(part) for part in array)
    return array.item()
