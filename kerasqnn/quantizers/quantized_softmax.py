"""Softmax in fixed point: exponentials and the inverse of their sum from tables."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from .fixed_point import FixedPoint
from .functions import Function, Lookup
from .quantized_functions import QuantizedFunction, Stage
from .quantizer import check_int
from .table_function import evaluated, table_grid


class TableSoftmax(Function):
    """Softmax along the last axis, from two tables; the product is not yet rounded.

    Formula: that of `QuantizedSoftmax` without `FixedPoint(bits)`.

    Gradient: that of `softmax(x)`.

    Args:
        difference: Grid of the distances from the largest input.
        exp: Grid of their exponentials.
        sum: Grid of the sum.
        inverse: Grid of its inverse.
    """

    kind = "table_softmax"
    difference: FixedPoint
    exp: FixedPoint
    sum: FixedPoint
    inverse: FixedPoint

    def __init__(self, difference: Any, exp: Any, sum: Any, inverse: Any) -> None:
        self._set(
            difference=_saturating("difference", difference),
            exp=_saturating("exp", exp, 24),
            sum=_saturating("sum", sum),
            inverse=_saturating("inverse", inverse, 24),
        )

    @cached_property
    def exp_table(self) -> Lookup:
        """The exponentials of minus the distances."""
        grid = self.difference
        step, first = float(grid.step), grid.code_min
        values, _ = evaluated("exp", step, -grid.code_max, -first)
        return Lookup(step, first, self.exp.quantize(values[::-1]).tolist())

    @cached_property
    def inverse_table(self) -> Lookup:
        """The inverse of each sum; that of 0 is the largest number of the grid."""
        grid = self.sum
        step, first = float(grid.step), grid.code_min
        sums = np.arange(first, grid.code_max + 1, dtype=np.float64) * step
        with np.errstate(divide="ignore"):
            inverses = 1.0 / sums
        return Lookup(step, first, self.inverse.quantize(inverses).tolist())

    def _forward(self, xp: Any, x: Any) -> Any:
        distances = xp.max(x, axis=-1, keepdims=True) - x
        powers = self.exp_table._forward(xp, self.difference._forward(xp, distances))
        total = self.sum._forward(xp, xp.sum(powers, axis=-1, keepdims=True))
        return powers * self.inverse_table._forward(xp, total)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        y = ops.softmax(x, axis=-1)
        return y * (upstream - ops.sum(upstream * y, axis=-1, keepdims=True))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, the grids as strings."""
        names = ("difference", "exp", "sum", "inverse")
        return {name: repr(getattr(self, name)) for name in names}


@register_keras_serializable(package="kerasqnn")
class QuantizedSoftmax(QuantizedFunction):
    """Softmax along the last axis in fixed point, from tables; for activations.

    Formula, the steps of hls4ml's `stable` softmax, each grid with its own rounding:

        d = difference(max(x) - x)
        e = exp(e^-d)                         a table, one entry a number of d's grid
        r = inverse(1 / sum(e_1 + ... + e_n))   a table, one entry a number of the sum's
        y = FixedPoint(bits, 0, signed=False)(e * r)

    The tables are made once, from correctly rounded values; from then on there are only
    subtractions, sums and products on grids, so that the bits are the same in every
    backend and in ONNX, as long as `n` exponentials add up within 24 bits: `exp` of
    `b` bits for up to `2^(24 - b)` classes. Otherwise exact export refuses the layer.
    Hardware refuses it: take the activation off the last layer, and apply
    `quantizer.quantize` to what the chip returns.

    Gradient: that of the softmax without any rounding.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("QuantizedSoftmax(4)")

    Args:
        bits: Bit width of the result, 1 to 24; its largest value is `1 - 2^-bits`.
        difference: Grid of the distances: a `FixedPoint` or a string, as all of them.
            At most 12 bits; distances beyond its range count as its largest number.
        exp: Grid of the exponentials, which lie between 0 and 1.
        sum: Grid of the sum, at most 12 bits. Its range should reach the number of
            classes: a larger sum counts as its largest number.
        inverse: Grid of the inverse of the sum, which is at most 1.

    Raises:
        ValueError: If `bits` is out of range, or a grid has another kind, too many
            bits, several steps or none that is a power of two, or wraps.

    Example:

    >>> from kerasqnn.quantizers import QuantizedSoftmax
    >>> QuantizedSoftmax(4).quantize([[1.0, 1.0, 3.0]]).tolist()
    [[0.125, 0.125, 0.8125]]

    References:
        - hls4ml, `softmax_stable` of `nnet_activation.h`.
    """

    function: TableSoftmax

    def __init__(
        self,
        bits: int = 8,
        *,
        difference: Any = "FixedPoint(10, 4, signed=False)",
        exp: Any = "FixedPoint(12, 1, signed=False)",
        sum: Any = "FixedPoint(12, 6, signed=False)",
        inverse: Any = "FixedPoint(12, 1, signed=False)",
    ) -> None:
        self._set(
            bits=check_int("bits", bits, 1, 24),
            function=TableSoftmax(difference, exp, sum, inverse),
        )

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded."""
        return "softmax"

    def _stages(self) -> tuple[Stage, ...]:
        return (self.function, FixedPoint(self.bits, signed=False))

    def _gradient(self, x: Any, upstream: Any) -> Any:
        return self.function._gradient(x, upstream)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, the grids as strings."""
        return {"bits": self.bits, **self.function.get_config()}


def _saturating(name: str, identifier: Any, bits: int = 12) -> FixedPoint:
    """Return a grid that has a table, or is one's, or raise naming the argument."""
    grid = table_grid(name, identifier, bits)
    if grid.overflow == "WRAP":
        raise ValueError(
            f"`{name}` must saturate: overflow='SAT'. Received: {name}={grid!r}"
        )
    return grid
