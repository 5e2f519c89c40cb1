"""Walks through all graphs, functions, nodes and tensors of a model."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from .tensor_data import tensors_of_attribute

#: How deep graphs may lie in each other.
MOST_LEVELS = 16


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the subgraphs of a node, not those within them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def bodies_of(model: ModelProto) -> Iterator[GraphProto | FunctionProto]:
    """Yield the graph, the functions, and all subgraphs of both.

    Raises:
        ValueError: If graphs lie deeper in each other than `MOST_LEVELS`.
    """
    stack: list[tuple[GraphProto | FunctionProto, int]] = [(model.graph, 1)]
    stack += [(function, 1) for function in model.functions]
    while stack:
        body, level = stack.pop()
        if level > MOST_LEVELS:
            raise ValueError(
                f"Graphs must lie at most {MOST_LEVELS} deep in each other. "
                "Received: more levels"
            )
        yield body
        for node in body.node:
            if node.attribute:
                stack += [(graph, level + 1) for graph in graphs_of(node)]


def nodes_within(body: GraphProto | FunctionProto) -> Iterator[NodeProto]:
    """Yield the nodes of a body and of its subgraphs."""
    stack = [body]
    while stack:
        for node in stack.pop().node:
            yield node
            if node.attribute:
                stack += graphs_of(node)


def tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor that a file stores."""
    for body in bodies_of(model):
        if isinstance(body, GraphProto):
            yield from body.initializer
        else:
            for default in body.attribute_proto:
                yield from tensors_of_attribute(default)
        for node in body.node:
            for attribute in node.attribute:
                yield from tensors_of_attribute(attribute)


def describe_tensor(tensor: TensorProto) -> str:
    """Return what a message calls a tensor."""
    return f"Tensor {tensor.name[:80]!r}"


def reads_of(node: NodeProto) -> set[str]:
    """Return the names of what a node reads, its subgraphs included."""
    names = set(node.input)
    if node.attribute:
        for graph in graphs_of(node):
            own = {v.name for v in [*graph.input, *graph.initializer]}
            inner = {value.name for value in graph.output}
            for child in graph.node:
                own |= set(child.output)
                inner |= reads_of(child)
            names |= inner - own
    return names - {""}
