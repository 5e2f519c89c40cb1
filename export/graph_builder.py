"""Assembles an ONNX graph: names, nodes, constants, layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..models import Arithmetic, Graph, Operation, Tensor
from ..qonnx.constants import has_subgraph
from ..qonnx.operators import CHANNELS_LAST_DOMAIN
from .layouts import CHANNELS_FIRST, CHANNELS_LAST, Layout
from .profiles import Profile


class GraphBuilder:
    """Collects nodes and constants while handlers translate operations.

    Keras images are channels last, ONNX convolutions channels first. Each tensor is
    stored in the layout its producer gives, and reordered once when a consumer wants
    another one.

    Attributes:
        graph: The model.
        arithmetic: What is known of its tensors.
        profile: What the consumer of the file takes.
        nodes: The nodes, in order.
        initializers: The constants as they are written.
        constants: The constants by name.
        origins: By name of a node, the operation that it belongs to.
    """

    def __init__(self, graph: Graph, arithmetic: Arithmetic, profile: Profile) -> None:
        self.graph = graph
        self.arithmetic = arithmetic
        self.profile = profile
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.origins: dict[str, Operation] = {}
        self._values: dict[str, dict[Layout, str]] = {}
        self._names: set[str] = set()

    # -- tensors of the model ----------------------------------------------------------

    def tensor(self, name: str) -> Tensor:
        """Return the description of a tensor of the model."""
        return self.graph.tensors[name]

    def rank(self, tensor: str) -> int:
        """Return the number of axes of a tensor, batch included."""
        return len(self.tensor(tensor).shape)

    def layout(self, tensor: str) -> Layout:
        """Return a layout in which the tensor is already there."""
        return next(iter(self._values[tensor]))

    def define(self, tensor: str, value: str, layout: Layout = CHANNELS_LAST) -> None:
        """Say which ONNX value holds a tensor."""
        self._values[tensor] = {layout.of_rank(self.rank(tensor)): value}

    def value(self, tensor: str, layout: Layout = CHANNELS_LAST) -> str:
        """Return the ONNX value of a tensor in a layout."""
        there, layout = self._values[tensor], layout.of_rank(self.rank(tensor))
        if layout not in there:
            source = next(iter(there))
            there[layout] = self._reordered(tensor, there[source], source, layout)
        return there[layout]

    def prefer(self, tensor: str, layout: Layout) -> None:
        """Bring a tensor into a layout that its readers then take if any will do."""
        value, layout = self.value(tensor, layout), layout.of_rank(self.rank(tensor))
        self._values[tensor] = {layout: value} | self._values[tensor]

    def _reordered(self, tensor: str, value: str, source: Layout, to: Layout) -> str:
        rank = self.rank(tensor)
        if rank > 2:
            there = source.axes(rank)
            axes = [there.index(axis) for axis in to.axes(rank)]
            name = "channels_first" if to.is_channels_first else "channels_last"
            return self.node("Transpose", [value], f"{tensor}/{name}", perm=axes)
        count = len(source.features or to.features)
        there = source.features or tuple(range(count))
        position = np.empty(count, np.int64)
        position[list(there)] = np.arange(count)
        indices = self.initializer(f"{tensor}/order", to.rows(position))
        return self.node("Gather", [value, indices], f"{tensor}/reordered", axis=1)

    # -- nodes -------------------------------------------------------------------------

    def unique(self, name: str) -> str:
        """Return `name`, as the consumer takes it, and numbered if it is taken."""
        name = self.profile.as_name(name)
        candidate, count = name, 0
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate

    def node(
        self,
        op_type: str,
        inputs: list[str],
        name: str,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Append a node with one output and return the output's name."""
        name = self.unique(name)
        self.nodes.append(
            helper.make_node(
                op_type, inputs, [name], name=name, domain=domain, **attributes
            )
        )
        return name

    def window(
        self, op_type: str, inputs: list[str], name: str, **attributes: Any
    ) -> str:
        """Append a convolution or pooling of the layout in which the consumer has it.

        Its first input is an image in `profile.windows`.
        """
        first = self.profile.windows == CHANNELS_FIRST
        domain = "" if first else CHANNELS_LAST_DOMAIN
        return self.node(op_type, inputs, name, domain=domain, **attributes)

    def belong_to(self, operation: Operation, start: int) -> None:
        """Note to which operation the nodes from a number on belong."""
        self.origins |= {node.name: operation for node in self.nodes[start:]}

    def named(self, value: str, name: str) -> str:
        """Give a value the name, which what had it so far loses; return the name."""
        name = self.profile.as_name(name)
        owner = self.producer(name)
        has_subgraphs = any(has_subgraph(node) for node in self.nodes)
        if value == name or has_subgraphs or (owner is None and name in self._names):
            return value
        renamed = {value: name}
        if owner is not None:
            renamed[name] = self.unique(f"{name}/{owner.op_type.lower()}")
        self._names.add(name)
        for node in self.nodes:
            node.name = renamed.get(node.name, node.name)
            for field in (node.input, node.output):
                field[:] = [renamed.get(n, n) for n in field]
        self.origins = {renamed.get(n, n): o for n, o in self.origins.items()}
        self._values = {
            tensor: {layout: renamed.get(v, v) for layout, v in there.items()}
            for tensor, there in self._values.items()
        }
        return name

    def initializer(self, name: str, value: Any) -> str:
        """Append a constant (float32 unless integer) and return its name."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = self.unique(name)
        # A 0-d array stays 0-d: qonnx wants scalar bit widths.
        array = np.ascontiguousarray(array).reshape(array.shape)
        self.constants[name] = array
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def producer(self, value: str) -> NodeProto | None:
        """Return the node that computes a value, None for inputs and constants."""
        return next((n for n in reversed(self.nodes) if value in n.output), None)
