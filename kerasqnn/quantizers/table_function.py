"""Smooth functions as tables: sigmoid, tanh and others with exact bits everywhere."""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .fixed_point import FixedPoint
from .functions import Lookup
from .quantized_functions import QuantizedFunction, Stage
from .quantizer import constant

_MAX_BITS = 12
# Decimal's exp and ln are correctly rounded: the same digits in every Python.
_CONTEXT = Context(prec=40, Emin=MIN_EMIN, Emax=MAX_EMAX)


def _sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def _tanh(x: Decimal) -> Decimal:
    return 2 * _sigmoid(2 * x) - 1


# Each with its derivative.
_FUNCTIONS: dict[str, tuple[Callable[[Decimal], Any], Callable[[Decimal], Any]]] = {
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * (1 - _sigmoid(x))),
    "tanh": (_tanh, lambda x: 1 - _tanh(x) ** 2),
    "exp": (lambda x: x.exp(), lambda x: x.exp()),
    "silu": (
        lambda x: x * _sigmoid(x),
        lambda x: _sigmoid(x) * (1 + x * (1 - _sigmoid(x))),
    ),
    "softplus": (lambda x: (1 + x.exp()).ln(), _sigmoid),
    "elu": (
        lambda x: x if x > 0 else x.exp() - 1,
        lambda x: Decimal(1) if x > 0 else x.exp(),
    ),
}


@register_keras_serializable(package="kerasqnn")
class TableFunction(QuantizedFunction):
    """A smooth function of a quantized input, as a table with quantized values.

    Formula, with the grids `input` and `output`:

        y = output(f(input(x)))

    `f` is evaluated for every number of the input grid, with 40 decimal digits, when
    the quantizer is made; from then on there is only the table, so that the bits are
    the same in every backend and in ONNX (`Gather`), other than those of a `tanh` or
    `sigmoid` in floating point.

    Gradient: the derivative of `f` at the quantized input, 0 outside the input's range.

    Plot:

    .. plot::

        from kerasqnn.quantizers import TableFunction, plot_quantizer
        grids = {"input": "FixedPoint(6, 2)", "output": "FixedPoint(5)"}
        plot_quantizer(TableFunction("tanh", **grids))

    Args:
        function: `"sigmoid"`, `"tanh"`, `"exp"`, `"silu"`, `"softplus"` or `"elu"`.
        input: Grid of the input: a `FixedPoint` (or a string such as
            `"quantized_bits(8,2)"`) of at most 12 bits, with one power-of-two step.
        output: Grid of the values: a `FixedPoint` or a string.

    Raises:
        ValueError: If the function is not known, or a grid is of another kind.

    Example:

    >>> from kerasqnn.quantizers import TableFunction
    >>> q = TableFunction("tanh", input="FixedPoint(6,2)", output="FixedPoint(5)")
    >>> q.quantize([-9.0, 0.3, 0.6, 9.0]).tolist()
    [-1.0, 0.25, 0.5625, 0.9375]
    """

    function: str
    input: FixedPoint
    output: FixedPoint
    _table: Lookup
    _derivatives: Lookup

    def __init__(self, function: str, *, input: Any, output: Any) -> None:
        if function not in _FUNCTIONS:
            raise ValueError(unknown_name("`function`", function, _FUNCTIONS))
        grid, values = table_grid("input", input), _grid("output", output)
        if values.step.ndim:
            raise ValueError(
                f"`output` must have one step. Received: output={values!r}"
            )
        self._set(bits=values.bits, function=function, input=grid, output=values)
        step, first = float(grid.step), grid.code_min
        table, slopes = evaluated(function, step, first, grid.code_max)
        self._set(
            _table=Lookup(step, first, values.quantize(table).tolist()),
            _derivatives=Lookup(step, first, slopes.tolist()),
        )

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded."""
        return "exponential" if self.function == "exp" else self.function

    def _stages(self) -> tuple[Stage, ...]:
        return (self.input, self._table)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        low, high = (constant(ops, v, x) for v in (self.input.min, self.input.max))
        inside = ops.cast(ops.logical_and(x >= low, x <= high), upstream.dtype)
        slope = self._derivatives._forward(ops, self.input._forward(ops, x))
        return upstream * inside * slope

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, the grids as strings."""
        return {
            "function": self.function,
            "input": repr(self.input),
            "output": repr(self.output),
        }


@cache
def evaluated(
    function: str, step: float, first: int, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a function and its derivative of the numbers of a grid, in float32."""
    with localcontext(_CONTEXT):
        inputs = [code * Decimal(step) for code in range(first, last + 1)]
        f, derivative = ([float(g(x)) for x in inputs] for g in _FUNCTIONS[function])
    with np.errstate(over="ignore"):
        return np.array(f, np.float32), np.array(derivative, np.float32)


def table_grid(name: str, identifier: Any, bits: int = _MAX_BITS) -> FixedPoint:
    """Return the grid of a table's inputs, or raise naming the argument."""
    grid = _grid(name, identifier)
    plain = grid.alpha == 1.0 and not grid.step.ndim and grid.is_power_of_two
    if grid.bits > bits or not plain:
        raise ValueError(
            f"`{name}` must have at most {bits} bits, one power-of-two step and no "
            f"`alpha`. Received: {name}={grid!r}"
        )
    return grid


def _grid(name: str, identifier: Any) -> FixedPoint:
    from .parsing import get  # it imports this module

    grid = get(identifier)
    if not isinstance(grid, FixedPoint):
        raise ValueError(
            f"`{name}` must be a FixedPoint or a string that names one. "
            f"Received: {name}={identifier!r}"
        )
    return grid
