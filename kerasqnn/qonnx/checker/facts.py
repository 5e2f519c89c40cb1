"""What the rules read of a model: gathered once, in linear time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    ValueInfoProto,
    defs,
    numpy_helper,
    shape_inference,
)

from ..constants import STANDARD_DOMAINS
from ..operators import CHANNELS_LAST_DOMAIN, GENERAL_DOMAINS, OPERATORS, TRUNC_2
from ..preparation import prepare
from ..structure import reads_of
from ..tensor_data import check_tensor, is_external

QUANTS = ("Quant", "IntQuant")
_ELEMENTWISE = (*QUANTS, "BipolarQuant", "Trunc", "FloatQuant")


class Facts:
    """A model, with who makes and who reads each tensor.

    Nodes without the inputs or outputs that their operator demands are `broken`, not
    among the `nodes`.

    Args:
        model: The model. Nothing about it is taken for granted.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.broken = [node for node in graph.node if _is_broken(node)]
        left_out = {id(node) for node in self.broken}
        self.nodes = [node for node in graph.node if id(node) not in left_out]
        self.versions = {i.domain: i.version for i in model.opset_import}
        self.initializers = {t.name: t for t in graph.initializer}
        self.inputs = [i for i in graph.input if i.name not in self.initializers]
        self.outputs = [o.name for o in graph.output]
        self.reads = [reads_of(node) for node in self.nodes]
        self.producers: dict[str, int] = {}
        self.readers: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in filter(None, node.output):
                self.producers.setdefault(name, i)
            for name in self.reads[i]:
                self.readers.setdefault(name, []).append(i)
        self.order = self._ordered()
        self.static = self._static()
        self.shapes = self._shapes()
        self._values: dict[str, np.ndarray | None] = {}
        self._functions = {(f.domain, f.name) for f in model.functions}

    def _ordered(self) -> list[int]:
        """Return the nodes in an order of computation, without those of a cycle."""
        before = [
            {self.producers[n] for n in names if n in self.producers}
            for names in self.reads
        ]
        behind: list[list[int]] = [[] for _ in before]
        for i, numbers in enumerate(before):
            for number in numbers:
                behind[number].append(i)
        waiting = [len(numbers) for numbers in before]
        ready = deque(i for i, count in enumerate(waiting) if not count)
        order = []
        while ready:
            order.append(ready.popleft())
            for i in behind[order[-1]]:
                waiting[i] -= 1
                if not waiting[i]:
                    ready.append(i)
        return order

    def _static(self) -> set[str]:
        static = set(self.initializers)
        for i in self.order:
            if self.reads[i] <= static:
                static.update(filter(None, self.nodes[i].output))
        return static

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the file states; 0 where a size is symbolic."""
        graph = self.model.graph
        shapes = {
            v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
            for v in [*graph.value_info, *graph.output, *graph.input]
            if v.type.tensor_type.HasField("shape")
        }
        shapes |= {name: tuple(t.dims) for name, t in self.initializers.items()}
        for i in self.order:
            node = self.nodes[i]
            if node.domain in GENERAL_DOMAINS and node.op_type in _ELEMENTWISE:
                given = [shapes[name] for name in node.input if name in shapes]
                if node.output and len(given) == len(node.input) > 0:
                    shapes.setdefault(node.output[0], _broadcast(given))
        return shapes

    @cached_property
    def inferred(self) -> dict[str, ValueInfoProto]:
        """The shapes that follow from those of the inputs."""
        try:
            model = shape_inference.infer_shapes(prepare(self.model))
        except (ValueError, RuntimeError):  # onnx's own errors are of the second type
            return {}
        return {
            v.name: v
            for v in model.graph.value_info
            if v.type.tensor_type.HasField("shape")
        }

    # -- reading -----------------------------------------------------------------------

    def value(self, name: str) -> np.ndarray | None:
        """Return the array of an initializer or Constant node, if it can be read."""
        if name not in self._values:
            self._values[name] = self._read(name)
        return self._values[name]

    def _read(self, name: str) -> np.ndarray | None:
        tensor = self.initializers.get(name)
        if tensor is None and name in self.producers:
            node = self.nodes[self.producers[name]]
            if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS:
                for attribute in node.attribute:
                    if attribute.name == "value_float":
                        return np.asarray(attribute.f, np.float32)
                    if attribute.name == "value":
                        tensor = attribute.t
        if tensor is None or is_external(tensor):
            return None
        try:
            check_tensor(tensor, name)
            array = numpy_helper.to_array(tensor)
        except ValueError:
            return None
        return None if array.dtype.kind in "OSUbc" else array

    def quantizers(self, *op_types: str) -> Iterator[NodeProto]:
        """Yield the nodes of QONNX operators, of these types if any are given."""
        for node in self.nodes:
            if node.domain in GENERAL_DOMAINS and node.op_type in OPERATORS:
                if not op_types or node.op_type in op_types:
                    yield node

    def input_names(self, node: NodeProto) -> tuple[str, ...]:
        """Return what the inputs of a QONNX operator are called."""
        is_second = node.op_type == "Trunc" and len(node.input) == len(TRUNC_2)
        return TRUNC_2 if is_second else OPERATORS[node.op_type]

    def parameters(self, node: NodeProto) -> Iterator[tuple[str, str]]:
        """Yield name and tensor of each parameter of a QONNX operator."""
        names = self.input_names(node)
        yield from list(zip(names, node.input, strict=False))[1:]

    def parameter(self, node: NodeProto, name: str) -> np.ndarray | None:
        """Return the value of a parameter, None where it is not constant."""
        return self.value(dict(self.parameters(node)).get(name, ""))

    def is_weight(self, node: NodeProto) -> bool:
        """Whether what a node quantizes does not depend on the model's input."""
        return bool(node.input) and node.input[0] in self.static

    def followers(self, node: NodeProto) -> list[NodeProto]:
        """Return the nodes that read a node's first output."""
        if not node.output:
            return []
        return [self.nodes[i] for i in self.readers.get(node.output[0], ())]

    def predecessor(self, node: NodeProto) -> NodeProto | None:
        """Return the node that makes a node's first input."""
        i = self.producers.get(node.input[0]) if node.input else None
        return None if i is None else self.nodes[i]

    def has_function(self, node: NodeProto) -> bool:
        """Whether the file itself defines the operator of a node."""
        return (node.domain, node.op_type) in self._functions


def _is_broken(node: NodeProto) -> bool:
    inputs, outputs = _least(node.domain, node.op_type)
    return not (
        len(node.input) >= inputs
        and all(node.input[:inputs])
        and len(node.output) >= outputs
        and all(node.output[:outputs])
    )


@cache
def _least(domain: str, op_type: str) -> tuple[int, int]:
    """Return how many inputs and outputs a node must have at least."""
    if domain in (*STANDARD_DOMAINS, CHANNELS_LAST_DOMAIN) and defs.has(op_type):
        schema = defs.get_schema(op_type)
        return schema.min_input, schema.min_output
    return int(domain in GENERAL_DOMAINS), 1


def _broadcast(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return ()


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """Return an attribute of a node."""
    return next((a for a in node.attribute if a.name == name), None)


def text_of(node: NodeProto, name: str) -> str | None:
    """Return an attribute as text, as far as it is any."""
    found = attribute(node, name)
    return None if found is None else found.s.decode(errors="replace")


def flag_of(node: NodeProto, name: str) -> bool:
    """Return an attribute as consumers read it: its integer, else false."""
    found = attribute(node, name)
    return found is not None and bool(found.i)


def is_power_of_two(value: Any) -> bool:
    """Whether all numbers are the same power of two."""
    array = np.asarray(value)
    if not array.size or not np.all(array == array.flat[0]):
        return False
    return bool(np.frexp(array.flat[0])[0] == 0.5)
