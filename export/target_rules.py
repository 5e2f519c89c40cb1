"""Rules of consumers on single nodes: what is wrong with a node, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from onnx import NodeProto

from ..qonnx.operators import attributes_of

if TYPE_CHECKING:
    from .builder import Builder

#: Returns what is wrong with a node and a way out, or nothing.
Rule = Callable[[NodeProto, "Builder"], str]
_FINN_ACTIVATION_BITS = 8
# Layers of hls4ml that do not take over the type of a quantizer behind them.
_KEEP_PRECISION = ("Quant", "BipolarQuant", "MaxPool", "Flatten", "Reshape", "Concat")
_MERGES = ("Add", "Sub", "Mul", "Max", "Min")


def _is_weight(node: NodeProto, builder: Builder) -> bool:
    return node.input[0] in builder.constants


def _is_activation(node: NodeProto, builder: Builder) -> bool:
    is_quantizer = node.op_type in ("Quant", "BipolarQuant")
    return is_quantizer and not _is_weight(node, builder)


def _has_constant(node: NodeProto, builder: Builder) -> bool:
    """Whether a node reads a weight, quantized or not."""
    values = set(node.input) | {
        p.input[0] for name in node.input if (p := builder.producer(name)) is not None
    }
    return not builder.constants.keys().isdisjoint(values)


def scalar_activation_scale(node: NodeProto, builder: Builder) -> str:
    """Activations have one scale for all channels."""
    if _is_activation(node, builder):
        count = builder.constants[node.input[1]].size
        if count > 1:
            return (
                f"its quantizer has {count} scales, and there must be one for all "
                "channels. Use a quantizer with a scalar scale."
            )
    return ""


def no_zero_point(node: NodeProto, builder: Builder) -> str:
    """Zero points are 0."""
    if node.op_type == "Quant" and np.any(builder.constants[node.input[2]]):
        return (
            "its quantizer has a zero point. Use one that is symmetric about zero, "
            "such as quantized_bits or quantized_relu."
        )
    return ""


def _one_of_modes(*modes: str) -> Rule:
    def rounding(node: NodeProto, builder: Builder) -> str:
        """Activations round in a way that the consumer has."""
        if node.op_type == "Quant" and _is_activation(node, builder):
            mode = attributes_of(node)["rounding_mode"]
            if mode not in modes:
                return (
                    f"its quantizer must have rounding={' or '.join(map(repr, modes))}."
                    f" Received: rounding={mode!r}"
                )
        return ""

    return rounding


def power_of_two_scale(node: NodeProto, builder: Builder) -> str:
    """All scales are powers of two, one a quantizer."""
    if node.op_type not in ("Quant", "BipolarQuant"):
        return ""
    scale = builder.constants[node.input[1]]
    if np.any(np.frexp(scale)[0] != 0.5):
        return (
            "its quantizer's scale is no power of two, which its fixed point types "
            "cannot hold. Use a quantizer with a power-of-two scale, such as "
            '"quantized_bits(4,0,alpha=1)", or alpha="auto_po2".'
        )
    return ""


def at_most_24_bits(node: NodeProto, builder: Builder) -> str:
    """The channels' steps, brought to the smallest one, leave codes of float32."""
    if node.op_type == "Quant":
        bits = int(builder.constants[node.input[3]])
        if bits > 24:
            return (
                f"on one step for all channels its weights need {bits} bits, more than "
                "the 24 of float32. Use one scale for all channels."
            )
    return ""


def same_shapes(node: NodeProto, builder: Builder) -> str:
    """What is merged has one shape; constants are only added and multiplied."""
    if node.op_type not in _MERGES:
        return ""
    constants = [name for name in node.input if name in builder.constants]
    operation = builder.origins[node.name]
    if constants or operation.kind in ("dense", "conv2d", "scale_offset"):
        if node.op_type in ("Max", "Min"):
            return (
                "it has no bounds that are constants. Leave the bound to the quantizer "
                "behind it, which saturates."
            )
        return ""
    shapes = {builder.tensor(t).shape for t in operation.inputs}
    if len(shapes) > 1:
        return (
            "it merges only tensors of one shape. Bring them to one shape before. "
            f"Received: {', '.join(map(str, sorted(shapes, key=str)))}"
        )
    return ""


def plain_convolution(node: NodeProto, builder: Builder) -> str:
    """No dilation; groups of one channel each, with one filter each."""
    if node.op_type != "Conv":
        return ""
    attributes = attributes_of(node)
    if any(d != 1 for d in attributes["dilations"]):
        return (
            "it computes another output size for dilated convolutions. Use "
            f"dilation_rate=1. Received: {tuple(attributes['dilations'])}"
        )
    operation = builder.origins[node.name]
    channels = builder.tensor(operation.input).shape[-1]
    filters = builder.tensor(operation.output).shape[-1]
    group = attributes["group"]
    if group != 1 and not group == channels == filters:
        return (
            "it computes groups of channels wrongly. Use groups=1, or a depthwise "
            f"convolution with depth_multiplier=1. Received: {group} groups of "
            f"{channels} channels, {filters} filters"
        )
    return ""


def unpadded_pooling(node: NodeProto, builder: Builder) -> str:
    """Max pooling without padding."""
    if node.op_type == "MaxPool" and any(attributes_of(node)["pads"]):
        return (
            "it pads poolings with zeros, not with the smallest number. Use "
            'padding="valid".'
        )
    return ""


def vectors_in_dense(node: NodeProto, builder: Builder) -> str:
    """Dense layers work on vectors."""
    if node.op_type == "MatMul":
        rank = builder.rank(builder.origins[node.name].input)
        if rank != 2:
            return (
                f"a dense layer takes vectors, not tensors of {rank} axes. Use a "
                "convolution with kernel_size=1, or flatten its input."
            )
    return ""


def pairs_in_concatenate(node: NodeProto, builder: Builder) -> str:
    """Two tensors are concatenated at a time."""
    if node.op_type == "Concat" and len(node.input) > 2:
        return (
            f"it concatenates two tensors at a time. Received: {len(node.input)}. "
            "Concatenate them in pairs."
        )
    return ""


def sole_reader(node: NodeProto, builder: Builder) -> str:
    """A quantizer behind a computation is the only one that reads it."""
    if node.op_type != "Quant" or _is_weight(node, builder):
        return ""
    value = node.input[0]
    producer = builder.producer(value)
    if producer is None or producer.op_type in _KEEP_PRECISION:
        return ""
    if producer.op_type in _MERGES and not _has_constant(producer, builder):
        return ""
    outputs = [builder.value(t) for t in builder.graph.outputs]
    if [*outputs, *(i for n in builder.nodes for i in n.input)].count(value) > 1:
        return (
            f"its quantizer becomes the output type of {producer.name!r}, so that all "
            "that read that one would get quantized numbers. Let them read one "
            "quantizer, and further ones behind it."
        )
    return ""


def narrow_activations(node: NodeProto, builder: Builder) -> str:
    """Activations have at most 8 bits."""
    if node.op_type == "Quant" and _is_activation(node, builder):
        bits = int(builder.constants[node.input[3]])
        if bits > _FINN_ACTIVATION_BITS:
            return (
                f"activations have at most {_FINN_ACTIVATION_BITS} bits. "
                f"Received: {bits} bits"
            )
    return ""


HLS4ML_RULES: tuple[Rule, ...] = (
    scalar_activation_scale,
    no_zero_point,
    _one_of_modes("ROUND", "FLOOR"),
    power_of_two_scale,
    at_most_24_bits,
    same_shapes,
    plain_convolution,
    unpadded_pooling,
    vectors_in_dense,
    pairs_in_concatenate,
    sole_reader,
)
FINN_RULES: tuple[Rule, ...] = (
    scalar_activation_scale,
    no_zero_point,
    _one_of_modes("ROUND"),
    narrow_activations,
)
