"""The QONNX operators as model-local functions of standard ONNX operators.

They make stock ONNX Runtime run a QONNX file. The bodies keep qonnx's order of
operations: divide by the scale, add the zero point, clamp, round, and back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper

from .operators import CHANNELS_LAST_DOMAIN, DOMAIN
from .rounding import append_rounding

DOMAIN_VERSION = 1
OPSET = 13


def _node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs, [output], **attributes)


def _constant(output: str, value: float) -> NodeProto:
    return _node("Constant", [], output, value_float=value)


def _from_attribute(output: str, attribute: str) -> list[NodeProto]:
    """Nodes that turn an integer attribute of the call into a float scalar."""
    node = _node("Constant", [], f"{output}_int")
    node.attribute.append(
        AttributeProto(
            name="value_int", ref_attr_name=attribute, type=AttributeProto.INT
        )
    )
    return [node, _node("Cast", [f"{output}_int"], output, to=TensorProto.FLOAT)]


def _rounding(mode: str, x: str) -> list[NodeProto]:
    """Nodes that round `x`; the output of the last is the result."""
    nodes: list[NodeProto] = []

    def append(op_type: str, inputs: list[str]) -> str:
        nodes.append(_node(op_type, inputs, f"rounding_{len(nodes)}"))
        return f"rounding_{len(nodes) - 1}"

    def constant(value: float) -> str:
        nodes.append(_constant("half", value))
        return "half"

    append_rounding(mode, x, append, constant)
    return nodes


def quant_function(rounding_mode: str) -> FunctionProto:
    """Return the body of `Quant` for one rounding mode."""
    rounding = _rounding(rounding_mode, "clamped")
    nodes = [
        _constant("one", 1.0),
        _constant("two", 2.0),
        *_from_attribute("is_signed", "signed"),
        *_from_attribute("is_narrow", "narrow"),
        # levels = 2^(bits - signed); max = levels - 1 - (1 - signed) * narrow;
        # min = signed * (narrow - levels)
        _node("Sub", ["bitwidth", "is_signed"], "exponent"),
        _node("Pow", ["two", "exponent"], "levels"),
        _node("Sub", ["one", "is_signed"], "is_unsigned"),
        _node("Mul", ["is_unsigned", "is_narrow"], "dropped"),
        _node("Sub", ["levels", "one"], "full_max"),
        _node("Sub", ["full_max", "dropped"], "max"),
        _node("Sub", ["is_narrow", "levels"], "signed_min"),
        _node("Mul", ["is_signed", "signed_min"], "min"),
        _node("Div", ["X", "scale"], "scaled"),
        _node("Add", ["scaled", "zeropt"], "shifted_in"),
        _node("Min", ["shifted_in", "max"], "below"),
        _node("Max", ["below", "min"], "clamped"),
        *rounding,
        _node("Sub", [rounding[-1].output[0], "zeropt"], "shifted_out"),
        _node("Mul", ["shifted_out", "scale"], "Y"),
    ]
    return helper.make_function(
        DOMAIN,
        "Quant",
        ["X", "scale", "zeropt", "bitwidth"],
        ["Y"],
        nodes,
        [helper.make_opsetid("", OPSET)],
        ["signed", "narrow", "rounding_mode"],
    )


def bipolar_quant_function() -> FunctionProto:
    """Return the body of `BipolarQuant`: plus one for zero and minus zero."""
    nodes = [
        _constant("zero", 0.0),
        _constant("one", 1.0),
        _constant("minus_one", -1.0),
        _node("GreaterOrEqual", ["X", "zero"], "positive"),
        _node("Where", ["positive", "one", "minus_one"], "sign"),
        _node("Mul", ["sign", "scale"], "Y"),
    ]
    return helper.make_function(
        DOMAIN,
        "BipolarQuant",
        ["X", "scale"],
        ["Y"],
        nodes,
        [helper.make_opsetid("", OPSET)],
    )


_CHANNELS_LAST = {
    "Conv": ("dilations", "group", "kernel_shape", "pads", "strides"),
    "MaxPool": ("kernel_shape", "pads", "strides"),
}


def channels_last_function(op_type: str) -> FunctionProto:
    """Return the body of an operator on images whose channels come last.

    The standard operator between transpositions; filters are channels last too.
    """
    attributes = _CHANNELS_LAST[op_type]
    inputs = ["X", "W", "B"] if op_type == "Conv" else ["X"]
    moved = [f"{name}_first" if name != "B" else name for name in inputs]
    nodes = [
        _node("Transpose", [name], first, perm=[0, 3, 1, 2])
        for name, first in zip(inputs, moved, strict=True)
        if name != first
    ]
    inner = _node(op_type, moved, "Y_first")
    for name in attributes:
        kind = AttributeProto.INT if name == "group" else AttributeProto.INTS
        inner.attribute.append(AttributeProto(name=name, ref_attr_name=name, type=kind))
    nodes += [inner, _node("Transpose", ["Y_first"], "Y", perm=[0, 2, 3, 1])]
    return helper.make_function(
        CHANNELS_LAST_DOMAIN,
        op_type,
        inputs,
        ["Y"],
        nodes,
        [helper.make_opsetid("", OPSET)],
        list(attributes),
    )


def functions_for(nodes: Iterable[NodeProto]) -> list[FunctionProto]:
    """Return the functions that the given nodes call, one a rounding mode.

    Where a model mixes rounding modes, each `Quant` node gets its mode as `overload`,
    which is how ONNX tells functions of one name apart.
    """
    calls: dict[str, list[NodeProto]] = {}
    bipolar = False
    channels_last = set()
    for node in nodes:
        if node.domain == CHANNELS_LAST_DOMAIN:
            channels_last.add(node.op_type)
        if node.domain == DOMAIN and node.op_type == "Quant":
            mode = next(
                a.s.decode() for a in node.attribute if a.name == "rounding_mode"
            )
            calls.setdefault(mode, []).append(node)
        bipolar = bipolar or (node.domain == DOMAIN and node.op_type == "BipolarQuant")
    functions = []
    for mode, callers in sorted(calls.items()):
        function = quant_function(mode)
        if len(calls) > 1:
            function.overload = mode
            for node in callers:
                node.overload = mode
        functions.append(function)
    if bipolar:
        functions.append(bipolar_quant_function())
    functions += map(channels_last_function, sorted(channels_last))
    return functions
