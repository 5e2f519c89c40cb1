"""Quantizers that draw in training: stochastic rounding, binary and ternary."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .auto_binary import AutoBinary, AutoTernary
from .auto_scale import EPSILON
from .binary import Binary
from .fixed_point import FixedPoint
from .quantizer import Quantizer, UniformQuantizer, constant, positive
from .stateful import StatefulQuantizer, widened, with_gradients

SIGMOIDS = ("sigmoid", "hard_sigmoid")


class _Stochastic(StatefulQuantizer):
    """Draws in training; at inference it is the quantizer `inference`."""

    changes_in_training = True  # the state of its generator

    def __init__(self, inference: Quantizer, seed: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inference = inference
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    @abstractmethod
    def _drawn(self, x: Any) -> Any:
        """Return values drawn for `x`; differentiable."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the quantized inputs, drawn anew at every call in training."""
        if not training:
            return self.inference(inputs)
        x, dtype = widened(inputs)
        return ops.cast(self._drawn(x), dtype)

    def fixed(self, values: Any = None) -> UniformQuantizer | None:
        """Return the grid of inference; see `Quantizer.fixed`."""
        return self.inference.fixed(values)

    def _uniform(self, x: Any) -> Any:
        return keras.random.uniform(
            ops.shape(x), dtype=x.dtype, seed=self.seed_generator
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "seed": self.seed}


@register_keras_serializable(package="kerasqnn")
class StochasticRounding(_Stochastic):
    """Fixed point that rounds up or down at random in training.

    Formula, with `u` uniform in `[0, 1)` for every element and call:

        training:   y = alpha * step * floor(clip(x / step + u, code_min, code_max))
        inference:  y = quantizer(x)

    so that the expectation of `y / alpha` is `x` within the range.

    Gradient: that of `quantizer`, at `x + u * step`.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("StochasticRounding('FixedPoint(3, 1)', seed=0)")

    Args:
        quantizer: A `FixedPoint`, `QuantizedReLU` or `QuantizedLinear`, or the string
            or configuration of one. Its rounding mode is that of inference.
        seed: Seed of the draws, or None for one drawn from Keras's global seed.
        **kwargs: Those of `keras.layers.Layer`, such as `name`.

    Raises:
        ValueError: If `quantizer` is of another kind.

    Example:

    >>> import keras
    >>> from kerasqnn.quantizers import StochasticRounding
    >>> quantizer = StochasticRounding("FixedPoint(4, 3)", seed=0)
    >>> x = keras.ops.full((1000,), 0.25)
    >>> drawn = quantizer(x, training=True)
    >>> sorted({float(v) for v in drawn})
    [0.0, 1.0]
    >>> bool(abs(keras.ops.mean(drawn) - 0.25) < 0.05)
    True
    >>> float(keras.ops.max(quantizer(x)))
    0.0

    References:
        - Gupta et al., https://arxiv.org/abs/1502.02551.
    """

    inference: FixedPoint

    def __init__(
        self, quantizer: Any, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        from .parsing import get  # it imports this module

        inference = get(quantizer)
        if not isinstance(inference, FixedPoint):
            raise ValueError(
                "`quantizer` must be a FixedPoint, QuantizedReLU or QuantizedLinear. "
                f"Received: quantizer={quantizer!r}"
            )
        super().__init__(inference, seed, **kwargs)
        config = {**inference.get_config(), "rounding": "FLOOR"}
        self._floor = type(inference).from_config(config)

    def _drawn(self, x: Any) -> Any:
        step = constant(ops, self.inference.grid_step, x)
        return self._floor(x + self._uniform(x) * step)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        quantizer = keras.saving.serialize_keras_object(self.inference)
        return {**super().get_config(), "quantizer": quantizer}


class _Tempered(_Stochastic):
    """What `StochasticBinary` and `StochasticTernary` share."""

    def __init__(
        self,
        inference: Quantizer,
        temperature: float,
        sigmoid: str,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        if sigmoid not in SIGMOIDS:
            raise ValueError(unknown_name("`sigmoid`", sigmoid, SIGMOIDS))
        super().__init__(inference, seed, **kwargs)
        self.temperature = positive("temperature", temperature)
        self.sigmoid = sigmoid

    def _probability(self, x: Any) -> Any:
        x = self.temperature * x
        if self.sigmoid == "sigmoid":
            return ops.sigmoid(x)
        return ops.clip(0.5 * x + 0.5, 0.0, 1.0)

    def _sign(self, x: Any, uniform: Any) -> Any:
        """Return +1 with the probability that belongs to `x`, else -1."""
        one = ops.ones_like(x)
        return ops.where(self._probability(x) >= uniform, one, -one)

    def _deviation(self, x: Any) -> Any:
        """Return the standard deviation of each channel of the last axis."""
        axes = tuple(range(max(len(x.shape) - 1, 1)))
        return ops.std(x, axis=axes, keepdims=True) + EPSILON

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "sigmoid": self.sigmoid,
        }


@register_keras_serializable(package="kerasqnn")
class StochasticBinary(_Tempered):
    """Plus or minus a scale, drawn in training (QKeras `stochastic_binary`).

    Formula, with `s` the sigmoid:

        training:   y = +scale with probability s(temperature * x / std), else -scale
        inference:  y = +scale for x >= 0, else -scale

    `scale` is that of `AutoBinary(mode=alpha)`, and `std` the standard deviation of
    each channel of the last axis plus 1e-7; if `alpha` is a number, `scale` is `alpha`
    and `std` 1.

    Gradient: straight through, 1 everywhere; none through scale and deviation.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("StochasticBinary('auto', seed=0)")

    Args:
        alpha: `"auto"`, `"auto_po2"` or a positive number.
        temperature: How sharply the probability follows the sign; QKeras's is 6.
        sigmoid: `"sigmoid"` or `"hard_sigmoid"`, `clip(x / 2 + 1/2, 0, 1)`.
        seed: Seed of the draws, or None for one drawn from Keras's global seed.
        **kwargs: Those of `keras.layers.Layer`, such as `name`.

    Example:

    >>> import keras
    >>> from kerasqnn.quantizers import StochasticBinary
    >>> quantizer = StochasticBinary("auto_po2", seed=0)
    >>> weights = keras.ops.array([[0.4], [-0.6], [-0.001]])
    >>> quantizer(weights)[:, 0].numpy().tolist()
    [0.25, -0.25, -0.25]
    >>> abs(quantizer(weights, training=True))[:, 0].numpy().tolist()
    [0.25, 0.25, 0.25]
    """

    def __init__(
        self,
        alpha: Any,
        *,
        temperature: float = 6.0,
        sigmoid: str = "sigmoid",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(alpha, str):
            inference: Quantizer = AutoBinary(mode=alpha)
        else:
            inference = Binary(positive("alpha", alpha), gradient="identity")
        super().__init__(inference, temperature, sigmoid, seed, **kwargs)
        self.alpha = alpha if isinstance(alpha, str) else float(alpha)

    def _drawn(self, x: Any) -> Any:
        uniform = self._uniform(x)

        def forward(x: Any) -> Any:
            if isinstance(self.inference, AutoBinary):
                _, scale = self.inference._solve(ops, x)
                return scale * self._sign(x / self._deviation(x), uniform)
            return self.alpha * self._sign(x, uniform)

        return with_gradients(forward, lambda x, upstream: (upstream,), x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "alpha": self.alpha}


@register_keras_serializable(package="kerasqnn")
class StochasticTernary(_Tempered):
    """Minus a scale, zero or plus a scale, drawn in training.

    Formula, QKeras's `stochastic_ternary`, with `s` the sigmoid, `scale` that of
    `AutoTernary(mode)`, `z = x / std` and `t = scale / (2 std)`:

        training:   y = scale * (a + b) / 2, where a and b are each +1 or -1, and +1
                    with the probabilities s(temperature * (z - t)) and
                    s(temperature * (z + t))
        inference:  y = AutoTernary(mode, iterations)(x)

    `std` is the standard deviation of each channel of the last axis plus 1e-7.

    Gradient: straight through, 1 everywhere; none through scale and deviation.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("StochasticTernary('auto', seed=0)")

    Args:
        mode: `"auto"` or `"auto_po2"`.
        iterations: How often threshold and scale are fitted.
        temperature: How sharply the probabilities follow; QKeras's is 8.
        sigmoid: `"sigmoid"` or `"hard_sigmoid"`, `clip(x / 2 + 1/2, 0, 1)`.
        seed: Seed of the draws, or None for one drawn from Keras's global seed.
        **kwargs: Those of `keras.layers.Layer`, such as `name`.

    Example:

    >>> import keras
    >>> from kerasqnn.quantizers import StochasticTernary
    >>> quantizer = StochasticTernary("auto_po2", seed=0)
    >>> quantizer(keras.ops.array([[0.9], [-1.1], [0.1]]))[:, 0].numpy().tolist()
    [1.0, -1.0, 0.0]
    """

    inference: AutoTernary

    def __init__(
        self,
        mode: str,
        *,
        iterations: int = 5,
        temperature: float = 8.0,
        sigmoid: str = "sigmoid",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        inference = AutoTernary(mode=mode, iterations=iterations)
        super().__init__(inference, temperature, sigmoid, seed, **kwargs)

    def _drawn(self, x: Any) -> Any:
        first, second = self._uniform(x), self._uniform(x)

        def forward(x: Any) -> Any:
            _, scale = self.inference._solve(ops, x)
            deviation = self._deviation(x)
            z, t = x / deviation, scale / (2.0 * deviation)
            return scale * (self._sign(z - t, first) + self._sign(z + t, second)) / 2.0

        return with_gradients(forward, lambda x, upstream: (upstream,), x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "mode": self.inference.mode,
            "iterations": self.inference.iterations,
        }
