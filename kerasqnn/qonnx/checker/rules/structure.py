"""Rules on the graph that every consumer needs."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import defs, helper

from ...constants import STANDARD_DOMAINS
from ...operators import CHANNELS_LAST_DOMAIN, GENERAL_DOMAINS
from ...tensor_data import check_tensor
from ..draft import Draft
from ..facts import Facts
from ..registry import ERROR, WARNING, Hit, rule

#: The operators of qonnx 1.0.
GENERAL = frozenset(
    "BipolarQuant DebugMarker FloatQuant GenericPartition Im2Col IntQuant MaxPoolNHWC "
    "MultiThreshold Quant QuantAvgPool2d Trunc XnorPopcountMatMul".split()
)
CHANNELS_LAST = frozenset("Conv MaxPool BatchNormalization".split())
_OTHER_DOMAINS = ("ai.onnx.ml", "com.microsoft")
_OLDEST = 7


@rule(
    "unreadable-tensor", ERROR, "An initializer does not hold what it claims to",
    "No consumer can read it", "Export the file anew",
)  # fmt: skip
def unreadable_tensor(facts: Facts) -> Iterator[Hit]:
    """`onnx.numpy_helper.to_array` raises or returns other numbers."""
    for name, tensor in facts.initializers.items():
        try:
            check_tensor(tensor, name)
        except ValueError as error:
            yield Hit(None, name, str(error))


@rule(
    "broken-node", ERROR, "A node lacks inputs or outputs that its operator must have",
    "Every consumer refuses the file, or crashes", "Export the file anew",
)  # fmt: skip
def broken_node(facts: Facts) -> Iterator[Hit]:
    """ONNX's schemas, as `onnx.checker` applies them."""
    for node in facts.broken:
        yield Hit(node, "", f"{len(node.input)} inputs, {len(node.output)} outputs")


@rule(
    "undefined-tensor", ERROR, "A tensor is read or returned that nothing computes",
    "Every consumer refuses the file", "Name the tensor that is meant",
)  # fmt: skip
def undefined_tensor(facts: Facts) -> Iterator[Hit]:
    """`onnx.checker` and ONNX Runtime refuse it."""
    known = {i.name for i in facts.inputs} | set(facts.initializers)
    known |= set(facts.producers)
    for node, names in zip(facts.nodes, facts.reads, strict=True):
        for name in sorted(names - known):
            yield Hit(node, name)
    for name in facts.outputs:
        if name not in known:
            yield Hit(None, name, "an output")


@rule(
    "duplicate-tensor", ERROR, "Two nodes compute a tensor of one name",
    "Consumers take the one or the other", "Give each tensor a name of its own",
)  # fmt: skip
def duplicate_tensor(facts: Facts) -> Iterator[Hit]:
    """ONNX demands static single assignment; `onnx.checker` refuses it."""
    seen = {i.name for i in facts.inputs} | set(facts.initializers)
    for node in facts.nodes:
        for name in filter(None, node.output):
            if name in seen:
                yield Hit(node, name)
            seen.add(name)


@rule(
    "cyclic-graph", ERROR, "Nodes depend on their own outputs",
    "Every consumer refuses the file", "Break the cycle",
)  # fmt: skip
def cyclic_graph(facts: Facts) -> Iterator[Hit]:
    """ONNX graphs are acyclic; `onnx.checker` refuses others."""
    ordered = set(facts.order)
    first = next((i for i in range(len(facts.nodes)) if i not in ordered), None)
    if first is not None:
        count = len(facts.nodes) - len(ordered)
        yield Hit(facts.nodes[first], "", f"{count} nodes in or behind a cycle")


def _sort(draft: Draft, hit: Hit) -> None:
    draft.reorder(draft.facts.nodes[i] for i in draft.facts.order)


@rule(
    "nodes-not-sorted", ERROR, "A node comes before one whose output it reads",
    "qonnx's executor and ONNX Runtime refuse the file; hls4ml wires it wrongly",
    "Sort the nodes", _sort,
)  # fmt: skip
def nodes_not_sorted(facts: Facts) -> Iterator[Hit]:
    """qonnx: `execute_onnx` asserts `nodes_topologically_sorted`."""
    if len(facts.order) < len(facts.nodes):
        return
    for i, names in enumerate(facts.reads):
        if any(facts.producers.get(name, -1) > i for name in names):
            yield Hit(facts.nodes[i])
            return


@rule(
    "unreachable-node", WARNING, "No output depends on the node",
    "It is computed, or built in hardware, for nothing", "Remove it",
)  # fmt: skip
def unreachable_node(facts: Facts) -> Iterator[Hit]:
    """hls4ml gives each node a layer; qonnx runs every node of the list."""
    needed = set(facts.outputs)
    for i in reversed(facts.order):
        if needed.isdisjoint(facts.nodes[i].output):
            yield Hit(facts.nodes[i])
        else:
            needed |= facts.reads[i]


def _rename(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        hit.node.name = draft.name(hit.node.name or hit.node.op_type)


@rule(
    "duplicate-node-name", {"qonnx": WARNING, "hls4ml": ERROR, "finn": WARNING},
    "Two nodes have one name", "hls4ml keeps one layer a name and crashes",
    "Give each node a name of its own", _rename,
)  # fmt: skip
def duplicate_node_name(facts: Facts) -> Iterator[Hit]:
    """hls4ml: `ModelGraph` stores layers by name; IndexError in `layers.py`."""
    seen: set[str] = set()
    for node in facts.nodes:
        if node.name and node.name in seen:
            yield Hit(node, "name", node.name)
        seen.add(node.name)


@rule(
    "missing-node-name", {"hls4ml": ERROR}, "A node has no name",
    "hls4ml crashes: IndexError in `sanitize_layer_name`", "Name the node", _rename,
)  # fmt: skip
def missing_node_name(facts: Facts) -> Iterator[Hit]:
    """hls4ml: `converters/onnx_to_hls.py` reads the first letter of each name."""
    return (Hit(node, "name") for node in facts.nodes if not node.name)


def _drop_input(draft: Draft, hit: Hit) -> None:
    draft.drop_input(hit.where)
    # Before version 4 of the format each initializer had to be an input.
    draft.model.ir_version = max(draft.model.ir_version, 4)


@rule(
    "initializer-as-input", dict.fromkeys(("qonnx", "hls4ml", "finn"),
                                          WARNING),
    "A parameter is listed as an input of the graph too",
    "It may be given anew in each call, so that tools do not fold it",
    "Remove it from the inputs", _drop_input,
)  # fmt: skip
def initializer_as_input(facts: Facts) -> Iterator[Hit]:
    """qonnx: cleanup has `RemoveStaticGraphInputs` for it."""
    for value in facts.model.graph.input:
        if value.name in facts.initializers:
            yield Hit(None, value.name)


def _import_qonnx(draft: Draft, hit: Hit) -> None:
    second = any(len(n.input) == 6 for n in draft.facts.quantizers("Trunc"))
    opset = helper.make_opsetid(hit.where, 2 if second else 1)
    draft.model.opset_import.append(opset)


@rule(
    "missing-import", {"qonnx": WARNING, "finn": WARNING},
    "A domain is used that the model does not import",
    "qonnx takes version 1 of its operators; ONNX Runtime refuses the file",
    "Import the domain", _import_qonnx,
)  # fmt: skip
def missing_import(facts: Facts) -> Iterator[Hit]:
    """qonnx: `execute_onnx` falls back to `get_preferred_qonnx_opset`, which is 1."""
    used = dict.fromkeys(n.domain for n in facts.nodes)
    for domain in used:
        if domain not in facts.versions and domain not in STANDARD_DOMAINS:
            known = domain in GENERAL_DOMAINS or domain == CHANNELS_LAST_DOMAIN
            yield Hit(None, domain, "not imported", fixable=known)


@rule(
    "missing-standard-import", ERROR, "No version of ONNX's operators is imported",
    "qonnx runs them as version 1, ONNX Runtime refuses the file",
    "Import the version that the exporter wrote",
)  # fmt: skip
def missing_standard_import(facts: Facts) -> Iterator[Hit]:
    """qonnx: `execute_onnx` falls back to `get_preferred_qonnx_opset`, which is 1."""
    if not set(facts.versions) & set(STANDARD_DOMAINS):
        if any(node.domain in STANDARD_DOMAINS for node in facts.nodes):
            yield Hit(None, "opset_import")


@rule(
    "opset-too-old", WARNING, f"The opset is older than {_OLDEST}",
    "ONNX Runtime, in which qonnx runs standard nodes, promises none below 7",
    "Convert the model with `onnx.version_converter`",
)  # fmt: skip
def opset_too_old(facts: Facts) -> Iterator[Hit]:
    """ONNX Runtime's documentation of compatibility."""
    for domain in STANDARD_DOMAINS:
        if facts.versions.get(domain, _OLDEST) < _OLDEST:
            yield Hit(None, "opset_import", str(facts.versions[domain]))


@rule(
    "unknown-operator", {"qonnx": ERROR, "finn": ERROR},
    "No consumer has the operator", "It is refused when it is run",
    "Export it as operators of ONNX or QONNX",
)  # fmt: skip
def unknown_operator(facts: Facts) -> Iterator[Hit]:
    """qonnx: operators that `is_custom_op` does not know go to ONNX Runtime."""
    known: dict[tuple[str, str], bool] = {}
    for node in facts.nodes:
        key = node.domain, node.op_type
        if key not in known:
            known[key] = _is_known(*key) or facts.has_function(node)
        if not known[key]:
            yield Hit(node, "op_type", f"{node.op_type} of {node.domain or 'ONNX'}")


def _is_known(domain: str, op_type: str) -> bool:
    if domain in GENERAL_DOMAINS:
        return op_type in GENERAL
    if domain == CHANNELS_LAST_DOMAIN:
        return op_type in CHANNELS_LAST
    if domain in STANDARD_DOMAINS:
        return bool(defs.has(op_type))
    return domain in _OTHER_DOMAINS


@rule(
    "missing-shape", {"qonnx": ERROR, "hls4ml": ERROR, "finn": ERROR},
    "An input has no shape", "No shape can be inferred; the consumers need all of them",
    "State the shape of the input",
)  # fmt: skip
def missing_shape(facts: Facts) -> Iterator[Hit]:
    """qonnx: `execute_onnx` raises "Found unspecified tensor shapes"."""
    for value in facts.inputs:
        if not value.type.tensor_type.HasField("shape"):
            yield Hit(None, value.name)


@rule(
    "symbolic-batch", {"finn": WARNING}, "The batch of an input is symbolic",
    "FINN builds for a fixed batch", "Fix it: `qonnx.util.cleanup` with "
    "`override_inpsize=1`",
)  # fmt: skip
def symbolic_batch(facts: Facts) -> Iterator[Hit]:
    """FINN computes folding and depths of buffers from the shapes."""
    for value in facts.inputs:
        if facts.shapes.get(value.name, (1,))[:1] == (0,):
            yield Hit(None, value.name)


@rule(
    "symbolic-dimension", {"qonnx": WARNING, "hls4ml": ERROR, "finn": ERROR},
    "A size behind the batch is symbolic", "It is read as 0", "Fix the size",
)  # fmt: skip
def symbolic_dimension(facts: Facts) -> Iterator[Hit]:
    """hls4ml: `get_input_shape` reads `dim_value`."""
    for value in facts.inputs:
        shape = facts.shapes.get(value.name, ())
        if 0 in shape[1:]:
            yield Hit(None, value.name, str(shape))
