"""Rules on the QONNX operators: names, versions and attributes."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, helper

from ...operators import DOMAIN, GENERAL_DOMAINS, ROUNDING_MODES, TRUNC_2
from ..draft import Draft
from ..facts import QUANTS, Facts, attribute, text_of
from ..registry import ERROR, SILENT, WARNING, Hit, rule

_ATTRIBUTES = {"signed", "narrow", "rounding_mode"}
_KNOWN = {
    "Quant": _ATTRIBUTES,
    "IntQuant": _ATTRIBUTES,
    "Trunc": _ATTRIBUTES,
    "BipolarQuant": set(),
}


def _rename_domain(draft: Draft, hit: Hit) -> None:
    if hit.node is None:
        return
    old = hit.node.domain
    hit.node.domain = DOMAIN
    imports = draft.model.opset_import
    if not any(i.domain == DOMAIN for i in imports):
        version = draft.facts.versions.get(old, 1)
        imports.append(helper.make_opsetid(DOMAIN, version))


def _domains(facts: Facts, *domains: str) -> Iterator[Hit]:
    for node in facts.nodes:
        if node.domain in domains:
            there = facts.versions.get(DOMAIN)
            same = there in (None, facts.versions.get(node.domain, 1))
            fixable = same and not facts.has_function(node)
            yield Hit(node, "domain", node.domain, fixable)


@rule(
    "old-domain", {"qonnx": WARNING, "finn": WARNING},
    "The operator has a domain that QONNX no longer uses",
    "qonnx takes it as an alias; other tools do not",
    f"Use {DOMAIN}", _rename_domain,
)  # fmt: skip
def old_domain(facts: Facts) -> Iterator[Hit]:
    """qonnx: `_DOMAIN_ALIASES` and `ModelWrapper.temporary_fix_oldstyle_domain`."""
    names = GENERAL_DOMAINS - {DOMAIN, "qonnx"}
    return _domains(facts, *names)


@rule(
    "unresolved-domain", {"qonnx": ERROR, "finn": ERROR},
    "The operator has the domain `qonnx`", "qonnx itself does not know this domain",
    f"Use {DOMAIN}", _rename_domain,
)  # fmt: skip
def unresolved_domain(facts: Facts) -> Iterator[Hit]:
    """qonnx: `resolve_domain` imports the package `qonnx`, which has no operators."""
    return _domains(facts, "qonnx")


def _to_quant(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        hit.node.op_type = "Quant"


@rule(
    "int-quant", {"qonnx": WARNING, "finn": ERROR},
    "The operator is called IntQuant",
    "qonnx runs it, but its cleanup folds the quantizers of weights away; FINN and the "
    "QCDQ converter do not know it", "Call it Quant", _to_quant,
)  # fmt: skip
def int_quant(facts: Facts) -> Iterator[Hit]:
    """qonnx: `cleanup_model` preserves Quant; FINN and `QuantToQCDQ` match Quant."""
    for node in facts.quantizers("IntQuant"):
        yield Hit(node, "op_type", "IntQuant", not facts.has_function(node))


@rule(
    "input-count", ERROR, "The operator has too few or too many inputs",
    "It is refused, or inputs are taken for others", "Give it the inputs of QONNX",
)  # fmt: skip
def input_count(facts: Facts) -> Iterator[Hit]:
    """qonnx: `execute_node` reads the inputs by position."""
    for node in facts.quantizers():
        wanted = facts.input_names(node)
        if len(node.input) != len(wanted) or not all(node.input):
            yield Hit(node, "inputs", f"{len(node.input)} instead of {len(wanted)}")


def _import_second(draft: Draft, hit: Hit) -> None:
    for entry in draft.model.opset_import:
        if hit.node is not None and entry.domain == hit.node.domain:
            entry.version = 2


@rule(
    "trunc-version", {"qonnx": SILENT, "finn": SILENT},
    "A Trunc with six inputs, which is version 2, under an import of version 1",
    "qonnx runs version 1, which takes the output scale for the output bit width",
    "Import version 2 of the domain", _import_second,
)  # fmt: skip
def trunc_version(facts: Facts) -> Iterator[Hit]:
    """qonnx: `Trunc_v1.execute_node` reads `input[4]` as the output bit width."""
    nodes = [n for n in facts.quantizers("Trunc") if len(n.input) == len(TRUNC_2)]
    mixed = any(len(n.input) < len(TRUNC_2) for n in facts.quantizers("Trunc"))
    for node in nodes:
        version = facts.versions.get(node.domain, 1)
        if version < 2:
            imported = node.domain in facts.versions
            yield Hit(node, "version", str(version), imported and not mixed)


@rule(
    "trunc-inputs", {"qonnx": ERROR, "finn": ERROR},
    "A Trunc with five inputs, which is version 1, under a later import",
    "qonnx runs version 2 and crashes", "Import version 1, or write version 2",
)  # fmt: skip
def trunc_inputs(facts: Facts) -> Iterator[Hit]:
    """qonnx: `Trunc_v2.execute_node` reads `input[5]`."""
    for node in facts.quantizers("Trunc"):
        if len(node.input) == 5 and facts.versions.get(node.domain, 1) >= 2:
            yield Hit(node, "version", str(facts.versions[node.domain]))


@rule(
    "missing-attribute", {"qonnx": ERROR, "hls4ml": SILENT, "finn": ERROR},
    "An attribute is missing that has no agreed default",
    "qonnx refuses the node when it runs; hls4ml reads 0", "State the attribute",
)  # fmt: skip
def missing_attribute(facts: Facts) -> Iterator[Hit]:
    """qonnx: "Required attribute unspecified"; hls4ml: `bool(None)`."""
    for node in facts.quantizers(*QUANTS, "Trunc"):
        is_trunc = node.op_type == "Trunc"
        for name in ("rounding_mode",) if is_trunc else ("signed", "narrow"):
            if attribute(node, name) is None:
                yield Hit(node, name, "missing")


def _state_round(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        draft.set(hit.node, "rounding_mode", "ROUND")


@rule(
    "missing-rounding-mode", {"qonnx": WARNING, "hls4ml": ERROR},
    "The rounding mode is not stated", "qonnx takes ROUND; hls4ml refuses the node",
    'State rounding_mode="ROUND"', _state_round,
)  # fmt: skip
def missing_rounding_mode(facts: Facts) -> Iterator[Hit]:
    """hls4ml: `Quant` expects a string; qonnx: `IntQuant.get_nodeattr_types`."""
    for node in facts.quantizers(*QUANTS):
        if attribute(node, "rounding_mode") is None:
            yield Hit(node, "rounding_mode", "missing", not facts.has_function(node))


@rule(
    "unknown-attribute", WARNING, "QONNX does not know the attribute",
    "Every consumer ignores it", "Correct its name, or remove it",
)  # fmt: skip
def unknown_attribute(facts: Facts) -> Iterator[Hit]:
    """qonnx: `get_nodeattr` is asked for known names only."""
    for node in facts.quantizers(*_KNOWN):
        for found in node.attribute:
            if found.name not in _KNOWN[node.op_type]:
                yield Hit(node, found.name)


@rule(
    "attribute-type", {"qonnx": SILENT, "hls4ml": WARNING, "finn": SILENT},
    "An attribute has another type than QONNX's",
    "qonnx reads the field of the right type, which holds 0 or nothing",
    "Write signed and narrow as integers, rounding_mode as a string",
)  # fmt: skip
def attribute_type(facts: Facts) -> Iterator[Hit]:
    """qonnx: `CustomOp.get_nodeattr` reads `attr.i` and `attr.s`, whatever the type."""
    for node in facts.quantizers(*QUANTS, "Trunc"):
        for found in node.attribute:
            is_text = found.name == "rounding_mode"
            wanted = AttributeProto.STRING if is_text else AttributeProto.INT
            if found.name in _ATTRIBUTES and found.type != wanted:
                yield Hit(node, found.name, f"type {found.type}")


@rule(
    "rounding-mode-unknown", ERROR, "QONNX does not know the rounding mode",
    "It is refused", f"Use one of {', '.join(ROUNDING_MODES)}; for Brevitas's "
    "ROUND_TO_ZERO, DOWN",
)  # fmt: skip
def rounding_mode_unknown(facts: Facts) -> Iterator[Hit]:
    """qonnx: `resolve_rounding_mode` raises."""
    for node in facts.quantizers(*QUANTS, "Trunc"):
        mode = text_of(node, "rounding_mode")
        if mode is not None and mode.upper() not in ROUNDING_MODES:
            yield Hit(node, "rounding_mode", mode)


def _upper(draft: Draft, hit: Hit) -> None:
    if hit.node is not None:
        mode = str(text_of(hit.node, "rounding_mode")).upper()
        draft.set(hit.node, "rounding_mode", mode)


@rule(
    "rounding-mode-case", {"qonnx": WARNING, "hls4ml": ERROR},
    "The rounding mode is not in upper case",
    "qonnx's executor takes it; hls4ml refuses it and the QCDQ converter leaves it",
    "Write it in upper case", _upper,
)  # fmt: skip
def rounding_mode_case(facts: Facts) -> Iterator[Hit]:
    """hls4ml: `_calculate_precision_quantizer`; qonnx: `resolve_rounding_mode`."""
    for node in facts.quantizers(*QUANTS, "Trunc"):
        mode = text_of(node, "rounding_mode")
        if mode and mode != mode.upper() and mode.upper() in ROUNDING_MODES:
            yield Hit(node, "rounding_mode", mode, not facts.has_function(node))


@rule(
    "rounding-mode-half-even", {"hls4ml": ERROR},
    "The rounding mode is called HALF_EVEN", "Only the name ROUND is known",
    'Write "ROUND", which is the same', _state_round,
)  # fmt: skip
def rounding_mode_half_even(facts: Facts) -> Iterator[Hit]:
    """hls4ml: `_calculate_precision_quantizer`; `is_valid_qcdq_transformation`."""
    for node in facts.quantizers(*QUANTS):
        if text_of(node, "rounding_mode") == "HALF_EVEN":
            received = "HALF_EVEN"
            yield Hit(node, "rounding_mode", received, not facts.has_function(node))
