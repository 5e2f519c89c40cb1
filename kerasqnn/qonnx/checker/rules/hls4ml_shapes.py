"""Rules of hls4ml 1.3 on names, shapes and windows, tried out with its converter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from onnx import NodeProto

from ...operators import CHANNELS_LAST_DOMAIN
from ..draft import Draft
from ..facts import Facts, attribute
from ..registry import ERROR, SILENT, Hit, rule

_POOLINGS = ("MaxPool", "AveragePool")
_WINDOW = ("kernel_shape", "strides", "pads")
_NO_IDENTIFIER = re.compile(r"[^A-Za-z0-9_.]")


def _identifier(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        hit.node.name = draft.name(_NO_IDENTIFIER.sub("_", hit.node.name))


@rule(
    "hls4ml-name", {"hls4ml": ERROR}, "A name is no identifier of C++",
    "hls4ml writes it into the names of types, which no compiler takes",
    "Use letters, digits and underscores", _identifier,
)  # fmt: skip
def name(facts: Facts) -> Iterator[Hit]:
    """`defines.h` holds `typedef ... <name>_accum_t;`; only dots are replaced."""
    for node in facts.nodes:
        if _NO_IDENTIFIER.search(node.name):
            yield Hit(node, "name", node.name)
    for value in facts.inputs:
        if _NO_IDENTIFIER.search(value.name):
            yield Hit(None, "input", value.name, fixable=False)


def _pooling(facts: Facts) -> Iterator[NodeProto]:
    for node in facts.nodes:
        if node.op_type in _POOLINGS and node.domain == CHANNELS_LAST_DOMAIN:
            yield node


def _numbers(node: NodeProto, name: str) -> list[int]:
    found = attribute(node, name)
    return [] if found is None else list(found.ints)


def _state_window(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        axes = len(_numbers(hit.node, "kernel_shape"))
        default = [1] if hit.where == "strides" else [0, 0]
        draft.set(hit.node, hit.where, default * axes)


@rule(
    "hls4ml-pool-attributes", {"hls4ml": ERROR},
    "A pooling leaves attributes to their defaults", "hls4ml crashes",
    "State kernel_shape, strides and pads", _state_window,
)  # fmt: skip
def pool_attributes(facts: Facts) -> Iterator[Hit]:
    """`converters/onnx/pooling.py`: TypeError: None has no items."""
    for node in _pooling(facts):
        automatic = attribute(node, "auto_pad") is not None
        for wanted in _WINDOW:
            if attribute(node, wanted) is None:
                known = attribute(node, "kernel_shape") is not None
                fixable = known and not (wanted == "pads" and automatic)
                yield Hit(node, wanted, "missing", fixable)


@rule(
    "hls4ml-pool-sequence", {"hls4ml": ERROR}, "A pooling over sequences",
    "hls4ml sets no padding for it and crashes", "Pool with an axis of size 1 more",
)  # fmt: skip
def pool_sequence(facts: Facts) -> Iterator[Hit]:
    """`pooling.py` sets no pad_left, and takes the steps for the channels."""
    for node in _pooling(facts):
        if len(_numbers(node, "kernel_shape")) == 1:
            yield Hit(node, "kernel_shape", str(_numbers(node, "kernel_shape")))


@rule(
    "hls4ml-pool-ceil", {"hls4ml": SILENT},
    "The last window of a pooling is cut off (ceil_mode)",
    "hls4ml leaves that window out", "Pad, or pool whole windows",
)  # fmt: skip
def pool_ceil(facts: Facts) -> Iterator[Hit]:
    """`pooling.py` rounds the size of the output down and reads no ceil_mode."""
    for node in _pooling(facts):
        mode = attribute(node, "ceil_mode")
        window, strides, pads = (_numbers(node, n) for n in _WINDOW)
        sizes = facts.shapes.get(node.input[0], ())[1:-1] if node.input else ()
        axes = len(window)
        if mode is None or not mode.i:
            continue
        if len(sizes) == axes == len(strides) and len(pads) == 2 * axes:
            whole = (
                (sizes[i] + pads[i] + pads[axes + i] - window[i]) % max(strides[i], 1)
                for i in range(axes)
            )
            if not any(whole):
                continue
        yield Hit(node, "ceil_mode", "1")


@rule(
    "hls4ml-dilation", {"hls4ml": ERROR}, "The window of a layer is dilated",
    "hls4ml gets the size of its output wrong, or crashes; poolings ignore it",
    "Use dilations of 1",
)  # fmt: skip
def dilation(facts: Facts) -> Iterator[Hit]:
    """`convolution.py` computes with kernel * dilation, not (kernel - 1) * d + 1."""
    for node in facts.nodes:
        if node.op_type in ("Conv", *_POOLINGS):
            dilations = _numbers(node, "dilations")
            if math.prod(dilations) != 1:
                yield Hit(node, "dilations", str(dilations))


def _state_shape(draft: Draft, hit: Hit) -> None:
    value = draft.facts.inferred.get(hit.where)
    if value is not None:
        draft.model.graph.value_info.append(value)


@rule(
    "hls4ml-tensor-shape", {"hls4ml": ERROR}, "The file does not state a shape",
    "hls4ml infers none and refuses the model",
    "Infer the shapes, as `qonnx-cleanup` does", _state_shape,
)  # fmt: skip
def tensor_shape(facts: Facts) -> Iterator[Hit]:
    """`get_input_shape`: "Could not find the shape for input"."""
    graph = facts.model.graph
    stated = {v.name for v in [*graph.value_info, *graph.output, *graph.input]}
    for node in facts.nodes:
        for name in dict.fromkeys(filter(None, node.input)):
            if name in facts.producers and name not in stated:
                stated.add(name)
                yield Hit(node, name, "", name in facts.inferred)
