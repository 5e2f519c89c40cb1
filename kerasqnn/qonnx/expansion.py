"""QONNX operators as a few standard ONNX operators, once their parameters are known.

Each expansion keeps the order of qonnx's executor: divide by the scale, add the zero
point, clamp, round, and back. Steps that cannot change a number are left out: an
addition of zero, a product with one; a division by powers of two becomes a product.
Equal means equal numbers: a minus zero may come out as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from .layer_expansions import (
    channels_last,
    im2col,
    max_pool_nhwc,
    multi_threshold,
    quant_avg_pool,
    xnor_popcount,
)
from .node_writer import NodeWriter, ShapeOf, unknown_shape
from .operators import (
    CHANNELS_LAST_DOMAIN,
    GENERAL_DOMAINS,
    OPERATORS,
    TRUNC_2,
    describe,
    integer_bounds,
    rounding_mode_of,
)


def expand(
    node: NodeProto,
    constants: Mapping[str, np.ndarray],
    versions: Mapping[str, int],
    shape_of: ShapeOf = unknown_shape,
) -> NodeWriter:
    """Expand one QONNX node.

    Args:
        node: A node for which `is_expanded` holds.
        constants: Initializers and constants of the graph by name.
        versions: Version of each imported domain.
        shape_of: Gives the shape of a tensor, 0 where a size is not known; None where
            nothing is. Operators that need none do not call it.

    Returns:
        Its standard nodes and their initializers.

    Raises:
        ValueError: If QONNX does not define the node, or gives it no meaning.
    """
    if not node.input or not node.input[0] or len(node.output) != 1:
        raise ValueError(
            f"{describe(node)} must have a first input and one output. "
            f"Received: inputs {list(node.input)}, outputs {list(node.output)}"
        )
    writer = NodeWriter(node, constants, versions, shape_of)
    if node.domain == CHANNELS_LAST_DOMAIN:
        channels_last(writer)
    else:
        _EXPANSIONS[node.op_type](writer)
    writer.finish()
    return writer


def is_expanded(node: NodeProto) -> bool:
    """Whether a node is a QONNX operator that `expand` knows."""
    if node.domain == CHANNELS_LAST_DOMAIN:
        return node.op_type in _CHANNELS_LAST
    return node.domain in GENERAL_DOMAINS and node.op_type in OPERATORS


def _quant(e: NodeWriter) -> None:
    given = e.parameters(OPERATORS["Quant"])
    attributes = e.attributes("signed", "narrow")
    signed = bool(attributes["signed"])
    mode = rounding_mode_of(e.original)
    e.divide(given["scale"])
    e.add(given["zeropt"])
    if signed and given["bitwidth"] == 1:
        one = np.ones((), e.dtype)
        e.sign(one, -one)
    else:
        narrow = bool(attributes["narrow"])
        e.clamp(*integer_bounds(signed, narrow, given["bitwidth"]))
        e.round(mode)
    e.subtract(given["zeropt"])
    e.multiply(given["scale"])


def _bipolar_quant(e: NodeWriter) -> None:
    scale = e.parameters(OPERATORS["BipolarQuant"])["scale"]
    e.promote(scale)
    e.sign(scale, -scale)


def _trunc(e: NodeWriter) -> None:
    names = TRUNC_2 if e.version >= 2 else OPERATORS["Trunc"]
    given = e.parameters(names)
    attributes = e.attributes("rounding_mode")
    mode = rounding_mode_of(e.original)
    e.divide(given["scale"])
    e.add(given["zeropt"])
    e.round("ROUND")
    if e.version < 2:
        e.divide(2.0 ** (given["in_bitwidth"] - given["out_bitwidth"]))
        e.round(mode)
        e.subtract(given["zeropt"])
        e.multiply(given["scale"])
        return
    shift = 2 ** np.round(np.log2(given["out_scale"] / given["scale"]))
    e.divide(shift)
    signed, narrow = bool(attributes.get("signed", 1)), bool(attributes.get("narrow"))
    e.clamp(*integer_bounds(signed, narrow, given["out_bitwidth"]))
    e.round(mode)
    e.subtract(given["zeropt"] / shift)
    e.multiply(given["out_scale"])


def _float_quant(e: NodeWriter) -> None:
    given = e.parameters(OPERATORS["FloatQuant"])
    attributes = e.attributes("has_inf", "has_nan", "has_subnormal", "saturation")
    mode = rounding_mode_of(e.original)
    exponent, mantissa = given["exponent_bitwidth"], given["mantissa_bitwidth"]
    bias = given["exponent_bias"]
    last = (2.0**exponent) - 1.0 - bias
    with np.errstate(over="ignore"):
        largest = (2.0 - 2.0**-mantissa) * 2.0**last
    largest = np.minimum(largest, given["max_val"])
    e.divide(given["scale"])
    scaled = e.value
    unit = _internal_scale(e, 1.0 - bias - mantissa, last + 1, float(mantissa))
    e.append("Div", [scaled, unit])
    e.round(mode)
    rounded = e.node("Mul", unit)
    e.clamp(-largest, largest)
    if not attributes["saturation"]:
        _overflow(e, rounded, largest, attributes)
    e.multiply(given["scale"])


def _internal_scale(e: NodeWriter, smallest: Any, last: Any, mantissa: float) -> str:
    """Append the step of each value: a power of two for each binade it has reached."""
    first = float(smallest) + mantissa
    if mantissa == 0:  # rounding down may give zero far above the largest number
        last = 128
    # All numbers, zero too, count as having reached the binades up to 2^-126.
    lowest = max(np.floor(first) + 1, -150)
    exponents = np.arange(lowest, np.clip(float(last), -126, 127) + 1)
    # Infinity comes out as no number: infinity divided by an infinite step.
    borders = np.append(_binades(exponents), np.float32(np.inf)).astype(e.dtype)
    steps = np.exp2([float(smallest), *(exponents - mantissa), np.inf]).astype(e.dtype)
    e.node("Abs")
    axis = e.constant([-1], np.int64)
    e.node("Unsqueeze", axis)
    e.node("GreaterOrEqual", e.constant(borders))
    e.node("Cast", to=TensorProto.INT64)
    index = e.node("ReduceSum", axis, keepdims=0)
    return e.append("Gather", [e.constant(steps), index], axis=0)


def _binades(exponents: np.ndarray) -> np.ndarray:
    """Return the smallest numbers whose log2, as qonnx computes it, reach `exponents`.

    That is in float32, where just below a power of two it may round up, and of
    `x + tiny`. Found by bisection over the bit patterns, which are in order.
    """
    low = np.zeros(exponents.shape, np.int64)
    high = np.full(exponents.shape, np.float32(np.inf).view(np.int32), np.int64)
    while np.any(low < high):
        middle = (low + high) // 2
        x = middle.astype(np.int32).view(np.float32)
        reached = np.floor(np.log2(x + np.finfo(np.float32).tiny)) >= exponents
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    return low.astype(np.int32).view(np.float32)


def _overflow(
    e: NodeWriter, rounded: str, largest: Any, attributes: Mapping[str, Any]
) -> None:
    """Replace what was clamped by infinity, or by NaN where there is none."""
    clamped = e.value
    if attributes["has_inf"]:
        above, below = np.inf, -np.inf
    elif attributes["has_nan"]:
        above = below = np.nan
    else:
        raise ValueError(
            f"{describe(e.original)}: without `saturation`, `has_inf` or `has_nan` "
            "must be 1. Received: saturation=0, has_inf=0, has_nan=0"
        )
    is_above = e.append("Greater", [rounded, e.constant(largest)])
    is_below = e.append("Less", [rounded, e.constant(-np.asarray(largest))])
    kept = e.append("Where", [is_above, e.constant(above), clamped])
    e.append("Where", [is_below, e.constant(below), kept])


_EXPANSIONS: dict[str, Callable[[NodeWriter], None]] = {
    "Quant": _quant,
    "IntQuant": _quant,
    "BipolarQuant": _bipolar_quant,
    "Trunc": _trunc,
    "FloatQuant": _float_quant,
    "MultiThreshold": multi_threshold,
    "QuantAvgPool2d": quant_avg_pool,
    "Im2Col": im2col,
    "MaxPoolNHWC": max_pool_nhwc,
    "XnorPopcountMatMul": xnor_popcount,
    "DebugMarker": lambda e: None,
}

_CHANNELS_LAST = ("BatchNormalization", "Conv", "MaxPool")
