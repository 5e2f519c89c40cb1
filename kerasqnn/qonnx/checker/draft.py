"""A model that is being mended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..operators import describe
from .facts import Facts, attribute
from .registry import Rule


class Draft:
    """A copy of a model, with the edits that mends make.

    Args:
        model: The copy, which is changed.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.facts = Facts(model)
        self._nodes: dict[int, list[NodeProto]] = {}
        self._dropped: set[str] = set()
        self._counts: dict[str, int] = {}
        self._taken = {
            n for node in model.graph.node for n in (*node.output, node.name)
        }
        self._taken |= set(self.facts.initializers)

    def name(self, wanted: str) -> str:
        """Return a name that nothing has yet."""
        name, count = wanted, self._counts.get(wanted, 0)
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._counts[wanted] = count  # so that a thousand names take a thousand steps
        self._taken.add(name)
        return name

    def constant(self, wanted: str, value: Any) -> str:
        """Add an initializer and return its name."""
        name = self.name(wanted)
        tensor = numpy_helper.from_array(np.asarray(value), name)
        self.model.graph.initializer.append(tensor)
        return name

    def replace(self, node: NodeProto, *others: NodeProto) -> None:
        """Put other nodes in the place of one when the draft is finished."""
        self._nodes[id(node)] = list(others)

    def drop_input(self, name: str) -> None:
        """Remove an input of the graph when the draft is finished."""
        self._dropped.add(name)

    def set(self, node: NodeProto, name: str, value: Any) -> None:
        """Set an attribute."""
        found = attribute(node, name)
        if found is not None:
            node.attribute.remove(found)
        node.attribute.append(helper.make_attribute(name, value))

    def reorder(self, nodes: Iterable[NodeProto]) -> None:
        """Give the graph these nodes."""
        copies = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)

    def finish(self) -> None:
        """Make the replacements; drop parameters that nothing reads any more."""
        if self._dropped:
            inputs = self.model.graph.input
            remaining = [i for i in inputs if i.name not in self._dropped]
            del inputs[:]
            inputs.extend(remaining)
        if self._nodes:
            nodes = self.facts.nodes
            self.reorder(new for n in nodes for new in self._nodes.get(id(n), [n]))
        before = set(self.facts.readers)
        after = {name for names in Facts(self.model).reads for name in names}
        unused = before - after
        graph = self.model.graph
        kept = [i for i in graph.initializer if i.name not in unused]
        if len(kept) < len(graph.initializer):
            del graph.initializer[:]
            graph.initializer.extend(kept)


def mend_model(
    model: ModelProto, entries: Iterable[Rule]
) -> tuple[ModelProto, list[str]]:
    """Return a copy with all safe mends, and what was done, one line each.

    A file with broken nodes has no meaning that a mend could keep; it stays as it is.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    done = []
    draft = Draft(copy)
    for entry in entries:
        if entry.fix is None or draft.facts.broken:
            continue
        hits = [hit for hit in entry.find(draft.facts) if hit.fixable]
        for hit in hits:
            where = "the model" if hit.node is None else describe(hit.node)
            done.append(f"{entry.id}: {where}: {hit.where} {hit.received}".strip())
            entry.fix(draft, hit)
        if hits:
            draft.finish()
            draft = Draft(copy)
    return copy, done
