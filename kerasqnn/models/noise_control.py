"""Finding and switching the noise points of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from ..layers import NoisePoint
from .reading import read_model


def noise_points(model: keras.Model) -> dict[str, NoisePoint]:
    """Return the noise points of a model by name, in network order.

    A point's `level` and `when` can be set at any time, between and during training,
    without recompiling or retracing.

    Args:
        model: A built Sequential or functional model.

    Returns:
        `{"dense/noise": NoisePoint, ...}`; empty if the model has none.

    Example:

    >>> import keras, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     kerasqnn.layers.NoisyQuantDense(2, name="logits"),
    ... ])
    >>> points = kerasqnn.noise_points(model)
    >>> points["logits/noise"].level = 0.3
    >>> round(points["logits/noise"].level, 3)
    0.3
    """
    return {o.name: o.attributes["point"] for o in read_model(model).of_kind("noise")}


@contextmanager
def noise_switched_off(model: keras.Model) -> Iterator[None]:
    """Switch every noise point off for the duration of a `with` block."""
    points = noise_points(model).values()
    before = [(point, point.when) for point in points]
    try:
        for point in points:
            point.when = "never"
        yield
    finally:
        for point, when in before:
            point.when = when
