"""Additive, multiplicative and combined Gaussian noise."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from .._values import ValueObject, parse_call
from ..errors import unknown_name

WHEN = ("training", "inference", "always")
ORDERS = ("additive_first", "multiplicative_first")
_LARGEST = float(np.finfo(np.float32).max)


class DrawnSeed(keras.random.SeedGenerator):
    """A seed that was already drawn, in the form that `keras.random` functions accept.

    Drawing the seed and using it are two steps here: the generator must advance at
    every call, but the numbers are made only in the branch where the noise is on.

    Args:
        seed: What `SeedGenerator.next()` returned.
    """

    def __init__(self, seed: Any) -> None:
        self._seed = seed

    def next(self, ordered: bool = True) -> Any:
        """Return the seed; it does not advance."""
        return self._seed


class NoiseSource(ValueObject):
    """Independent Gaussian noise, drawn anew for every element at every forward pass.

    A source is an immutable value object. It says which noise and at which level a
    noise point starts; the point itself (`kerasqnn.layers.NoisePoint`) owns the seed
    state and the level that can be changed while the model runs.

    Attributes:
        level: Noise level, absolute, in units of the activation.
        when: `"training"`, `"inference"` or `"always"`.
        seed: Seed of the point's generator, or None for one from Keras's global seed.
    """

    level: float
    when: str
    seed: int | None

    def __init__(self, level_name: str, level: float, when: str, seed: Any) -> None:
        if not is_number(level) or level < 0:
            raise ValueError(
                f"`{level_name}` must be a finite number of at least 0. "
                f"Received: {level_name}={level!r}"
            )
        if when not in WHEN:
            raise ValueError(unknown_name("`when`", when, WHEN))
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise TypeError(f"`seed` must be an int or None. Received: seed={seed!r}")
        self._set(level=float(level), when=when, seed=seed)

    @abstractmethod
    def apply(self, x: Any, level: Any, seed: Any) -> Any:
        """Return `x` with noise.

        Args:
            x: Activation tensor of any shape.
            level: Noise level, a Python number or scalar tensor.
            seed: A seed, as `keras.random.normal` takes it.

        Returns:
            Tensor of `x`'s shape and dtype.
        """


@register_keras_serializable(package="kerasqnn")
class Additive(NoiseSource):
    """Additive noise: `y = x + e`, `e ~ N(0, stddev^2)`; `E[y | x] = x`.

    Gradient: 1.

    Args:
        stddev: Standard deviation, absolute, at least 0.
        when: `"training"` (as Keras's `GaussianNoise`; `predict` is then free of
            noise), `"inference"` or `"always"`.
        seed: Integer seed, or None.

    Example:

    >>> from kerasqnn.noise import Additive
    >>> Additive(0.1, when="always", seed=1)
    Additive(stddev=0.1, when='always', seed=1)
    """

    def __init__(
        self, stddev: float, *, when: str = "training", seed: int | None = None
    ) -> None:
        super().__init__("stddev", stddev, when, seed)

    @property
    def stddev(self) -> float:
        """Standard deviation, in units of the activation."""
        return self.level

    def apply(self, x: Any, level: Any, seed: Any) -> Any:
        """Return `x + level * N(0, 1)`."""
        return x + _scaled_normal(x, level, seed)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"stddev": self.level, "when": self.when, "seed": self.seed}


@register_keras_serializable(package="kerasqnn")
class Multiplicative(NoiseSource):
    """Multiplicative noise: `y = x * e`, `e ~ N(1, stddev^2)`; `E[y | x] = x`.

    Gradient: `e`, the draw of the forward pass.

    Args:
        stddev: Standard deviation of the factor, at least 0, relative to the
            activation.
        when: `"training"`, `"inference"` or `"always"`.
        seed: Integer seed, or None.
    """

    def __init__(
        self, stddev: float, *, when: str = "training", seed: int | None = None
    ) -> None:
        super().__init__("stddev", stddev, when, seed)

    @property
    def stddev(self) -> float:
        """Standard deviation of the factor."""
        return self.level

    def apply(self, x: Any, level: Any, seed: Any) -> Any:
        """Return `x * (1 + level * N(0, 1))`."""
        return x * (1.0 + _scaled_normal(x, level, seed))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"stddev": self.level, "when": self.when, "seed": self.seed}


@register_keras_serializable(package="kerasqnn")
class Combined(NoiseSource):
    """Additive and multiplicative noise from two independent draws.

    With amplitude A and ratio r the additive standard deviation is `A * r` and the
    multiplicative one `A * (1 - r)`.

    Args:
        amplitude: A, at least 0.
        ratio: r, the additive share, 0 to 1.
        order: `"additive_first"`: `y = (x + a) * m`; `"multiplicative_first"`:
            `y = x * m + a`.
        when: `"training"`, `"inference"` or `"always"`.
        seed: Integer seed, or None.
    """

    ratio: float
    order: str

    def __init__(
        self,
        amplitude: float,
        ratio: float = 0.5,
        order: str = "additive_first",
        *,
        when: str = "training",
        seed: int | None = None,
    ) -> None:
        super().__init__("amplitude", amplitude, when, seed)
        if not is_number(ratio) or not 0 <= ratio <= 1:
            raise ValueError(
                f"`ratio` must be a number from 0 to 1. Received: ratio={ratio!r}"
            )
        if order not in ORDERS:
            raise ValueError(unknown_name("`order`", order, ORDERS))
        self._set(ratio=float(ratio), order=order)

    @property
    def amplitude(self) -> float:
        """Amplitude A."""
        return self.level

    def apply(self, x: Any, level: Any, seed: Any) -> Any:
        """Return `x` with both noises; `level` is the amplitude."""
        # Two draws that share one seed must not share their numbers: one draw with a
        # leading axis of two gives both.
        shape = ops.shape(x)
        draws = keras.random.normal((2, *shape), seed=seed, dtype=x.dtype)
        level = ops.cast(level, x.dtype)
        added = level * self.ratio * draws[0]
        factor = 1.0 + level * (1.0 - self.ratio) * draws[1]
        if self.order == "additive_first":
            return (x + added) * factor
        return x * factor + added

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "amplitude": self.level,
            "ratio": self.ratio,
            "order": self.order,
            "when": self.when,
            "seed": self.seed,
        }


def get(identifier: Any) -> NoiseSource | None:
    """Return the noise source that `identifier` names.

    Args:
        identifier: None, a `NoiseSource`, a string such as `"additive(0.1)"` or a
            source's `repr`, or a Keras configuration dictionary.

    Returns:
        The source, or None for None.

    Raises:
        ValueError: If the string names no source.
        TypeError: If `identifier` is of another kind.
    """
    if identifier is None or isinstance(identifier, NoiseSource):
        return identifier
    if isinstance(identifier, dict):
        source = keras.saving.deserialize_keras_object(identifier)
        if isinstance(source, NoiseSource):
            return source
    if isinstance(identifier, str):
        return _from_string(identifier)
    raise TypeError(
        "Noise must be None, a kerasqnn.noise source, a string such as 'additive(0.1)' "
        f"or its configuration. Received: {identifier!r}"
    )


def serialize(source: NoiseSource | None) -> dict[str, Any] | None:
    """Return the Keras configuration of a source, or None for None."""
    return None if source is None else keras.saving.serialize_keras_object(source)


def source_class(name: str) -> type[NoiseSource]:
    """Return the class of `"additive"`, `"multiplicative"` or `"combined"`."""
    classes = {c.__name__.lower(): c for c in (Additive, Multiplicative, Combined)}
    if str(name).lower() not in classes:
        raise ValueError(unknown_name("noise", name, classes))
    return classes[name.lower()]


def _from_string(text: str) -> NoiseSource:
    name, positional, named = parse_call(text, "additive(0.1)")
    try:
        return source_class(name)(*positional, **named)
    except TypeError as error:
        raise ValueError(f"{error}. Received: {text!r}") from None


def is_number(value: Any) -> bool:
    """Whether a value is one real number within the range of float32."""
    if isinstance(value, (bool, str, bytes)):
        return False
    try:
        return abs(float(value)) <= _LARGEST
    except (TypeError, ValueError, OverflowError):
        return False


def _scaled_normal(x: Any, level: Any, seed: Any) -> Any:
    draw = keras.random.normal(ops.shape(x), seed=seed, dtype=x.dtype)
    return ops.cast(level, x.dtype) * draw
