"""QCDQ as QONNX: each QuantizeLinear, Clip, DequantizeLinear as one Quant node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto

from ..functions import DOMAIN_VERSION, functions_for
from ..operators import DOMAIN, describe
from ..structure import reads_of
from .codes import Width, width_of
from .graph_writer import GraphWriter
from .qcdq_chain import Chain, read_chain, unread_chain
from .quantization import Quantization
from .standard import Standard
from .table import refusal
from .to_qcdq import is_same

_FUNCTIONS_IR = 8
_OVERLOADS_IR = 10
_INTEGER_OPERATORS = frozenset(
    "DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger".split()
)


def from_qcdq(source: Standard, exact: bool) -> ModelProto:
    """Write each chain that ends in a DequantizeLinear as a Quant node.

    Args:
        source: The model.
        exact: As in `convert_qonnx`.

    Returns:
        A QONNX model, with the operators' bodies as functions.

    Raises:
        UnsupportedModelError: If a node has no such form.
    """
    nodes = source.nodes
    _refuse_integers(nodes)
    producers = {name: node for node in nodes for name in node.output}
    chains = {
        id(node): read_chain(node, source, producers)
        for node in nodes
        if node.op_type == "DequantizeLinear"
    }
    kept_apart = _barriers(source.model, chains)
    replaced = [node for chain in chains.values() for node in chain.nodes]
    barriers = list(kept_apart.values())
    writer = GraphWriter(source.model, [*replaced, *barriers])
    left_out = {id(node) for node in barriers}
    for node in nodes:
        if id(node) in chains:
            last = kept_apart.get(id(node), node).output[0]
            _write(writer, chains[id(node)], last, source, exact)
        elif id(node) not in left_out:
            writer.keep(node)
    written = writer.finish({DOMAIN: DOMAIN_VERSION})
    _refuse_other_readers(written, replaced)
    _add_functions(written)
    return written


def _refuse_integers(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        if node.op_type in _INTEGER_OPERATORS:
            raise refusal(
                node, "qonnx", None,
                "it computes with integers, and QONNX with numbers. "
                f"Received: {node.op_type}",
                "QONNXSession runs the model as it is.",
            )  # fmt: skip


def _barriers(model: ModelProto, chains: Mapping[int, Chain]) -> dict[int, NodeProto]:
    """Return the nodes that only keep a DequantizeLinear from its reader, by its id."""
    readers = Counter(name for node in model.graph.node for name in reads_of(node))
    readers.update(value.name for value in model.graph.output)
    ends = {chain.node.output[0]: key for key, chain in chains.items()}
    return {
        ends[node.input[0]]: node
        for node in model.graph.node
        if node.op_type == "Max"
        and len(node.input) == 1
        and node.input[0] in ends
        and readers[node.input[0]] == 1
    }


def _write(
    writer: GraphWriter, chain: Chain, output: str, source: Standard, exact: bool
) -> None:
    values = source.constants.get(chain.node.output[0])
    width = width_of(chain.low, chain.high)
    q = _quantization(chain, width or _around(chain.low, chain.high))
    x = chain.source
    if chain.is_stored and values is not None:
        if not _gives_itself(q, values):
            raise refusal(
                chain.node, "qonnx", None,
                "in float32 a Quant node must give its constant again, which codes of "
                "more than 22 bits may not. Received: codes up to "
                f"{np.max(np.abs(q.codes(values)))}",
                "Use fewer bits.",
            )  # fmt: skip
        x = writer.parameter(x, values)
        _quant(writer, q, chain, x, output, values.ndim)
        return
    shape = source.shapes.get(x)
    rank = None if shape is None else len(shape)
    is_quant = width is not None and is_same(q, source.grids.get(x))
    if is_quant or (width is not None and not exact):
        _quant(writer, q, chain, x, output, rank)
        return
    if chain.axis is not None:
        raise refusal(
            chain.node, "qonnx", None,
            "with scales a channel, what is computed must have no zero point and the "
            f"range of a bit width. Received: codes from {chain.low} to {chain.high}, "
            f"zero points from {chain.zero_point.min()} to {chain.zero_point.max()}",
            "Use one scale, or pass exact=False where only the zero point differs.",
        )  # fmt: skip
    # Without zero point and one range wider, then clipped to the range there was.
    zero = int(chain.zero_point)
    low, high = chain.low - zero, chain.high - zero
    wider = _quantization(chain, _around(low, high), zero=False)
    quantized = writer.unique(f"{output}_quantized")
    _quant(writer, wider, chain, x, quantized, rank)
    bounds = [
        writer.parameter(f"{output}_{which}", np.float32(code) * chain.scale)
        for which, code in (("min", low), ("max", high))
    ]
    writer.node("Clip", [quantized, *bounds], output, "")


def _gives_itself(q: Quantization, values: np.ndarray) -> bool:
    """Whether the formula of Quant changes no number."""
    scale, zero = (v.astype(np.float32) for v in q.along_axis(values.ndim))
    low, high = np.float32(q.low), np.float32(q.high)
    codes = np.rint(np.clip(values / scale + zero, low, high))
    return np.array_equal((codes - zero) * scale, values)


def _quantization(chain: Chain, width: Width, zero: bool = True) -> Quantization:
    point = chain.zero_point if zero else np.zeros_like(chain.zero_point)
    return Quantization(chain.node, width, chain.scale, point, chain.axis, "ROUND")


def _around(low: int, high: int) -> Width:
    """Return the smallest width that holds a range."""
    signed = low < 0
    bits = max(int(high).bit_length(), int(-low - 1).bit_length() if signed else 0)
    return Width(max(bits, 1) + signed, signed, False)


def _quant(writer: GraphWriter, q: Quantization, chain: Chain, x: str, output: str,
           rank: int | None) -> None:  # fmt: skip
    node = chain.node
    scale, zero = q.scale, q.zero_point.astype(np.float32)
    if q.axis is not None:
        if rank is None:
            raise ValueError(
                f"{describe(node)}: the number of axes of {x!r} must be known, as its "
                "scales lie along one. Received: a tensor of unknown shape"
            )
        scale, zero = (v.astype(np.float32) for v in q.along_axis(rank))
    if not np.any(zero):
        zero = np.zeros((), np.float32)
    names = [node.input[1], f"{output}_zeropt", f"{output}_bitwidth"]
    if len(node.input) > 2 and node.input[2]:
        names[1] = node.input[2]
    if chain.clip is not None and chain.clip.input[1].endswith("_min"):
        names[2] = chain.clip.input[1].removesuffix("_min")
    values = (scale, zero, np.array(q.width.bits, np.float32))
    inputs = [writer.parameter(n, v) for n, v in zip(names, values, strict=True)]
    writer.node(
        "Quant", [x, *inputs], output, node.name.removesuffix("_dequantize"),
        domain=DOMAIN, signed=int(q.width.signed), narrow=int(q.width.narrow),
        rounding_mode="ROUND",
    )  # fmt: skip


def _refuse_other_readers(model: ModelProto, replaced: list[NodeProto]) -> None:
    gone = {name for node in replaced for name in node.output[:1]}
    gone -= {node.output[0] for node in replaced if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" or gone.intersection(node.output):
            raise unread_chain(node)


def _add_functions(model: ModelProto) -> None:
    """Add the bodies of operators, so that stock ONNX Runtime runs the model."""
    functions = functions_for(model.graph.node)
    model.functions.extend(functions)
    lowest = _OVERLOADS_IR if any(f.overload for f in functions) else _FUNCTIONS_IR
    model.ir_version = max(model.ir_version, lowest if functions else 0)
