"""Activation functions that Keras has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import layers
from onnx import NodeProto

from ..operators import attributes_of
from .refusal import refused
from .registry import imports
from .translation import Translation

# The functions of two libraries agree up to some roundings in float32.
_ROUNDINGS = 32


@imports("Sigmoid", "Tanh", "Softplus", "Softsign")
def _by_name(node: NodeProto, translation: Translation) -> None:
    function = node.op_type.lower()
    _apply(node, translation, lambda name: layers.Activation(function, name=name))


@imports("LeakyRelu")
def _leaky_relu(node: NodeProto, translation: Translation) -> None:
    slope = attributes_of(node).get("alpha", 0.01)
    _apply(node, translation, lambda name: layers.LeakyReLU(slope, name=name), 0)


@imports("Elu")
def _elu(node: NodeProto, translation: Translation) -> None:
    alpha = attributes_of(node).get("alpha", 1.0)
    _apply(node, translation, lambda name: layers.ELU(alpha, name=name))


@imports("Clip")
def _clip(node: NodeProto, translation: Translation) -> None:
    """A ReLU with an upper bound, or the bounds of Keras's hard tanh."""
    bounds: list[float | None] = [
        float(translation.weight(i).value) if i else None for i in node.input[1:]
    ]
    low, high = [*bounds, None, None][:2]
    if (low, high) == (-1.0, 1.0):
        _apply(node, translation, lambda n: layers.Activation("hard_tanh", name=n), 0)
    elif low == 0.0 and high is not None and high > 0.0:
        _apply(node, translation, lambda n: layers.ReLU(high, name=n), 0)
    else:
        raise refused(
            node, f"it clips to {low} .. {high}", "Allowed: from 0 on, or from -1 to 1"
        )


@imports("Softmax")
def _softmax(node: NodeProto, translation: Translation) -> None:
    name = node.input[0]
    x = translation.activation(name, node)
    x = translation.unfolded(x, node.name or node.output[0])
    axis = x.axes.index(attributes_of(node).get("axis", -1) % x.rank)
    axis = -1 if axis == x.rank - 1 else axis
    layer = layers.Softmax(axis, name=translation.name(node))
    y = x.moved(translation.call(node, layer, x.tensor))
    translation.define(node, y, name, magnitude=1.0, terms=_ROUNDINGS)


def _apply(
    node: NodeProto,
    translation: Translation,
    make: Callable[[str], Any],
    roundings: int = _ROUNDINGS,
) -> None:
    name = node.input[0]
    x = translation.activation(name, node)
    layer = make(translation.name(node))
    y = x.moved(translation.call(node, layer, x.tensor))
    magnitude = 1.0 if roundings else None
    translation.define(node, y, name, magnitude=magnitude, terms=roundings)
