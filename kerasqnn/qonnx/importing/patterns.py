"""Several nodes that are one thing in Keras, joined before they are translated."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from ..operators import GENERAL_DOMAINS
from .graph_view import GraphView

#: Domain of the nodes that stand for several.
JOINED_DOMAIN = "kerasqnn.joined"


def joined(view: GraphView) -> GraphView:
    """Return the graph with each ternary quantizer as one `Ternary` node."""
    dropped: set[int] = set()
    replaced: dict[int, NodeProto] = {}
    for node in view.nodes:
        parts = _ternary_parts(view, node)
        if parts is not None:
            plus, _, above, *_ = parts
            inputs = [*above.input, plus.input[1]]
            replaced[id(node)] = helper.make_node(
                "Ternary", inputs, node.output, name=node.name, domain=JOINED_DOMAIN
            )
            dropped.update(id(part) for part in parts)
    nodes = [replaced.get(id(n), n) for n in view.nodes if id(n) not in dropped]
    return view.with_nodes(nodes)


def _ternary_parts(view: GraphView, node: NodeProto) -> list[NodeProto] | None:
    """Return the other nodes of half the difference of two signs, or None.

    `Bipolar(x - t, s) - Bipolar(-x - t, s)` is `2 s` from `t` on, and `-2 s` up to
    `-t`.
    """
    if node.op_type != "Sub":
        return None
    signs = [_private(view, name, "BipolarQuant") for name in node.input]
    shifted = [s and _private(view, s.input[0], "Sub") for s in signs]
    plus, minus = signs
    above, below = shifted
    if plus is None or minus is None or above is None or below is None:
        return None
    negated = _private(view, below.input[0], "Neg")
    if negated is None or negated.input[0] != above.input[0]:
        return None
    constants = view.constants
    pairs = [(above.input[1], below.input[1]), (plus.input[1], minus.input[1])]
    for one, other in pairs:
        if one not in constants or other not in constants:
            return None
        if not np.array_equal(constants[one], constants[other]):
            return None
    return [plus, minus, above, below, negated]


def _private(view: GraphView, name: str, op_type: str) -> NodeProto | None:
    """Return the node that makes a tensor for one reader, if it is of the operator."""
    node = view.producer(name)
    if node is None or node.op_type != op_type or view.only_consumer(name) is None:
        return None
    if op_type == "BipolarQuant" and node.domain not in GENERAL_DOMAINS:
        return None
    return node
