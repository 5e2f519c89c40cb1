"""Quantized ReLU with a leak, an upper bound or a sigmoid."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .fixed_point import FixedPoint
from .functions import ClippedLinear, LeakyReLU, check_slope
from .quantized_functions import SIGMOIDS, QuantizedFunction, Stage, sigmoid_stages
from .quantizer import check_int, constant, positive


class _Rectifier(QuantizedFunction):
    """What both share: the upper bound, and the gradient of the unrounded ReLU."""

    integer: int
    upper_bound: float | None
    saturating_gradient: bool
    negative_slope: float = 0.0

    def _set_bounds(self, upper_bound: Any, saturating_gradient: Any) -> None:
        if upper_bound is not None:
            upper_bound = positive("upper_bound", upper_bound)
            if saturating_gradient:
                raise ValueError(
                    "The gradient ends at `upper_bound` or at the end of the grid, not "
                    "at both: with an `upper_bound`, `saturating_gradient` must be "
                    f"False. Received: upper_bound={upper_bound}, "
                    f"saturating_gradient={saturating_gradient}"
                )
        self._set(
            upper_bound=upper_bound, saturating_gradient=bool(saturating_gradient)
        )

    @property
    @abstractmethod
    def _grid_max(self) -> float:
        """The largest value without `upper_bound`."""

    def _bounded(self, largest: float) -> float | None:
        """Return the upper bound where it lies below `largest`, else None."""
        bound = self.upper_bound
        return bound if bound is not None and bound < largest else None

    def _gradient(self, x: Any, upstream: Any) -> Any:
        end = self._grid_max if self.saturating_gradient else self.upper_bound
        if end is not None:
            upstream = upstream * ops.cast(x <= constant(ops, end, x), upstream.dtype)
        if not self.negative_slope:
            return upstream * ops.cast(x > 0, upstream.dtype)
        return ops.where(x > 0, upstream, upstream * self.negative_slope)


@register_keras_serializable(package="kerasqnn")
class QuantizedLeakyReLU(_Rectifier):
    """Leaky ReLU in fixed point, bounded at will (QKeras `quantized_relu`).

    Formula, ties to even, with `step = 2^(integer - bits)` for `negative_slope = 0`,
    else `2^(integer - bits + 1)`:

        x > 0:   y = min(step * min(round(x / step), 2^integer / step - 1), upper_bound)
        x <= 0:  y = max(step * round(slope * x / step), -slope * 2^integer)

    Gradient: 1 for `x > 0`, else `negative_slope`; 0 beyond the largest value of the
    grid with `saturating_gradient`, else beyond `upper_bound`, if there is one.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("QuantizedLeakyReLU(4, 1, negative_slope=0.25)", -3, 3)

    Args:
        bits: Bit width, the sign of a leaky ReLU included; 1 to 24, a leaky one from 2.
        integer: Bits before the binary point, sign excluded; may be negative.
        negative_slope: 0, or a power of two from 2^-16 to 2^8.
        upper_bound: Largest value, applied after rounding; it need not lie on the grid.
            None for the grid's own.
        saturating_gradient: Where the gradient ends: at the grid's largest value, or
            only at `upper_bound`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import QuantizedLeakyReLU
    >>> q = QuantizedLeakyReLU(4, 1, negative_slope=0.25)
    >>> q.quantize([-9.0, -2.0, 0.3, 9.0]).tolist()
    [-0.5, -0.5, 0.25, 1.75]

    References:
        - QKeras `quantized_relu` with `negative_slope`, `relu_upper_bound` and
          `is_quantized_clip`.
    """

    def __init__(
        self,
        bits: int,
        integer: int = 0,
        *,
        negative_slope: float = 0.0,
        upper_bound: float | None = None,
        saturating_gradient: bool = False,
    ) -> None:
        slope = check_slope(negative_slope)
        self._set(
            bits=check_int("bits", bits, 1 + (slope > 0), 24),
            integer=check_int("integer", integer, -32, 32),
            negative_slope=slope,
        )
        self._set_bounds(upper_bound, saturating_gradient)
        self._stages()  # raises where the grid is too wide

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded, or None."""
        return None if self.negative_slope or self.upper_bound else "relu"

    @property
    def _grid_max(self) -> float:
        leaky = self.negative_slope > 0
        return float(FixedPoint(self.bits, self.integer, signed=leaky).max)

    def _stages(self) -> tuple[Stage, ...]:
        slope, largest = self.negative_slope, self._grid_max
        high = self._bounded(largest)
        if not slope:
            grid = FixedPoint(self.bits, self.integer, signed=False)
            return (grid,) if high is None else (grid, ClippedLinear(high=high))
        # A slope beyond 1 needs more codes below zero than above.
        extra = max(0, round(math.log2(slope)))
        grid = FixedPoint(self.bits + extra, self.integer + extra)
        low = -slope * 2.0**self.integer
        if extra and high is None:
            high = largest
        bounds = ClippedLinear(low=None if low == grid.min else low, high=high)
        leak = (LeakyReLU(slope),) if slope != 1.0 else ()
        return (*leak, grid, *((bounds,) if bounds != ClippedLinear() else ()))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "integer": self.integer,
            "negative_slope": self.negative_slope,
            "upper_bound": self.upper_bound,
            "saturating_gradient": self.saturating_gradient,
        }


@register_keras_serializable(package="kerasqnn")
class QuantizedSigmoidReLU(_Rectifier):
    """The upper half of a sigmoid, quantized (QKeras `quantized_relu(use_sigmoid=1)`).

    Formula, with `m = 2^bits` and `f` as in `QuantizedSigmoid`, ties to even:

        y = 2^integer * clip(2 round(m * f(x / 2^integer)) / m - 1, 0, 1 - 1 / m)

    and at most `upper_bound`. All values but the largest are even multiples of
    `2^(integer - bits)`.

    Gradient: that of a ReLU, as `QuantizedLeakyReLU`'s.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("QuantizedSigmoidReLU(3)", -1, 2)

    Args:
        bits: Bit width, 1 to 23.
        integer: Bits before the binary point; may be negative.
        function: `"hard_sigmoid"`, `"smooth_sigmoid"` or `"sigmoid"`, which exact
            export refuses.
        upper_bound: Largest value, or None for the grid's own.
        saturating_gradient: Where the gradient ends: at the grid's largest value, or
            only at `upper_bound`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import QuantizedSigmoidReLU
    >>> QuantizedSigmoidReLU(3).quantize([-1.0, 0.3, 0.9]).tolist()
    [0.0, 0.25, 0.875]
    """

    function: str

    def __init__(
        self,
        bits: int,
        integer: int = 0,
        *,
        function: str = "hard_sigmoid",
        upper_bound: float | None = None,
        saturating_gradient: bool = True,
    ) -> None:
        if function not in SIGMOIDS:
            raise ValueError(unknown_name("`function`", function, SIGMOIDS))
        self._set(
            bits=check_int("bits", bits, 1, 23),
            integer=check_int("integer", integer, -32, 32),
            function=function,
        )
        self._set_bounds(upper_bound, saturating_gradient)

    @property
    def _grid_max(self) -> float:
        return float(FixedPoint(self.bits, self.integer, signed=False).max)

    def _stages(self) -> tuple[Stage, ...]:
        largest, unit = self._grid_max, 2.0**self.integer
        bound = self._bounded(largest)
        return (
            *sigmoid_stages(self.function, self.integer),
            FixedPoint(self.bits + 1, 1, signed=False),  # 1.0 is one of its numbers
            ClippedLinear(2.0 * unit, -unit, 0.0, largest if bound is None else bound),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "integer": self.integer,
            "function": self.function,
            "upper_bound": self.upper_bound,
            "saturating_gradient": self.saturating_gradient,
        }
