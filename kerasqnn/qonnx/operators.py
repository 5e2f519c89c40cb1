"""What the QONNX operators are called, and how their nodes are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, helper

DOMAIN = "qonnx.custom_op.general"
CHANNELS_LAST_DOMAIN = "qonnx.custom_op.channels_last"
#: Domains under which tools have written the operators of `DOMAIN`.
GENERAL_DOMAINS = frozenset(
    {DOMAIN, "onnx.brevitas", "finn.custom_op.general", "finn", "qonnx"}
)
#: Operators of the general domains that are expanded, with their inputs.
OPERATORS: Mapping[str, tuple[str, ...]] = {
    "Quant": ("X", "scale", "zeropt", "bitwidth"),
    "IntQuant": ("X", "scale", "zeropt", "bitwidth"),
    "BipolarQuant": ("X", "scale"),
    "Trunc": ("X", "scale", "zeropt", "in_bitwidth", "out_bitwidth"),
    "FloatQuant": (
        "X",
        "scale",
        "exponent_bitwidth",
        "mantissa_bitwidth",
        "exponent_bias",
        "max_val",
    ),
    "MultiThreshold": ("X", "thresholds"),
    "QuantAvgPool2d": ("X",),
    "Im2Col": ("X",),
    "MaxPoolNHWC": ("X",),
    "XnorPopcountMatMul": ("X", "W"),
    "DebugMarker": ("X",),
}
#: Inputs of `Trunc` from version 2 of the domain on.
TRUNC_2 = ("X", "scale", "zeropt", "in_bitwidth", "out_scale", "out_bitwidth")
ROUNDING_MODES = (
    "ROUND",
    "HALF_EVEN",
    "CEIL",
    "FLOOR",
    "UP",
    "DOWN",
    "HALF_UP",
    "HALF_DOWN",
)


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name; strings decoded."""
    values = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        is_text = attribute.type == AttributeProto.STRING
        values[attribute.name] = value.decode() if is_text else value
    return values


def rounding_mode_of(node: NodeProto) -> str:
    """Return the rounding mode of a node in upper case, "ROUND" if it has none.

    Raises:
        ValueError: If QONNX knows no such mode.
    """
    mode = str(attributes_of(node).get("rounding_mode", "ROUND")).upper()
    if mode not in ROUNDING_MODES:
        raise ValueError(
            f"{describe(node)}: `rounding_mode` must be one of "
            f"{', '.join(ROUNDING_MODES)}. Received: rounding_mode={mode!r}"
        )
    return "ROUND" if mode == "HALF_EVEN" else mode


def describe(node: NodeProto) -> str:
    """Return what a message calls a node."""
    name = node.name or (node.output[0] if node.output else "")
    return f"{node.op_type[:80]} node {name[:80]!r}"


def integer_bounds(
    signed: bool, narrow: bool, bitwidth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return smallest and largest code, in the floating point type of `bitwidth`."""
    if signed:
        half = 2 ** (bitwidth - 1)
        return np.asarray(-half + bool(narrow)), np.asarray(half - 1)
    return np.asarray(0 * bitwidth), np.asarray(2**bitwidth - (2 if narrow else 1))


def may_pool_padding(attributes: Mapping[str, Any]) -> bool:
    """Whether windows of a MaxPool may hold padding alone: the smallest float32."""
    return bool(attributes.get("ceil_mode")) or any(
        dilation > 1 for dilation in attributes.get("dilations", ())
    )
