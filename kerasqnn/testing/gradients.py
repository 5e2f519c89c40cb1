"""Gradients of a layer on every backend of Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops


def gradients(
    layer: keras.layers.Layer, call: Callable[[], Any]
) -> list[np.ndarray | None]:
    """Return the gradients of `sum(call() ** 2)` by the layer's trainable weights.

    TensorFlow: a `GradientTape`. Torch: `backward`. JAX: `jax.grad` over the layer's
    variables in a `StatelessScope`.

    Args:
        layer: A built layer.
        call: Calls the layer, in training mode, and returns its output.

    Returns:
        One array a trainable weight, None where the output does not depend on it (JAX
        gives zeros there).

    Raises:
        NotImplementedError: If the backend is none of the three.
    """
    backend = keras.backend.backend()
    if backend not in _BY_BACKEND:
        raise NotImplementedError(
            f"Gradients are computed with {', '.join(_BY_BACKEND)}. "
            f"Received: backend={backend!r}"
        )
    weights = layer.trainable_weights
    found = _BY_BACKEND[backend](weights, call) if weights else []
    return [
        None
        if g is None
        else np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(g)))
        for g in found
    ]


def _loss(call: Callable[[], Any]) -> Any:
    return ops.sum(ops.square(call()))


def _tensorflow(weights: list[Any], call: Callable[[], Any]) -> list[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = _loss(call)
    return tape.gradient(loss, [w.value for w in weights])


def _jax(weights: list[Any], call: Callable[[], Any]) -> list[Any]:
    import jax

    def loss(values: list[Any]) -> Any:
        mapping = list(zip(weights, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return _loss(call)

    return jax.grad(loss)([w.value for w in weights])


def _torch(weights: list[Any], call: Callable[[], Any]) -> list[Any]:
    for weight in weights:
        weight.value.grad = None
    _loss(call).backward()
    found = [w.value.grad for w in weights]
    for weight in weights:
        weight.value.grad = None
    return found


_BY_BACKEND = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
