"""Finds what one quantized operator does: product, bias, Relu and quantizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto

from ..operators import GENERAL_DOMAINS, attributes_of
from ..structure import reads_of
from .quantization import Quantization
from .standard import Standard
from .table import refusal

PRODUCTS = frozenset({"Conv", "MatMul", "Gemm"})
_WAY_OUT = 'Convert with to="qcdq", or keep the model in QONNX.'


@dataclass
class Unit:
    """A product of quantized tensors and what follows it.

    Attributes:
        node: Conv, MatMul or Gemm.
        weight: Quantizer of the weight.
        codes: Codes of the weight less their zero point, int64; channels last for a
            matrix, else first.
        bias: One number a channel, float64, or None.
        has_relu: Whether negative sums become zero.
        nodes: The nodes that the unit replaces, without the quantizer.
    """

    node: NodeProto
    weight: Quantization
    codes: np.ndarray
    bias: np.ndarray | None = None
    has_relu: bool = False
    nodes: list[NodeProto] = field(default_factory=list)

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.codes.shape[self.channel_axis]

    @property
    def channel_axis(self) -> int:
        """Axis of the output channels in the weight."""
        return 0 if self.node.op_type == "Conv" else 1


def find_units(
    source: Standard, quantizers: Mapping[str, Quantization]
) -> dict[str, Unit]:
    """Return the units by the name of the quantized tensor that they compute.

    Args:
        source: The model.
        quantizers: Quantizers by their outputs.

    Raises:
        UnsupportedModelError: If a product's input, weight or output is not quantized.
    """
    read_by = _readers(source.model)
    units = {}
    for node in source.model.graph.node:
        if node.op_type in PRODUCTS and node.domain not in GENERAL_DOMAINS:
            unit = _start(node, source, quantizers)
            units[_follow(unit, source, quantizers, read_by)] = unit
    return units


def _readers(model: ModelProto) -> Callable[[str], NodeProto | None]:
    """Return a function that gives the only reader of a tensor."""
    counts = Counter(name for node in model.graph.node for name in reads_of(node))
    counts.update(value.name for value in model.graph.output)
    readers = {name: node for node in model.graph.node for name in node.input}
    return lambda name: readers.get(name) if counts[name] == 1 else None


def _start(
    node: NodeProto, source: Standard, quantizers: Mapping[str, Quantization]
) -> Unit:
    weight = quantizers.get(node.input[1])
    values = source.constants.get(node.input[1])
    if weight is None or values is None:
        raise refusal(
            node, "qop", "high-precision output",
            "its second input must be a constant behind a Quant node. "
            f"Received: {node.input[1]!r}", _WAY_OUT,
        )  # fmt: skip
    given = attributes_of(node)
    transposed = node.op_type == "Gemm" and given.get("transB", 0)
    axis = weight.axis
    if node.op_type == "Gemm":
        if (
            given.get("transA")
            or given.get("alpha", 1) != 1
            or given.get("beta", 1) != 1
        ):
            raise refusal(
                node, "qop", None, "`transA` must be 0, `alpha` and `beta` 1. "
                f"Received: {given}", "Write it as MatMul and Add.",
            )  # fmt: skip
    codes = weight.codes(values) - weight.along_axis(values.ndim)[1]
    low, high = codes.min(initial=0), codes.max(initial=0)
    if weight.width.bits > 8 or high - low > 255:
        raise refusal(
            node, "qop", "arbitrary precision",
            "its weight must have at most 8 bits. "
            f"Received: bitwidth={weight.width.bits}, codes less zero point from "
            f"{low} to {high}", "Use fewer bits.",
        )  # fmt: skip
    unit = Unit(node, weight, codes.T if transposed else codes, nodes=[node])
    wanted = unit.channel_axis if not transposed else 0
    rank_fits = values.ndim == 2 or node.op_type == "Conv"
    if not rank_fits or (axis is not None and axis % values.ndim != wanted):
        raise refusal(
            node, "qop", "arbitrary precision",
            "its weight must have one scale, or one an output channel, and two axes if "
            f"a matrix. Received: shape {values.shape}, scales along axis {axis}",
            _WAY_OUT,
        )  # fmt: skip
    if len(node.input) > 2 and node.input[2]:
        _add_bias(unit, node, node.input[2], source)
    return unit


def _add_bias(unit: Unit, node: NodeProto, name: str, source: Standard) -> None:
    if unit.bias is not None:
        raise refusal(
            node, "qop", "high-precision output",
            "a product has one bias. Received: a second one", "Add them up before.",
        )  # fmt: skip
    values = source.constants.get(name)
    channels = unit.channels
    is_own = node is unit.node
    trailing = 0 if is_own or unit.node.op_type != "Conv" else unit.codes.ndim - 2
    fits = values is not None and (
        values.size == 1
        or (values.size == channels
            and values.ndim > trailing and values.shape[-1 - trailing] == channels)
    )  # fmt: skip
    if values is None or not fits:
        raise refusal(
            node, "qop", "high-precision output",
            "what is added to a product must be constant, one number a channel. "
            f"Received: {name!r}", _WAY_OUT,
        )  # fmt: skip
    unit.bias = np.broadcast_to(values.reshape(-1), channels).astype(np.float64)


def _follow(
    unit: Unit,
    source: Standard,
    quantizers: Mapping[str, Quantization],
    read_by: Callable[[str], NodeProto | None],
) -> str:
    """Add bias and Relu to the unit; return the quantized tensor behind them."""
    output = unit.node.output[0]
    while True:
        node = read_by(output)
        if node is not None and node.output[0] in quantizers:
            return node.output[0]
        if node is not None and node.op_type == "Add" and not unit.has_relu:
            other = node.input[1] if node.input[0] == output else node.input[0]
            _add_bias(unit, node, other, source)
        elif node is not None and node.op_type == "Relu":
            unit.has_relu = True
        else:
            raise refusal(
                unit.node, "qop", "high-precision output",
                "its output must be read by a Quant node only, with at most a constant "
                "bias and Relu between. Received: "
                f"{'several readers or an output' if node is None else node.op_type}",
                "Quantize the output, or convert with to=\"qcdq\".",
            )  # fmt: skip
        unit.nodes.append(node)
        output = node.output[0]
