"""Rules of FINN's front end (`ConvertQONNXtoFINN`), read in its sources."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from ...operators import CHANNELS_LAST_DOMAIN
from ..draft import Draft
from ..facts import QUANTS, Facts, flag_of, text_of
from ..registry import ERROR, SILENT, WARNING, Hit, rule
from .parameters import show

_MOST_BITS = 8
#: FINN makes Gemm a MatMul first.
_WEIGHT_READERS = frozenset(
    "Mul Div Conv MatMul Gemm Gather ConvTranspose Add Sub".split()
)


def _activations(facts: Facts, *op_types: str) -> Iterator[NodeProto]:
    for node in facts.quantizers(*op_types):
        if not facts.is_weight(node):
            yield node


@rule("finn-zero-point", {"finn": ERROR}, "The zero point is not 0, or not one number",
      "FINN refuses the model", "Quantize symmetrically")  # fmt: skip
def zero_point(facts: Facts) -> Iterator[Hit]:
    """`FoldQuantWeights` and `ConvertQuantActToMultiThreshold`."""
    for node in facts.quantizers(*QUANTS):
        zero = facts.parameter(node, "zeropt")
        if zero is not None and (zero.size != 1 or np.any(zero)):
            yield Hit(node, "zeropt", show(zero))


@rule("finn-activation-bits", {"finn": ERROR}, "An activation has more than 8 bits",
      "FINN leaves the quantizer, and builds no hardware for it",
      "Use at most 8 bits")  # fmt: skip
def activation_bits(facts: Facts) -> Iterator[Hit]:
    """`default_filter_function_generator(max_multithreshold_bit_width=8)`."""
    for node in _activations(facts, *QUANTS):
        bits = facts.parameter(node, "bitwidth")
        if bits is not None and np.any(bits > _MOST_BITS):
            yield Hit(node, "bitwidth", show(bits))


@rule("finn-relu-signed", {"finn": ERROR}, "A signed or narrow quantizer after Relu",
      "FINN refuses the model", "Quantize unsigned and not narrow there")  # fmt: skip
def relu_signed(facts: Facts) -> Iterator[Hit]:
    """`QuantReluHandler._check_compatibility`."""
    for node in _activations(facts, *QUANTS):
        before = facts.predecessor(node)
        if before is not None and before.op_type == "Relu":
            for name in ("signed", "narrow"):
                if flag_of(node, name):
                    yield Hit(node, name, "1")


@rule("finn-unsigned", {"finn": ERROR}, "An unsigned quantizer that follows no Relu",
      "FINN refuses the model", "Put a Relu before it, or quantize signed")  # fmt: skip
def unsigned(facts: Facts) -> Iterator[Hit]:
    """`QuantIdentityHandler._check_compatibility`, which takes all other nodes."""
    for node in _activations(facts, *QUANTS):
        before = facts.predecessor(node)
        if before is None or before.op_type not in ("Relu", "Selu"):
            if not flag_of(node, "signed"):
                yield Hit(node, "signed", "0")


@rule("finn-rounding-mode", {"finn": SILENT}, "An activation does not round to nearest",
      "FINN does not look: its thresholds round to nearest, ties up",
      "Round with ROUND")  # fmt: skip
def rounding_mode(facts: Facts) -> Iterator[Hit]:
    """`_calculate_thresholds` of both handlers."""
    for node in _activations(facts, *QUANTS):
        mode = (text_of(node, "rounding_mode") or "ROUND").upper()
        if mode in ("CEIL", "FLOOR", "UP", "DOWN"):
            yield Hit(node, "rounding_mode", mode)


@rule("finn-bipolar-scale", {"finn": ERROR}, "A bipolar activation has a scale",
      "FINN refuses other scales than 1", "Use scale 1")  # fmt: skip
def bipolar_scale(facts: Facts) -> Iterator[Hit]:
    """`QuantIdentityHandler._check_compatibility`."""
    for node in _activations(facts, "BipolarQuant"):
        scale = facts.parameter(node, "scale")
        if scale is not None and (scale.size != 1 or np.any(scale != 1)):
            yield Hit(node, "scale", show(scale))


@rule("finn-scales", {"finn": ERROR}, "The scales are not one, nor one a channel",
      "FINN refuses the model", "Use one scale")  # fmt: skip
def scales(facts: Facts) -> Iterator[Hit]:
    """`_calculate_thresholds`, `FoldQuantWeights`."""
    for node in facts.quantizers(*QUANTS):
        scale = facts.parameter(node, "scale")
        if scale is None or scale.size == 1:
            continue
        shape = facts.shapes.get(node.input[0], ())
        channels = shape[0 if facts.is_weight(node) else 1 : 2]
        is_conv = any(n.op_type == "Conv" for n in facts.followers(node))
        checked = is_conv or not facts.is_weight(node)
        if checked and channels and scale.size != channels[0]:
            yield Hit(node, "scale", f"shape {scale.shape}")


def unshare(draft: Draft, hit: Hit) -> None:
    """Give each reader of a weight quantizer a quantizer of its own."""
    node = hit.node
    if node is None:
        return
    copies = [node]
    for reader in draft.facts.followers(node)[1:]:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = draft.name(node.name or node.op_type)
        copy.output[0] = draft.name(node.output[0])
        for i, name in enumerate(copy.input):
            value = draft.facts.value(name)
            if value is not None:
                copy.input[i] = draft.constant(f"{name}_own", value)
        for i, name in enumerate(reader.input):
            if name == node.output[0]:
                reader.input[i] = copy.output[0]
        copies.append(copy)
    draft.replace(node, *copies)


@rule("shared-weight-quantizer", {"hls4ml": SILENT, "finn": ERROR},
      "Several nodes read one quantizer of weights",
      "FINN refuses the model; hls4ml leaves out all but the first product",
      "Give each its own", unshare)  # fmt: skip
def shared_weight_quantizer(facts: Facts) -> Iterator[Hit]:
    """FINN: `FoldQuantWeights`; hls4ml: `MatmulConstToDense` removes the constant."""
    for node in facts.quantizers(*QUANTS, "BipolarQuant"):
        readers = facts.followers(node)
        if facts.is_weight(node) and len(readers) > 1:
            plain = all(node.output[0] in reader.input for reader in readers)
            fixable = plain and node.output[0] not in facts.outputs
            yield Hit(node, node.output[0], f"{len(readers)} readers", fixable)


@rule("finn-weight-reader", {"finn": ERROR},
      "Scaled weights feed a node behind which FINN cannot move the scale",
      "FINN refuses the model",
      "Use the weights in Conv, MatMul, Mul or Add")  # fmt: skip
def weight_reader(facts: Facts) -> Iterator[Hit]:
    """`FoldQuantWeights`: "Can't constant fold Quant weight node"."""
    for node in facts.quantizers(*QUANTS, "BipolarQuant"):
        scale = facts.parameter(node, "scale")
        if facts.is_weight(node) and scale is not None and np.any(scale != 1):
            for reader in facts.followers(node):
                if reader.op_type not in _WEIGHT_READERS:
                    yield Hit(node, reader.op_type)


@rule("finn-channels-last", {"finn": ERROR}, "The layer has its channels last",
      "FINN starts from channels first", "Export channels first")  # fmt: skip
def channels_last(facts: Facts) -> Iterator[Hit]:
    """FINN's `LowerConvsToMatMul` reads standard Conv nodes."""
    for node in facts.nodes:
        if node.domain == CHANNELS_LAST_DOMAIN:
            yield Hit(node, "domain", node.domain)


@rule("finn-matmul-left", {"finn": WARNING}, "The constant of a MatMul is on its left",
      "FINN builds hardware for weights on the right",
      "Transpose the product")  # fmt: skip
def matmul_left(facts: Facts) -> Iterator[Hit]:
    """FINN's `InferQuantizedMatrixVectorActivation` reads `input[1]` as weights."""
    for node in facts.nodes:
        if node.op_type == "MatMul" and len(node.input) == 2:
            left, right = (name in facts.static for name in node.input)
            if left and not right:
                yield Hit(node, node.input[0])


@rule("weights-off-grid", {"finn": WARNING},
      "Weights are stored with other values than those of their quantizer",
      "Their codes depend on how the consumer rounds",
      "Store the weights already quantized")  # fmt: skip
def weights_off_grid(facts: Facts) -> Iterator[Hit]:
    """A mode that the consumer does not have changes the codes of such weights."""
    for node in facts.quantizers(*QUANTS):
        weights = facts.value(node.input[0]) if node.input else None
        scale, zero = facts.parameter(node, "scale"), facts.parameter(node, "zeropt")
        if weights is None or scale is None or zero is None:
            continue
        with np.errstate(all="ignore"):
            try:
                codes = weights / scale + zero
            except ValueError:
                continue
        if np.any(codes != np.round(codes)):
            yield Hit(node, node.input[0])
