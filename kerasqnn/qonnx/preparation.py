"""Makes any QONNX file a plain ONNX model that stock ONNX Runtime runs exactly."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, inliner
from onnx import version_converter as converter

from .constants import STANDARD_DOMAINS, constants_of
from .expansion import expand, is_expanded
from .operators import CHANNELS_LAST_DOMAIN, GENERAL_DOMAINS, OPERATORS, describe
from .shapes import Shapes, check_sizes
from .structure import bodies_of, graphs_of, reads_of
from .validation import MOST_NODES, validate

#: Lowest version of the standard operators in which expansions are written.
OPSET = 13
_MOST_BYTES = 2**30


def prepare(model: ModelProto) -> ModelProto:
    """Return a model of standard operators with the same numbers.

    QONNX operators, under any domain that tools have used and in any subgraph, are
    expanded; functions are inlined; opsets older than 13 are converted; missing imports
    are added; parameters that are listed as inputs too are inputs no more.

    Args:
        model: The model as loaded; left as it is.

    Returns:
        The model to run. Tensors keep their names.

    Raises:
        ValueError: If a node is not defined by ONNX, QONNX or the file, or the model
            has no meaning or is too large (see `validate`).
    """
    prepared = standardize(model)
    _expand(prepared)
    check_sizes(prepared)
    return prepared


def standardize(model: ModelProto) -> ModelProto:
    """Return the model as one writer would write it, its QONNX operators as they are.

    Args:
        model: The model as loaded; left as it is.

    Returns:
        The model of which `prepare` expands the operators.

    Raises:
        ValueError: As `prepare`.
    """
    standard = ModelProto()
    standard.CopyFrom(model)
    validate(standard)
    _import_domains(standard)
    standard = _inline(standard)
    _drop_static_inputs(standard.graph)
    return _convert(standard)


def _import_domains(model: ModelProto) -> None:
    there = {i.domain for i in model.opset_import}
    used = {n.domain for body in bodies_of(model) for n in body.node}
    if not there.intersection(STANDARD_DOMAINS):
        model.opset_import.append(helper.make_opsetid("", OPSET))
    for domain in sorted(used - there - set(STANDARD_DOMAINS)):
        model.opset_import.append(helper.make_opsetid(domain, 1))
    for function in model.functions:
        if not function.opset_import:
            function.opset_import.append(helper.make_opsetid("", OPSET))


def _inline(model: ModelProto) -> ModelProto:
    """Drop the bodies of QONNX operators; inline all other functions."""
    others = [f for f in model.functions if f.domain not in GENERAL_DOMAINS]
    del model.functions[:]
    for body in bodies_of(model):
        for node in body.node:
            if node.domain in GENERAL_DOMAINS:
                node.overload = ""
    if not others:
        return model
    model.functions.extend(others)
    return inliner.inline_local_functions(model)


def _drop_static_inputs(graph: GraphProto) -> None:
    initialized = {i.name for i in graph.initializer}
    kept = [i for i in graph.input if i.name not in initialized]
    del graph.input[:]
    graph.input.extend(kept)


def _convert(model: ModelProto) -> ModelProto:
    version = next(
        i.version for i in model.opset_import if i.domain in STANDARD_DOMAINS
    )
    if version >= OPSET:
        return model
    try:
        return converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own types
        raise ValueError(
            f"The model's opset {version} cannot be converted to {OPSET}: {error}"
        ) from error


def _expand(model: ModelProto) -> None:
    versions = {i.domain: i.version for i in model.opset_import}
    _expand_graph(model.graph, ChainMap(), versions)
    used = {name for node in model.graph.node for name in reads_of(node)}
    used |= {value.name for value in model.graph.output}
    parameters = [i for i in model.graph.initializer if i.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(parameters)
    nodes = [node for body in bodies_of(model) for node in body.node]
    _refuse_unknown(nodes)
    if len(nodes) > MOST_NODES:
        raise ValueError(
            f"The model must have at most {MOST_NODES} nodes when its QONNX operators "
            f"are written as standard ones. Received: {len(nodes)}"
        )
    domains = {n.domain for n in nodes} | set(STANDARD_DOMAINS)
    kept = [i for i in model.opset_import if i.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _expand_graph(
    graph: GraphProto, outer: ChainMap[str, Any], versions: Mapping[str, int]
) -> None:
    """Expand the nodes of a graph, which reads the constants of those around it too."""
    constants = outer.new_child(constants_of(graph))
    shapes = Shapes(graph, versions)
    nodes: list[NodeProto] = []
    written = 0
    for node in graph.node:
        for inner in graphs_of(node):
            _expand_graph(inner, constants, versions)
        if is_expanded(node):
            expansion = expand(node, constants, versions, shapes.of(nodes))
            nodes.extend(expansion.nodes)
            graph.initializer.extend(expansion.initializers)
            written += sum(len(i.raw_data) for i in expansion.initializers)
            if written > _MOST_BYTES:
                raise ValueError(
                    "QONNX operators must have constants of at most 2^30 bytes "
                    f"together. Received: more, up to {describe(node)}"
                )
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    # Shapes of removed steps would be checked against what is there now.
    del graph.value_info[:]


def _refuse_unknown(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        if node.domain in GENERAL_DOMAINS or node.domain == CHANNELS_LAST_DOMAIN:
            raise ValueError(
                f"{describe(node)} of the domain {node.domain!r} has no translation "
                f"to standard operators. Allowed: {', '.join(OPERATORS)}; channels "
                "last, BatchNormalization, Conv, MaxPool. "
                f"Received: {node.op_type!r}"
            )


def with_outputs(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """Return the model with these tensors as its outputs."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return watched
