"""Whether two ONNX graphs are the same but for names."""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto, NodeProto, numpy_helper

from kerasqnn.qonnx.operators import attributes_of


def described(model: ModelProto) -> tuple[list[int], Counter[int]]:
    """Return what the outputs are made of, and how often each node is there.

    Equal for graphs of the same nodes, attributes, initializers and connections,
    whatever their names and order. Minus zero is zero (the Quant behind it gives zero
    for both), and one number is the same with axes of size 1 or none.
    """
    graph = model.graph
    known = {value.name: hash(("input", i)) for i, value in enumerate(graph.input)}
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        array = array + 0.0 if array.dtype.kind == "f" else array
        shape = array.shape if array.size != 1 else ()
        known[tensor.name] = hash((str(array.dtype), shape, array.tobytes()))
    nodes: Counter[int] = Counter()
    for node in graph.node:
        digest = _digest(node, known)
        nodes[digest] += 1
        for index, name in enumerate(node.output):
            known[name] = hash((digest, index))
    return [known[value.name] for value in graph.output], nodes


def _digest(node: NodeProto, known: dict[str, int]) -> int:
    attributes = sorted(
        (name, str(value)) for name, value in attributes_of(node).items()
    )
    inputs = tuple(known[name] if name else 0 for name in node.input)
    return hash((node.domain, node.op_type, tuple(attributes), inputs))
