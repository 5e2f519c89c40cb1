"""Conversion between the formats in which ONNX says quantization."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from onnx import ModelProto

from ...errors import unknown_name
from ..files import as_model
from .from_qcdq import from_qcdq
from .standard import Standard
from .to_qcdq import OPSET_MORE_TYPES, to_qcdq
from .to_qop import to_qop
from .writing import write_atomically


def convert_qonnx(
    model: str | os.PathLike[str] | ModelProto,
    to: str,
    *,
    path: str | os.PathLike[str] | None = None,
    opset: int | None = None,
    exact: bool = True,
    int4: bool = False,
) -> ModelProto:
    """Write a quantized ONNX model in another format, with the same numbers.

    `"qcdq"` writes each `Quant` as QuantizeLinear, Clip (left out at full range) and
    DequantizeLinear: 2 to 8 bits, with opset 21 up to 16, rounding mode ROUND, one
    scale a tensor or a channel. Constants are stored as integer codes; those of more
    than 8 bits, such as biases, as int32. The Clip of a constant changes nothing: it
    tells the bit width.

    `"qonnx"` writes each such chain as one `Quant`, whoever wrote it: with or without
    Clip, constants as codes or quantized where they are read. A range that no bit width
    has, or a zero point with which `Quant` would round ties otherwise, becomes a wider
    `Quant` and a Clip behind it. From QONNX to QCDQ and back gives the same nodes,
    parameters and names (constants on their grid).

    `"qop"` writes convolutions and matrix products as QLinearConv and QLinearMatMul
    with an integer Clip (a matrix product with a bias as QLinearConv of 1 x 1): input,
    weight and output quantized to at most 8 bits, one scale for what is computed, the
    bias int32 at x_scale * w_scale. Scales must be powers of two, for these operators
    scale sums in float32. Other operators compute with numbers between DequantizeLinear
    and QuantizeLinear.

    What is no number (NaN) stays so in `Quant` and becomes a code in QuantizeLinear;
    all other float32 numbers give the same. Sums that float32 rounds, such as those of
    inputs that no quantizer has seen, ONNX Runtime adds in an order of its own in every
    format, so that their last bits may differ.

    Args:
        model: Path of an `.onnx` file, or the model itself, in QONNX or QCDQ.
        to: `"qonnx"`, `"qcdq"` or `"qop"`.
        path: Where to write the result; only once the conversion has succeeded.
        opset: Version of the standard operators; the model's, at least 13, if None.
        exact: Write a form that stock ONNX Runtime runs with the same numbers at its
            default optimisation (behind each DequantizeLinear a `Max` of one tensor,
            which stops rewrites that round otherwise), and refuse what is not proven
            to be the same. With False, write the bare operators, and accept zero
            points for which near ties may come out one step apart.
        int4: For `"qcdq"` with opset 21 or later: store codes of exactly 4 bits as int4
            and uint4, without Clip.

    Returns:
        The converted model.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the file is no ONNX model or has no meaning, or an argument is
            not allowed.
        UnsupportedModelError: If the format cannot say a node; the message names the
            node, the row of the table of formats, and a way out.

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
    >>> converted = kerasqnn.convert_qonnx(model, "qcdq")
    >>> [node.op_type for node in converted.graph.node]
    ['QuantizeLinear', 'Clip', 'DequantizeLinear', 'Max']
    """
    if to not in _WRITERS:
        raise ValueError(unknown_name("format", to, _WRITERS))
    if path is not None and not Path(path).parent.is_dir():
        raise FileNotFoundError(
            f"The folder {str(Path(path).parent)!r} does not exist. "
            f"Received: path={str(path)!r}"
        )
    source = Standard(as_model(model), opset)
    if to != "qonnx" and any(n.op_type == "DequantizeLinear" for n in source.nodes):
        source = Standard(from_qcdq(source, exact), None)
    if int4 and (to != "qcdq" or source.opset < OPSET_MORE_TYPES):
        raise ValueError(
            f"`int4` needs to='qcdq' and an opset of at least {OPSET_MORE_TYPES}. "
            f"Received: int4={int4!r}, to={to!r}, opset {source.opset}"
        )
    options = {"int4": True} if int4 else {}
    converted = _WRITERS[to](source, exact, **options)
    if path is not None:
        write_atomically(converted, Path(path))
    return converted


_WRITERS: Mapping[str, Callable[..., ModelProto]] = {
    "qonnx": from_qcdq,
    "qcdq": to_qcdq,
    "qop": to_qop,
}
