"""A function and a grid in one: quantized tanh, sigmoid and hard swish."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .fixed_point import FixedPoint
from .functions import ClippedLinear, Function, HardSwish, SmoothFunction
from .quantizer import Quantizer, UniformQuantizer, check_int, divide, positive

SIGMOIDS = ("hard_sigmoid", "smooth_sigmoid", "sigmoid")
# The sigmoid s of tanh = 2 s - 1; tanh itself has none.
_SIGMOID_OF = {
    "hard_tanh": "hard_sigmoid",
    "smooth_tanh": "smooth_sigmoid",
    "sigmoid_tanh": "sigmoid",
}
TANHS = (*_SIGMOID_OF, "tanh")
Stage = Function | UniformQuantizer


class QuantizedFunction(Quantizer):
    """A quantizer of activations that is functions and grids one after another.

    `stages()` says which; training, reading, export and hardware use the same ones.
    With the piecewise linear functions the whole chain is exact wherever the input lies
    on a grid of few enough bits. As weights it serves for training only: no grid rounds
    as it does.
    """

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded, or None."""
        return None

    @abstractmethod
    def _stages(self) -> tuple[Stage, ...]:
        """Return the functions and grids, in order."""

    def stages(self) -> tuple[Any, ...]:
        """Return the functions and grids; a smooth function as Keras's own."""
        return tuple(getattr(s, "keras_function", s) for s in self._stages())

    def fixed(self, values: Any = None) -> UniformQuantizer | None:
        """Return None: the function is no part of a grid."""
        return None

    def _forward(self, xp: Any, x: Any) -> Any:
        for stage in self._stages():
            x = stage._forward(xp, x)
        return x


def sigmoid_stages(name: str, shift: int = 0) -> tuple[Function, ...]:
    """Return the sigmoid of that name, of `x * 2^-shift`, as functions."""
    factor = 2.0**-shift
    if name == "sigmoid":
        scaled = (ClippedLinear(factor),) if shift else ()
        return (*scaled, SmoothFunction("sigmoid"))
    slope = 0.5 if name == "hard_sigmoid" else 0.1875
    return (ClippedLinear(slope * factor, 0.5, 0.0, 1.0),)


class _Squashing(QuantizedFunction):
    """What tanh and sigmoid share: a bounded function, rounded and clipped."""

    function: str
    symmetric: bool

    @abstractmethod
    def _functions(self) -> tuple[Function, ...]:
        """Return the function before rounding."""

    @abstractmethod
    def _grid(self) -> FixedPoint:
        """Return the grid."""

    @property
    def _lowest(self) -> int:
        """The smallest code."""
        return self._grid().code_min

    def _gradient(self, x: Any, upstream: Any) -> Any:
        grid, functions, values = self._grid(), self._functions(), [x]
        for function in functions:
            values.append(function._forward(ops, values[-1]))
        codes = ops.round(divide(ops, values.pop(), grid.step))
        inside = ops.logical_and(codes >= self._lowest, codes <= grid.code_max)
        upstream = upstream * ops.cast(inside, upstream.dtype)
        for function, value in zip(functions[::-1], values[::-1], strict=True):
            upstream = function._gradient(value, upstream)
        return upstream

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "function": self.function,
            "symmetric": self.symmetric,
        }


@register_keras_serializable(package="kerasqnn")
class QuantizedTanh(_Squashing):
    """Tanh, or a piecewise linear stand-in, in fixed point (QKeras `quantized_tanh`).

    Formula, with `m = 2^(bits-1)`, ties to even:

        y = clip(round(f(x) * m) / m, -1 + symmetric / m, 1 - 1 / m)
        hard_tanh:     f(x) = 2 clip(x / 2 + 1/2, 0, 1) - 1
        smooth_tanh:   f(x) = 2 clip(0.1875 x + 1/2, 0, 1) - 1
        sigmoid_tanh:  f(x) = 2 sigmoid(x) - 1
        tanh:          f(x) = tanh(x)

    `tanh` and `sigmoid_tanh` have the last bits of the Keras backend, so that exact
    export refuses them.

    Gradient: that of `f` where the rounded value was not clipped, 0 elsewhere.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("QuantizedTanh(4)", -2, 2)

    Args:
        bits: Bit width, sign included, 2 to 24.
        function: One of the four; QKeras's default is `"hard_tanh"`.
        symmetric: Whether the smallest code is left out.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import QuantizedTanh
    >>> QuantizedTanh(3).quantize([-5.0, 0.3, 0.9]).tolist()
    [-1.0, 0.25, 0.75]

    References:
        - QKeras `quantized_tanh`, with `set_internal_sigmoid`.
    """

    def __init__(
        self, bits: int, *, function: str = "hard_tanh", symmetric: bool = False
    ) -> None:
        if function not in TANHS:
            raise ValueError(unknown_name("`function`", function, TANHS))
        self._set(
            bits=check_int("bits", bits, 2, 24),
            function=function,
            symmetric=bool(symmetric),
        )

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded, or None."""
        return {"tanh": "tanh", "hard_tanh": "hard_tanh"}.get(self.function)

    def _functions(self) -> tuple[Function, ...]:
        if self.function == "tanh":
            return (SmoothFunction("tanh"),)
        sigmoid = sigmoid_stages(_SIGMOID_OF[self.function])
        return (*sigmoid, ClippedLinear(2.0, -1.0))

    def _grid(self) -> FixedPoint:
        return FixedPoint(self.bits, overflow="SAT_SYM" if self.symmetric else "SAT")

    def _stages(self) -> tuple[Stage, ...]:
        return (*self._functions(), self._grid())


@register_keras_serializable(package="kerasqnn")
class QuantizedSigmoid(_Squashing):
    """Sigmoid, or a piecewise linear stand-in, in fixed point.

    Formula, with `m = 2^bits`, ties to even:

        y = clip(round(f(x) * m) / m, symmetric / m, 1 - 1 / m)
        hard_sigmoid:    f(x) = clip(x / 2 + 1/2, 0, 1)
        smooth_sigmoid:  f(x) = clip(0.1875 x + 1/2, 0, 1)
        sigmoid:         f(x) = 1 / (1 + exp(-x))

    `sigmoid` has the last bits of the Keras backend, so that exact export refuses it.

    Gradient: that of `f` where the rounded value was not clipped, 0 elsewhere.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("QuantizedSigmoid(4)", -2, 2)

    Args:
        bits: Bit width, 1 to 24.
        function: One of the three; QKeras's default is `"hard_sigmoid"`.
        symmetric: Whether 0 is left out, so that 1 - y has the range of y.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import QuantizedSigmoid
    >>> QuantizedSigmoid(2).quantize([-5.0, 0.3, 0.9]).tolist()
    [0.0, 0.75, 0.75]

    References:
        - QKeras `quantized_sigmoid`, with `set_internal_sigmoid`.
    """

    def __init__(
        self, bits: int, *, function: str = "hard_sigmoid", symmetric: bool = False
    ) -> None:
        if function not in SIGMOIDS:
            raise ValueError(unknown_name("`function`", function, SIGMOIDS))
        self._set(
            bits=check_int("bits", bits, 1, 24),
            function=function,
            symmetric=bool(symmetric),
        )

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded, or None."""
        # Keras's hard sigmoid has another slope than QKeras's.
        return "sigmoid" if self.function == "sigmoid" else None

    @property
    def _lowest(self) -> int:
        return int(self.symmetric)

    def _functions(self) -> tuple[Function, ...]:
        return sigmoid_stages(self.function)

    def _grid(self) -> FixedPoint:
        return FixedPoint(self.bits, signed=False)

    def _stages(self) -> tuple[Stage, ...]:
        grid = self._grid()
        bound = (ClippedLinear(low=float(grid.step)),) if self.symmetric else ()
        return (*self._functions(), grid, *bound)


@register_keras_serializable(package="kerasqnn")
class QuantizedHardSwish(QuantizedFunction):
    """Hard swish in fixed point (QKeras `quantized_hswish`).

    Formula, in float32 in this order, with `FixedPoint`'s `q`:

        y = q(x * clip(x + shift, 0, bound) / bound)

    Gradient: that of the unrounded function, also where the grid saturates.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("QuantizedHardSwish(5, 2)", -5, 5)

    Args:
        bits: Bit width, sign included, 2 to 24.
        integer: Bits before the binary point, sign excluded; may be negative.
        symmetric: Whether the smallest code is left out.
        alpha: Positive number, or one a channel, that multiplies the rounded value.
        shift: Where the function starts to rise, below zero; positive.
        bound: Upper bound of the factor; positive.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import QuantizedHardSwish
    >>> QuantizedHardSwish(5, 2).quantize([-1.5, 1.5, 3.0]).tolist()
    [-0.5, 1.0, 3.0]

    References:
        - QKeras `quantized_hswish`; MobileNet v3, https://arxiv.org/abs/1905.02244.
    """

    integer: int
    symmetric: bool
    alpha: Any
    shift: float
    bound: float

    def __init__(
        self,
        bits: int,
        integer: int = 0,
        *,
        symmetric: bool = False,
        alpha: Any = 1.0,
        shift: float = 3.0,
        bound: float = 6.0,
    ) -> None:
        overflow = "SAT_SYM" if symmetric else "SAT"
        grid = FixedPoint(bits, integer, overflow=overflow, alpha=alpha)
        self._set(
            bits=grid.bits,
            integer=grid.integer,
            symmetric=bool(symmetric),
            alpha=grid.alpha,
            shift=positive("shift", shift),
            bound=positive("bound", bound),
        )

    @property
    def keras_activation(self) -> str | None:
        """Name of Keras's activation that is this function unrounded, or None."""
        return "hard_silu" if (self.shift, self.bound) == (3.0, 6.0) else None

    def _stages(self) -> tuple[Stage, ...]:
        overflow = "SAT_SYM" if self.symmetric else "SAT"
        grid = FixedPoint(self.bits, self.integer, overflow=overflow, alpha=self.alpha)
        return (HardSwish(self.shift, self.bound), grid)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        return HardSwish(self.shift, self.bound)._gradient(x, upstream)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "integer": self.integer,
            "symmetric": self.symmetric,
            "alpha": self.alpha,
            "shift": self.shift,
            "bound": self.bound,
        }
