"""Fixed point whose step, or whose clipping bound, is trained with the weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from .calibration import with_step
from .fixed_point import FixedPoint
from .quantizer import check_int, divide, quotient
from .reductions import nearest_power_of_two
from .stateful import (
    StatefulQuantizer,
    read,
    sum_to,
    warn_of_no_start,
    widened,
    with_gradients,
)

_SMALLEST, _LARGEST = 2.0**-40, 2.0**40


class _LearnedGrid(StatefulQuantizer):
    """`y = step * round(clip(x / step, code_min, code_max))`, the step a variable."""

    def __init__(
        self, bits: int, *, signed: bool, power_of_two: bool, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        grid = FixedPoint(check_int("bits", bits, 1, 24), signed=signed)
        self.bits, self.signed = grid.bits, grid.signed
        self.code_min, self.code_max = grid.code_min, grid.code_max
        self.power_of_two = bool(power_of_two)

    @abstractmethod
    def _raw_step(self, xp: Any, state: dict[str, Any]) -> Any:
        """Return the step before it is limited and rounded to a power of two."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Return the variables that `_raw_step` reads, as tensors."""

    def _limited(self, xp: Any, step: Any) -> Any:
        step = xp.clip(step, _SMALLEST, _LARGEST)
        return nearest_power_of_two(xp, step) if self.power_of_two else step

    def _round(self, x: Any, step: Any) -> Any:
        codes = ops.clip(quotient(ops, x, step), self.code_min, self.code_max)
        return ops.round(codes) * step

    @property
    def step(self) -> np.ndarray:
        """The step as it is now, float32, `()` or `(channels,)`."""
        self._check_built()
        state = {
            k: np.asarray(ops.convert_to_numpy(v)) for k, v in self._state().items()
        }
        step = self._limited(np, self._raw_step(np, state))
        return np.asarray(step, np.float32)

    def fixed(self, values: Any = None) -> FixedPoint:
        """Return the grid with the step as it is now."""
        return with_step(self.bits, self.signed, self.step)


@register_keras_serializable(package="kerasqnn")
class LearnedStepSize(_LearnedGrid):
    """Fixed point with a trained step (LSQ), for weights and activations.

    Formula, in float32, with the codes of a `FixedPoint` of `bits` bits:

        y = step * round(clip(x / step, code_min, code_max))

    Gradient: of `x`, 1 where `code_min <= x / step <= code_max`, else 0. Of `step`, the
    sum over all elements that share it of

        round(x / step) - x / step    inside the range
        code_min or code_max          below or above it

    times the upstream gradient and `1 / sqrt(n * code_max)`, where `n` is the number of
    these elements (in one sample, for an activation).

    The step starts at `2 * mean(|x|) / sqrt(code_max)`: of a weight from its first
    values, of anything else from the first batch of training. That batch sets the step
    of a weight anew, since its values may have been assigned after the layer was built;
    a step from a file or of a copied model stays. An activation's step is that of
    `FixedPoint(bits, 0)` until then; reading such a grid, as `fixed()`, export and
    `deploy` do, gives a `QuantizationWarning`.

    The step is kept as `start`, negative before the first batch, and `change`, which
    the optimizer trains: `step = |start| + change`.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("LearnedStepSize(3)")

    Args:
        bits: Bit width, sign included, 1 to 24, from 2 if signed.
        signed: Whether there are negative codes; False after a ReLU.
        per_channel: Whether each channel of the last axis has a step of its own.
        power_of_two: Whether the step is rounded to the nearest power of two (of the
            logarithms) at every call, training included. Then everything downstream is
            exact, and hardware can hold it.
        **kwargs: Those of `keras.layers.Layer`, such as `name`.

    Raises:
        ValueError: If `bits` is out of range.

    Example:

    >>> import keras
    >>> from kerasqnn.quantizers import LearnedStepSize
    >>> quantizer = LearnedStepSize(3, power_of_two=True)
    >>> y = quantizer(keras.ops.array([-1.0, 0.2, 3.0]), training=True)
    >>> float(quantizer.step), [float(v) for v in y]
    (2.0, [-0.0, 0.0, 4.0])

    References:
        - Esser et al., Learned Step Size Quantization, ICLR 2020.
    """

    changes_in_training = True  # the start of its step, at the first batch

    def __init__(
        self,
        bits: int,
        *,
        signed: bool = True,
        per_channel: bool = False,
        power_of_two: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(bits, signed=signed, power_of_two=power_of_two, **kwargs)
        self.per_channel = bool(per_channel)

    def build(self, input_shape: Any) -> None:
        """Make the variables of the step."""
        shape = (input_shape[-1],) if self.per_channel else ()
        if None in shape:
            raise ValueError(
                f"Quantizer {self.name!r} has a step a channel, so that the last axis "
                f"needs a known size. Received: input_shape={input_shape!r}"
            )
        self._of_activation = bool(input_shape) and input_shape[0] is None
        self.start = self._scalar_or_vector(
            "start", shape, 0.0, trainable=False, of_weight=self._start_of_weight
        )
        self.change = self._scalar_or_vector("change", shape, 0.0, trainable=True)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the quantized inputs; in training, set the first step."""
        x, dtype = widened(inputs)
        start = read(self.start)
        if training and self.trainable:
            start = ops.cond(
                ops.any(start > 0), lambda: start, lambda: self._first_batch(x)
            )
            self.start.assign(start)
        change = read(self.change)
        step = with_gradients(
            lambda c: self._limited(
                ops, self._raw_step(ops, {"start": start, "change": c})
            ),
            lambda c, upstream: (upstream,),
            change,
        )
        y = with_gradients(self._round, self._gradients, x, ops.cast(step, x.dtype))
        return ops.cast(y, dtype)

    def _first_batch(self, x: Any) -> Any:
        return ops.cast(self._first_step(ops, ops.stop_gradient(x)), "float32")

    def _first_step(self, xp: Any, x: Any) -> Any:
        axes = tuple(range(len(x.shape) - int(self.per_channel)))
        mean = xp.mean(xp.abs(x), axis=axes)
        return 2.0 * mean / float(np.sqrt(self.code_max))

    def _start_of_weight(self, values: np.ndarray) -> Any:
        return -self._first_step(np, values.astype(np.float64))

    def start_from(self, values: np.ndarray) -> None:
        """Start anew from a weight's values, unless training has set the step."""
        if not np.any(ops.convert_to_numpy(self.start) > 0):
            self.start.assign(self._start_of_weight(values))

    def fixed(self, values: Any = None) -> FixedPoint:
        """Return the grid with the step as it is now."""
        grid = super().fixed(values)
        if not np.any(ops.convert_to_numpy(self.start)):
            warn_of_no_start(self)
        return grid

    def _state(self) -> dict[str, Any]:
        return {"start": self.start, "change": self.change}

    def _raw_step(self, xp: Any, state: dict[str, Any]) -> Any:
        start = state["start"]
        default = xp.ones_like(start) * 2.0 ** (int(self.signed) - self.bits)
        return xp.where(start != 0, xp.abs(start), default) + state["change"]

    def _gradients(self, x: Any, step: Any, upstream: Any) -> tuple[Any, Any]:
        codes = quotient(ops, x, step)
        inside = ops.logical_and(codes >= self.code_min, codes <= self.code_max)
        clipped = ops.clip(codes, self.code_min, self.code_max)
        slope = ops.round(clipped) - ops.where(inside, codes, ops.zeros_like(codes))
        batch = ops.shape(x)[0] if self._of_activation else 1
        elements = ops.size(x) / (batch * int(np.prod(step.shape)))
        scale = ops.rsqrt(ops.cast(elements, x.dtype) * self.code_max)
        return (
            ops.where(inside, upstream, ops.zeros_like(upstream)),
            sum_to(upstream * slope, step) * scale,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "bits": self.bits,
            "signed": self.signed,
            "per_channel": self.per_channel,
            "power_of_two": self.power_of_two,
        }


@register_keras_serializable(package="kerasqnn")
class PACT(_LearnedGrid):
    """ReLU with a trained bound, and unsigned fixed point up to it; for activations.

    Formula, in float32, with `step = alpha / (2^bits - 1)`:

        y = step * round(clip(x / step, 0, 2^bits - 1))

    Gradient: of `x`, 1 where `0 < x < max`, else 0; of `alpha`, the sum of the upstream
    gradient where `x >= max`. Here `max` is the largest value, `alpha` but for the
    rounding of the step to a power of two.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("PACT(3, alpha=2.0)", -1, 3)

    Args:
        bits: Bit width, 1 to 24.
        alpha: First value of the bound, positive.
        power_of_two: Whether the step is rounded to the nearest power of two (of the
            logarithms) at every call, training included.
        regularizer: Keras regularizer of `alpha`, or None. The paper uses L2.
        **kwargs: Those of `keras.layers.Layer`, such as `name`.

    Raises:
        ValueError: If `bits` or `alpha` is out of range.

    Example:

    >>> import keras
    >>> from kerasqnn.quantizers import PACT
    >>> [float(v) for v in PACT(2, alpha=3.0)(keras.ops.array([-1.0, 0.7, 9.0]))]
    [0.0, 1.0, 3.0]

    References:
        - Choi et al., PACT: Parameterized Clipping Activation, 2018.
    """

    def __init__(
        self,
        bits: int,
        *,
        alpha: float = 6.0,
        power_of_two: bool = False,
        regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(bits, signed=False, power_of_two=power_of_two, **kwargs)
        number = isinstance(alpha, (int, float, np.number))
        if not number or isinstance(alpha, bool) or not 0 < alpha <= _LARGEST:
            raise ValueError(
                "`alpha` must be a positive number of at most 2^40. "
                f"Received: alpha={alpha!r}"
            )
        self.first_alpha = float(alpha)
        self.regularizer = keras.regularizers.get(regularizer)

    def build(self, input_shape: Any) -> None:
        """Make the variable of the bound."""
        self.alpha = self._scalar_or_vector(
            "alpha", (), self.first_alpha, trainable=True, regularizer=self.regularizer
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the quantized inputs."""
        x, dtype = widened(inputs)
        alpha = ops.cast(read(self.alpha), x.dtype)
        return ops.cast(
            with_gradients(self._quantize, self._gradients, x, alpha), dtype
        )

    def _quantize(self, x: Any, alpha: Any) -> Any:
        return self._round(x, self._limited(ops, self._raw_step(ops, {"alpha": alpha})))

    def _gradients(self, x: Any, alpha: Any, upstream: Any) -> tuple[Any, Any]:
        top = self._limited(ops, self._raw_step(ops, {"alpha": alpha})) * self.code_max
        zeros = ops.zeros_like(upstream)
        inside = ops.logical_and(x > 0, x < top)
        above = ops.where(x >= top, upstream, zeros)
        return ops.where(inside, upstream, zeros), ops.sum(above)

    def _state(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    def _raw_step(self, xp: Any, state: dict[str, Any]) -> Any:
        alpha = state["alpha"]
        return divide(xp, alpha, self.code_max)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "bits": self.bits,
            "alpha": self.first_alpha,
            "power_of_two": self.power_of_two,
            "regularizer": keras.regularizers.serialize(self.regularizer),
        }
