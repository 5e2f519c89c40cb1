"""What does not depend on the inputs of a model, computed once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from .runtime import execute, start
from .tensor_data import is_external

STANDARD_DOMAINS = ("", "ai.onnx")
_RANDOM = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform "
    "RandomUniformLike".split()
)


def constants_of(graph: GraphProto) -> dict[str, np.ndarray]:
    """Return the initializers and the outputs of Constant nodes by name.

    Without those that are left in files of external data.
    """
    stored = (i for i in graph.initializer if not is_external(i))
    values = {i.name: numpy_helper.to_array(i) for i in stored}
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS:
            value = _constant(node)
            if value is not None:
                values[node.output[0]] = value
    return values


def _constant(node: NodeProto) -> np.ndarray | None:
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value" and is_external(value):
        return None
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    dtype = {"value_float": np.float32, "value_floats": np.float32}.get(
        attribute.name, np.int64
    )
    return (
        np.asarray(value, dtype)
        if attribute.name.startswith(("value_float", "value_int"))
        else None
    )


def has_subgraph(node: NodeProto) -> bool:
    """Whether a node may read tensors that are not among its inputs."""
    return any(a.HasField("g") or a.graphs for a in node.attribute)


def foldable_nodes(graph: GraphProto) -> list[NodeProto]:
    """Return the nodes, Constant ones aside, whose outputs are always the same."""
    known = {i.name for i in graph.initializer if not is_external(i)}
    nodes = []
    for node in graph.node:
        is_constant = node.op_type == "Constant" and node.domain in STANDARD_DOMAINS
        if is_constant or (
            all(name in known for name in node.input if name)
            and not has_subgraph(node)
            and node.op_type not in _RANDOM
        ):
            known.update(node.output)
            if not is_constant:
                nodes.append(node)
    return nodes


def fold_constants(model: ModelProto) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """Compute what does not depend on the inputs, in ONNX Runtime.

    Args:
        model: A model of standard operators.

    Returns:
        The nodes that remain, in order, and all constant tensors by name.
    """
    graph = model.graph
    constants = constants_of(graph)
    folded = foldable_nodes(graph)
    if folded:
        names = [name for node in folded for name in node.output if name]
        part = ModelProto()
        part.CopyFrom(model)
        stored = [i for i in graph.initializer if not is_external(i)]
        del part.graph.node[:], part.graph.input[:], part.graph.output[:]
        del part.graph.initializer[:]
        part.graph.initializer.extend(stored)
        part.graph.node.extend(n for n in graph.node if n.op_type == "Constant")
        part.graph.node.extend(folded)
        part.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
        results = execute(start(part, optimization="none"), None, {})
        constants.update(zip(names, results, strict=True))
    left_out = {id(node) for node in folded}
    remaining = [
        n for n in graph.node if id(n) not in left_out and n.op_type != "Constant"
    ]
    return remaining, constants


def fold(model: ModelProto) -> tuple[ModelProto, Mapping[str, np.ndarray]]:
    """Return the model with its constant part folded, and its constants by name."""
    nodes, constants = fold_constants(model)
    return with_nodes(model, nodes, constants), constants


def with_nodes(
    model: ModelProto, nodes: list[NodeProto], constants: Mapping[str, np.ndarray]
) -> ModelProto:
    """Return a model with other nodes, and those of the constants that they read."""
    used = {name for node in nodes for name in node.input}
    used |= {value.name for value in model.graph.output}
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    if any(has_subgraph(node) for node in nodes):
        used |= set(constants)
    external = [i for i in graph.initializer if is_external(i) and i.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(external)
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in constants.items()
        if name in used
    )
    return changed


def copy_of(node: NodeProto) -> NodeProto:
    """Return a copy of a node."""
    copied = NodeProto()
    copied.CopyFrom(node)
    return copied
