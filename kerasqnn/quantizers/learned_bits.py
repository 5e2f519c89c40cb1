"""Fixed point whose numbers of bits are trained with the weights (HGQ)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .calibration import with_step
from .fixed_point import FixedPoint
from .quantizer import check_int
from .stateful import StatefulQuantizer, read, sum_to, widened, with_gradients

GRANULARITIES = ("tensor", "channel", "element")
_LIMIT = 20  # of the bits before and after the point
_LOG2 = math.log(2.0)


@register_keras_serializable(package="kerasqnn")
class LearnedBits(StatefulQuantizer):
    """Fixed point with trained bit widths, a tensor, a channel or an element at a time.

    Formula, in float32, with `f = round(fraction)`, `i = round(integer)` and the step
    `2^-f`; without `integer`, for weights, whose range follows the values:

        y = 2^-f * round(x * 2^f)

    and with it, for activations, where `f` is at least `1 - i`, so that no tensor
    vanishes:

        y = 2^-f * round(clip(x * 2^f, -2^(i+f) or 0, 2^(i+f) - 1))

    A weight for which `f` leaves no bits is 0: it is pruned.

    Gradient: of `x`, 1 inside the range, else 0; of `fraction`, the sum over what
    shares it of `ln(2) * (x - y)` inside the range and `ln(2) * 2^-f` above it; of
    `integer`, of `ln(2) * 2^i` above and `-ln(2) * 2^i` below the range.

    The widths shrink where that costs little only if the loss asks for it: see
    `kerasqnn.training.EBOPsPenalty`.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("LearnedBits(2, 1)")

    Args:
        fraction: First number of bits behind the point, -20 to 20.
        integer: First number of bits before the point, sign excluded, -20 to 20; None
            for weights, whose range follows the values.
        signed: Whether there are negative values; False after a ReLU. For activations.
        granularity: `"tensor"`, `"channel"` (of the last axis) or `"element"`: what
            shares one width.
        **kwargs: Those of `keras.layers.Layer`, such as `name`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import keras
    >>> from kerasqnn.quantizers import LearnedBits
    >>> quantizer = LearnedBits(2)
    >>> [float(v) for v in quantizer(keras.ops.array([-1.0, 0.3, 3.125]))]
    [-1.0, 0.25, 3.0]
    >>> [float(v) for v in quantizer.widths(keras.ops.array([-1.0, 0.3, 3.125]))]
    [4.0, 4.0, 4.0]

    References:
        - Sun et al., HGQ: High Granularity Quantization for Real-time Neural Networks
          on FPGAs, 2024.
    """

    def __init__(
        self,
        fraction: int = 8,
        integer: int | None = None,
        *,
        signed: bool = True,
        granularity: str = "tensor",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if granularity not in GRANULARITIES:
            raise ValueError(unknown_name("`granularity`", granularity, GRANULARITIES))
        self.first_fraction = check_int("fraction", fraction, -_LIMIT, _LIMIT)
        self.first_integer = (
            None if integer is None else check_int("integer", integer, -_LIMIT, _LIMIT)
        )
        self.signed = bool(signed)
        self.granularity = granularity
        self.integer: Any = None

    def build(self, input_shape: Any) -> None:
        """Make the variables of the widths."""
        shape = {
            "tensor": (),
            "channel": tuple(input_shape[-1:]),
            "element": tuple(input_shape[input_shape[:1] == (None,) :]),
        }[self.granularity]
        if None in shape:
            raise ValueError(
                f"Quantizer {self.name!r} has a width for each {self.granularity}, so "
                f"that their number must be known. Received: {input_shape=}"
            )
        self.fraction = self._scalar_or_vector(
            "fraction", shape, self.first_fraction, trainable=True
        )
        if self.first_integer is not None:
            self.integer = self._scalar_or_vector(
                "integer", shape, self.first_integer, trainable=True
            )
        # Set by the penalty on the resources; no part of the result.
        self.beta = self._scalar_or_vector("beta", (), 0.0, trainable=False)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the quantized inputs."""
        x, dtype = widened(inputs)
        fraction = ops.cast(read(self.fraction), x.dtype)
        if self.integer is None:
            y = with_gradients(
                lambda x, f: _round(ops, x, _whole(ops, f)),
                self._gradients_of_weights,
                x,
                fraction,
            )
        else:
            integer = ops.cast(read(self.integer), x.dtype)
            y = with_gradients(
                self._saturate, self._gradients_of_activations, x, fraction, integer
            )
        return ops.cast(y, dtype)

    def _saturate(self, x: Any, fraction: Any, integer: Any) -> Any:
        f, i = _both(ops, fraction, integer)
        low, high = self._range(f, i)
        return _round(ops, ops.clip(x, low, high), f)

    def _range(self, f: Any, i: Any) -> tuple[Any, Any]:
        top = power_of_two(ops, i)
        low = -top if self.signed else ops.zeros_like(top)
        return low, top - power_of_two(ops, -f)

    def _gradients_of_weights(
        self, x: Any, fraction: Any, upstream: Any
    ) -> tuple[Any, Any]:
        y = _round(ops, x, _whole(ops, fraction))
        return upstream, sum_to(upstream * (x - y) * _LOG2, fraction)

    def _gradients_of_activations(
        self, x: Any, fraction: Any, integer: Any, upstream: Any
    ) -> tuple[Any, Any, Any]:
        f, i = _both(ops, fraction, integer)
        low, high = self._range(f, i)
        above, below = x > high, x < low
        zeros = ops.zeros_like(x)
        outside = ops.logical_or(above, below)
        lost = ops.where(outside, zeros, x - _round(ops, x, f))
        by_fraction = ops.where(above, power_of_two(ops, -f), lost)
        top = power_of_two(ops, i)
        bottom = -top if self.signed else ops.zeros_like(top)
        by_integer = ops.where(above, top, ops.where(below, bottom, zeros))
        return (
            ops.where(outside, zeros, upstream),
            sum_to(upstream * by_fraction * _LOG2, fraction),
            sum_to(upstream * by_integer * _LOG2, integer),
        )

    def widths(self, values: Any = None) -> Any:
        """Return the bits of each value, differentiable; the sign is not counted.

        `max(i + f, 0)`, where for weights `i` is the number of bits before the point of
        the largest quantized value that shares the width. This is HGQ's count.

        Args:
            values: The weights; an activation's widths do not depend on its values.

        Returns:
            Tensor of the shape of `values` or, for an activation, of the widths.
        """
        self._check_built()
        fraction = read(self.fraction)
        if self.integer is not None:
            return with_gradients(
                lambda f, i: sum(_both(ops, f, i)),
                lambda f, i, upstream: (upstream, upstream),
                fraction,
                read(self.integer),
            )
        values = ops.cast(ops.convert_to_tensor(values), "float32")
        axes = tuple(range(len(values.shape) - len(fraction.shape)))
        rounded = ops.abs(_round(ops, values, _whole(ops, fraction)))
        integer = ops.stop_gradient(_bits_before_the_point(ops.max(rounded, axis=axes)))
        whole = with_gradients(
            lambda f: _whole(ops, f), lambda f, upstream: (upstream,), fraction
        )
        return ops.broadcast_to(ops.relu(whole + integer), ops.shape(values))

    def fixed(self, values: Any = None) -> FixedPoint | None:
        """Return the grid of these weights, or of an activation.

        Returns:
            The grid; None for widths an element, for weights that are not given, and
            for an activation whose channels have codes of different widths.
        """
        self._check_built()
        fraction = np.asarray(ops.convert_to_numpy(self.fraction), np.float32)
        if self.integer is None:
            if values is None or self.granularity == "element":
                return None
            step = power_of_two(np, -_whole(np, fraction))
            codes = np.rint(np.asarray(values, np.float64) / step)
            largest = max(np.max(codes, initial=0), -np.min(codes, initial=0) - 1, 1)
            return with_step(int(largest).bit_length() + 1, True, step)
        integer = np.asarray(ops.convert_to_numpy(self.integer), np.float32)
        f, i = _both(np, fraction, integer)
        widths = np.unique(f + i)
        if len(widths) > 1 or f.ndim > 1:
            return None
        bits = int(widths[0]) + int(self.signed)
        return with_step(bits, self.signed, power_of_two(np, -f))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "fraction": self.first_fraction,
            "integer": self.first_integer,
            "signed": self.signed,
            "granularity": self.granularity,
        }


def power_of_two(xp: Any, exponent: Any) -> Any:
    """Return `2^exponent` of whole numbers from -126 to 127, exactly.

    Made of its bits: a float32 power has other last bits in every library.
    """
    if xp is np:
        return np.ldexp(np.float32(1), np.asarray(exponent, np.int32))
    dtype = exponent.dtype
    biased = ops.left_shift(ops.cast(exponent, "int32") + 127, 23)
    return ops.cast(ops.view(biased, "float32"), dtype)


def _bits_before_the_point(values: Any) -> Any:
    """Return `floor(log2(values)) + 1` of float32 numbers, at most -126 for zero."""
    exponent = ops.right_shift(ops.view(values, "int32"), 23)
    return ops.cast(exponent - 126, "float32")


def _whole(xp: Any, bits: Any) -> Any:
    return xp.round(xp.clip(bits, -_LIMIT, _LIMIT))


def _both(xp: Any, fraction: Any, integer: Any) -> tuple[Any, Any]:
    """Return the whole bits behind and before the point, together at least 1."""
    i = _whole(xp, integer)
    return xp.maximum(_whole(xp, fraction), 1.0 - i), i


def _round(xp: Any, x: Any, f: Any) -> Any:
    return xp.round(x * power_of_two(xp, f)) * power_of_two(xp, -f)
