"""Powers of two: weights and activations whose products are shifts."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cache
from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .functions import StepFunction, check_slope
from .quantized_functions import QuantizedFunction, Stage
from .quantizer import (
    TINY,
    check_int,
    constant,
    positive,
)

ROUNDINGS = ("rnd", "floor")
EPSILON = np.float32(1e-7)  # QKeras uses Keras's epsilon, here always its default
_LOG_2 = np.float32(np.log(2.0))


def exponents(x: Any, rounding: str, quadratic: bool) -> np.ndarray:
    """Return QKeras's exponent of positive numbers before it is clipped.

    Float32 as QKeras: a logarithm rounded to float32, divided by float32 `log 2`.
    """
    root = np.sqrt(x) if quadratic else x
    log = np.log(root.astype(np.float64)).astype(np.float32)
    ratio = log / _LOG_2
    return np.round(ratio) if rounding == "rnd" else np.floor(ratio)


@cache
def _first_with_exponent(exponent: int, rounding: str, quadratic: bool) -> np.float32:
    """Return the smallest float32 number whose exponent is at least that."""
    shift = 0.5 if rounding == "rnd" else 0.0
    near = 2.0 ** ((exponent - shift) * (2 if quadratic else 1))
    reach = 2**12
    middle = int(np.float32(near).view(np.int32))
    window = np.arange(middle - reach, middle + reach, dtype=np.int32)
    numbers = window[(window > 0) & (window < 0x7F800000)].view(np.float32)
    found = numbers[exponents(numbers, rounding, quadratic) >= exponent]
    return found[0] if found.size else np.float32(np.inf)


class _PowerOfTwo(QuantizedFunction):
    """What both share: the exponents and the steps of the magnitude."""

    max_value: float | None
    quadratic: bool
    rounding: str
    _exponents: tuple[int, int]
    _magnitude: StepFunction

    def _set_common(
        self, bits: int, max_value: Any, quadratic: Any, rounding: str, sign_bits: int
    ) -> None:
        if rounding not in ROUNDINGS:
            raise ValueError(unknown_name("`rounding`", rounding, ROUNDINGS))
        if max_value is not None:
            max_value = positive("max_value", max_value)
        spent = sign_bits + (max_value is None or max_value > 1)
        self._set(
            bits=check_int("bits", bits, max(1, spent), 16),
            max_value=max_value,
            quadratic=bool(quadratic),
            rounding=rounding,
        )
        count = 2 ** (bits - spent)
        largest = count - 1
        self._set(_exponents=(-count, largest - largest % 2 if quadratic else largest))
        self._set(_magnitude=self._magnitude_steps())

    def _magnitude_steps(self) -> StepFunction:
        """Return the magnitude of a magnitude: powers of two between thresholds."""
        low, high = self._exponents
        factor = 2 if self.quadratic else 1
        limit = np.finfo(np.float32).max if self.max_value is None else self.max_value
        top = np.float32(limit)
        first, last = (
            int(np.clip(exponents(x, self.rounding, self.quadratic), low, high))
            for x in (np.minimum(EPSILON, top), top)
        )
        thresholds, powers = [EPSILON], [low, factor * first]
        for exponent in range(first + 1, last + 1):
            start = _first_with_exponent(exponent, self.rounding, self.quadratic)
            thresholds.append(start)
            powers.append(factor * exponent)
        with np.errstate(over="ignore", under="ignore"):
            levels = np.ldexp(np.float32(1), powers)
        return _steps(thresholds, np.where(levels < TINY, 0.0, levels))

    @abstractmethod
    def _function(self) -> StepFunction:
        """Return the quantizer as steps from the smallest number to the largest."""

    def _stages(self) -> tuple[Stage, ...]:
        return (self._function(),)


def _steps(thresholds: Any, levels: Any) -> StepFunction:
    """Return a step function without the thresholds where nothing changes."""
    kept = [i for i in range(len(thresholds)) if levels[i] != levels[i + 1]]
    return StepFunction(
        [thresholds[i] for i in kept], [levels[0], *(levels[i + 1] for i in kept)]
    )


def _mirrored(
    positive_side: StepFunction, negative_side: StepFunction, border: float
) -> StepFunction:
    """Return the steps of `-negative_side(-x)` for `x < border`, else the positive."""
    up = np.float32(np.inf)
    below = [np.nextafter(np.float32(-t), up) for t in negative_side.thresholds[::-1]]
    finite = [not math.isinf(t) for t in below]
    levels = [-v for v in negative_side.levels[::-1]]
    return _steps(
        [t for t, keep in zip(below, finite, strict=True) if keep]
        + [border, *positive_side.thresholds],
        [v for v, keep in zip(levels, [*finite, True], strict=True) if keep]
        + [*positive_side.levels],
    )


# The smallest number above the largest negative normal one: denormals count as zero.
_BORDER = float(np.nextafter(-TINY, np.float32(0)))


@register_keras_serializable(package="kerasqnn")
class PowerOfTwo(_PowerOfTwo):
    """Signed powers of two: products become shifts (QKeras `quantized_po2`).

    Formula, with `b = bits - 1` for `max_value` of at most 1, else `bits - 2`:

        |x| >= 1e-7:  y = sign(x) 2^clip(round(log2 min(|x|, max_value)), -2^b, 2^b - 1)
        else:         y = sign(x) 2^(-2^b)                        (sign(0) = 1)
        quadratic:    the exponent is 2 clip(round(log2 sqrt(..)), -2^b, 2^b - 2)

    There is no zero; powers below 2^-126 count as zero. The exponent is looked up by
    comparison with the thresholds that QKeras's float32 formula has,
    `round(log(x) / log 2)` with a correctly rounded logarithm: the same bits in every
    backend, and those of QKeras called on one number. For arrays TensorFlow has a
    faster logarithm, at times off by a last bit; QKeras then differs from itself, and
    from this class, for numbers very near a threshold: with `"rnd"` at most 1 unit in
    the last place away from it between 2^-12 and 2^12, at most 64 anywhere.

    Gradient: straight through, 1 everywhere.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("PowerOfTwo(4)", -8, 8)

    Args:
        bits: Bit width, two signs included: that of the number and, unless `max_value`
            is at most 1, that of the exponent.
        max_value: Larger magnitudes count as this one; positive, or None.
        quadratic: Whether only even exponents are used, so that square roots are
            powers of two as well.
        rounding: `"rnd"` (half to even) or `"floor"`, of the exponent.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import PowerOfTwo
    >>> PowerOfTwo(4).quantize([-0.7, 0.1, 0.4, 100.0]).tolist()
    [-0.5, 0.125, 0.5, 8.0]

    References:
        - QKeras `quantized_po2`.
    """

    def __init__(
        self,
        bits: int = 8,
        max_value: float | None = None,
        *,
        quadratic: bool = False,
        rounding: str = "rnd",
    ) -> None:
        self._set_common(bits, max_value, quadratic, rounding, sign_bits=1)

    def _forward(self, xp: Any, x: Any) -> Any:
        magnitude = self._magnitude._forward(xp, xp.abs(x))
        return xp.where(x < constant(xp, _BORDER, x), -magnitude, magnitude)

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded, or None."""
        return "linear" if self.max_value is None else None

    def _function(self) -> StepFunction:
        return _mirrored(self._magnitude, self._magnitude, _BORDER)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        return upstream

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "max_value": self.max_value,
            "quadratic": self.quadratic,
            "rounding": self.rounding,
        }


@register_keras_serializable(package="kerasqnn")
class PowerOfTwoReLU(_PowerOfTwo):
    """A ReLU, perhaps leaky, to powers of two (QKeras `quantized_relu_po2`).

    Formula, with the `power` of `PowerOfTwo` (`b = bits` for `max_value` of at most 1,
    else `bits - 1`):

        x >= 0:  y = power(x)
        x < 0:   y = -power(-slope x), or, without a slope, the smallest power

    There is no zero. Quantization as in `PowerOfTwo`, with the same bits everywhere.

    Gradient: 1 for `x > 0`, else `negative_slope`; 0 for `x > max_value`.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("PowerOfTwoReLU(3, 4)", -2, 6)

    Args:
        bits: Bit width, the exponent's sign included unless `max_value` is at most 1.
        max_value: Larger magnitudes count as this one; positive, or None.
        negative_slope: 0, or a power of two from 2^-16 to 2^8.
        quadratic: Whether only even exponents are used.
        rounding: `"rnd"` (half to even) or `"floor"`, of the exponent.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import PowerOfTwoReLU
    >>> PowerOfTwoReLU(3, 4).quantize([-1.0, 0.4, 3.0, 100.0]).tolist()
    [0.0625, 0.5, 4.0, 4.0]

    References:
        - QKeras `quantized_relu_po2`.
    """

    negative_slope: float

    def __init__(
        self,
        bits: int = 8,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        *,
        quadratic: bool = False,
        rounding: str = "rnd",
    ) -> None:
        self._set(negative_slope=check_slope(negative_slope))
        self._set_common(bits, max_value, quadratic, rounding, sign_bits=0)

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded, or None."""
        plain = self.max_value is None and not self.negative_slope
        return "relu" if plain else None

    def _function(self) -> StepFunction:
        above, slope = self._magnitude, self.negative_slope
        if not slope:
            return above
        with np.errstate(over="ignore"):
            thresholds = np.array(above.thresholds, np.float32) / np.float32(slope)
        below = StepFunction(thresholds.tolist(), above.levels)
        return _mirrored(above, below, _BORDER)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        if self.max_value is not None:
            inside = x <= constant(ops, self.max_value, x)
            upstream = upstream * ops.cast(inside, upstream.dtype)
        return ops.where(x > 0, upstream, upstream * self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "quadratic": self.quadratic,
            "rounding": self.rounding,
        }
