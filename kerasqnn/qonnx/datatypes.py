"""Names of qonnx's data types for what tensors hold."""

from __future__ import annotations

import math
import os

import numpy as np
from onnx import ModelProto

from ..models.grids import Grid
from .constants import constants_of
from .files import as_model
from .inference import infer_grids
from .operators import GENERAL_DOMAINS


def infer_datatypes(model: str | os.PathLike[str] | ModelProto) -> dict[str, str]:
    """Return the types of the tensors of a QONNX model as qonnx calls them.

    Unlike qonnx's own inference this knows scales that are powers of two: they give
    `FIXED<W,I>`, W bits of which I stand before the point, sign included.

    Args:
        model: Path of an `.onnx` file, or the model itself.

    Returns:
        By tensor name, the narrowest of `BIPOLAR`, `UINT<n>`, `INT<n>` and
        `FIXED<W,I>` that holds every value; a tensor is absent where none is certain.

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
    >>> kerasqnn.qonnx.infer_datatypes(model)["y"]
    'FIXED<4,3>'
    """
    proto = as_model(model)
    names = {name: datatype_of(grid) for name, grid in infer_grids(proto).items()}
    names.update(_bipolar_tensors(proto, names))
    return names


def datatype_of(grid: Grid) -> str:
    """Return the narrowest `UINT`, `INT` or `FIXED` type that holds a grid."""
    if grid.step >= 1.0:
        low, high = int(np.min(grid.low)), int(np.max(grid.high))
        if low >= 0:
            return f"UINT{max(1, high.bit_length())}"
        return f"INT{_signed_bits(low, high)}"
    low, high = (int(np.min(grid.low / grid.step)), int(np.max(grid.high / grid.step)))
    bits = _signed_bits(low, high)
    return f"FIXED<{bits},{bits + round(math.log2(grid.step))}>"


def _signed_bits(low: int, high: int) -> int:
    """Return the bits of two's complement, at least one."""
    return 1 + max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length())


def _bipolar_tensors(model: ModelProto, known: dict[str, str]) -> dict[str, str]:
    """Return the outputs of BipolarQuant nodes at scale one."""
    constants = constants_of(model.graph)
    found = {}
    for node in model.graph.node:
        if node.op_type == "BipolarQuant" and node.domain in GENERAL_DOMAINS:
            scale = constants.get(node.input[1]) if len(node.input) > 1 else None
            if scale is not None and np.all(scale == 1) and node.output[0] in known:
                found[node.output[0]] = "BIPOLAR"
    return found
