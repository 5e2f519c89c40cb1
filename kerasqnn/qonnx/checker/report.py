"""What a check found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

from ...models.tables import Table
from .registry import ERROR, SILENT

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Finding:
    """Something that a consumer refuses, changes or may trip over.

    Args:
        rule: Name of the rule, which stays the same between releases.
        severity: "error" (refused, or no meaning), "silent" (the consumer computes
            something else without saying so) or "warning".
        node: Name of the node, or of its output; empty for the whole model.
        op_type: Its operator.
        where: The attribute, input or tensor.
        received: What is there.
        problem: What is wrong with it.
        consequence: What the consumer does.
        mend: The way out.
        fixable: Whether `fix` mends it.
    """

    rule: str
    severity: str
    node: str
    op_type: str
    where: str
    received: str
    problem: str
    consequence: str
    mend: str
    fixable: bool


_WIDEST = 60
_MOST_PRINTED = 5


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


_COLUMNS = tuple(field.name for field in fields(Finding))


class Report:
    """The findings of a check, as data and as a table.

    Printed are the first few findings of a rule; the data holds all.

    Args:
        target: The consumer.
        findings: What was found, the worst first.
        mended: What was mended, one line each.
    """

    def __init__(
        self, target: str, findings: Sequence[Finding], mended: Sequence[str] = ()
    ) -> None:
        self.target = target
        self.findings = list(findings)
        self.mended = list(mended)

    @property
    def errors(self) -> list[Finding]:
        """The findings with which the consumer gives no result, or a wrong one."""
        return [f for f in self.findings if f.severity in (ERROR, SILENT)]

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def to_dict(self) -> list[dict[str, Any]]:
        """Return one dictionary a finding."""
        return [dict(zip(_COLUMNS, astuple(f), strict=True)) for f in self.findings]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row a finding."""
        import pandas

        return pandas.DataFrame(
            [astuple(f) for f in self.findings], columns=list(_COLUMNS)
        )

    def _table(self, most: int) -> Table:
        """Return the findings, up to so many of one rule and one more."""
        count = len(self.findings)
        title = f"{count} finding{'s' * (count != 1)} for {self.target}"
        columns = ("severity", "rule", "node", "where", "received")
        by_rule: dict[str, list[Finding]] = {}
        for finding in self.findings:
            by_rule.setdefault(finding.rule, []).append(finding)
        rows = []
        for rule, found in by_rule.items():
            shown = found if len(found) <= most + 1 else found[:most]
            rows += [
                (f.severity, rule, f.node, f.where, _short(f.received)) for f in shown
            ]
            if len(shown) < len(found):
                more = f"and {len(found) - len(shown)} more"
                rows.append((found[0].severity, rule, more, "", ""))
        return Table(title, columns, rows)

    def __str__(self) -> str:
        parts = [str(self._table(_MOST_PRINTED))] if self.findings else [
            f"Nothing found for {self.target}."
        ]  # fmt: skip
        for finding in {f.rule: f for f in self.findings}.values():
            automatic = " (`fix` does it.)" if finding.fixable else ""
            parts.append(
                f"{finding.rule}: {finding.problem}. {finding.consequence}.\n"
                f"    Way out: {finding.mend}.{automatic}"
            )
            if _short(finding.received) != finding.received:
                parts[-1] += f"\n    Received: {finding.received}"
        if self.mended:
            parts.append("\n".join(["Mended:", *(f"    {m}" for m in self.mended)]))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._table(_MOST_PRINTED)._repr_html_()
