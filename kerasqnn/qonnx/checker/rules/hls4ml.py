"""Rules of hls4ml 1.3, each tried out with its converter."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from ...constants import STANDARD_DOMAINS
from ...operators import CHANNELS_LAST_DOMAIN
from ..draft import Draft
from ..facts import QUANTS, Facts, attribute, flag_of, is_power_of_two, text_of
from ..registry import ERROR, SILENT, WARNING, Find, Hit, Mend, rule
from .matrix import on_grid, split_gemm
from .parameters import show

#: What `get_supported_onnx_layers` lists, and what is skipped.
SUPPORTED = frozenset(
    "MatMul Relu Tanh Sigmoid LeakyRelu ThresholdedRelu Elu Selu PRelu Softmax "
    "Softsign Softplus BatchNormalization Quant IntQuant BipolarQuant Conv "
    "AveragePool MaxPool GlobalMaxPool GlobalAveragePool Add Sub Mul Div Average Max "
    "Min Concat Sum Transpose Reshape Flatten Resize Pad Dropout Identity".split()
)
_LAYOUT = ("Conv", "MaxPool", "AveragePool", "BatchNormalization")
_CONV = ("dilations", "pads", "group", "strides", "kernel_shape")


def _refused(
    rule_id: str, problem: str, consequence: str, mend: str, fix: Mend | None = None
) -> Callable[[Find], Find]:
    return rule(rule_id, {"hls4ml": ERROR}, problem, consequence, mend, fix)


def _fold(draft: Draft, hit: Hit) -> None:
    if hit.node is None:
        return
    value = draft.facts.value(hit.node.output[0])
    if value is not None:
        name = hit.node.output[0]
        draft.replace(hit.node)
        tensor = numpy_helper.from_array(value, name)
        draft.model.graph.initializer.append(tensor)


@_refused("hls4ml-constant-node", "A constant is a node",
          "hls4ml has no layer for Constant",
          "Make it an initializer, as `qonnx-cleanup` does", _fold)  # fmt: skip
def constant_node(facts: Facts) -> Iterator[Hit]:
    """`parse_onnx_model`: "Unsupported operation type: Constant"."""
    for node in facts.nodes:
        if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS:
            readable = facts.value(node.output[0]) is not None
            yield Hit(node, "op_type", "", readable)


@_refused("hls4ml-gemm", "hls4ml has no layer for Gemm", "It refuses the model",
          "Write MatMul and Add", split_gemm)  # fmt: skip
def gemm(facts: Facts) -> Iterator[Hit]:
    """`parse_onnx_model`: "Unsupported operation type: Gemm".

    The mend is made where every sum is exact, so that its order does not matter.
    """
    nodes = [n for n in facts.nodes if n.op_type == "Gemm"]
    grids = on_grid(facts) if nodes else set()
    for node in nodes:
        plain = all(
            (a := attribute(node, name)) is None or a.f == 1
            for name in ("alpha", "beta")
        ) and not flag_of(node, "transA")
        constant = not flag_of(node, "transB") or node.input[1] in facts.static
        fixable = plain and constant and node.output[0] in grids
        yield Hit(node, "op_type", "Gemm", fixable)


@_refused("hls4ml-operator", "hls4ml has no layer for the operator",
          "It refuses the model", "Use operators that it has: Relu for a Clip from 0, "
          "Quant for QuantizeLinear and Trunc")  # fmt: skip
def operator(facts: Facts) -> Iterator[Hit]:
    """`parse_onnx_model`: "Unsupported operation type"."""
    for node in facts.nodes:
        if node.op_type not in SUPPORTED | {"Gemm", "Constant"}:
            yield Hit(node, "op_type", node.op_type)


@_refused("hls4ml-channels-first", "The layer has its channels first",
          "hls4ml asks for qonnx's channels-last operators",
          "Export channels last, or run `qonnx-to-channels-last`; it has no "
          "AveragePool")  # fmt: skip
def channels_first(facts: Facts) -> Iterator[Hit]:
    """`converters/onnx/{convolution,pooling,core}.py`."""
    for node in facts.nodes:
        if node.op_type in _LAYOUT and node.domain != CHANNELS_LAST_DOMAIN:
            flat = len(facts.shapes.get(node.input[0], ())) == 2
            if not (node.op_type == "BatchNormalization" and flat):
                yield Hit(node, "domain", node.domain or "ONNX")


def _state_conv(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        shape = draft.facts.shapes[hit.node.input[1]]
        last = hit.node.domain == CHANNELS_LAST_DOMAIN
        window = list(shape[1:-1] if last else shape[2:])
        axes = len(window)
        defaults = {"dilations": [1] * axes, "strides": [1] * axes, "group": 1,
                    "pads": [0] * 2 * axes, "kernel_shape": window}  # fmt: skip
        draft.set(hit.node, hit.where, defaults[hit.where])


@_refused("hls4ml-conv-attributes", "A convolution leaves attributes to their defaults",
          "hls4ml crashes, and does not know auto_pad", "State dilations, pads, group, "
          "strides and kernel_shape", _state_conv)  # fmt: skip
def conv_attributes(facts: Facts) -> Iterator[Hit]:
    """`converters/onnx/convolution.py`: KeyError and TypeError."""
    for node in facts.nodes:
        if node.op_type != "Conv" or len(node.input) < 2:
            continue
        automatic = text_of(node, "auto_pad") not in (None, "NOTSET", "VALID")
        for name in _CONV:
            if attribute(node, name) is None:
                known = len(facts.shapes.get(node.input[1], ())) > 2
                fixable = known and not (name == "pads" and automatic)
                yield Hit(node, name, "missing", fixable)


@_refused("hls4ml-rounding-mode", "hls4ml has no such rounding",
          "It refuses the model", "Round with ROUND or FLOOR")  # fmt: skip
def rounding_mode(facts: Facts) -> Iterator[Hit]:
    """`_calculate_precision_quantizer`: "Only ROUND and FLOOR supported"."""
    for node in facts.quantizers(*QUANTS):
        mode = (text_of(node, "rounding_mode") or "ROUND").upper()
        if mode not in ("ROUND", "FLOOR", "HALF_EVEN"):
            yield Hit(node, "rounding_mode", mode)


@_refused("hls4ml-unsigned-narrow", "An unsigned quantizer is narrow",
          "hls4ml refuses the model", "Use the full range")  # fmt: skip
def unsigned_narrow(facts: Facts) -> Iterator[Hit]:
    """`_calculate_precision_quantizer`: "only supported for singed numbers"."""
    for node in facts.quantizers(*QUANTS):
        if flag_of(node, "narrow") and not flag_of(node, "signed"):
            yield Hit(node, "narrow", "1")


@rule("hls4ml-one-bit", {"hls4ml": SILENT}, "A signed quantizer has one bit",
      "QONNX gives -1 and 1, hls4ml -1 and 0", "Use BipolarQuant")  # fmt: skip
def one_bit(facts: Facts) -> Iterator[Hit]:
    """`quant_opt.py` makes it `ap_fixed<1, 1>`."""
    for node in facts.quantizers(*QUANTS):
        bits = facts.parameter(node, "bitwidth")
        if bits is not None and bits.size == 1 and bits.item() == 1:
            if flag_of(node, "signed"):
                yield Hit(node, "bitwidth", "1")


@rule("hls4ml-zero-point", {"hls4ml": SILENT},
      "A zero point at a scale of one power of two", "hls4ml ignores it",
      "Quantize symmetrically")  # fmt: skip
def zero_point(facts: Facts) -> Iterator[Hit]:
    """`QuantToActivation.match` overwrites what it found out about the zero point."""
    for node in facts.quantizers(*QUANTS):
        scale, zero = facts.parameter(node, "scale"), facts.parameter(node, "zeropt")
        if scale is not None and zero is not None and np.any(zero):
            if is_power_of_two(scale):
                yield Hit(node, "zeropt", show(zero))


@_refused("hls4ml-weight-zero-point", "Weights of a MatMul have a zero point",
          "hls4ml crashes", "Quantize weights symmetrically")  # fmt: skip
def weight_zero_point(facts: Facts) -> Iterator[Hit]:
    """`ScaleDownMatMul` cannot move it; IndexError in `layers.py`."""
    for node in _matmul_weights(facts):
        scale, zero = facts.parameter(node, "scale"), facts.parameter(node, "zeropt")
        if scale is not None and zero is not None and np.any(zero):
            if not is_power_of_two(scale):
                yield Hit(node, "zeropt", show(zero))


def _matmul_weights(facts: Facts) -> Iterator[NodeProto]:
    for node in facts.quantizers(*QUANTS):
        if facts.is_weight(node):
            if any(n.op_type == "MatMul" for n in facts.followers(node)):
                yield node


@_refused("hls4ml-matmul-scales", "Weights of a MatMul have several scales",
          "hls4ml crashes (on a Conv they work)", "Use one scale")  # fmt: skip
def matmul_scales(facts: Facts) -> Iterator[Hit]:
    """`ScaleDownMatMul` cannot move them; IndexError in `layers.py`."""
    for node in _matmul_weights(facts):
        scale = facts.parameter(node, "scale")
        if scale is not None and scale.size and np.any(scale != scale.flat[0]):
            yield Hit(node, "scale", f"shape {scale.shape}")


@_refused("hls4ml-activation-scale", "The scale of an activation has several axes",
          "hls4ml crashes", "Give it the shape ()")  # fmt: skip
def activation_scale(facts: Facts) -> Iterator[Hit]:
    """`QuantToActivation` compares `scale[0]`; `np.broadcast_to` lacks the batch."""
    for node in facts.quantizers(*QUANTS, "BipolarQuant"):
        scale = facts.parameter(node, "scale")
        if scale is not None and scale.ndim > 1 and not facts.is_weight(node):
            if np.any(scale != 1):
                yield Hit(node, "scale", f"shape {scale.shape}")


def _unshare_parameter(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        place = draft.facts.input_names(hit.node).index(hit.where)
        name = hit.node.input[place]
        value = draft.facts.value(name)
        if value is not None:
            hit.node.input[place] = draft.constant(f"{name}_own", value)


@rule("hls4ml-shared-parameter", {"hls4ml": WARNING}, "Quantizers share a parameter",
      "hls4ml removes it with the first of them and may refuse the next",
      "Give each its own, as `qonnx-cleanup` does", _unshare_parameter)  # fmt: skip
def shared_parameter(facts: Facts) -> Iterator[Hit]:
    """`QuantConstantParameters.transform` removes the Constant of each parameter."""
    seen: set[str] = set()
    for node in facts.quantizers(*QUANTS, "BipolarQuant"):
        for name, tensor in facts.parameters(node):
            if tensor in seen:
                yield Hit(node, name, tensor, facts.value(tensor) is not None)
            seen.add(tensor)


@_refused("hls4ml-matmul-left", "The constant of a MatMul is on its left",
          "hls4ml crashes", "Transpose the product")  # fmt: skip
def matmul_left(facts: Facts) -> Iterator[Hit]:
    """`MatmulConstToDense` takes a constant on the right only."""
    for node in facts.nodes:
        if node.op_type == "MatMul" and len(node.input) == 2:
            left, right = (name in facts.static for name in node.input)
            if left and not right:
                yield Hit(node, node.input[0])


@rule("hls4ml-global-pool", {"hls4ml": SILENT}, "Global pooling with channels first",
      "hls4ml reads the data as channels last",
      "Use a pooling whose window is the whole image, channels last")  # fmt: skip
def global_pool(facts: Facts) -> Iterator[Hit]:
    """`pooling.py` takes the sizes as of ONNX and states `channels_last`."""
    for node in facts.nodes:
        if node.op_type in ("GlobalAveragePool", "GlobalMaxPool"):
            if facts.shapes.get(node.input[0], (0, 0))[1:2] != (1,):
                yield Hit(node, "op_type", node.op_type)


def _state_alpha(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        hit.node.attribute.append(helper.make_attribute("alpha", 1.0))


@rule("hls4ml-alpha", {"hls4ml": SILENT}, "Elu or ThresholdedRelu without alpha",
      "ONNX means 1, hls4ml takes 0.01", "State alpha=1.0", _state_alpha)  # fmt: skip
def alpha(facts: Facts) -> Iterator[Hit]:
    """`parse_activation_layer`: `get_onnx_attribute(node, "alpha", 0.01)`."""
    for node in facts.nodes:
        if node.op_type in ("Elu", "ThresholdedRelu"):
            if attribute(node, "alpha") is None:
                yield Hit(node, "alpha", "missing")
