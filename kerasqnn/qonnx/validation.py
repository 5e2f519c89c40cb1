"""Refuses models that would crash the libraries which read them, or never end.

onnx's inliner, converter and shape inference and ONNX Runtime are C++; not all of
them check what they read. What is checked here, once, they need not check.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence, Set

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, defs

from .constants import STANDARD_DOMAINS
from .contents import check_attributes, check_tensors, check_text, check_unique
from .function_calls import inlined_size
from .operators import describe
from .schemas import check_node
from .structure import bodies_of, graphs_of, nodes_within, reads_of

#: Nodes, after functions are inlined, and tensors of a graph.
MOST_NODES = 100_000
_Scopes = tuple[Set[str], ...]


def validate(model: ModelProto) -> None:
    """Check the structure of a model; bring its nodes in the order of computation.

    Args:
        model: The model, whose nodes may be reordered.

    Raises:
        ValueError: If tensors are undefined, defined twice or depend on themselves;
            data or attributes do not hold what they claim to; functions call
            themselves; or there is too much of something.
    """
    _check_counts(model)
    check_text(model)
    _check_imports(model)
    for body in bodies_of(model):
        for node in body.node:
            check_attributes(node, isinstance(body, FunctionProto))
        if isinstance(body, GraphProto):
            check_tensors(body)
    _check_standard(model)
    _order_graph(model.graph, ())
    for function in model.functions:
        check_unique(function.input, f"inputs of the function {function.name!r}")
        _order(function, set(function.input), ())
    if inlined_size(model) > MOST_NODES:
        _refuse_size(inlined_size(model))


def _check_imports(model: ModelProto) -> None:
    for imports in [model.opset_import, *(f.opset_import for f in model.functions)]:
        check_unique((i.domain for i in imports), "imported domains")
        for entry in imports:
            is_standard = entry.domain in STANDARD_DOMAINS
            most = defs.onnx_opset_version() if is_standard else 2**31 - 1
            if not 1 <= entry.version <= most:
                raise ValueError(
                    f"The version of the domain {entry.domain!r} must be 1 to {most}. "
                    f"Received: {entry.version}"
                )


def _check_counts(model: ModelProto) -> None:
    nodes = 0
    for body in bodies_of(model):
        nodes += len(body.node)
        tensors = len(body.initializer) if isinstance(body, GraphProto) else 0
        if max(nodes, tensors, len(body.input), len(body.output)) > MOST_NODES:
            _refuse_size(max(nodes, tensors, len(body.input), len(body.output)))


def _check_standard(model: ModelProto) -> None:
    functions = {(f.domain, f.name) for f in model.functions}
    for body in [model.graph, *model.functions]:
        own = body.opset_import if isinstance(body, FunctionProto) else ()
        versions = {i.domain: i.version for i in [*model.opset_import, *own]}
        for node in nodes_within(body):
            is_standard = node.domain in STANDARD_DOMAINS
            if is_standard and (node.domain, node.op_type) not in functions:
                check_node(node, versions)


def _refuse_size(count: int) -> None:
    raise ValueError(
        f"A model must have at most {MOST_NODES} nodes, functions inlined, and as many "
        f"initializers, inputs or outputs. Received: {count}"
    )


def _order_graph(graph: GraphProto, scopes: _Scopes) -> None:
    initialized = [i.name for i in graph.initializer]
    given = [i.name for i in graph.input]
    outputs = [value.name for value in graph.output]
    for names, what in ((initialized, "initializers"), (given, "inputs"),
                        (outputs, "outputs")):  # fmt: skip
        check_unique(names, what)
    defined = (*scopes, _order(graph, {*initialized, *given}, scopes))
    undefined = [name for name in outputs if not _is_defined(name, defined)]
    if undefined:
        raise ValueError(
            "The outputs of a graph must be computed in it. "
            f"Received: {undefined[0][:80]!r}"
        )


def _order(
    body: GraphProto | FunctionProto, known: set[str], scopes: _Scopes
) -> set[str]:
    """Order the nodes of a body; return the names of all its tensors."""
    made = [name for node in body.node for name in node.output if name]
    twice = [name for name in made if name in known or _is_defined(name, scopes)]
    twice += [name for name in known if _is_defined(name, scopes)]
    check_unique([*made, *twice, *twice], "tensors")
    source = {name: i for i, node in enumerate(body.node) for name in node.output}
    source.pop("", None)
    before = []
    for node in body.node:
        names = reads_of(node)
        before.append({source[name] for name in names if name in source})
        for name in names:
            if not (name in source or name in known or _is_defined(name, scopes)):
                raise ValueError(
                    f"{describe(node)} must read defined tensors. "
                    f"Received: {name[:80]!r}"
                )
    _sort(body, before)
    defined = known.union(made)
    for node in body.node:
        if node.attribute:
            for inner in graphs_of(node):
                _order_graph(inner, (*scopes, defined))
    return defined


def _is_defined(name: str, scopes: _Scopes) -> bool:
    return any(name in scope for scope in scopes)


def _sort(body: GraphProto | FunctionProto, before: Sequence[set[int]]) -> None:
    """Order nodes so that each comes behind `before`, else as they were."""
    if all(max(numbers, default=-1) < i for i, numbers in enumerate(before)):
        return
    behind: list[list[int]] = [[] for _ in before]
    for i, numbers in enumerate(before):
        for number in numbers:
            behind[number].append(i)
    waiting = [len(numbers) for numbers in before]
    ready = [i for i, count in enumerate(waiting) if not count]
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for i in behind[order[-1]]:
            waiting[i] -= 1
            if not waiting[i]:
                heapq.heappush(ready, i)
    if len(order) < len(before):
        node = body.node[next(i for i, count in enumerate(waiting) if count)]
        raise ValueError(f"{describe(node)} must not depend on its own output.")
    nodes = [NodeProto.FromString(body.node[i].SerializeToString()) for i in order]
    del body.node[:]
    body.node.extend(nodes)
