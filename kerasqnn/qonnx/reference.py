"""Running a QONNX file in qonnx's own executor, the reference implementation."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from onnx import ModelProto


def run_reference(path: str | os.PathLike[str] | ModelProto, x: Any) -> Any:
    """Run a QONNX file node by node in qonnx's executor (slow; for comparison).

    Args:
        path: The `.onnx` file, or the model itself; a symbolic batch is set to that
            of `x`.
        x: Array with the batch axis first, or a list of them, one an input.

    Returns:
        Array, or a list of arrays for several outputs.
    """
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(
        path if isinstance(path, ModelProto) else os.fspath(path), make_deepcopy=True
    )
    arrays = list(x) if isinstance(x, (list, tuple)) else [x]
    inputs = [np.asarray(a, np.float32) for a in arrays]
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = len(inputs[0])
    model = model.transform(InferShapes())
    names = [i.name for i in model.graph.input]
    results = execute_onnx(model, dict(zip(names, inputs, strict=True)))
    outputs = [results[o.name] for o in model.graph.output]
    return outputs[0] if len(outputs) == 1 else outputs
