"""Operators that move numbers, and those that do nothing at inference."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from keras import layers
from onnx import NodeProto, TensorProto

from ..operators import attributes_of
from .refusal import refused
from .registry import imports
from .translation import Translation
from .values import Activation, Image
from .windows import zero_padding


@imports("Identity", "Dropout", "Cast")
def _nothing(node: NodeProto, translation: Translation) -> None:
    to = attributes_of(node).get("to", TensorProto.FLOAT)
    if to != TensorProto.FLOAT:
        raise refused(node, "it leaves float32", "Compute in float32")
    translation.define(node, translation.activation(node.input[0], node))


@imports("Transpose")
def _transpose(node: NodeProto, translation: Translation) -> None:
    """No layer: only what the axes of the Keras tensor are in the file changes."""
    name = node.name or node.output[0]
    x = translation.unfolded(translation.activation(node.input[0], node), name)
    order = attributes_of(node).get("perm") or list(range(x.rank))[::-1]
    if order[0] != 0:
        raise refused(node, f"perm={order} moves the batch", "Leave it the first axis")
    axes = tuple(order.index(axis) for axis in x.axes)
    translation.define(node, Activation(x.tensor, axes))


@imports("Flatten")
def _flatten(node: NodeProto, translation: Translation) -> None:
    x = translation.activation(node.input[0], node)
    if attributes_of(node).get("axis", 1) not in (1, 1 - x.rank):
        raise refused(node, "it flattens the batch too", "Use axis=1")
    _define_flat(node, x, translation)


@imports("Reshape", "Squeeze", "Unsqueeze")
def _reshape(node: NodeProto, translation: Translation) -> None:
    x = translation.activation(node.input[0], node)
    target = _target_shape(node, x, translation)
    if target == x.shape[1:]:
        translation.define(node, x)
    elif len(target) == 1:
        _define_flat(node, x, translation)
    else:
        name = node.name or node.output[0]
        x = translation.as_in_file(x, name)
        layer = layers.Reshape(target, name=translation.name(node))
        y = Activation.plain(translation.call(node, layer, x.tensor))
        translation.define(node, y, node.input[0])


def _define_flat(node: NodeProto, x: Activation, translation: Translation) -> None:
    if x.rank == 2:
        translation.define(node, x)
        return
    if None in x.shape[1:]:
        raise refused(node, "it flattens images of no fixed size", "Fix their size")
    image: Image | None = Image(tuple(x.tensor.shape[1:]), x.axes)
    rows = Image(tuple(x.tensor.shape[1:]), x.axes).rows()
    if np.array_equal(rows, np.arange(len(rows))):
        image = None
    layer = layers.Flatten(name=translation.name(node))
    tensor = translation.call(node, layer, x.tensor)
    translation.define(node, Activation(tensor, (0, 1), image), node.input[0])


def _target_shape(
    node: NodeProto, x: Activation, translation: Translation
) -> tuple[int, ...]:
    """Return the shape of the result without the batch."""
    sizes: Any = x.shape[1:]
    if None in sizes:
        raise refused(node, "its input has no fixed shape", "Fix it")
    given: Any = attributes_of(node).get("axes")
    if len(node.input) > 1 and node.input[1]:
        if not translation.is_weight(node.input[1]):
            raise refused(node, "its shape is computed", "Give a constant shape")
        given = translation.weight(node.input[1]).value.tolist()
    if node.op_type == "Squeeze":
        ones = [i for i, n in enumerate(x.shape) if n == 1]
        removed = {axis % x.rank for axis in given or ones}
        kept = [n for i, n in enumerate(x.shape) if i not in removed]
        return tuple(_behind_batch(node, kept, 0 in removed))
    if node.op_type == "Unsqueeze":
        rank = x.rank + len(given)
        added = {a % rank for a in given}
        rest = iter(x.shape)
        full = [1 if i in added else next(rest) for i in range(rank)]
        return tuple(_behind_batch(node, full, 0 in added))
    return _reshaped(node, list(given), sizes, translation)


def _behind_batch(node: NodeProto, shape: list[Any], moved: bool) -> list[int]:
    if moved:
        raise refused(node, "it moves the batch", "Leave it the first axis")
    return shape[1:]


def _reshaped(
    node: NodeProto, target: list[int], sizes: Any, translation: Translation
) -> tuple[int, ...]:
    if attributes_of(node).get("allowzero", 0):
        raise refused(node, "allowzero=1", "Give sizes that are not zero")
    first, *rest = target
    rest = [sizes[i] if n == 0 and i < len(sizes) else n for i, n in enumerate(rest)]
    total = prod(sizes)
    if -1 in rest:
        known = prod(n for n in rest if n != -1)
        rest = [total // known if n == -1 and known else n for n in rest]
    batch = translation.batch
    fits = first in (-1, 0) or first == batch
    if not fits or prod(rest) != total or not rest or min(rest) < 1:
        raise refused(
            node,
            f"its shape {target} does not keep the batch of samples of {tuple(sizes)}",
            "Let the first entry be 0, -1 or the batch",
        )
    return tuple(rest)


@imports("Pad")
def _pad(node: NodeProto, translation: Translation) -> None:
    given = attributes_of(node)
    x = translation.activation(node.input[0], node)
    pads = translation.weight(node.input[1]).value.tolist()
    value = 0.0
    if len(node.input) > 2 and node.input[2]:
        value = float(translation.weight(node.input[2]).value.reshape(-1)[0])
    whole = len(pads) == 2 * x.rank and len(node.input) < 4
    pairs = list(zip(pads[: x.rank], pads[x.rank :], strict=True)) if whole else []
    inside = [pairs[axis] for axis in x.axes] if whole else []
    if (
        given.get("mode", "constant") != "constant"
        or value != 0.0
        or not 3 <= x.rank <= 5
        or not whole
        or min(pads) < 0
        or any(inside[0])
        or any(inside[-1])
    ):
        raise refused(
            node,
            f"it pads with mode {given.get('mode', 'constant')!r}, the value {value:g} "
            f"and pads {pads}",
            "Keras pads images with zeros, and neither batch nor channels",
        )
    layer = zero_padding(tuple(inside[1:-1]), translation.name(node))
    y = x.moved(translation.call(node, layer, x.tensor))
    translation.define(node, y, node.input[0])
