"""What a QONNX file costs on hardware."""

from __future__ import annotations

import os

from onnx import ModelProto

from .files import as_model


def inference_cost(model: str | os.PathLike[str] | ModelProto) -> dict[str, float]:
    """Return the cost of one sample, as `qonnx.util.inference_cost` counts it.

    Args:
        model: Path of a QONNX file, or the model itself; its batch is taken for one.

    Returns:
        `"MACs"`; `"MACs of nonzero weights"`; `"BOPs"`, bit operations of nonzero
        weights: MACs times the bits of input and weight; `"weights"`, nonzero ones;
        `"weight memory KiB"` and `"output memory KiB"`, at their bits.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ONNX model, or qonnx cannot infer its shapes.

    Example:

    >>> import kerasqnn
    >>> from onnx import parser
    >>> model = parser.parse_model('''
    ...   <ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>
    ...   small (float[N, 2] x) => (float[N, 2] y)
    ...   <float scale = {0.5}, float zero = {0.0}, float bits = {4.0},
    ...    float[2, 2] w = {1.0, 0.0, 0.5, -1.5}> {
    ...     q = qonnx.custom_op.general.Quant
    ...       <signed = 1, narrow = 0, rounding_mode = "ROUND">(x, scale, zero, bits)
    ...     v = qonnx.custom_op.general.Quant
    ...       <signed = 1, narrow = 0, rounding_mode = "ROUND">(w, scale, zero, bits)
    ...     y = MatMul(q, v)
    ...   }''')
    >>> kerasqnn.qonnx.inference_cost(model)["BOPs"]
    48.0
    """
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.inference_cost import inference_cost as count

    proto = ModelProto()
    proto.CopyFrom(as_model(model))
    for value in proto.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if dimensions:
            dimensions[0].dim_value = 1
    try:
        dense = count(ModelWrapper(proto), discount_sparsity=False)["total_cost"]
        sparse = count(ModelWrapper(proto), discount_sparsity=True)["total_cost"]
    except Exception as error:  # qonnx raises many types, bare ones and assertions too
        raise ValueError(f"qonnx cannot count the model's cost: {error}") from error
    kib = 8 * 1024
    return {
        "MACs": dense.get("total_macs", 0.0),
        "MACs of nonzero weights": sparse.get("total_macs", 0.0),
        "BOPs": sparse.get("total_bops", 0.0),
        "weights": sparse.get("total_mem_w_elems", 0.0),
        "weight memory KiB": sparse.get("total_mem_w_bits", 0.0) / kib,
        "output memory KiB": sparse.get("total_mem_o_bits", 0.0) / kib,
    }
