"""Fixed-point grids from data: what range a tensor has, and which step serves it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import unknown_name
from .fixed_point import FixedPoint
from .quantizer import all_powers_of_two, check_int

METHODS = ("min_max", "percentile", "mse")
_OCTAVES = 8  # how far below the step of min_max "mse" searches
_PER_OCTAVE = 16
_SMALLEST, _LARGEST = 2.0**-40, 2.0**40


class Calibration:
    """Watches the values of one tensor, batch by batch, and chooses a `FixedPoint`.

    The smallest and largest values are kept exactly. Percentiles and mean squared
    errors are those of all values up to `samples` of them, and of a uniform random
    sample of that size beyond; the sample depends on `seed` alone.

    Args:
        per_channel: Whether each channel of the last axis gets a step of its own.
        samples: Values (per channel, where `per_channel`) that are kept.
        seed: Seed of the choice of the sample.

    Example:

    >>> import numpy as np
    >>> from kerasqnn.quantizers import Calibration
    >>> watch = Calibration()
    >>> for batch in (np.array([0.5, 1.0]), np.array([3.5, -2.0])):
    ...     watch.update(batch)
    >>> float(watch.min), float(watch.max)
    (-2.0, 3.5)
    >>> float(watch.quantizer(4).step)
    0.5
    """

    def __init__(
        self, *, per_channel: bool = False, samples: int = 2**17, seed: int = 0
    ) -> None:
        self.per_channel = bool(per_channel)
        self._samples = check_int("samples", samples, 1, 2**30)
        self._random = np.random.default_rng(seed)
        self._rows: np.ndarray | None = None  # (rows, channels), channels 1 if shared
        self._keys = np.empty(0)  # the rows with the smallest random keys are kept
        self._low = self._high = np.empty(0, np.float32)

    def update(self, values: Any) -> None:
        """Take in a batch of values.

        Args:
            values: Array of any shape; with `per_channel` the last axis holds the
                channels, as many in every call.

        Raises:
            ValueError: If a value is not finite, there is none, or the number of
                channels changes.
        """
        array = np.asarray(values, np.float32)
        if not array.size or not np.all(np.isfinite(array)):
            raise ValueError(
                "`values` must hold finite numbers, at least one. Received: shape "
                f"{array.shape}, {np.count_nonzero(~np.isfinite(array))} not finite"
            )
        rows = array.reshape(-1, array.shape[-1] if self._has_channels(array) else 1)
        if self._rows is None:
            self._rows = np.empty((0, rows.shape[1]), np.float32)
            self._low, self._high = rows[0], rows[0]
        if rows.shape[1] != self._rows.shape[1]:
            raise ValueError(
                f"`values` must have {self._rows.shape[1]} channels along the last "
                f"axis, as before. Received: shape {array.shape}"
            )
        self._low = np.minimum(self._low, rows.min(axis=0))
        self._high = np.maximum(self._high, rows.max(axis=0))
        self._keys = np.concatenate([self._keys, self._random.random(len(rows))])
        self._rows = np.concatenate([self._rows, rows])
        if len(self._rows) > self._samples:
            kept = np.argpartition(self._keys, self._samples)[: self._samples]
            self._keys, self._rows = self._keys[kept], self._rows[kept]

    def _has_channels(self, array: np.ndarray) -> bool:
        return self.per_channel and array.ndim > 0

    @property
    def min(self) -> np.ndarray:
        """Smallest value, float32, `()` or `(channels,)`."""
        self._seen()
        return self._low if self.per_channel else self._low[0]

    @property
    def max(self) -> np.ndarray:
        """Largest value, float32, `()` or `(channels,)`."""
        self._seen()
        return self._high if self.per_channel else self._high[0]

    def quantizer(
        self,
        bits: int,
        *,
        signed: bool | None = None,
        method: str = "min_max",
        percentile: float = 99.9,
        power_of_two: bool = True,
    ) -> FixedPoint:
        """Return the grid of `bits` bits that suits the values seen.

        Its rounding is half to even, its overflow saturation. The step is

        - `"min_max"`: the smallest with which no value lies more than half a step
          beyond the grid's ends: `max(high / (code_max + 1/2), low / (code_min -
          1/2))`;
        - `"percentile"`: the same, with `low` and `high` clipped to `-p` and `p`, where
          `p` is the percentile of the magnitudes;
        - `"mse"`: the one, of that of `"min_max"` and smaller ones down to 1/256 of it,
          whose mean squared error is least; the largest of equals.

        With `power_of_two` the step is then, for `"mse"` during the search, the next
        power of two above.

        Args:
            bits: Bit width, sign included, 1 to 24.
            signed: Whether there are negative codes; None: if any value is negative.
            method: `"min_max"`, `"percentile"` or `"mse"`.
            percentile: Above 0, at most 100; for `"percentile"` alone.
            power_of_two: Whether the step must be a power of two, which keeps
                everything downstream exact.

        Raises:
            ValueError: If an argument is out of range, or no values were seen.
        """
        rows = self._seen()
        bits = check_int("bits", bits, 1, 24)
        if method not in METHODS:
            raise ValueError(unknown_name("`method`", method, METHODS))
        if not 0 < percentile <= 100:
            raise ValueError(
                "`percentile` must be above 0 and at most 100. "
                f"Received: percentile={percentile!r}"
            )
        if signed is None:
            signed = bool(np.any(self._low < 0))
        codes = code_range(FixedPoint(bits, signed=signed))
        low, high = self._low.astype(np.float64), self._high.astype(np.float64)
        if method == "percentile":
            bound = np.percentile(np.abs(rows.astype(np.float64)), percentile, axis=0)
            low, high = np.maximum(low, -bound), np.minimum(high, bound)
        step = _covering_step(low, high, codes)
        if power_of_two:
            step = next_power_of_two(step)
        if method == "mse":
            step = _best_step(rows, step, codes, power_of_two)
        return with_step(bits, signed, step if self.per_channel else step[0])

    def _seen(self) -> np.ndarray:
        if self._rows is None:
            raise ValueError(
                "Calibration has seen no values. Call update(values) first."
            )
        return self._rows


def calibrate(
    values: Any,
    bits: int,
    *,
    signed: bool | None = None,
    method: str = "min_max",
    percentile: float = 99.9,
    per_channel: bool = False,
    power_of_two: bool = True,
) -> FixedPoint:
    """Return the grid of `bits` bits that suits `values`.

    For data in batches, and for what each method does, see `Calibration` and its
    `quantizer`.

    Args:
        values: Array of any shape.
        bits: Bit width, sign included, 1 to 24.
        signed: Whether there are negative codes; None: if any value is negative.
        method: `"min_max"`, `"percentile"` or `"mse"`.
        percentile: Above 0, at most 100; for `"percentile"` alone.
        per_channel: Whether each channel of the last axis gets a step of its own.
        power_of_two: Whether the step must be a power of two.

    Returns:
        A `FixedPoint`.

    Raises:
        ValueError: If an argument is out of range, or a value is not finite.

    Example:

    >>> from kerasqnn.quantizers import calibrate
    >>> float(calibrate([-0.9, 0.2, 0.8], 4).step)
    0.125
    >>> calibrate([0.1, 0.2, 3.0], 4).signed
    False
    """
    watch = Calibration(per_channel=per_channel, samples=max(1, np.size(values)))
    watch.update(values)
    return watch.quantizer(
        bits,
        signed=signed,
        method=method,
        percentile=percentile,
        power_of_two=power_of_two,
    )


def code_range(grid: Any) -> tuple[int, int]:
    """Return the smallest and largest code of a grid."""
    return grid.code_min, grid.code_max


def next_power_of_two(values: np.ndarray) -> np.ndarray:
    """Return the smallest powers of two that are not below positive `values`."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(1.0, exponent - (mantissa == 0.5))


def with_step(bits: int, signed: bool, step: np.ndarray) -> FixedPoint:
    """Return the FixedPoint with this step, `()` or `(channels,)`.

    Where all steps are powers of two its `integer` holds the largest, else `scale`
    holds the steps.
    """
    integer = bits - int(signed)  # a step of 1
    if all_powers_of_two(step):
        largest = np.max(step)
        integer = int(np.clip(np.log2(largest) + integer, -32, 32))
        step = step * 2.0 ** (bits - int(signed) - integer)
    scale = float(step) if np.ndim(step) == 0 else tuple(float(s) for s in step)
    return FixedPoint(bits, integer, signed=signed, scale=scale)


def _covering_step(
    low: np.ndarray, high: np.ndarray, codes: tuple[int, int]
) -> np.ndarray:
    code_min, code_max = codes
    below = low / (code_min - 0.5) if code_min else np.zeros_like(low)
    step = np.maximum(high / (code_max + 0.5), below)
    # A channel without values to hold takes the largest step of the others.
    empty = float(np.max(step, initial=0)) or 1.0 / (code_max + 1)
    return np.clip(np.where(step > 0, step, empty), _SMALLEST, _LARGEST)


def _best_step(
    rows: np.ndarray, largest: np.ndarray, codes: tuple[int, int], power_of_two: bool
) -> np.ndarray:
    fraction = 1 if power_of_two else _PER_OCTAVE
    best, least = largest, np.full(largest.shape, np.inf)
    for i in range(_OCTAVES * fraction + 1):
        step = largest * 2.0 ** (-i / fraction)
        error = rows - np.clip(np.rint(rows / step), *codes) * step
        mean = np.mean(np.square(error), axis=0)
        best = np.where(mean < least, step, best)
        least = np.minimum(mean, least)
    return best
