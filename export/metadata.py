"""What a file says of itself: the quantizers, and the type of every tensor."""

from __future__ import annotations

import json

from onnx import ModelProto, NodeProto, TensorAnnotation, defs, helper

from ..models import Graph
from ..qonnx import infer_datatypes
from ..qonnx.functions import OPSET
from ..qonnx.operators import GENERAL_DOMAINS

#: Metadata properties of exported files.
EXACT, QUANTIZERS = "kerasqnn.exact", "kerasqnn.quantizers"
_DATATYPE = "finn_datatype"
# What qonnx calls it itself.
_CANONICAL = {"UINT1": "BINARY"}


def describe_model(model: ModelProto, graph: Graph, is_exact: bool) -> None:
    """Add metadata and types of tensors to an ONNX model.

    The properties are `kerasqnn.exact`, `true` or `false`, and `kerasqnn.quantizers`, a
    JSON object with the quantizer of each weight (`layer/kernel`) and activation (name
    of its layer), in the notation that `kerasqnn.quantizers.get` reads. Types are
    annotations in qonnx's form, read by `ModelWrapper.get_tensor_datatype`.

    Args:
        model: The ONNX model; changed.
        graph: What it was made from.
        is_exact: Whether all tools give its bits.
    """
    properties = {
        EXACT: str(is_exact).lower(),
        QUANTIZERS: json.dumps(_quantizers(graph), indent=1),
    }
    helper.set_model_props(model, properties)
    _annotate(model)


def _quantizers(graph: Graph) -> dict[str, str]:
    found = {}
    for operation in graph:
        if "quantizer" in operation.attributes:
            found[operation.output] = repr(operation.attributes["quantizer"])
        for name, weight in operation.weights.items():
            if weight.quantizer is not None:
                found[f"{operation.name}/{name}"] = repr(weight.quantizer)
    return found


def _is_number(node: NodeProto) -> bool:
    """Whether a node computes numbers; qonnx's executor subtracts what has a type."""
    if node.domain:
        return True
    return defs.get_schema(node.op_type, OPSET).outputs[0].types != {"tensor(bool)"}


def _annotate(model: ModelProto) -> None:
    """Add the types of what nodes compute, and of the weights that are quantized."""
    graph, names = model.graph, infer_datatypes(model)
    quantized = {
        node.input[0] for node in graph.node if node.domain in GENERAL_DOMAINS
    } & {i.name for i in graph.initializer}
    computed = [n for node in graph.node if _is_number(node) for n in node.output]
    del graph.quantization_annotation[:]
    for tensor in (*sorted(quantized), *computed):
        if tensor in names:
            datatype = _CANONICAL.get(names[tensor], names[tensor])
            annotation = TensorAnnotation(tensor_name=tensor)
            annotation.quant_parameter_tensor_names.add(key=_DATATYPE, value=datatype)
            graph.quantization_annotation.append(annotation)
