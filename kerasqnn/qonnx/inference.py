"""Which numbers the tensors of an ONNX model can hold, from its constants alone.

A tensor is on a *grid* when every value is an integer times a power of two, within
known bounds, and 24 bits hold the integer: then float32 holds the value itself. Sums
whose worst partial sum stays within 24 bits are exact in any order, whatever the tool.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto

from ..models.grids import Grid
from . import inference_sums as inference_sums
from .constants import STANDARD_DOMAINS, fold_constants
from .files import as_model
from .inference_rules import RULES, UNKNOWN, Node, Values, values_of
from .preparation import prepare


def infer_grids(model: str | os.PathLike[str] | ModelProto) -> dict[str, Grid]:
    """Return the grids of the tensors of a QONNX or ONNX model.

    Args:
        model: Path of an `.onnx` file, or the model itself.

    Returns:
        By tensor name, step and bounds; a tensor is absent where nothing is certain:
        inputs, and what is computed from them before a quantizer. Values may also be
        NaN where an input is.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ONNX model, or holds an operator or a parameter
            that has no meaning.

    Example:

    >>> import kerasqnn
    >>> from onnx import parser
    >>> model = parser.parse_model('''
    ...   <ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>
    ...   small (float[N, 3] x) => (float[N, 3] y)
    ...   <float scale = {0.5}, float zero = {0.0}, float bits = {4.0}> {
    ...     y = qonnx.custom_op.general.Quant
    ...       <signed = 1, narrow = 0, rounding_mode = "ROUND">(x, scale, zero, bits)
    ...   }''')
    >>> grid = kerasqnn.qonnx.infer_grids(model)["y"]
    >>> grid.step, float(grid.low), float(grid.high)
    (0.5, -4.0, 3.5)
    """
    prepared = prepare(as_model(model))
    nodes, constants = fold_constants(prepared)
    known = infer_values(nodes, constants)
    grids = {name: values.grid for name, values in known.items()}
    return {name: grid for name, grid in grids.items() if grid is not None}


def infer_values(
    nodes: Sequence[NodeProto], constants: Mapping[str, np.ndarray]
) -> dict[str, Values]:
    """Return what is known of each tensor, those of unknown operators included.

    Args:
        nodes: Standard nodes in an order in which they can run.
        constants: Constant tensors by name.

    Returns:
        Step and bounds by tensor name.
    """
    known = {name: values_of(value) for name, value in constants.items()}
    for proto in nodes:
        rule = RULES.get(proto.op_type) if proto.domain in STANDARD_DOMAINS else None
        out = UNKNOWN
        if rule is not None:
            inputs = [known.get(name, UNKNOWN) for name in proto.input]
            arrays = [constants.get(name) for name in proto.input]
            out = rule(Node(proto, inputs, arrays)).in_float32()
        # Further outputs are indices and masks.
        outputs = proto.output if proto.op_type == "Split" else proto.output[:1]
        known.update(dict.fromkeys(outputs, out))
    return known
