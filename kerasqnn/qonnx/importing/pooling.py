"""Poolings."""

from __future__ import annotations

from typing import Any

from onnx import NodeProto

from ... import layers as quant_layers
from ..operators import attributes_of
from .quantization import is_quantizer
from .refusal import refused
from .registry import imports
from .translation import Translation
from .values import Activation
from .windows import Window, image_of, is_channels_last, window_of, zero_padding


@imports("MaxPool", "AveragePool")
def _pool(node: NodeProto, translation: Translation) -> None:
    given = attributes_of(node)
    x = image_of(node, translation)
    window = window_of(node, x, tuple(given["kernel_shape"]))
    is_max = node.op_type == "MaxPool"
    _check(node, x, window, given)
    tensor, padding = x.tensor, window.padding(x.tensor.shape[1:-1])
    counted = not is_max and given.get("count_include_pad", 0)
    if window.is_padded and (padding is None or counted):
        zeros_do = counted or (is_max and not _may_be_negative(node, translation))
        if not zeros_do:
            raise refused(
                node,
                f"its pads {window.pads} are not those of Keras's padding='same'",
                "Keras pads with zeros, which is the same behind a ReLU or an unsigned "
                "quantizer, and where count_include_pad=1",
            )
        name = translation.unique(f"{node.name or node.output[0]}/padding")
        tensor, padding = zero_padding(window.pads, name)(tensor), "valid"
    kind = "MaxPooling" if is_max else "AveragePooling"
    layer = getattr(quant_layers, f"Quant{kind}{window.rank}D")(
        window.size,
        strides=window.strides,
        padding=padding,
        name=translation.name(node),
    )
    y = x.moved(translation.call(node, layer, tensor))
    rounds = None if is_max else 1.0
    name = node.input[0]
    translation.define(node, y, name, magnitude=rounds, terms=window.count)


def _check(node: NodeProto, x: Activation, window: Window, given: Any) -> None:
    if any(d != 1 for d in window.dilation) or len(node.output) > 1:
        raise refused(
            node,
            "it has dilations, or gives the indices of its maxima",
            "Keras's poolings have neither",
        )
    if not given.get("ceil_mode", 0):
        return
    for n, size, stride, pads in zip(
        x.tensor.shape[1:-1], window.size, window.strides, window.pads, strict=True
    ):
        if n is None or (n + sum(pads) - size) % stride:
            raise refused(
                node,
                "with ceil_mode=1 its last window ends beyond the image",
                "Choose a size and strides that fit",
            )


def _may_be_negative(node: NodeProto, translation: Translation) -> bool:
    """Whether numbers below zero may be pooled."""
    before = translation.view.producer(node.input[0])
    while before is not None and before.op_type in ("MaxPool", "Transpose", "Identity"):
        before = translation.view.producer(before.input[0])
    if before is None:
        return True
    unsigned = is_quantizer(before) and not attributes_of(before).get("signed", 1)
    return before.op_type != "Relu" and not unsigned


@imports("GlobalMaxPool", "GlobalAveragePool")
def _global_pool(node: NodeProto, translation: Translation) -> None:
    x = image_of(node, translation)
    _define_global(node, x, "Max" in node.op_type, True, translation)


@imports("ReduceMean", "ReduceMax")
def _reduce(node: NodeProto, translation: Translation) -> None:
    """A global pooling, where all axes but batch and channels are reduced."""
    given = attributes_of(node)
    axes = given.get("axes")
    if len(node.input) > 1 and node.input[1]:
        axes = translation.weight(node.input[1]).value.tolist()
    x = translation.activation(node.input[0], node)
    reduced = sorted(axis % x.rank for axis in axes or range(x.rank))
    kept = [axis for axis in range(1, x.rank) if axis not in reduced]
    if 0 in reduced or len(kept) != 1 or not 3 <= x.rank <= 5:
        raise refused(
            node,
            f"it reduces the axes {axes}",
            "Only reductions over all axes of images but the channels are poolings",
        )
    order = (0, *reduced, kept[0])
    x = translation.with_axes(x, order, node.name or node.output[0])
    keep = bool(given.get("keepdims", 1))
    _define_global(node, x, node.op_type == "ReduceMax", keep, translation)


def _define_global(
    node: NodeProto, x: Activation, is_max: bool, keep: bool, translation: Translation
) -> None:
    last = _flattened(node, translation) if keep else node
    keep = keep and last is node
    kind = "MaxPooling" if is_max else "AveragePooling"
    layer = getattr(quant_layers, f"QuantGlobal{kind}{x.rank - 2}D")(
        keepdims=keep, name=translation.name(last)
    )
    tensor = translation.call(node, layer, x.tensor)
    y = x.moved(tensor) if keep else Activation.plain(tensor)
    if last is not node:
        translation.absorb(last)
    count = 1
    for size in x.tensor.shape[1:-1]:
        count *= size or 1
    rounds = None if is_max else 1.0
    translation.define(last, y, node.input[0], magnitude=rounds, terms=count)


def _flattened(node: NodeProto, translation: Translation) -> NodeProto:
    """Return the Flatten that alone reads a global pooling, or the pooling."""
    flatten = translation.view.only_consumer_of(node, "Flatten")
    if flatten is None or is_channels_last(node):
        return node
    return flatten if attributes_of(flatten).get("axis", 1) == 1 else node
