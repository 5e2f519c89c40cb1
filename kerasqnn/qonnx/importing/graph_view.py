"""A small index of a graph: who makes a tensor, and who reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import NodeProto


class GraphView:
    """Nodes in their order, with their neighbours at hand.

    Args:
        nodes: The nodes.
        outputs: Names of the graph's outputs.
        constants: All tensors that do not depend on an input, by name.
    """

    def __init__(
        self,
        nodes: Iterable[NodeProto],
        outputs: Iterable[str],
        constants: Mapping[str, np.ndarray],
    ) -> None:
        self.nodes = list(nodes)
        self.outputs = list(outputs)
        self.constants = constants
        self._producers = {name: n for n in self.nodes for name in n.output if name}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._consumers.setdefault(name, []).append(node)

    def producer(self, name: str) -> NodeProto | None:
        """Return the node that computes a tensor; None for inputs and constants."""
        return self._producers.get(name)

    def consumers(self, name: str) -> list[NodeProto]:
        """Return the nodes that read a tensor."""
        return self._consumers.get(name, [])

    def only_consumer(self, name: str) -> NodeProto | None:
        """Return the node that reads a tensor that nothing else needs, or None."""
        readers = self.consumers(name)
        if len(readers) == 1 and name not in self.outputs:
            return readers[0]
        return None

    def only_consumer_of(self, node: NodeProto, op_type: str) -> NodeProto | None:
        """Return the one reader of a node's output, where it is of that operator."""
        reader = self.only_consumer(node.output[0])
        return reader if reader is not None and reader.op_type == op_type else None

    def with_nodes(self, nodes: Iterable[NodeProto]) -> GraphView:
        """Return a view of other nodes of the same graph."""
        return GraphView(nodes, self.outputs, self.constants)


def other_input(node: NodeProto, name: str) -> str | None:
    """Return the input of a node of two that is not `name`; None if both are."""
    others = [i for i in node.input if i != name]
    return others[0] if len(node.input) == 2 and len(others) == 1 else None
