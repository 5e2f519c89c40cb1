"""Uniform quantization whose step and offset are trained with the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .affine import LARGEST_ZERO_POINT, Affine, affine
from .quantizer import check_int, quotient
from .reductions import nearest_power_of_two
from .stateful import (
    StatefulQuantizer,
    read,
    warn_of_no_start,
    widened,
    with_gradients,
)

STARTS = ("min_max", "three_sigma")
_SMALLEST, _LARGEST = 2.0**-40, 2.0**40


@register_keras_serializable(package="kerasqnn")
class LSQPlus(StatefulQuantizer):
    """Uniform quantization with a trained step and offset (LSQ+).

    For activations with few values below zero, as behind swish or a leaky ReLU.

    Formula, in float32 and in this order, with `top = 2^bits - 1`:

        zero_point = round(-offset / step)
        y = (round(clip(x / step + zero_point, 0, top)) - zero_point) * step

    The paper adds the offset as it is; here it is rounded to whole steps, so that 0 is
    a number of the grid and `fixed()` is an `Affine`.

    Gradient: of `x`, 1 where `0 <= v <= top` with `v = x / step + zero_point`, else 0.
    The others are those of the paper, straight through the rounding of the offset:
    sums over all elements of

        of step:    round(v) - v inside the range, 0 below it, top above it
        of offset:  0 inside the range, 1 outside

    times the upstream gradient and `1 / sqrt(n * top)`, where `n` is the number of
    elements (in one sample, for an activation).

    Both start from a range of values, `step = (high - low) / top`, `offset = low`: of
    a weight from its first values, and anew, as of anything else, from the first batch
    of training; what a file brings stays. An activation's grid is that of
    `FixedPoint(bits, 0)` until then; reading it, as `fixed()`, export and `deploy` do,
    gives a `QuantizationWarning`. Each is kept as a start (that of the step negative
    before the first batch) and a change, which the optimizer trains.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("LSQPlus(3)")

    Args:
        bits: Bit width, 2 to 16.
        start: The range of the first batch: `"min_max"`, or `"three_sigma"` for
            `mean - 3 std` to `mean + 3 std` where that is less.
        power_of_two: Whether the step is rounded to the nearest power of two (of the
            logarithms) at every call, training included. Then everything downstream is
            exact.
        **kwargs: Those of `keras.layers.Layer`, such as `name`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import keras
    >>> from kerasqnn.quantizers import LSQPlus
    >>> quantizer = LSQPlus(2, power_of_two=True)
    >>> y = quantizer(keras.ops.array([-1.0, 0.2, 2.0]), training=True)
    >>> quantizer.fixed()
    Affine(bits=2, scale=1.0, zero_point=1)

    References:
        - Bhalgat et al., LSQ+: Improving low-bit quantization through learnable offsets
          and better initialization, CVPR workshops 2020.
    """

    changes_in_training = True  # the starts, at the first batch

    def __init__(
        self,
        bits: int,
        *,
        start: str = "min_max",
        power_of_two: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if start not in STARTS:
            raise ValueError(unknown_name("`start`", start, STARTS))
        self.bits = check_int("bits", bits, 2, 16)
        self.start = start
        self.power_of_two = bool(power_of_two)

    def build(self, input_shape: Any) -> None:
        """Make the variables of step and offset."""
        self._of_activation = bool(input_shape) and input_shape[0] is None
        for name, value, of_weight in (
            ("step_start", 0.0, self._step_of_weight),
            ("offset_start", -1.0, self._offset_of_weight),
            ("step_change", 0.0, None),
            ("offset_change", 0.0, None),
        ):
            variable = self._scalar_or_vector(
                name, (), value, trainable=of_weight is None, of_weight=of_weight
            )
            setattr(self, name, variable)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the quantized inputs; in training, set the first step and offset."""
        x, dtype = widened(inputs)
        start, first = read(self.step_start), read(self.offset_start)
        if training and self.trainable:
            seen = [
                ops.cast(t, "float32") for t in self._range(ops, ops.stop_gradient(x))
            ]
            started = ops.logical_or(start > 0, seen[0] <= 0)
            start = ops.where(started, start, seen[0])
            first = ops.where(started, first, seen[1])
            self.step_start.assign(start)
            self.offset_start.assign(first)
        step = with_gradients(
            lambda c: self._step(ops, start, c),
            lambda c, upstream: (upstream,),
            read(self.step_change),
        )
        offset = first + read(self.offset_change)
        tensors = (ops.cast(t, x.dtype) for t in (step, offset))
        return ops.cast(
            with_gradients(self._quantize, self._gradients, x, *tensors), dtype
        )

    def _range(self, xp: Any, x: Any) -> tuple[Any, Any]:
        """Return the step and the offset that suit the values."""
        low, high = xp.min(x), xp.max(x)
        if self.start == "three_sigma":
            mean, reach = xp.mean(x), 3.0 * xp.std(x)
            low, high = xp.maximum(low, mean - reach), xp.minimum(high, mean + reach)
        return (high - low) / float(2**self.bits - 1), low

    def _step_of_weight(self, values: np.ndarray) -> Any:
        return -self._range(np, values.astype(np.float64))[0]

    def _offset_of_weight(self, values: np.ndarray) -> Any:
        return self._range(np, values.astype(np.float64))[1]

    def start_from(self, values: np.ndarray) -> None:
        """Start anew from a weight's values, unless training has set the start."""
        if not ops.convert_to_numpy(self.step_start) > 0:
            self.step_start.assign(self._step_of_weight(values))
            self.offset_start.assign(self._offset_of_weight(values))

    def _step(self, xp: Any, start: Any, change: Any) -> Any:
        default = xp.ones_like(start) * 2.0 ** (1 - self.bits)
        step = xp.where(start != 0, xp.abs(start), default) + change
        step = xp.clip(step, _SMALLEST, _LARGEST)
        return nearest_power_of_two(xp, step) if self.power_of_two else step

    def _quantize(self, x: Any, step: Any, offset: Any) -> Any:
        return affine(ops, x, step, _zero_point(ops, step, offset), self.bits)

    def _gradients(
        self, x: Any, step: Any, offset: Any, upstream: Any
    ) -> tuple[Any, Any, Any]:
        top = float(2**self.bits - 1)
        v = quotient(ops, x, step) + _zero_point(ops, step, offset)
        inside = ops.logical_and(v >= 0, v <= top)
        zeros = ops.zeros_like(upstream)
        clipped = ops.clip(v, 0, top)
        slope = ops.where(inside, ops.round(clipped) - clipped, clipped)
        batch = ops.shape(x)[0] if self._of_activation else 1
        scale = ops.rsqrt(ops.cast(ops.size(x) / batch, x.dtype) * top)
        return (
            ops.where(inside, upstream, zeros),
            ops.sum(upstream * slope) * scale,
            ops.sum(ops.where(inside, zeros, upstream)) * scale,
        )

    def fixed(self, values: Any = None) -> Affine:
        """Return the grid with step and zero point as they are now."""
        self._check_built()
        names = ("step_start", "step_change", "offset_start", "offset_change")
        start, change, first, moved = (
            np.asarray(ops.convert_to_numpy(getattr(self, name)), np.float32)
            for name in names
        )
        if not start:
            warn_of_no_start(self)
        step = np.asarray(self._step(np, start, change), np.float32)
        zero_point = _zero_point(np, step, first + moved)
        return Affine(self.bits, float(step), int(zero_point))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "bits": self.bits,
            "start": self.start,
            "power_of_two": self.power_of_two,
        }


def _zero_point(xp: Any, step: Any, offset: Any) -> Any:
    limit = float(LARGEST_ZERO_POINT)
    return xp.round(xp.clip(-offset / step, -limit, limit))
