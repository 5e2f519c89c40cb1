"""Elementwise operators of two tensors, or of a tensor and constants; `Concat`."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ... import layers as quant_layers
from ..operators import attributes_of
from .graph_view import other_input
from .normalization import scale_and_offset
from .refusal import refused
from .registry import imports
from .translation import Translation
from .values import Activation, Weight

_MERGES = {
    "Add": quant_layers.QuantAdd,
    "Sub": quant_layers.QuantSubtract,
    "Mul": quant_layers.QuantMultiply,
    "Max": quant_layers.QuantMaximum,
    "Min": quant_layers.QuantMinimum,
}


@imports("Add", "Sub", "Mul", "Div")
def _arithmetic(node: NodeProto, translation: Translation) -> None:
    constant = [translation.is_weight(name) for name in node.input]
    if not any(constant):
        _merge(node, translation)
        return
    name = node.input[constant.index(False)]
    weight = translation.weight(node.input[constant.index(True)])
    if node.op_type in ("Sub", "Div"):
        weight = _inverse(node, weight, constant[0])
    if node.op_type in ("Add", "Sub"):
        scale_and_offset(node, node, name, None, weight, translation)
        return
    add = translation.view.only_consumer_of(node, "Add")
    other = add and other_input(add, node.output[0])
    if add is not None and other and translation.is_weight(other):
        offset = translation.weight(other)
        scale_and_offset(node, add, name, weight, offset, translation)
    else:
        scale_and_offset(node, node, name, weight, None, translation)


def _inverse(node: NodeProto, weight: Weight, first: bool) -> Weight:
    """Return what to add in place of a difference, or to multiply of a quotient."""
    value = weight.value
    if not first and node.op_type == "Sub":
        return Weight(-value, -value)
    mantissa, _ = np.frexp(np.abs(value))
    if first or np.any(mantissa != 0.5):
        raise refused(
            node,
            "a constant is the minuend or dividend, or no power of two the divisor",
            "Write a product and a sum instead",
        )
    return Weight(1 / value, 1 / value)


@imports("Max", "Min", "Sum")
def _merge(node: NodeProto, translation: Translation) -> None:
    if any(translation.is_weight(name) for name in node.input):
        raise refused(
            node,
            "one of its inputs is constant",
            "Bounds are imported as Clip from 0 on, or in a quantizer",
        )
    values = _aligned(node, translation)
    op_type = "Add" if node.op_type == "Sum" else node.op_type
    if op_type == "Div":
        raise refused(node, "Keras has no layer for a quotient", "Multiply instead")
    if len(values) == 1:
        translation.define(node, values[0])
        return
    layer = _MERGES[op_type](name=translation.name(node))
    tensor = translation.call(node, layer, [v.tensor for v in values])
    translation.define(node, values[0].moved(tensor), *node.input)


@imports("Concat")
def _concat(node: NodeProto, translation: Translation) -> None:
    if any(translation.is_weight(name) for name in node.input):
        raise refused(node, "one of its inputs is constant", "Compute it")
    values = _aligned(node, translation)
    axis = attributes_of(node)["axis"] % values[0].rank
    if axis == 0:
        raise refused(node, "it joins batches", "Join them outside of the model")
    position = values[0].axes.index(axis)
    rank = values[0].rank
    layer = quant_layers.QuantConcatenate(
        axis=-1 if position == rank - 1 else position, name=translation.name(node)
    )
    tensor = translation.call(node, layer, [v.tensor for v in values])
    translation.define(node, Activation(tensor, values[0].axes), *node.input)


def _aligned(node: NodeProto, translation: Translation) -> list[Activation]:
    """Return the inputs with the same axes: channels last, where one has them so."""
    name = node.name or node.output[0]
    values = [translation.activation(i, node) for i in node.input]
    if len({v.rank for v in values}) > 1:
        raise refused(
            node,
            f"its inputs have {' and '.join(str(v.rank) for v in values)} axes",
            "Reshape them to the same number",
        )
    first = values[0]
    alike = all(v.axes == first.axes and v.image == first.image for v in values)
    if alike and (first.image is None or node.op_type != "Concat"):
        return values
    values = [translation.unfolded(v, name) for v in values]
    plain = tuple(range(first.rank))
    axes = next((v.axes for v in values if v.axes != plain), plain)
    return [translation.with_axes(v, axes, name) for v in values]
