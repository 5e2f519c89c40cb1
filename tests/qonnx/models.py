"""Small QONNX models for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from kerasqnn.qonnx.operators import DOMAIN, OPERATORS, TRUNC_2


def model_of(
    nodes: list[Any],
    constants: dict[str, Any],
    shape: tuple[Any, ...],
    *,
    output: str = "y",
    output_shape: tuple[Any, ...] | None = None,
    domains: dict[str, int] | None = None,
    opset: int = 13,
) -> ModelProto:
    """A model from `x` to `output`."""
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                output, TensorProto.FLOAT, output_shape or shape
            )
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    imports = {"": opset} | ({DOMAIN: 1} if domains is None else domains)
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(d, v) for d, v in imports.items()],
        ir_version=8,
    )


def operator_model(
    op_type: str,
    shape: tuple[Any, ...],
    parameters: dict[str, Any],
    *,
    domain: str = DOMAIN,
    version: int = 1,
    **attributes: Any,
) -> ModelProto:
    """A model of one QONNX operator, with its parameters as initializers."""
    names = TRUNC_2 if (op_type, version) == ("Trunc", 2) else OPERATORS[op_type]
    node = helper.make_node(
        op_type, ["x", *names[1:]], ["y"], domain=domain, name="node", **attributes
    )
    values = {
        k: v if isinstance(v, np.ndarray) else np.float32(v)
        for k, v in parameters.items()
    }
    return model_of([node], values, shape, domains={domain: version})
