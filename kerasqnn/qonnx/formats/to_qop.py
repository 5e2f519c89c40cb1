"""QONNX as quantized operators with clipping: QLinearConv, QLinearMatMul and Clip.

All codes are stored as uint8, signed ones shifted by 128: ONNX Runtime multiplies
uint8 by int8 with sums of pairs that saturate at 16 bits on processors without VNNI,
uint8 by uint8 exactly everywhere. Its operators multiply the int32 sum by
`x_scale * w_scale / y_scale` in float32, round half to even and saturate; with scales
that are powers of two and sums of at most 24 bits that is what Quant gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from ..operators import GENERAL_DOMAINS, attributes_of
from .graph_writer import GraphWriter
from .qop_sums import bias_codes, grid_of_sums
from .qop_units import Unit, find_units
from .quantization import Quantization
from .standard import Standard
from .table import refusal
from .to_qcdq import check_computed, read

_SHIFT = 128
#: Operators that move numbers and compute none (a maximum of codes is one of them).
_MOVES = frozenset(
    "Flatten Identity MaxPool Reshape Squeeze Transpose Unsqueeze".split()
)


def to_qop(source: Standard, exact: bool) -> ModelProto:
    """Write products of quantized tensors as quantized operators with a Clip.

    Args:
        source: The model.
        exact: As in `convert_qonnx`.

    Returns:
        A model of standard operators.

    Raises:
        UnsupportedModelError: If a node has no such form.
    """
    return _Writer(source, exact).write()


@dataclass(frozen=True)
class _Codes:
    """A tensor of uint8 codes and the quantizer that it comes from."""

    name: str
    quantizer: Quantization


class _Writer:
    def __init__(self, source: Standard, exact: bool) -> None:
        self._source, self._exact = source, exact
        nodes = source.nodes
        self._quantizers = {
            node.output[0]: _read(node, source)
            for node in nodes
            if node.domain in GENERAL_DOMAINS
        }
        self._units = find_units(source, self._quantizers)
        replaced = [n for unit in self._units.values() for n in unit.nodes]
        self._replaced = {id(node) for node in replaced}
        replaced += [q.node for q in self._quantizers.values()]
        self._writer = GraphWriter(source.model, replaced)
        self._codes: dict[str, _Codes] = {}
        self._numbers: set[str] = set()

    def write(self) -> ModelProto:
        for node in self._source.nodes:
            if id(node) in self._replaced:
                continue
            output = node.output[0]
            if output in self._units:
                self._unit(self._units[output], self._quantizers[output])
            elif output in self._quantizers:
                self._quantize(self._quantizers[output])
            elif node.op_type in _MOVES and self._has_one_scale(node.input[0]):
                self._move(node)
            else:
                for name in node.input:
                    self._dequantize(name)
                self._writer.keep(node)
        for value in self._source.model.graph.output:
            self._dequantize(value.name)
        return self._writer.finish({})

    def _has_one_scale(self, name: str) -> bool:
        return name in self._codes and self._codes[name].quantizer.axis is None

    def _quantize(self, q: Quantization) -> None:
        output = q.node.output[0]
        values = self._source.constants.get(output)
        if values is not None:
            self._constant(q, values)
            return
        name = self._writer.unique(f"{output}_quantized")
        _check_one_scale(q)
        x = q.node.input[0]
        check_computed(q, self._source.grids.get(x), self._exact, "qop")
        self._dequantize(x)
        self._writer.node("QuantizeLinear", [x, *self._parameters(q)], name,
                          _named(q.node, "quantize"))  # fmt: skip
        self._codes[output] = _Codes(self._clip(q, name), q)

    def _constant(self, q: Quantization, values: np.ndarray) -> None:
        """Append a constant for readers that are no products, if there are any."""
        output, codes = q.node.output[0], q.codes(values)
        if q.width.bits <= 8:
            stored = (codes + _shift(q)).astype(np.uint8)
            name = self._writer.parameter(f"{output}_quantized", stored)
            self._codes[output] = _Codes(name, q)
            return
        stored = codes.astype(np.int32)
        inputs = [
            self._writer.parameter(f"{output}_quantized", stored),
            self._writer.parameter(q.node.input[1], q.scale),
        ]
        self._writer.node("DequantizeLinear", inputs, output,
                          _named(q.node, "dequantize"), axis=q.axis)  # fmt: skip

    def _parameters(self, q: Quantization) -> list[str]:
        zero = (q.zero_point + _shift(q)).astype(np.uint8)
        return [
            self._writer.parameter(q.node.input[1], q.scale),
            self._writer.parameter(q.node.input[2], zero),
        ]

    def _clip(self, q: Quantization, name: str, has_relu: bool = False) -> str:
        low = max(q.low, int(q.zero_point)) if has_relu else q.low
        low, high = low + _shift(q), q.high + _shift(q)
        if (low, high) == (0, 255):
            return name
        output = q.node.output[0]
        bounds = [
            self._writer.parameter(f"{output}_{which}", np.array(code, np.uint8))
            for which, code in (("min", low), ("max", high))
        ]
        clipped = self._writer.unique(f"{output}_clipped")
        return self._writer.node("Clip", [name, *bounds], clipped,
                                 _named(q.node, "clip"))  # fmt: skip

    def _move(self, node: NodeProto) -> None:
        codes = self._codes[node.input[0]]
        name = self._writer.unique(f"{node.output[0]}_codes")
        self._writer.node(node.op_type, [codes.name, *node.input[1:]], name, node.name,
                          **attributes_of(node))  # fmt: skip
        self._codes[node.output[0]] = _Codes(name, codes.quantizer)

    def _dequantize(self, name: str) -> None:
        """Append the numbers of codes, where something reads them."""
        if name not in self._codes or name in self._numbers:
            return
        self._numbers.add(name)
        codes, q = self._codes[name].name, self._codes[name].quantizer
        last = self._writer.unique(f"{name}_dequantized")
        self._writer.node("DequantizeLinear", [codes, *self._parameters(q)], last,
                          _named(q.node, "dequantize"), axis=q.axis)  # fmt: skip
        # As in QCDQ, what keeps ONNX Runtime from rewriting what reads it.
        self._writer.node("Max", [last], name, _named(q.node, "keep"))

    def _unit(self, unit: Unit, y: Quantization) -> None:
        x = self._codes.get(unit.node.input[0])
        if x is None:
            raise refusal(
                unit.node, "qop", "weights-only",
                f"its input must be quantized. Received: {unit.node.input[0]!r}, which "
                "is not", "Quantize the input, or convert with to=\"qcdq\".",
            )  # fmt: skip
        _check_one_scale(x.quantizer)
        _check_one_scale(y)
        bias = bias_codes(unit, x.quantizer, self._exact)
        grid = grid_of_sums(unit, bias, x.quantizer, y) if self._exact else None
        check_computed(y, grid, self._exact, "qop")
        product = self._product(unit, bias, x, y)
        clipped = self._clip(y, product, unit.has_relu)
        self._codes[y.node.output[0]] = _Codes(clipped, y)

    def _product(self, unit: Unit, bias: np.ndarray | None, x: _Codes,
                 y: Quantization) -> str:  # fmt: skip
        node, write, weight = unit.node, self._writer, unit.codes
        name = unit.weight.node.output[0]
        as_conv = node.op_type != "Conv" and bias is not None
        if as_conv:
            self._check_matrix(node)
            weight = weight.T[:, :, None, None]
        channels = len(unit.weight.scale) if unit.weight.axis is not None else None
        shift = _weight_shift(unit.codes)
        zero = np.full(channels or (), shift, np.uint8)
        parameters = [
            write.parameter(
                unit.weight.node.input[0], (weight + shift).astype(np.uint8)
            ),
            write.parameter(unit.weight.node.input[1], unit.weight.scale),
            write.parameter(f"{name}_zero_point", zero),
        ]
        inputs = [x.name, *self._parameters(x.quantizer), *parameters,
                  *self._parameters(y)]  # fmt: skip
        output = write.unique(f"{y.node.output[0]}_quantized")
        if node.op_type != "Conv" and bias is None:
            return write.node("QLinearMatMul", inputs, output, node.name)
        if bias is not None:
            inputs.append(write.parameter(f"{name}_bias", bias))
        if not as_conv:
            return write.node("QLinearConv", inputs, output, node.name,
                              **attributes_of(node))  # fmt: skip
        axes = write.parameter("image_axes", np.array([2, 3], np.int64))
        inputs[0] = write.node("Unsqueeze", [x.name, axes],
                               write.unique(f"{name}_images"), "")  # fmt: skip
        image = write.unique(f"{name}_image")
        write.node("QLinearConv", inputs, image, node.name, kernel_shape=[1, 1])
        return write.node("Squeeze", [image, axes], output, "")

    def _check_matrix(self, node: NodeProto) -> None:
        shape = self._source.shapes.get(node.input[0])
        if shape is None or len(shape) != 2:
            raise refusal(
                node, "qop", "high-precision output",
                "with a bias it is written as a convolution of 1 x 1, whose input must "
                f"have two axes here. Received: shape {shape}",
                'Convert with to="qcdq".',
            )  # fmt: skip


def _read(node: NodeProto, source: Standard) -> Quantization:
    q = read(node, source, "qop")
    # Wide constants may be biases, which are stored as int32.
    is_constant = node.output[0] in source.constants
    most = 32 if is_constant and not np.any(q.zero_point) else 8
    if q.width.bits > most:
        raise refusal(
            node, "qop", "arbitrary precision",
            f"`bitwidth` must be at most {most}. Received: bitwidth={q.width.bits}",
            "Use fewer bits, or keep the model in QONNX.",
        )  # fmt: skip
    zero = q.zero_point + _shift(q)
    if np.any((zero < 0) | (zero > 255)):
        raise refusal(
            node, "qop", "arbitrary precision",
            "`zeropt` must be a code of 8 bits. "
            f"Received: zeropt={q.zero_point.flat[0]}",
            "Shift the range of codes.",
        )  # fmt: skip
    return q


def _check_one_scale(q: Quantization) -> None:
    if q.axis is not None:
        raise refusal(
            q.node, "qop", "arbitrary precision",
            "inputs and outputs of products must have one scale. "
            f"Received: {q.scale.size} scales along axis {q.axis}",
            'Use one scale, or convert with to="qcdq".',
        )  # fmt: skip


def _shift(q: Quantization) -> int:
    return _SHIFT if q.low < 0 and q.width.bits <= 8 else 0


def _weight_shift(codes: np.ndarray) -> int:
    """Return what is added to the codes of a weight, which span at most 255."""
    low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
    if low >= 0:
        return 0
    return _SHIFT if -_SHIFT <= low and high < _SHIFT else -low


def _named(node: NodeProto, step: str) -> str:
    return f"{node.name}_{step}" if node.name else ""
