"""Writes the standard nodes that stand for one QONNX node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .operators import attributes_of, describe
from .rounding import append_rounding

#: Widths up to which both bounds are finite in float32.
_MOST_BITS = 127
_SWITCHES = frozenset("signed narrow has_inf has_nan has_subnormal saturation".split())
Number = np.ndarray | np.floating[Any]
ShapeOf = Callable[[str], Sequence[int] | None]


def unknown_shape(name: str) -> None:
    """Tell nothing of any tensor."""


class NodeWriter:
    """Collects the standard nodes and constants that stand for one QONNX node.

    Args:
        node: The node.
        constants: Initializers and constants of the graph by name.
        versions: Version of each imported domain.
        shape_of: Gives the shape of a tensor, 0 where a size is not known; None where
            nothing is.
    """

    def __init__(
        self,
        node: NodeProto,
        constants: Mapping[str, np.ndarray],
        versions: Mapping[str, int],
        shape_of: ShapeOf = unknown_shape,
    ) -> None:
        self.shape_of = shape_of
        self.version = versions.get(node.domain, 1)
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.original = node
        self._constants = constants
        self._count = 0
        self.value = node.input[0]
        self.dtype: Any = np.float32

    def finish(self) -> None:
        """Give the current value the name of the QONNX node's output."""
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
            values[name] = array = np.asarray(self._constants[value])
            if array.dtype.kind not in "fiub" or not array.size:
                raise _bad(node, name, "real numbers", array)
            infinite_ok = name == "max_val" and not np.any(np.isnan(array))
            if not (infinite_ok or np.all(np.isfinite(array))):
                raise _bad(node, name, "finite", array)
        for name in ("scale", "out_scale"):
            if name in values and not np.all(values[name] > 0):
                raise _bad(node, name, "positive", values[name])
        for name in ("exponent_bias", "max_val"):
            if name in values:
                if values[name].size != 1:
                    raise _bad(node, name, "one number", values[name])
                values[name] = values[name].reshape(())
        for name in (n for n in values if n.endswith("bitwidth")):
            if values[name].size != 1 or not 0 <= values[name].item() <= _MOST_BITS:
                raise _bad(
                    node,
                    name,
                    f"one number, not negative and at most {_MOST_BITS}",
                    values[name],
                )
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
        for name in _SWITCHES.intersection(given):
            if given[name] not in (0, 1) or isinstance(given[name], float):
                raise ValueError(
                    f"{describe(self.original)}: the attribute `{name}` must be 0 or "
                    f"1. Received: {name}={given[name]!r}"
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

    def promote(self, *arrays: Number) -> None:
        """Go on in the type that numpy computes these and the value in."""
        dtype = np.result_type(self.dtype, *(a.dtype for a in arrays))
        if dtype != self.dtype:
            self.dtype = dtype
            self.node("Cast", to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    # -- steps -------------------------------------------------------------------------

    # Arrays may give the result more axes, so that only scalars are left out.

    def divide(self, divisor: Number) -> None:
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

    def multiply(self, factor: Number) -> None:
        """Multiply, but by the number one."""
        self.promote(factor)
        if factor.ndim or factor != 1:
            self.node("Mul", self.constant(factor))

    def add(self, summand: Number) -> None:
        """Add, but the number zero."""
        self.promote(summand)
        if summand.ndim or summand != 0:
            self.node("Add", self.constant(summand))

    def subtract(self, summand: Number) -> None:
        """Subtract, but the number zero."""
        self.promote(summand)
        if summand.ndim or summand != 0:
            self.node("Sub", self.constant(summand))

    def clamp(self, low: np.ndarray, high: np.ndarray) -> None:
        """Clamp; what is no number stays so."""
        self.node("Clip", self.constant(low), self.constant(high))

    def round(self, mode: str) -> None:
        """Round to an integer."""
        self.value = append_rounding(mode, self.value, self.append, self.constant)

    def sign(self, positive: np.ndarray, negative: np.ndarray) -> None:
        """Choose between two constants by whether the value is at least zero."""
        self.node("GreaterOrEqual", self.constant(0))
        chosen = self.constant(positive), self.constant(negative)
        self.node("Where", *chosen)


def _bad(node: NodeProto, name: str, what: str, value: np.ndarray) -> ValueError:
    return ValueError(
        f"{describe(node)}: `{name}` must be {what}. "
        f"Received: {name}={np.array2string(np.asarray(value), threshold=8)}"
    )
