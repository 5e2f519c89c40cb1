"""Fixed-point quantizers: `FixedPoint`, `QuantizedReLU` and `QuantizedLinear`."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .quantizer import (
    Scale,
    UniformQuantizer,
    all_powers_of_two,
    are_normal,
    check_int,
    check_scale,
    constant,
    divide,
    opaque,
)
from .rounding import ROUNDING_MODES

OVERFLOW_MODES = ("SAT", "SAT_SYM", "WRAP")
_WRAP_LIMIT = 2.0**126


@register_keras_serializable(package="kerasqnn")
class FixedPoint(UniformQuantizer):
    """Fixed-point numbers of `bits` bits, of which `integer` stand before the point.

    Formula, in float32, with `step = scale * 2^(integer - bits + signed)`:

        y = alpha * step * clip(round(x / step), code_min, code_max)

    `signed`: codes `-2^(bits-1) .. 2^(bits-1)-1`; unsigned: `0 .. 2^bits-1`. With
    `overflow="SAT_SYM"` the smallest signed code is `-2^(bits-1)+1` (QONNX's `narrow`,
    QKeras's `symmetric`). With `overflow="WRAP"` the code wraps modulo `2^bits` instead
    of being clipped.

    Gradient: straight through, 1 everywhere, outside the range too (as QKeras's
    `quantized_bits`).

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("FixedPoint(4, 1)")

    Args:
        bits: Bit width, sign included, 1 to 24; a signed one-bit number is `Binary`.
        integer: Bits before the binary point, sign excluded; may be negative.
        signed: Whether there are negative codes.
        rounding: One of `ROUNDING_MODES`; `"ROUND"` is half to even.
        overflow: `"SAT"`, `"SAT_SYM"` or `"WRAP"`.
        scale: Positive number, or one a channel of the last axis, that scales the grid
            itself (the `scale` of QONNX over the power of two).
        alpha: Positive number, or one a channel, that multiplies the rounded value and
            leaves the rounding as it is (QKeras's numeric `alpha`).

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import FixedPoint
    >>> q = FixedPoint(4, 1)
    >>> float(q.min), float(q.max), float(q.step)
    (-2.0, 1.75, 0.25)
    >>> q.quantize([0.3, 0.375, 9.0]).tolist()
    [0.25, 0.5, 1.75]

    References:
        - QKeras `quantized_bits`; QONNX `Quant`; `ap_fixed` of Vitis HLS.
    """

    integer: int
    rounding: str
    overflow: str
    scale: Scale
    alpha: Scale

    def __init__(
        self,
        bits: int,
        integer: int = 0,
        *,
        signed: bool = True,
        rounding: str = "ROUND",
        overflow: str = "SAT",
        scale: Any = 1.0,
        alpha: Any = 1.0,
    ) -> None:
        bits = check_int("bits", bits, 1, 24)
        if bits == 1 and signed:
            raise ValueError(
                "A signed FixedPoint needs `bits` of at least 2; for -1 and +1 use "
                f"Binary(). Received: bits={bits}, signed={signed}"
            )
        if rounding not in ROUNDING_MODES:
            raise ValueError(unknown_name("`rounding`", rounding, ROUNDING_MODES))
        if overflow not in OVERFLOW_MODES:
            raise ValueError(unknown_name("`overflow`", overflow, OVERFLOW_MODES))
        if overflow == "SAT_SYM" and not signed:
            raise ValueError(
                "`overflow='SAT_SYM'` is for signed numbers. Received: signed=False"
            )
        self._set(
            bits=bits,
            integer=check_int("integer", integer, -32, 32),
            signed=bool(signed),
            rounding=rounding,
            overflow=overflow,
            scale=check_scale("scale", scale),
            alpha=check_scale("alpha", alpha),
        )
        self._check_grid()

    def _check_grid(self) -> None:
        received = f"Received: scale={self.scale!r}, alpha={self.alpha!r}"
        factors = (self.scale, self.alpha)
        if len({len(f) for f in factors if isinstance(f, tuple)}) > 1:
            raise ValueError(
                "`scale` and `alpha`, where both are vectors, need one number a "
                f"channel each. {received}"
            )
        with np.errstate(over="ignore", under="ignore"):
            largest = np.float32(max(-self.code_min, self.code_max))
            steps = (self.grid_step, self.step)
            fits = all(are_normal(s) and are_normal(s * largest) for s in steps)
        if not fits:
            raise ValueError(
                "The step and the largest value must be within the range of float32. "
                f"{received}, bits={self.bits}, integer={self.integer}"
            )

    @property
    def grid_step(self) -> np.ndarray:
        """The step on which rounding happens: `step` without `alpha`, float32."""
        exponent = self.integer - self.bits + int(self.signed)
        return np.asarray(self.scale, np.float32) * np.float32(2.0) ** np.float32(
            exponent
        )

    @property
    def step(self) -> np.ndarray:
        """Distance between neighbouring values, float32, `()` or `(channels,)`."""
        return np.asarray(self.alpha, np.float32) * self.grid_step

    @property
    def is_power_of_two(self) -> bool:
        """Whether every step, with and without `alpha`, is a power of two."""
        return all_powers_of_two(self.step) and all_powers_of_two(self.grid_step)

    @property
    def code_min(self) -> int:
        """Smallest code."""
        if not self.signed:
            return 0
        return -(2 ** (self.bits - 1)) + (self.overflow == "SAT_SYM")

    @property
    def code_max(self) -> int:
        """Largest code."""
        return int(2 ** (self.bits - self.signed) - 1)

    def _forward(self, xp: Any, x: Any) -> Any:
        step = constant(xp, self.grid_step, x)
        round_ = ROUNDING_MODES[self.rounding]
        codes = divide(xp, x, self.grid_step)
        if self.overflow == "WRAP":
            # Exact for every code: a code that float32 holds and a multiple of `count`
            # below it differ by a number that float32 holds. What overflowed in the
            # division is a multiple of `count`, as the limit is.
            count = float(2**self.bits)
            codes = round_(xp, xp.clip(codes, -_WRAP_LIMIT, _WRAP_LIMIT))
            codes = codes - xp.floor(codes / count) * count
            codes = xp.where(codes > self.code_max, codes - count, codes)
        else:
            codes = round_(xp, xp.clip(codes, self.code_min, self.code_max))
        values = codes * step
        if self.alpha == 1.0:
            return values
        return values * opaque(xp, np.asarray(self.alpha, np.float32), values)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        return upstream

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "integer": self.integer,
            "signed": self.signed,
            "rounding": self.rounding,
            "overflow": self.overflow,
            "scale": self.scale,
            "alpha": self.alpha,
        }


@register_keras_serializable(package="kerasqnn")
class QuantizedReLU(FixedPoint):
    """ReLU and unsigned fixed point in one, as QKeras's `quantized_relu`.

    Formula, with `step = 2^(integer - bits)`:

        y = step * clip(round(x / step), 0, 2^bits - 1)

    Gradient: 1 for `0 < x <= max`, 0 elsewhere (as QKeras's).

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("QuantizedReLU(3, 1)", -1, 3)

    Args:
        bits: Bit width, 1 to 24.
        integer: Bits before the binary point; may be negative.
        rounding: One of `ROUNDING_MODES`.

    Example:

    >>> from kerasqnn.quantizers import QuantizedReLU
    >>> QuantizedReLU(4, 2).quantize([-1.0, 0.3, 9.0]).tolist()
    [0.0, 0.25, 3.75]
    """

    def __init__(self, bits: int, integer: int = 0, *, rounding: str = "ROUND") -> None:
        super().__init__(bits, integer, signed=False, rounding=rounding)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        inside = ops.logical_and(x > 0, x <= constant(ops, self.max, x))
        # A product: TensorFlow's `where` takes twice its time on a CPU.
        return upstream * ops.cast(inside, upstream.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "integer": self.integer,
            "rounding": self.rounding,
        }


@register_keras_serializable(package="kerasqnn")
class QuantizedLinear(FixedPoint):
    """Fixed point whose gradient ends at the range, as QKeras's `quantized_linear`.

    Formula, with `step = scale * 2^(integer - bits + signed)`:

        y = step * clip(round(x / step), code_min, code_max)

    Gradient: 1 where `code_min <= x / step <= code_max`, 0 elsewhere.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("QuantizedLinear(4, 1)")

    Args:
        bits: Bit width, sign included, 1 to 24, from 2 if signed.
        integer: Bits before the binary point, sign excluded; may be negative.
        signed: Whether there are negative codes.
        symmetric: Whether the smallest signed code is left out.
        rounding: One of `ROUNDING_MODES`; `"ROUND"` is half to even.
        scale: Positive number, or one a channel of the last axis, that scales the grid.

    Example:

    >>> from kerasqnn.quantizers import QuantizedLinear
    >>> QuantizedLinear(3, 1).quantize([-5.0, 0.3, 1.25]).tolist()
    [-1.5, 0.5, 1.0]
    """

    symmetric: bool

    def __init__(
        self,
        bits: int,
        integer: int = 0,
        *,
        signed: bool = True,
        symmetric: bool = True,
        rounding: str = "ROUND",
        scale: Any = 1.0,
    ) -> None:
        super().__init__(
            bits,
            integer,
            signed=signed,
            rounding=rounding,
            overflow="SAT_SYM" if signed and symmetric else "SAT",
            scale=scale,
        )
        self._set(symmetric=bool(symmetric))

    def _gradient(self, x: Any, upstream: Any) -> Any:
        codes = divide(ops, x, self.grid_step)
        inside = ops.logical_and(codes >= self.code_min, codes <= self.code_max)
        # A product: TensorFlow's `where` takes twice its time on a CPU.
        return upstream * ops.cast(inside, upstream.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "integer": self.integer,
            "signed": self.signed,
            "symmetric": self.symmetric,
            "rounding": self.rounding,
            "scale": self.scale,
        }
