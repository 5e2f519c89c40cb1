"""Functions in front of, or behind, the grid of an activation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from .._values import ValueObject
from .quantizer import all_powers_of_two, constant, divide, opaque, with_gradient

# The kinds of operations in a graph that compute a `Function` exactly as it is here.
FUNCTIONS = (
    "clipped_linear", "leaky_relu", "hard_swish", "step_function", "lookup",
    "table_softmax",
)  # fmt: skip


class Function(ValueObject):
    """A function with one float32 formula for numpy and `keras.ops`.

    What a quantizer of activations does besides rounding is said in functions, so that
    reading, export and hardware meet few kinds of them: a quantizer's `stages()` are
    functions and grids one after another. All are elementwise but softmax.

    Attributes:
        kind: The kind of the operation that it becomes in a `Graph`.
    """

    kind: str

    @abstractmethod
    def _forward(self, xp: Any, x: Any) -> Any:
        """Return the function of `x`; `xp` is `numpy` or `keras.ops`."""

    @abstractmethod
    def _gradient(self, x: Any, upstream: Any) -> Any:
        """Return the gradient with respect to `x`."""

    def __call__(self, x: Any) -> Any:
        """Return the function of a tensor; differentiable."""
        return with_gradient(self, ops.convert_to_tensor(x))


class ClippedLinear(Function):
    """A line between two bounds: `y = min(max(slope * x + offset, low), high)`.

    ReLU6, hard sigmoid, hard tanh and bounds of any activation. With a slope that is a
    power of two every step is exact or rounds once, as everywhere.

    Gradient: `slope` where `low <= slope * x + offset <= high`, 0 elsewhere.

    Args:
        slope: Positive number.
        offset: Number.
        low: Lower bound, or None for none.
        high: Upper bound, or None for none.

    Example:

    >>> import numpy as np
    >>> from kerasqnn.quantizers.functions import ClippedLinear
    >>> ClippedLinear(0.5, 0.5, 0.0, 1.0)._forward(np, np.float32([-3, 0.5])).tolist()
    [0.0, 0.75]
    """

    kind = "clipped_linear"
    slope: float
    offset: float
    low: float | None
    high: float | None

    def __init__(
        self,
        slope: float = 1.0,
        offset: float = 0.0,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        self._set(
            slope=float(np.float32(slope)),
            offset=float(np.float32(offset)),
            low=None if low is None else float(np.float32(low)),
            high=None if high is None else float(np.float32(high)),
        )

    def _line(self, xp: Any, x: Any) -> Any:
        if self.slope != 1.0:
            x = x * opaque(xp, np.float32(self.slope), x)
        return x + constant(xp, self.offset, x) if self.offset else x

    def _forward(self, xp: Any, x: Any) -> Any:
        y = self._line(xp, x)
        if self.high is not None:
            y = xp.minimum(y, constant(xp, self.high, y))
        return y if self.low is None else xp.maximum(y, constant(xp, self.low, y))

    def _gradient(self, x: Any, upstream: Any) -> Any:
        y = self._line(ops, x)
        if self.low is not None:
            upstream = upstream * ops.cast(y >= self.low, upstream.dtype)
        if self.high is not None:
            upstream = upstream * ops.cast(y <= self.high, upstream.dtype)
        return upstream * self.slope

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "slope": self.slope,
            "offset": self.offset,
            "low": self.low,
            "high": self.high,
        }


class LeakyReLU(Function):
    """Two lines: `y = x` for `x > 0`, else `slope * x`.

    Gradient: 1 for `x > 0`, else `slope`.

    Args:
        slope: Positive number.

    Example:

    >>> import numpy as np
    >>> from kerasqnn.quantizers.functions import LeakyReLU
    >>> LeakyReLU(0.25)._forward(np, np.float32([-3.0, 0.5])).tolist()
    [-0.75, 0.5]
    """

    kind = "leaky_relu"
    slope: float

    def __init__(self, slope: float) -> None:
        self._set(slope=float(np.float32(slope)))

    def _forward(self, xp: Any, x: Any) -> Any:
        return xp.where(x > 0, x, x * opaque(xp, np.float32(self.slope), x))

    def _gradient(self, x: Any, upstream: Any) -> Any:
        return ops.where(x > 0, upstream, upstream * self.slope)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"slope": self.slope}


class HardSwish(Function):
    """`y = x * min(max(x + shift, 0), bound) / bound`, as in MobileNet v3.

    Every operation rounds once in float32, in this order.

    Gradient: that of the formula, `(r + x * [0 < x + shift <= bound]) / bound` with `r`
    the clipped sum.

    Args:
        shift: Positive number.
        bound: Positive number.

    Example:

    >>> import numpy as np
    >>> from kerasqnn.quantizers.functions import HardSwish
    >>> HardSwish()._forward(np, np.float32([-1.5, 1.5, 7.0])).tolist()
    [-0.375, 1.125, 7.0]
    """

    kind = "hard_swish"
    shift: float
    bound: float

    def __init__(self, shift: float = 3.0, bound: float = 6.0) -> None:
        self._set(shift=float(np.float32(shift)), bound=float(np.float32(bound)))

    def _clipped(self, xp: Any, x: Any) -> Any:
        return xp.clip(x + constant(xp, self.shift, x), 0.0, self.bound)

    def _forward(self, xp: Any, x: Any) -> Any:
        product = x * self._clipped(xp, x)
        return divide(xp, product, self.bound)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        upstream = divide(ops, upstream, self.bound)
        shifted = x + self.shift
        rising = ops.logical_and(shifted > 0, shifted <= self.bound)
        slope = upstream * x * ops.cast(rising, upstream.dtype)
        return slope + upstream * self._clipped(ops, x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"shift": self.shift, "bound": self.bound}


class SmoothFunction(Function):
    """`tanh` or `sigmoid` as the Keras backend computes it, for numpy too.

    Its last bits differ between backends and compilers; export with `exact=True`
    refuses it.

    Gradient: `1 - y^2` and `y (1 - y)`.

    Args:
        name: `"tanh"` or `"sigmoid"`.
    """

    kind = "activation"
    name: str

    def __init__(self, name: str) -> None:
        self._set(name=name)

    @property
    def keras_function(self) -> Any:
        """Keras's activation function."""
        return keras.activations.get(self.name)

    def _forward(self, xp: Any, x: Any) -> Any:
        y = getattr(ops, self.name)(ops.convert_to_tensor(x))
        return ops.convert_to_numpy(y) if xp is np else y

    def _gradient(self, x: Any, upstream: Any) -> Any:
        y = self._forward(ops, x)
        if self.name == "tanh":
            return upstream * (1.0 - y * y)
        return upstream * (y * (1.0 - y))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"name": self.name}


class StepFunction(Function):
    """Constant between thresholds: `y = levels[n]`, `n` the thresholds `t <= x`.

    Only comparisons: the same bits in every tool.

    Gradient: 0.

    Args:
        thresholds: Ascending numbers.
        levels: Values, one more than thresholds.

    Example:

    >>> import numpy as np
    >>> from kerasqnn.quantizers.functions import StepFunction
    >>> f = StepFunction([0.0, 1.0], [-1.0, 0.5, 2.0])
    >>> f._forward(np, np.float32([-3.0, 0.0, 0.9, 1.0])).tolist()
    [-1.0, 0.5, 0.5, 2.0]
    """

    kind = "step_function"
    thresholds: tuple[float, ...]
    levels: tuple[float, ...]

    def __init__(self, thresholds: Sequence[float], levels: Sequence[float]) -> None:
        self._set(
            thresholds=tuple(float(np.float32(t)) for t in thresholds),
            levels=tuple(float(np.float32(v)) for v in levels),
        )

    def _forward(self, xp: Any, x: Any) -> Any:
        flat = xp.reshape(x, (-1,))
        thresholds = constant(xp, np.array(self.thresholds, np.float32), x)
        index = xp.searchsorted(thresholds, flat, side="right")
        levels = constant(xp, np.array(self.levels, np.float32), x)
        return xp.reshape(xp.take(levels, index, axis=0), xp.shape(x))

    def _gradient(self, x: Any, upstream: Any) -> Any:
        return ops.zeros_like(upstream)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"thresholds": self.thresholds, "levels": self.levels}


class Lookup(Function):
    """A table: `y = levels[x / step - first]`, for numbers on a grid.

    Gradient: 0.

    Args:
        step: Distance of two inputs, a power of two.
        first: Code of the smallest input, that of `levels[0]`.
        levels: Values of the inputs `first * step`, `(first + 1) * step`, and so on.

    Example:

    >>> import numpy as np
    >>> from kerasqnn.quantizers.functions import Lookup
    >>> Lookup(0.5, -1, [9.0, 7.0, 8.0])._forward(np, np.float32([-0.5, 0.5])).tolist()
    [9.0, 8.0]
    """

    kind = "lookup"
    step: float
    first: int
    levels: tuple[float, ...]

    def __init__(self, step: float, first: int, levels: Sequence[float]) -> None:
        self._set(
            step=float(step),
            first=int(first),
            levels=tuple(float(np.float32(v)) for v in levels),
        )

    def _forward(self, xp: Any, x: Any) -> Any:
        codes = x / constant(xp, self.step, x) - self.first
        index = codes.astype(np.int32) if xp is np else ops.cast(codes, "int32")
        index = xp.clip(index, 0, len(self.levels) - 1)
        levels = constant(xp, np.array(self.levels, np.float32), x)
        return xp.take(levels, index, axis=0)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        return ops.zeros_like(upstream)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"step": self.step, "first": self.first, "levels": self.levels}


def check_slope(value: Any) -> float:
    """Return a slope below zero, 0 or a power of two, as a float, or raise."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    fits = number and 2.0**-16 <= value <= 2.0**8 and all_powers_of_two(value)
    if not (number and value == 0) and not fits:
        raise ValueError(
            "`negative_slope` must be 0 or a power of two from 2^-16 to 2^8. "
            f"Received: negative_slope={value!r}"
        )
    return float(value)
