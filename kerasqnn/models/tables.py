"""Tables: data first, printed second."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


class Table:
    """Rows of one kind, with the means to read, print and show them.

    Args:
        title: What the table is about.
        columns: Column names, with units where there are any.
        rows: One sequence of values a row, in the order of `columns`.
        totals: Values of a last line by column name, or None.
    """

    def __init__(
        self,
        title: str,
        columns: tuple[str, ...],
        rows: list[tuple[Any, ...]],
        totals: dict[str, Any] | None = None,
    ) -> None:
        self.title = title
        self.columns = columns
        self.rows = rows
        self.totals = dict(totals or {})

    def to_dict(self) -> list[dict[str, Any]]:
        """Return one dictionary a row, without the totals."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the rows as a pandas DataFrame, without the totals."""
        import pandas

        return pandas.DataFrame(self.rows, columns=list(self.columns))

    def _lines(self) -> list[list[str]]:
        lines = [[_text(value) for value in row] for row in self.rows]
        if self.totals:
            lines.append([_text(self.totals.get(c)) for c in self.columns])
        return lines

    def __str__(self) -> str:
        lines = [list(self.columns), *self._lines()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        right = [self._is_number(i) for i in range(len(self.columns))]

        def pad(line: list[str]) -> str:
            cells = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(line, widths, right, strict=True)
            )
            return "  ".join(cells).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        text = [self.title, rule, pad(lines[0]), rule, *map(pad, lines[1:])]
        if self.totals:
            text.insert(-1, rule)
        return "\n".join(text)

    __repr__ = __str__

    def _is_number(self, column: int) -> bool:
        values = [row[column] for row in self.rows if row[column] is not None]
        return bool(values) and all(isinstance(v, (int, float)) for v in values)

    def _repr_html_(self) -> str:
        def row(cells: list[str], tag: str) -> str:
            inner = "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells)
            return f"<tr>{inner}</tr>"

        body = [row(line, "td") for line in self._lines()]
        if self.totals:
            body[-1] = body[-1].replace("<td>", "<th>").replace("</td>", "</th>")
        return (
            f"<table><caption>{escape(self.title)}</caption>"
            f"<thead>{row(list(self.columns), 'th')}</thead>"
            f"<tbody>{''.join(body)}</tbody></table>"
        )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.3f}" if abs(value) >= 0.001 else f"{value:.3g}"
