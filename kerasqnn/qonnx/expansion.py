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
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .operators import (
    CHANNELS_LAST_DOMAIN,
    GENERAL_DOMAINS,
    OPERATORS,
    TRUNC_2,
    attributes_of,
    describe,
    integer_bounds,
    rounding_mode_of,
)

_ROUND_NODE = {"ROUND": "Round", "FLOOR": "Floor", "CEIL": "Ceil"}


class Expansion:
    """Collects the nodes and constants that stand for one QONNX node.

    Args:
        node: The node.
        constants: Initializers and constants of the graph by name.
        versions: Version of each imported domain.
    """

    def __init__(
        self,
        node: NodeProto,
        constants: Mapping[str, np.ndarray],
        versions: Mapping[str, int],
    ) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.original = node
        self._constants = constants
        self._versions = versions
        self._count = 0
        self.value = node.input[0]
        self.dtype: Any = np.float32

    def run(self) -> None:
        """Expand.

        Raises:
            ValueError: If the node is not one that qonnx defines.
        """
        node = self.original
        if node.domain == CHANNELS_LAST_DOMAIN:
            _channels_last(self)
        else:
            _EXPANSIONS[node.op_type](self)
        self._finish()

    def _finish(self) -> None:
        output = self.original.output[0]
        if self.dtype != np.float32:
            self.node("Cast", to=TensorProto.FLOAT)
        if self.nodes:
            self.nodes[-1].output[0] = output
        else:
            self.nodes.append(helper.make_node("Identity", [self.value], [output]))

    # -- reading -----------------------------------------------------------------------

    def parameters(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the constant inputs behind the first by name.

        Raises:
            ValueError: If their number is wrong, one is not constant, or the scale is
                zero, negative or no number.
        """
        node = self.original
        if len(node.input) != len(names):
            raise ValueError(
                f"{describe(node)} must have the inputs {', '.join(names)}. "
                f"Received: {len(node.input)} inputs ({', '.join(node.input)})"
            )
        values = {}
        for name, value in zip(names[1:], node.input[1:], strict=True):
            if value not in self._constants:
                raise ValueError(
                    f"{describe(node)}: `{name}` must be constant: an initializer or "
                    f"the output of a Constant node. Received: {name}={value!r}, which "
                    "is computed"
                )
            values[name] = self._constants[value]
            if name != "max_val" and not np.all(np.isfinite(values[name])):
                raise _bad(node, name, "finite", values[name])
        for name in ("scale", "out_scale"):
            if name in values and not np.all(values[name] > 0):
                raise _bad(node, name, "positive", values[name])
        for name in (n for n in values if n.endswith("bitwidth")):
            if values[name].size != 1 or values[name].item() < 0:
                raise _bad(node, name, "one number, not negative", values[name])
            values[name] = values[name].reshape(())
        return values

    def attributes(self, *required: str) -> dict[str, Any]:
        """Return the attributes of the node.

        Raises:
            ValueError: If one is missing that qonnx demands.
        """
        given = attributes_of(self.original)
        missing = [name for name in required if name not in given]
        if missing:
            raise ValueError(
                f"{describe(self.original)} must have the attributes "
                f"{', '.join(required)}. Missing: {', '.join(missing)}"
            )
        return given

    # -- writing -----------------------------------------------------------------------

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self.original.output[0]}@{what}{self._count}"

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Append an initializer of the type that is being computed in."""
        name = self._name("constant")
        array = np.asarray(value, dtype or self.dtype)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op_type: str, *others: str, **attributes: Any) -> str:
        """Append a node that reads the current value, and make its output that."""
        return self.append(op_type, [self.value, *others], **attributes)

    def append(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """Append a node on any inputs; its output becomes the current value."""
        self.value = self._name(op_type.lower())
        self.nodes.append(helper.make_node(op_type, inputs, [self.value], **attributes))
        return self.value

    def promote(self, *arrays: np.ndarray) -> None:
        """Go on in the type that numpy computes these and the value in."""
        dtype = np.result_type(self.dtype, *(a.dtype for a in arrays))
        if dtype != self.dtype:
            self.dtype = dtype
            self.node("Cast", to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    # -- steps -------------------------------------------------------------------------

    # Arrays may give the result more axes, so that only scalars are left out.

    def divide(self, divisor: np.ndarray) -> None:
        """Divide; by a product where that is the same number."""
        self.promote(divisor)
        divisor = np.asarray(divisor, self.dtype)
        if divisor.ndim == 0 and divisor == 1:
            return
        mantissa, _ = np.frexp(divisor)
        with np.errstate(over="ignore"):
            inverse = (1 / divisor).astype(self.dtype)
        normal = np.isfinite(inverse) & (inverse >= np.finfo(self.dtype).tiny)
        if np.all((mantissa == 0.5) & normal):
            self.node("Mul", self.constant(inverse))
        else:
            self.node("Div", self.constant(divisor))

    def multiply(self, factor: np.ndarray) -> None:
        """Multiply, but by the number one."""
        self.promote(factor)
        if factor.ndim or factor != 1:
            self.node("Mul", self.constant(factor))

    def add(self, summand: np.ndarray) -> None:
        """Add, but the number zero."""
        self.promote(summand)
        if summand.ndim or summand != 0:
            self.node("Add", self.constant(summand))

    def subtract(self, summand: np.ndarray) -> None:
        """Subtract, but the number zero."""
        self.promote(summand)
        if summand.ndim or summand != 0:
            self.node("Sub", self.constant(summand))

    def clamp(self, low: np.ndarray, high: np.ndarray) -> None:
        """Clamp; what is no number stays so."""
        self.node("Clip", self.constant(low), self.constant(high))

    def round(self, mode: str) -> None:
        """Round to an integer."""
        if mode in _ROUND_NODE:
            self.node(_ROUND_NODE[mode])
            return
        value = self.value
        self.node("Abs")
        if mode in ("HALF_UP", "HALF_DOWN"):
            self.node("Add" if mode == "HALF_UP" else "Sub", self.constant(0.5))
        self.node("Floor" if mode in ("DOWN", "HALF_UP") else "Ceil")
        magnitude = self.value
        self.append("Sign", [value])
        self.node("Mul", magnitude)

    def sign(self, positive: np.ndarray, negative: np.ndarray) -> None:
        """Choose between two constants by whether the value is at least zero."""
        self.node("GreaterOrEqual", self.constant(0))
        chosen = self.constant(positive), self.constant(negative)
        self.node("Where", *chosen)


def expand(
    node: NodeProto, constants: Mapping[str, np.ndarray], versions: Mapping[str, int]
) -> Expansion:
    """Expand one QONNX node.

    Args:
        node: A node for which `is_expanded` holds.
        constants: Initializers and constants of the graph by name.
        versions: Version of each imported domain.

    Returns:
        Its standard nodes and their initializers.

    Raises:
        ValueError: If QONNX does not define the node, or gives it no meaning.
    """
    expansion = Expansion(node, constants, versions)
    expansion.run()
    return expansion


def is_expanded(node: NodeProto) -> bool:
    """Whether a node is a QONNX operator that `expand` knows."""
    if node.domain == CHANNELS_LAST_DOMAIN:
        return node.op_type in _CHANNELS_LAST
    return node.domain in GENERAL_DOMAINS and node.op_type in OPERATORS


def _quant(e: Expansion) -> None:
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


def _bipolar_quant(e: Expansion) -> None:
    scale = e.parameters(OPERATORS["BipolarQuant"])["scale"]
    e.promote(scale)
    e.sign(scale, -scale)


def _trunc(e: Expansion) -> None:
    version = e._versions.get(e.original.domain, 1)
    names = TRUNC_2 if version >= 2 else OPERATORS["Trunc"]
    given = e.parameters(names)
    attributes = e.attributes("rounding_mode")
    mode = rounding_mode_of(e.original)
    e.divide(given["scale"])
    e.add(given["zeropt"])
    e.round("ROUND")
    if version < 2:
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


def _float_quant(e: Expansion) -> None:
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


def _internal_scale(e: Expansion, smallest: Any, last: Any, mantissa: float) -> str:
    """Append the step of each value: a power of two for each binade it has reached."""
    first = float(smallest) + mantissa
    if mantissa == 0:  # rounding down may give zero far above the largest number
        last = 128
    exponents = np.arange(np.floor(first) + 1, min(float(last), 127) + 1)
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
    e: Expansion, rounded: str, largest: Any, attributes: Mapping[str, Any]
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


_EXPANSIONS: dict[str, Callable[[Expansion], None]] = {
    "Quant": _quant,
    "IntQuant": _quant,
    "BipolarQuant": _bipolar_quant,
    "Trunc": _trunc,
    "FloatQuant": _float_quant,
}

_CHANNELS_LAST = ("Conv", "MaxPool")


def _channels_last(e: Expansion) -> None:
    """Run a standard operator between transpositions; weights are channels last too."""
    node = e.original
    window = attributes_of(node).get("kernel_shape")
    if not window:
        raise ValueError(
            f"{describe(node)}: `kernel_shape` must be given, one number an axis. "
            f"Received: kernel_shape={window!r}"
        )
    rank = 2 + len(window)
    first = [0, rank - 1, *range(1, rank - 1)]
    inputs = [e.append("Transpose", [name], perm=first) for name in node.input[:2]]
    inner = helper.make_node(node.op_type, [*inputs, *node.input[2:]], [""])
    inner.attribute.extend(node.attribute)
    inner.output[0] = e.value = f"{node.output[0]}@channels_first"
    e.nodes.append(inner)
    e.node("Transpose", perm=[0, *range(2, rank), 1])


def _bad(node: NodeProto, name: str, what: str, value: np.ndarray) -> ValueError:
    return ValueError(
        f"{describe(node)}: `{name}` must be {what}. "
        f"Received: {name}={np.array2string(np.asarray(value), threshold=8)}"
    )
