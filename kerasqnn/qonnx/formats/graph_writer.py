"""Rewrites the nodes of a model one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..constants import STANDARD_DOMAINS
from ..node_writer import NodeWriter
from ..structure import reads_of


class GraphWriter:
    """Collects the nodes and parameters of the model that is to be written.

    Args:
        model: The model that is rewritten; left as it is.
        replaced: Its nodes that are not kept. The names of what only they read, and of
            what they compute, are free.
    """

    def __init__(self, model: ModelProto, replaced: Iterable[NodeProto]) -> None:
        self._model = model
        self._nodes: list[NodeProto] = []
        self._parameters: dict[str, np.ndarray] = {}
        left_out = {id(node) for node in replaced}
        kept = [node for node in model.graph.node if id(node) not in left_out]
        self._taken = {value.name for value in model.graph.input}
        for node in kept:
            self._taken.update(node.input, node.output)
        for node in model.graph.node:
            self._taken.update(node.output)
        self._taken.update(value.name for value in model.graph.output)

    def keep(self, node: NodeProto) -> None:
        """Append a node as it is."""
        self._nodes.append(node)

    def splice(self, expansion: NodeWriter) -> None:
        """Append the standard nodes that stand for one QONNX node."""
        self._nodes.extend(expansion.nodes)
        for tensor in expansion.initializers:
            self._parameters[tensor.name] = numpy_helper.to_array(tensor)

    def node(
        self, op_type: str, inputs: list[str], output: str, name: str, **given: Any
    ) -> str:
        """Append a node of standard ONNX or the domain given; return its output.

        Attributes that are None are left out.
        """
        given = {key: value for key, value in given.items() if value is not None}
        node = helper.make_node(op_type, inputs, [output], name=name, **given)
        self._nodes.append(node)
        return output

    def unique(self, name: str) -> str:
        """Return a name for a new tensor, the given one if it is free."""
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate

    def parameter(self, name: str, value: np.ndarray) -> str:
        """Add a constant; return its name, the given one if free or equal already."""
        there = self._parameters.get(name)
        if there is not None and _identical(there, value):
            return name
        name = self.unique(name)
        self._parameters[name] = value
        return name

    def finish(self, imports: Mapping[str, int]) -> ModelProto:
        """Return the model, without what nothing reads.

        Args:
            imports: Versions of the domains of new nodes.
        """
        written = ModelProto()
        written.CopyFrom(self._model)
        graph = written.graph
        nodes, read = _used(self._nodes, {value.name for value in graph.output})
        parameters = [i for i in graph.initializer if i.name not in self._parameters]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        _name_apart(graph.node)
        graph.initializer.extend(i for i in parameters if i.name in read)
        graph.initializer.extend(
            numpy_helper.from_array(value, name)
            for name, value in self._parameters.items()
            if name in read
        )
        # Types of tensors that are no more, or are another's now, are dropped.
        known = read - self._parameters.keys()
        infos = [info for info in graph.value_info if info.name in known]
        del graph.value_info[:]
        graph.value_info.extend(infos)
        _import(written, imports)
        return written


def _used(
    nodes: list[NodeProto], outputs: set[str]
) -> tuple[list[NodeProto], set[str]]:
    """Return the nodes that the outputs need, and the names of all they read."""
    read, kept = set(outputs), []
    for node in reversed(nodes):
        if read.intersection(node.output):
            kept.append(node)
            read.update(reads_of(node))
    return kept[::-1], read


def _name_apart(nodes: Iterable[NodeProto]) -> None:
    """Number the names of nodes that repeat, which ONNX Runtime refuses."""
    taken = {""}
    for node in nodes:
        name, count = node.name, 1
        while node.name and node.name in taken:
            count += 1
            node.name = f"{name}_{count}"
        taken.add(node.name)


def _identical(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _import(model: ModelProto, versions: Mapping[str, int]) -> None:
    """Import the domains that nodes use, and no others."""
    used = {node.domain for node in model.graph.node}
    there = {i.domain: i.version for i in model.opset_import} | dict(versions)
    kept = {d: v for d, v in there.items() if d in used or d in STANDARD_DOMAINS}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*item) for item in kept.items())
    lowest = helper.find_min_ir_version_for(
        list(model.opset_import), ignore_unknown=True
    )
    model.ir_version = max(model.ir_version, lowest)
