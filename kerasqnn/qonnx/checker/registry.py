"""The rules: each says what it finds, what a consumer does with it, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import NodeProto

from .facts import Facts

if TYPE_CHECKING:
    from .draft import Draft

#: The consumers whose rules there are.
TARGETS = ("qonnx", "hls4ml", "finn", "qcdq")
ERROR, WARNING, SILENT = "error", "warning", "silent"


@dataclass(frozen=True)
class Hit:
    """A place where a rule applies.

    Args:
        node: The node, None for the model as a whole.
        where: Attribute, input or tensor.
        received: What is there.
        fixable: Whether the rule's mend keeps the numbers here.
    """

    node: NodeProto | None
    where: str = ""
    received: str = ""
    fixable: bool = True


Find = Callable[[Facts], Iterable[Hit]]
Mend = Callable[["Draft", Hit], None]


@dataclass(frozen=True)
class Rule:
    """A rule, with its severity by target."""

    id: str
    severity: Mapping[str, str]
    problem: str
    consequence: str
    mend: str
    find: Find
    fix: Mend | None = None


_RULES: dict[str, Rule] = {}


def rule(
    id: str,  # noqa: A002  (what the field calls it)
    severity: str | Mapping[str, str],
    problem: str,
    consequence: str,
    mend: str,
    fix: Mend | None = None,
) -> Callable[[Find], Find]:
    """Register a function that finds where a rule applies.

    Args:
        id: Stable name in kebab case.
        severity: By target, or one for all targets.
        problem: What is wrong.
        consequence: What the consumer does.
        mend: The way out.
        fix: Applies it in a draft, where that keeps the numbers.
    """
    by_target = (
        dict.fromkeys(TARGETS, severity) if isinstance(severity, str) else severity
    )

    def register(find: Find) -> Find:
        if id in _RULES:
            raise ValueError(f"There is a rule of this name. Received: id={id!r}")
        _RULES[id] = Rule(id, by_target, problem, consequence, mend, find, fix)
        return find

    return register


def rules(target: str | None = None) -> Iterator[Rule]:
    """Yield the rules of a target, or all."""
    from . import rules as _  # noqa: F401  (registers them)

    for entry in _RULES.values():
        if target is None or target in entry.severity:
            yield entry


def table() -> str:
    """Return the table of all rules for the documentation, in Markdown."""
    lines = ["| rule | consumers | what happens | way out | mended |", "|---" * 5 + "|"]
    for entry in rules():
        levels: dict[str, list[str]] = {}
        for target, severity in entry.severity.items():
            levels.setdefault(severity, []).append(target)
        consumers = "; ".join(
            f"{severity}: {'all' if len(names) == len(TARGETS) else ', '.join(names)}"
            for severity, names in levels.items()
        )
        mended = "yes" if entry.fix else ""
        cells = (f"`{entry.id}`", consumers, f"{entry.problem}: {entry.consequence}",
                 entry.mend, mended)  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
