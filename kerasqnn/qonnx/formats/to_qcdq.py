"""QONNX as QCDQ: QuantizeLinear, Clip, DequantizeLinear.

ONNX Runtime's default optimisation replaces DequantizeLinear and the operator behind it
by operators that round otherwise (MatMulNBits, QGemm, QLinearConv, QLinearAdd, ...),
merges a pair with the next one, and rounds biases. All of these patterns want the
DequantizeLinear right before its reader, so a `Max` of one tensor, which returns it,
stands between. (Identity, Cast to the same type, and products with one are removed
before the patterns are searched for.)
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from ...models.grids import Grid
from ..expansion import expand, is_expanded
from ..operators import CHANNELS_LAST_DOMAIN, GENERAL_DOMAINS, describe
from .codes import INT4, UINT4, limits_of, storage_type
from .graph_writer import GraphWriter
from .quantization import Quantization, read_quant
from .standard import Standard
from .table import refusal

#: From this version of ONNX on, QuantizeLinear has types of 4 and 16 bits.
OPSET_MORE_TYPES = 21
_INT4 = {limits_of(dtype): dtype for dtype in (INT4, UINT4)}
#: An input that can hold more numbers than these is not tried one by one.
_MOST_NUMBERS = 2**20


def to_qcdq(source: Standard, exact: bool, int4: bool = False) -> ModelProto:
    """Write each Quant node as QuantizeLinear, Clip and DequantizeLinear.

    Args:
        source: The model.
        exact: As in `convert_qonnx`.
        int4: As in `convert_qonnx`.

    Returns:
        A model of standard operators.

    Raises:
        UnsupportedModelError: If a node has no such form.
    """
    nodes = source.nodes
    replaced = [n for n in nodes if n.domain in GENERAL_DOMAINS or is_expanded(n)]
    writer = GraphWriter(source.model, replaced)
    for node in nodes:
        if node.domain == CHANNELS_LAST_DOMAIN and is_expanded(node):
            writer.splice(expand(node, source.constants, source.versions))
        elif node.domain in GENERAL_DOMAINS:
            _write(writer, read(node, source, "qcdq"), source, exact, int4)
        else:
            writer.keep(node)
    return writer.finish({})


def read(node: NodeProto, source: Standard, to: str) -> Quantization:
    """Read a node of QONNX that integer codes can say.

    Args:
        node: The node.
        source: Its model.
        to: The format that it is to be written in.

    Returns:
        What it does.

    Raises:
        UnsupportedModelError: If integer codes cannot say it.
    """
    if node.op_type in ("Quant", "IntQuant"):
        return read_quant(node, source.constants, to)
    reasons = {
        "BipolarQuant": (
            "arbitrary precision",
            "it has one bit, and the least are two",
        ),
        "Trunc": ("rounding variants", "it rounds twice and shifts the codes"),
        "FloatQuant": ("arbitrary precision", "its numbers are no integer codes"),
    }
    row, reason = reasons.get(node.op_type, (None, "QONNX has no such operator"))
    raise refusal(
        node, to, row,
        f"{reason}. Allowed: Quant, IntQuant. Received: {node.op_type}",
        "Use a Quant node of at least two bits, or keep the model in QONNX.",
    )  # fmt: skip


def _write(
    writer: GraphWriter, q: Quantization, source: Standard, exact: bool, int4: bool
) -> None:
    """Append the nodes of one quantizer; each step is named after its output."""
    output = q.node.output[0]
    constant = source.constants.get(output)
    dtype = _INT4.get((q.low, q.high)) if int4 else None
    if constant is not None:
        dtype = dtype or _constant_type(q)
        value = _write_codes(writer, q, dtype, constant)
    else:
        dtype = dtype or _activation_type(q, source.opset)
        value = _write_quantize(writer, q, dtype, source, exact)
    value = _write_clip(writer, q, dtype, value)
    rank = len(constant.shape) if constant is not None else _rank(q, source)
    wide = dtype == np.int32  # these have no zero point
    parameters = _parameters(writer, q, None if wide else dtype)
    last = writer.unique(f"{output}_dequantized") if exact else output
    writer.node("DequantizeLinear", [value, *parameters], last, _name(q, "dequantize"),
                axis=_axis(q, rank))  # fmt: skip
    if exact:
        writer.node("Max", [last], output, _name(q, "keep"))


def _constant_type(q: Quantization) -> np.dtype:
    dtype = storage_type(q.low, q.high, (np.int32,))
    if dtype is None or (dtype == np.int32 and np.any(q.zero_point)):
        raise refusal(
            q.node, "qcdq", "arbitrary precision",
            "a constant has at most 8 bits, or at most 32 and no zero point. Received: "
            f"bitwidth={q.width.bits}, zeropt={q.zero_point.flat[0]}",
            "Use fewer bits.",
        )  # fmt: skip
    return dtype


def _write_codes(
    writer: GraphWriter, q: Quantization, dtype: np.dtype, values: np.ndarray
) -> str:
    """Store a constant as integer codes."""
    _check_zero_point(q, dtype)
    codes = q.codes(values)
    fits = np.all((codes >= q.low) & (codes <= q.high))
    if not (fits and np.array_equal(q.values(codes), values)):
        raise refusal(
            q.node, "qcdq", "arbitrary precision",
            "its constant must be codes times the scale in float32. "
            f"Received: bitwidth={q.width.bits}",
            "Use at most 24 bits.",
        )  # fmt: skip
    return writer.parameter(q.node.input[0], codes.astype(dtype))


def _write_quantize(
    writer: GraphWriter,
    q: Quantization,
    dtype: np.dtype,
    source: Standard,
    exact: bool,
) -> str:
    name = q.node.input[0]
    _check_zero_point(q, dtype)
    check_computed(q, source.grids.get(name) if exact else None, exact, "qcdq")
    output = writer.unique(f"{q.node.output[0]}_quantized")
    writer.node("QuantizeLinear", [name, *_parameters(writer, q, dtype)], output,
                _name(q, "quantize"), axis=_axis(q, _rank(q, source)))  # fmt: skip
    return output


def check_computed(q: Quantization, grid: Grid | None, exact: bool, to: str) -> None:
    """Refuse a quantizer of which QuantizeLinear gives other codes.

    Args:
        q: The quantizer.
        grid: What is known of its input.
        exact: As in `convert_qonnx`.
        to: The format that it is to be written in.

    Raises:
        UnsupportedModelError: If codes may differ.
    """
    if q.rounding_mode != "ROUND":
        raise refusal(
            q.node, to, "rounding variants",
            f"`rounding_mode` must be ROUND. Received: rounding_mode={q.rounding_mode}",
            "Quantize with ROUND, or keep the model in QONNX.",
        )  # fmt: skip
    if exact and not is_same(q, grid):
        raise refusal(
            q.node, to, None,
            "Quant rounds after it adds the zero point, QuantizeLinear before; near "
            "ties they differ. Allowed: zeropt=0, or an input on a known grid where "
            f"all numbers agree. Received: zeropt={q.zero_point.flat[0]}",
            "Pass exact=False to accept one step of difference there.",
        )  # fmt: skip


def _activation_type(q: Quantization, opset: int) -> np.dtype:
    wide = (np.int16 if q.low < 0 else np.uint16,) if opset >= OPSET_MORE_TYPES else ()
    dtype = storage_type(q.low, q.high, wide)
    if dtype is None:
        most = 16 if wide else 8
        hint = "Use fewer bits, or keep the model in QONNX."
        if not wide and q.width.bits <= 16:
            hint = f"Pass opset={OPSET_MORE_TYPES} for up to 16 bits."
        raise refusal(
            q.node, "qcdq", "arbitrary precision",
            f"`bitwidth` must be at most {most} with opset {opset}. "
            f"Received: bitwidth={q.width.bits}", hint,
        )  # fmt: skip
    return dtype


def _write_clip(
    writer: GraphWriter, q: Quantization, dtype: np.dtype, value: str
) -> str:
    """Append an integer Clip, unless the type has no other codes."""
    if limits_of(dtype) == (q.low, q.high):
        return value
    # ONNX Runtime has no Clip of 16 bits.
    through = np.dtype(np.int32) if dtype.itemsize == 2 else dtype
    output = q.node.output[0]
    if through != dtype:
        value = writer.node("Cast", [value], writer.unique(f"{output}_wide"),
                            _name(q, "widen"), to=TensorProto.INT32)  # fmt: skip
    bits = q.node.input[3]
    bounds = [
        writer.parameter(f"{bits}_{which}", np.array(bound, through))
        for which, bound in (("min", q.low), ("max", q.high))
    ]
    clipped = writer.unique(f"{output}_clipped")
    writer.node("Clip", [value, *bounds], clipped, _name(q, "clip"))
    if through == dtype:
        return clipped
    to = TensorProto.INT16 if dtype == np.int16 else TensorProto.UINT16
    narrowed = writer.unique(f"{output}_codes")
    return writer.node("Cast", [clipped], narrowed, _name(q, "narrow"), to=to)


def _parameters(
    writer: GraphWriter, q: Quantization, dtype: np.dtype | None
) -> list[str]:
    names = [writer.parameter(q.node.input[1], q.scale)]
    if dtype is not None:
        names.append(writer.parameter(q.node.input[2], q.zero_point.astype(dtype)))
    return names


def _check_zero_point(q: Quantization, dtype: np.dtype) -> None:
    low, high = limits_of(dtype)
    if np.any((q.zero_point < low) | (q.zero_point > high)):
        raise refusal(
            q.node, "qcdq", "arbitrary precision",
            f"`zeropt` must lie from {low} to {high}. "
            f"Received: zeropt={q.zero_point.flat[0]}",
            "Shift the range of codes.",
        )  # fmt: skip


def _rank(q: Quantization, source: Standard) -> int | None:
    """Return the rank of a quantizer's input, where its axis depends on it."""
    shape = source.shapes.get(q.node.input[0])
    given = max(np.ndim(source.constants[name]) for name in q.node.input[1:3])
    if given == 0:
        return None if shape is None else len(shape)
    fits = shape is not None and given <= len(shape)
    if fits and shape is not None and q.axis is not None:
        fits = shape[q.axis] in (0, len(q.scale))
    if not fits:
        raise ValueError(
            f"{describe(q.node)}: `scale` and `zeropt` must not give the result more "
            f"axes or channels than the input. Received: shape {shape} of the input, "
            f"{given} axes and {q.scale.size} numbers of the parameters"
        )
    return len(shape or ())


def _axis(q: Quantization, rank: int | None) -> int | None:
    return None if q.axis is None or rank is None else q.axis % rank


def _name(q: Quantization, step: str) -> str:
    return f"{q.node.name}_{step}" if q.node.name else ""


def is_same(q: Quantization, grid: Grid | None) -> bool:
    """Whether Quant and QuantizeLinear give the same codes (NaN aside).

    They do without a zero point: clamping between integers before rounding or after
    is the same. With one, all numbers of the input are tried.
    """
    if not np.any(q.zero_point):
        return True
    if grid is None:
        return False
    low, high = (int(v) for v in (np.min(grid.low) / grid.step,
                                  np.max(grid.high) / grid.step))  # fmt: skip
    if (high - low) * q.scale.size > _MOST_NUMBERS:
        return False
    x = (np.arange(low, high + 1) * grid.step).astype(np.float32)[:, None]
    scale, zero = q.scale.reshape(-1), q.zero_point.reshape(-1)
    added = np.clip(x / scale + zero.astype(np.float32), q.low, q.high)
    before = np.clip(np.rint(x / scale) + zero, q.low, q.high)
    return bool(np.array_equal(np.rint(added), before))
