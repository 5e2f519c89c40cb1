"""Powers of two between layers, moved into their weights.

Quantizers leave products with powers of two between the layers. Here they wait: a
tensor is another one times a factor, until a layer takes the factor into its weights.
Weights are chosen so that the next rounding finds factor one. What changes no number
goes: a ReLU before a clip at zero, a clip of what lies inside, rounding integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from onnx import NodeProto, helper

from .constants import copy_of
from .inference_rules import Values
from .operators import attributes_of

_LINEAR = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
_SCALED_THROUGH = frozenset(
    "Relu MaxPool GlobalMaxPool Reshape Flatten Transpose Squeeze Unsqueeze "
    "Identity Slice".split()
)
_LARGEST = 2.0**127
_SMALLEST = 2.0**-126
_ROUNDINGS = frozenset({"Round", "Floor", "Ceil"})


class _Scaled(NamedTuple):
    """A tensor as another one times a power of two."""

    name: str
    factor: float = 1.0


@dataclass
class FactorMoving:
    """The rewriting of one graph, node by node.

    Attributes:
        nodes: Standard nodes in an order in which they can run.
        constants: Constant tensors by name; new ones are added.
        values: What is known of each tensor.
        outputs: Names of the outputs, which keep their numbers.
        written: The new nodes.
    """

    nodes: Sequence[NodeProto]
    constants: dict[str, np.ndarray]
    values: Mapping[str, Values]
    outputs: set[str]
    written: list[NodeProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._scaled: dict[str, _Scaled] = {}
        self._readers: dict[str, list[NodeProto]] = {}
        self._producers: dict[str, NodeProto] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def run(self) -> None:
        """Write all nodes anew."""
        for node in self.nodes:
            rewrite = self._rewrite_of(node)
            if rewrite is None or not rewrite(node):
                self._copy(node)
        for name in sorted(self.outputs):
            self._plain(name)

    def used(self) -> list[NodeProto]:
        """Return the written nodes that some output depends on."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.written):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        return kept[::-1]

    def _rewrite_of(self, node: NodeProto) -> Callable[[NodeProto], bool] | None:
        if len(node.output) != 1:
            return None
        if node.op_type in _SCALED_THROUGH:
            return self._pass
        if node.op_type in _LINEAR:
            return self._linear
        if node.op_type in _ROUNDINGS:
            return self._round
        return {"Mul": self._mul, "Add": self._add, "Clip": self._clip}.get(
            node.op_type
        )

    # -- what is known -----------------------------------------------------------------

    def _scaled_of(self, name: str) -> _Scaled:
        return self._scaled.get(name, _Scaled(name))

    def _on_grid(self, *names: str) -> bool:
        return all(self.values[n].step is not None for n in names if n in self.values)

    def _on_integers(self, name: str) -> bool:
        return name in self.values and (self.values[name].step or 0.0) >= 1.0

    def _fits(self, name: str, factor: float) -> bool:
        """Whether a tensor on a grid times a power of two is on a grid as well."""
        step, low, high = self.values[name]
        scaled = Values((step or 0.0) * factor, low * factor, high * factor)
        return scaled.reach < _LARGEST and scaled.in_float32() == scaled

    def _overflows(self, node: NodeProto, factor: float) -> bool:
        """Whether a sum may be too large before it is multiplied by the factor."""
        reach = self.values[node.output[0]].reach
        return factor != 1.0 and reach / factor >= _LARGEST

    def _constant(self, name: str) -> np.ndarray | None:
        return self.constants.get(name)

    def _power_of_two(self, name: str) -> float | None:
        """Return a constant scalar that is a positive power of two."""
        array = self._constant(name)
        if array is None or array.dtype != np.float32 or array.ndim:
            return None
        factor = float(array)
        return factor if factor > 0 and math.frexp(factor)[0] == 0.5 else None

    def _split(self, node: NodeProto) -> tuple[str, str] | None:
        """Return the computed and the constant one of two inputs."""
        left, right = node.input
        if left in self.constants:
            left, right = right, left
        return (left, right) if right in self.constants else None

    # -- writing -----------------------------------------------------------------------

    def _write(
        self, node: NodeProto, inputs: Sequence[str], factor: float = 1.0
    ) -> None:
        copied = copy_of(node)
        del copied.input[:]
        copied.input.extend(inputs)
        (output,) = node.output
        if factor != 1.0:
            copied.output[0] = f"{output}@over_{factor!r}"
        self._scaled[output] = _Scaled(copied.output[0], factor)
        self._producers[copied.output[0]] = copied
        self.written.append(copied)

    def _copy(self, node: NodeProto) -> None:
        copied = copy_of(node)
        for index, name in enumerate(node.input):
            scaled = self._scaled_of(name)
            plain = scaled.name if scaled.factor == 1.0 else self._plain(name)
            copied.input[index] = plain
        self.written.append(copied)
        self._producers.update(dict.fromkeys(copied.output, copied))

    def _plain(self, name: str) -> str:
        """Make sure that a tensor is there under its own name."""
        scaled = self._scaled.get(name)
        if scaled is not None and scaled.name != name:
            if scaled.factor == 1.0:
                node = helper.make_node("Identity", [scaled.name], [name])
            else:
                factor = self._new_constant(np.float32(scaled.factor))
                node = helper.make_node("Mul", [scaled.name, factor], [name])
            self.written.append(node)
            del self._scaled[name]
        return name

    def _new_constant(self, value: np.ndarray | np.float32) -> str:
        name = f"@fused_{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def _times(self, name: str, factor: float) -> str | None:
        """Return a constant times a power of two; None where that is not exact."""
        if factor == 1.0 or not name:
            return name
        array = self.constants[name]
        with np.errstate(over="ignore", under="ignore"):
            product = (array * np.float32(factor)).astype(np.float32)
            fits = np.array_equal(product / np.float32(factor), array)
        small = np.abs(product[product != 0])
        if not fits or np.any(small < np.finfo(np.float32).tiny):
            return None
        return self._new_constant(product)

    # -- operators ---------------------------------------------------------------------

    def _mul(self, node: NodeProto) -> bool:
        split = self._split(node)
        if split is None or not self._on_grid(node.output[0], split[0]):
            return False
        factor = self._power_of_two(split[1])
        if factor is None:
            return False
        x = self._scaled_of(split[0])
        if not _SMALLEST <= x.factor * factor <= _LARGEST:
            return False
        self._scaled[node.output[0]] = _Scaled(x.name, x.factor * factor)
        return True

    def _pass(self, node: NodeProto) -> bool:
        x = self._scaled_of(node.input[0])
        # A pool of padding alone gives the smallest float32, which has no factor.
        if x.factor != 1.0 and not self._on_grid(node.output[0]):
            return False
        self._write(node, [x.name, *node.input[1:]], x.factor)
        return True

    def _add(self, node: NodeProto) -> bool:
        split = self._split(node)
        if split is None:
            left, right = (self._scaled_of(name) for name in node.input)
            if left.factor != right.factor or self._overflows(node, left.factor):
                return False
            self._write(node, [left.name, right.name], left.factor)
            return True
        x = self._scaled_of(split[0])
        summand = self._times(split[1], 1 / x.factor)
        if summand is None or self._overflows(node, x.factor):
            return False
        self._write(node, [x.name, summand], x.factor)
        return True

    def _clip(self, node: NodeProto) -> bool:
        bounds = [self._constant(name) for name in node.input[1:]]
        if len(bounds) != 2 or any(b is None for b in bounds):
            return False
        x = self._scaled_of(node.input[0])
        known = self.values.get(node.input[0])
        low, high = (float(b) for b in bounds if b is not None)
        # Infinite bounds: nothing is known, or the values are NaN.
        if known is not None and low <= known.low and known.high <= high:
            self._scaled[node.output[0]] = x
            return True
        source = self._producers.get(x.name)
        if low >= 0 and source is not None and source.op_type == "Relu":
            x = x._replace(name=source.input[0])
        scaled = [self._times(name, 1 / x.factor) for name in node.input[1:]]
        if None in scaled:
            return False
        self._write(node, [x.name, *(s for s in scaled if s is not None)], x.factor)
        return True

    def _round(self, node: NodeProto) -> bool:
        if not self._on_integers(node.input[0]):
            return False
        self._scaled[node.output[0]] = self._scaled_of(node.input[0])
        return True

    def _linear(self, node: NodeProto) -> bool:
        """Take the factor of the input, and that of the next rounding, into weights."""
        if node.input[0] in self.constants or node.input[1] not in self.constants:
            return False
        given = {"alpha": 1.0, "beta": 1.0} | attributes_of(node)
        plain = given["alpha"] == 1.0 and given["beta"] == 1.0
        if not plain or not self._on_grid(node.input[0], node.output[0]):
            return False
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and bias not in self.constants:
            return False
        x = self._scaled_of(node.input[0])
        wanted = self._factor_at_rounding(node.output[0])
        if not self._fits(node.output[0], wanted):
            return False
        weights = self._times(node.input[1], x.factor * wanted)
        bias_too = self._times(bias, wanted)
        if weights is None or bias_too is None:
            return False
        inputs = [x.name, weights, bias_too] if bias else [x.name, weights]
        self._write(node, inputs, 1 / wanted)
        return True

    def _factor_at_rounding(self, name: str) -> float:
        """Return the product of the factors up to the one rounding that follows."""
        factor = 1.0
        while name not in self.outputs and len(self._readers.get(name, ())) == 1:
            (node,) = self._readers[name]
            if node.op_type in _ROUNDINGS:
                return 1.0 if self._on_integers(node.input[0]) else factor
            if node.op_type == "Mul":
                split = self._split(node)
                step = split and self._power_of_two(split[1])
                if not step or not self._on_grid(node.output[0]):
                    return 1.0
                factor *= step
            elif node.op_type == "Add":
                if self._split(node) is None:
                    return 1.0
            elif node.op_type not in _SCALED_THROUGH and node.op_type != "Clip":
                return 1.0
            (name,) = node.output
        return 1.0
