"""What a quantizer gives for given numbers, with the gradient, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from .auto_scale import AutoScale
from .gradual import Gradual
from .parsing import AnyQuantizer, copy
from .quantized_softmax import QuantizedSoftmax
from .quantizer import Quantizer
from .stateful import StatefulQuantizer


def values(quantizer: AnyQuantizer, x: np.ndarray) -> np.ndarray:
    """Return the values of inference, one column a channel.

    Args:
        quantizer: What `detached` returned.
        x: Vector of numbers, the same ones for every channel.
    """
    return _columns(_function(quantizer, training=False)(_sample(quantizer, x)))


def values_and_gradient(
    quantizer: AnyQuantizer, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of training, and the gradient of their sum with respect to `x`.

    Args:
        quantizer: What `detached` returned.
        x: Vector of numbers, the same ones for every channel.
    """
    function = _function(quantizer, training=True)
    y, gradient = _with_gradient(function, _sample(quantizer, x))
    return _columns(y), _columns(gradient)


def scale_follows_values(quantizer: AnyQuantizer) -> bool:
    """Whether the scale of a quantizer, or of one that it holds, is computed."""
    return any(isinstance(part, AutoScale) for part in _parts(quantizer))


def detached(quantizer: AnyQuantizer) -> AnyQuantizer:
    """Return a quantizer with the same values that may be built, called and changed."""
    if isinstance(quantizer, AutoScale):
        one_channel = {"axis": -1, "group": 1}
        config = quantizer.get_config()
        return type(quantizer).from_config(
            {name: one_channel.get(name, value) for name, value in config.items()}
        )
    if not isinstance(quantizer, StatefulQuantizer):
        return quantizer
    twin: Any = copy(quantizer)
    if isinstance(twin, Gradual) and isinstance(twin.quantizer, AutoScale):
        twin.quantizer = detached(twin.quantizer)
    twin.build((None, *_channels(quantizer)))
    if quantizer.built:
        for new, old in zip(twin.variables, quantizer.variables, strict=True):
            new.assign(old)
    twin.trainable = False  # else the first call in training sets a LearnedStepSize
    return twin


def _parts(quantizer: Any) -> Iterator[Any]:
    """Yield a quantizer and, one in the other, those that it holds."""
    while quantizer is not None:
        yield quantizer
        held = getattr(quantizer, "quantizer", None)
        quantizer = getattr(quantizer, "inference", held)


def _channels(quantizer: AnyQuantizer) -> tuple[int, ...]:
    """Return the shape of what has numbers of its own, `(1,)` if nothing has."""
    shapes: list[tuple[int, ...]] = [(1,)]
    for part in _parts(quantizer):
        if isinstance(part, StatefulQuantizer):
            shapes += [tuple(v.shape) for v in part.weights]
        elif not isinstance(part, AutoScale):
            numbers = part.get_config().values()
            shapes += [np.shape(v) for v in numbers if isinstance(v, tuple)]
    return max(shapes, key=lambda shape: (len(shape), shape))


def _function(quantizer: AnyQuantizer, training: bool) -> Callable[[Any], Any]:
    """Return the quantizer as a function of a tensor that changes no variable."""
    if isinstance(quantizer, QuantizedSoftmax):  # the first of the two outputs
        return lambda x: quantizer(_with_zeros(x))[..., :1]
    if isinstance(quantizer, Quantizer):
        return quantizer
    state = [
        [v.value for v in variables]
        for variables in (
            quantizer.trainable_variables,
            quantizer.non_trainable_variables,
        )
    ]
    return lambda x: quantizer.stateless_call(*state, x, training=training)[0]


def _with_zeros(x: Any) -> Any:
    return ops.concatenate([x, ops.zeros_like(x)], axis=-1)


def _sample(quantizer: AnyQuantizer, x: np.ndarray) -> Any:
    """Return the numbers as a tensor, the same ones for every channel."""
    channels = _channels(quantizer)
    rows = x.reshape(-1, *(1 for _ in channels))
    return ops.convert_to_tensor(np.broadcast_to(rows, (x.size, *channels)).copy())


def _columns(tensor: Any) -> np.ndarray:
    """Return one column a channel."""
    array = ops.convert_to_numpy(tensor)
    return np.reshape(array, (len(array), -1))


def _with_gradient(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """Return `function(x)` and the gradient of its sum."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return y, tape.gradient(y, x)
    if backend == "jax":
        import jax

        def total(x: Any) -> tuple[Any, Any]:
            y = function(x)
            return ops.sum(y), y

        gradient, y = jax.grad(total, has_aux=True)(x)
        return y, gradient
    if backend == "torch":
        x = x.detach().requires_grad_()
        y = function(x)
        y.sum().backward()
        return y, x.grad
    raise NotImplementedError(
        "Gradients are computed with tensorflow, jax or torch. "
        f"Received: backend={backend!r}"
    )
