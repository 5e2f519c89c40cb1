"""Shapes of tensors: those that operators ask for, and those that no machine holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

#: Elements of a tensor, where its shape is known; a batch that is not counts as one.
MOST_ELEMENTS = 2**30
_DATA_UP_TO = 1024


class Shapes:
    """Shapes of the tensors of a graph that is being expanded.

    What follows from the inputs counts, what the file declares only where nothing does.

    Args:
        graph: The graph; its initializers are read as they are added.
        versions: Version of each imported domain.
    """

    def __init__(self, graph: GraphProto, versions: Mapping[str, int]) -> None:
        self._graph = graph
        self._imports = [helper.make_opsetid(d, v) for d, v in versions.items()]
        self._declared = {value.name: value for value in graph.value_info}
        self._inferred = {value.name: value for value in graph.input}
        self._seen = 0

    def of(self, nodes: Sequence[NodeProto]) -> Callable[[str], Sequence[int] | None]:
        """Return a function that gives a shape, where `nodes` have been expanded."""

        def shape(name: str) -> Sequence[int] | None:
            if len(nodes) > self._seen:
                self._infer(nodes[self._seen :])
                self._seen = len(nodes)
            for known in (self._inferred, self._declared):
                value = known.get(name)
                if value is not None and value.type.tensor_type.HasField("shape"):
                    return _sizes(value)
            dims = (tuple(i.dims) for i in self._graph.initializer if i.name == name)
            return next(dims, None)

        return shape

    def _infer(self, nodes: Sequence[NodeProto]) -> None:
        """Infer shapes through more nodes."""
        part = GraphProto(name="part", node=nodes, initializer=self._graph.initializer)
        read = {name for node in nodes for name in node.input}
        part.input.extend(v for name, v in self._inferred.items() if name in read)
        model = ModelProto(ir_version=8, opset_import=self._imports)
        _copy_without_data(part, model.graph)
        inferred = infer_shapes(model)
        if inferred is not None:
            self._inferred |= {value.name: value for value in inferred.value_info}


def infer_shapes(model: ModelProto) -> GraphProto | None:
    """Return the graph with the shapes that onnx infers, or None where it cannot."""
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # noqa: BLE001  (onnx raises several types of its own)
        return None


def check_sizes(model: ModelProto) -> None:
    """Infer the shape of every tensor, before any is computed.

    Args:
        model: A model of standard operators.

    Raises:
        ValueError: If one has more than 2^30 elements.
    """
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    _copy_without_data(model.graph, light.graph)
    inferred = infer_shapes(light)
    if inferred is None:  # what has no shape, ONNX Runtime refuses
        return
    for value in [*inferred.value_info, *inferred.output]:
        shape = _sizes(value)
        if math.prod(max(size, 1) for size in shape) > MOST_ELEMENTS:
            raise ValueError(
                f"Tensors must have at most 2^30 elements. Received: {value.name!r} of "
                f"the shape {shape}"
            )


def _sizes(value: ValueInfoProto) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def _copy_without_data(graph: GraphProto, light: GraphProto) -> None:
    """Copy a graph; parameters that are no shapes become inputs."""
    light.name = graph.name
    light.node.extend(graph.node)
    light.input.extend(graph.input)
    # What is declared would hide what is inferred.
    light.output.extend(ValueInfoProto(name=value.name) for value in graph.output)
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _DATA_UP_TO:
            light.initializer.append(tensor)
        else:
            value = helper.make_tensor_value_info(
                tensor.name, tensor.data_type, tensor.dims
            )
            light.input.append(value)
