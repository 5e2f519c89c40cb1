"""Fixed-point weights whose scale follows from the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from .auto_scale import EPSILON, AutoScale
from .fixed_point import FixedPoint, QuantizedLinear
from .quantizer import TINY, UniformQuantizer, check_int, constant, quotient
from .rounding import ROUNDING_MODES


@register_keras_serializable(package="kerasqnn")
class AutoFixedPoint(AutoScale):
    """Symmetric fixed point with a scale from the weights (QKeras `quantized_bits`).

    Formula, in float32, with `m = 2^(bits-1) - 1` and `unit = 2^integer`:

        y = step * clip(round(x / step), -m, m)        (ties away from zero)
        mode="auto":      step = 2 max|x| / 2m
        mode="auto_po2":  step = nearest power of two to 2 max|x| / 2m; then
                          `iterations` times the nearest one to the least-squares scale
                          mean(x code) / (mean(code^2) + 1e-7)

    The nearest power of two to `s` is `unit * 2^round(log2(s / unit + 1e-7))`. Nothing
    else depends on `integer`. A channel of zeros stays zero.

    Gradient: straight through, 1 everywhere; none through the scale.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("AutoFixedPoint(4, mode='auto_po2')")

    Args:
        bits: Bit width, sign included, 2 to 24.
        integer: Bits before the binary point; sets the unit of the smallest step only.
        mode: `"auto"` or `"auto_po2"`.
        axis: The axis, or axes, along which the scale varies.
        group: Number of neighbours along `axis` that share a scale; `"auto_po2"` only.
        iterations: How often the scale is fitted, 1 to 16; QKeras's is 5.
        min_exponent: Smallest exponent of `step / unit`; `"auto_po2"` only.
        max_exponent: Largest exponent of `step / unit`; `"auto_po2"` only.

    Raises:
        ValueError: If an argument is out of range; when called, if the shape of the
            values is not known.

    Example:

    >>> from kerasqnn.quantizers import AutoFixedPoint
    >>> q = AutoFixedPoint(3, mode="auto_po2")
    >>> weights = [[0.1, 3.0], [-0.2, 0.9], [0.3, -2.0]]
    >>> q.step(weights).tolist()
    [[0.125, 1.0]]
    >>> q.quantize(weights).tolist()
    [[0.125, 3.0], [-0.25, 1.0], [0.25, -2.0]]

    References:
        - QKeras `quantized_bits(alpha="auto_po2")`.
    """

    integer: int

    def __init__(
        self,
        bits: int,
        integer: int = 0,
        *,
        mode: str,
        axis: Any = -1,
        group: Any = 1,
        iterations: int = 5,
        min_exponent: int | None = None,
        max_exponent: int | None = None,
    ) -> None:
        super().__init__(
            mode,
            axis=axis,
            group=group,
            iterations=iterations,
            min_exponent=min_exponent,
            max_exponent=max_exponent,
        )
        if mode == "auto" and np.any(np.asarray(self.group) != 1):
            raise ValueError(f"`group` is for mode='auto_po2'. Received: group={group}")
        self._set(
            bits=check_int("bits", bits, 2, 24),
            integer=check_int("integer", integer, -32, 32),
        )

    def _largest(self, xp: Any, x: Any) -> Any:
        if len(x.shape) == 1:  # QKeras starts a vector from one scale
            return xp.max(x, keepdims=True)
        return super()._largest(xp, x)

    def _solve(self, xp: Any, x: Any) -> tuple[Any, Any]:
        largest = self._largest(xp, xp.abs(x))
        # As TensorFlow runs QKeras's division by a constant in a traced function.
        step = largest * 2 * constant(xp, 1 / (2 * self._code_max), largest)
        if self.mode == "auto_po2":
            step = self._power_of_two(xp, step)
            for _ in range(self.iterations):
                step = self._fitted(xp, x, self._codes(xp, x, step))
        else:
            step = xp.where(step < TINY, xp.zeros_like(step), step)
        return self._codes(xp, x, step), step

    def _codes(self, xp: Any, x: Any, step: Any) -> Any:
        codes = quotient(xp, x, xp.where(step > 0, step, xp.ones_like(step)))
        codes = xp.clip(codes, -self._code_max, self._code_max)
        return ROUNDING_MODES["HALF_UP"](xp, codes)

    @property
    def _unit(self) -> float:  # type: ignore[override]
        return float(2.0**self.integer)

    @property
    def _code_max(self) -> int:
        return int(2 ** (self.bits - 1) - 1)

    def _grid(self, x: np.ndarray, codes: np.ndarray, step: Any) -> UniformQuantizer:
        unit = np.ldexp(1.0, self.integer - self.bits + 1)
        return FixedPoint(
            self.bits,
            self.integer,
            rounding="HALF_UP",
            overflow="SAT_SYM",
            scale=step.astype(np.float64) / unit,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "integer": self.integer,
            "mode": self.mode,
            "axis": self.axis,
            "group": self.group,
            "iterations": self.iterations,
            "min_exponent": self.min_exponent,
            "max_exponent": self.max_exponent,
        }


@register_keras_serializable(package="kerasqnn")
class AutoLinear(AutoScale):
    """Fixed point with a scale from the weights, as QKeras's `quantized_linear`.

    Formula, in float32, with the codes `low .. high` of `QuantizedLinear`:

        y = step * round(clip(x / step, low, high))        (ties to even)
        mode="auto":      step = max(1e-7, 2 max|x| / (high - low)), or, unsigned,
                          max(1e-7, max(x) / (high - low))
        mode="auto_po2":  step = 2^round(log2(that + 1e-7)); then five times
                          2^round(log2(mean(x code) / (mean(code^2) + 1e-7) + 1e-7))

    Gradient: 1 where `low <= x / step <= high`, 0 elsewhere; none through the scale.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("AutoLinear(4, mode='auto')")

    Args:
        bits: Bit width, 1 to 24, from 2 if signed.
        mode: `"auto"` or `"auto_po2"`.
        signed: Whether there are negative codes.
        symmetric: Whether the smallest signed code is left out.
        axis: The axis, or axes, along which the scale varies.

    Raises:
        ValueError: As `AutoFixedPoint`.

    Example:

    >>> from kerasqnn.quantizers import AutoLinear
    >>> AutoLinear(3, mode="auto").quantize([[0.75], [-0.5], [0.1]]).tolist()
    [[0.75], [-0.5], [0.0]]

    References:
        - QKeras `quantized_linear(alpha="auto_po2")`.
    """

    signed: bool
    symmetric: bool

    def __init__(
        self,
        bits: int,
        *,
        mode: str,
        signed: bool = True,
        symmetric: bool = True,
        axis: Any = -1,
    ) -> None:
        super().__init__(mode, axis=axis)
        self._set(
            bits=check_int("bits", bits, 1 + bool(signed), 24),
            signed=bool(signed),
            symmetric=bool(symmetric),
        )

    @property
    def _limits(self) -> tuple[int, int]:
        grid = QuantizedLinear(self.bits, signed=self.signed, symmetric=self.symmetric)
        return grid.code_min, grid.code_max

    def _solve(self, xp: Any, x: Any) -> tuple[Any, Any]:
        step = self._step(xp, x)
        return self._codes(xp, x, step), step

    def _step(self, xp: Any, x: Any) -> Any:
        low, high = self._limits
        largest = self._largest(xp, xp.abs(x) if self.signed else x)
        largest = largest * 2 if self.signed else largest
        step = largest * constant(xp, 1 / (high - low), largest)
        step = xp.maximum(step, constant(xp, EPSILON, step))
        if self.mode == "auto_po2":
            step = self._power_of_two(xp, step)
            for _ in range(self.iterations):
                step = self._fitted(xp, x, self._codes(xp, x, step))
        return step

    def _codes(self, xp: Any, x: Any, step: Any) -> Any:
        return xp.round(xp.clip(quotient(xp, x, step), *self._limits))

    def _gradient(self, x: Any, upstream: Any) -> Any:
        codes, (low, high) = quotient(ops, x, self._step(ops, x)), self._limits
        inside = ops.logical_and(codes >= low, codes <= high)
        return ops.where(inside, upstream, ops.zeros_like(upstream))

    def _grid(self, x: np.ndarray, codes: np.ndarray, step: Any) -> UniformQuantizer:
        unit = np.ldexp(1.0, int(self.signed) - self.bits)
        return QuantizedLinear(
            self.bits,
            signed=self.signed,
            symmetric=self.symmetric,
            scale=step.astype(np.float64) / unit,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "mode": self.mode,
            "signed": self.signed,
            "symmetric": self.symmetric,
            "axis": self.axis,
        }
