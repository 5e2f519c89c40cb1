"""The base class of all quantizers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import keras
import numpy as np
from keras import ops

from .._values import ValueObject

Scale = float | tuple[float, ...]
TINY = np.finfo(np.float32).tiny  # smallest normal number


class Quantizer(ValueObject):
    """Maps real numbers onto a finite set of them.

    A quantizer is an immutable value object: it compares by value, can be hashed, has
    a `repr` that `kerasqnn.quantizers.get` reads back, and holds no state. Calling it
    on a tensor quantizes inside a model, with the gradient named in the class;
    `quantize` does the same to a numpy array, with the same float32 arithmetic and so
    the same bits (the sign of a zero aside).

    Attributes:
        bits: Bit width of a code, sign included.
    """

    bits: int

    @abstractmethod
    def _forward(self, xp: Any, x: Any) -> Any:
        """Return the quantized values; `xp` is `numpy` or `keras.ops`."""

    @abstractmethod
    def _gradient(self, x: Any, upstream: Any) -> Any:
        """Return the gradient with respect to `x`."""

    @abstractmethod
    def fixed(self, values: Any = None) -> UniformQuantizer | None:
        """Return the grid that quantizes `values` just as this quantizer does.

        Export and hardware see only such grids. With one, `fixed(values)` gives the
        bits of `self.quantize(values)` when it quantizes `values`.

        Args:
            values: The weights to quantize, or None for an activation, whose values
                are not known.

        Returns:
            The grid, or None where no single grid serves.
        """

    def stages(self) -> tuple[Any, ...]:
        """Return what an activation does, as functions and grids one after another."""
        return (self.fixed() or self,)

    def __call__(self, x: Any) -> Any:
        """Quantize a tensor of any shape; differentiable.

        Computed in float32 or better: a half-precision tensor is converted, and the
        result rounded back to its dtype. Integers give float numbers.
        """
        # A straight-through estimator written as x + stop_gradient(q - x) rounds twice
        # and can leave the grid; a custom gradient returns q itself.
        tensor = ops.convert_to_tensor(x)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if not keras.backend.is_float_dtype(dtype):
            dtype = keras.config.floatx()
        # TensorFlow returns a Keras variable as it is; the cast reads it. Executing
        # eagerly, tf.custom_gradient refuses a function that reads variables itself.
        wide = ops.cast(tensor, dtype if dtype == "float64" else "float32")
        return ops.cast(with_gradient(self, wide), dtype)

    def quantize(self, x: Any) -> np.ndarray:
        """Quantize a numpy array with the arithmetic of the layers (float32).

        Args:
            x: Array of any shape; the last axis holds the channels when `step` has any.
                Denormal numbers count as zero, as they do in TensorFlow.

        Returns:
            float32 array of the same shape, every element on the grid.
        """
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and saturates
            values = self._forward(np, without_denormals(x))
        return np.asarray(values, dtype=np.float32)


class UniformQuantizer(Quantizer):
    """Maps real numbers onto the grid `value = code * step`, code an integer.

    Shapes: `step` (and with it `min` and `max`) is a scalar, or a vector that runs
    along the last axis of the quantized tensor (per-channel scale).

    Attributes:
        signed: Whether there are negative codes.
    """

    signed: bool

    # -- what a subclass says about its grid -------------------------------------------

    @property
    @abstractmethod
    def step(self) -> np.ndarray:
        """Distance between neighbouring values, float32, `()` or `(channels,)`."""

    @property
    @abstractmethod
    def code_min(self) -> int:
        """Smallest code."""

    @property
    @abstractmethod
    def code_max(self) -> int:
        """Largest code."""

    # -- what follows from it ----------------------------------------------------------

    @property
    def min(self) -> np.ndarray:
        """Smallest value, float32, with the shape of `step`."""
        return np.float32(self.code_min) * self.step

    @property
    def max(self) -> np.ndarray:
        """Largest value, float32, with the shape of `step`."""
        return np.float32(self.code_max) * self.step

    @property
    def is_power_of_two(self) -> bool:
        """Whether every step is a power of two, so that fixed-point hardware has it."""
        return all_powers_of_two(self.step)

    def fixed(self, values: Any = None) -> UniformQuantizer:
        """Return this quantizer: its grid is the same for all values."""
        return self

    def codes(self, x: Any) -> np.ndarray:
        """Return the integer codes of `quantize(x)`, int64, with `x`'s shape."""
        values = self.quantize(x).astype(np.float64)
        if not np.all(np.isfinite(values)):
            raise ValueError("codes() needs finite numbers. Received: NaN in x")
        return np.rint(values / self.step.astype(np.float64)).astype(np.int64)


def with_gradient(function: Any, x: Any) -> Any:
    """Return `function._forward(ops, x)`, with the gradient `function._gradient`."""

    @ops.custom_gradient
    def quantize(tensor: Any) -> tuple[Any, Any]:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            (upstream,) = args if upstream is None else (upstream,)
            return function._gradient(tensor, upstream)

        return function._forward(ops, tensor), gradient

    return quantize(x)


def all_powers_of_two(values: Any) -> bool:
    """Whether every element of a positive array is a power of two."""
    mantissa, _ = np.frexp(np.atleast_1d(values))
    return bool(np.all(mantissa == 0.5))


def without_denormals(x: Any) -> np.ndarray:
    """Return float32 numbers with zero for denormal ones, as in TensorFlow."""
    array = np.asarray(x, np.float32)
    return np.where(np.abs(array) < TINY, np.float32(0), array)


def constant(xp: Any, value: Any, like: Any) -> Any:
    """Return `value` as an array of namespace `xp` with the dtype of `like`."""
    if xp is np:
        return np.asarray(value, like.dtype)
    return ops.cast(ops.convert_to_tensor(value), like.dtype)


def opaque(xp: Any, value: Any, like: Any) -> Any:
    """Return positive `value` as `constant` does, in a form that compilers keep.

    Grappler and XLA turn a division by a constant into a multiplication with its
    rounded reciprocal, and merge successive constant factors; both change bits unless
    the factors are powers of two. `max(value, -abs(like))` is `value` whatever `like`
    is, and no constant. Not for divisors: the reciprocals of a vector may be inexact
    even where it holds powers of two only (see `divide`).
    """
    array = constant(xp, value, like)
    if xp is np or all_powers_of_two(value):
        return array
    return xp.maximum(array, -xp.abs(like))


def divide(xp: Any, x: Any, divisor: Any) -> Any:
    """Return `x / divisor`, rounded once, for a constant divisor without zeros.

    Powers of two become a product with their exact inverses, as long as these are
    normal numbers: what a compiler computes for the inverses of a vector is not exact.
    """
    divisor = np.asarray(divisor, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        inverse = 1 / divisor
    if all_powers_of_two(divisor) and are_normal(inverse):
        return x * constant(xp, inverse, x)
    return quotient(xp, x, constant(xp, divisor, x))


def quotient(xp: Any, x: Any, divisor: Any) -> Any:
    """Return `x / divisor`, rounded once, for positive divisors.

    XLA, and so all of JAX, multiplies by the rounded inverse where a divisor is
    broadcast. `max(divisor, -abs(x))` is the divisor, one a number.
    """
    return x / (divisor if xp is np else xp.maximum(divisor, -xp.abs(x)))


def check_int(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int within `[low, high]`, or raise."""
    try:
        whole = not isinstance(value, bool) and int(value) == value
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or not low <= value <= high:
        raise ValueError(
            f"`{name}` must be an integer from {low} to {high}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def are_normal(values: Any) -> bool:
    """Whether all values are positive, finite, normal numbers in float32."""
    try:
        with np.errstate(over="ignore", under="ignore"):
            array = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        return False
    return bool(np.all(np.isfinite(array) & (array >= TINY)))


def positive(name: str, value: Any) -> float:
    """Return a positive number as a float that float32 holds, or raise."""
    if np.ndim(value) or not are_normal(value):
        raise ValueError(
            f"`{name}` must be a positive number within the range of float32. "
            f"Received: {name}={value!r}"
        )
    return float(np.float32(value))


def check_scale(name: str, value: Any) -> Scale:
    """Return a positive scale as a float or, for one a channel, a tuple of floats."""
    array = np.asarray(value, np.float64) if are_normal(value) else np.empty(0)
    if array.ndim > 1 and array.size == array.shape[-1]:
        array = array.reshape(-1)
    if array.ndim > 1 or not array.size:
        raise ValueError(
            f"`{name}` must be a positive number or a vector of positive numbers, one "
            "a channel of the last axis, within the range of float32. "
            f"Received: {name}={value!r}"
        )
    if array.ndim == 0:
        return float(array)
    return tuple(float(v) for v in array)
