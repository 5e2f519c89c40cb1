"""Refuses models whose tensors no machine holds."""

from __future__ import annotations

import math

import onnx
from onnx import GraphProto, ModelProto, ValueInfoProto, helper

#: Elements of a tensor, where its shape is known; a batch that is not counts as one.
MOST_ELEMENTS = 2**30
_DATA_UP_TO = 1024


def check_sizes(model: ModelProto) -> None:
    """Infer the shape of every tensor, before any is computed.

    Args:
        model: A model of standard operators.

    Raises:
        ValueError: If one has more than 2^30 elements.
    """
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    _copy_without_data(model.graph, light.graph)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except Exception:  # noqa: BLE001  (what has no shape, ONNX Runtime refuses)
        return
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if math.prod(max(size, 1) for size in shape) > MOST_ELEMENTS:
            raise ValueError(
                f"Tensors must have at most 2^30 elements. Received: {value.name!r} of "
                f"the shape {tuple(shape)}"
            )


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
