"""Checks QONNX files against what their consumers take."""

from __future__ import annotations

import os
from pathlib import Path

from onnx import ModelProto

from ...errors import unknown_name
from ..files import as_model
from ..formats.writing import write_atomically
from ..structure import bodies_of
from .draft import mend_model
from .facts import Facts
from .registry import ERROR, SILENT, TARGETS, Hit, Rule, rules
from .report import Finding, Report

_RANK = {ERROR: 0, SILENT: 1}


def check_qonnx(
    model: str | os.PathLike[str] | ModelProto,
    *,
    target: str = "qonnx",
    fix: str | os.PathLike[str] | None = None,
) -> Report:
    """Check a QONNX file of any origin without running it.

    Args:
        model: Path of an `.onnx` file, or the model itself, which stays as it is.
        target: Who is to read it: `"qonnx"` (its executor and tools, 1.0), `"hls4ml"`
            (the ONNX front end of 1.3), `"finn"` or `"qcdq"` (`convert_qonnx`).
        fix: A path to which the model is written, as a whole or not at all, with
            every mend that keeps its numbers; the report is then about that file, and
            `report.mended` says what was done.

    Returns:
        The report; `report.ok` if the consumer takes the model as it is.

    Raises:
        FileNotFoundError: If there is no such file, or no folder for `fix`.
        ValueError: If the file is no ONNX model, or there is no such target.

    Example:

    >>> import kerasqnn
    >>> from onnx import parser
    >>> model = parser.parse_model('''
    ...   <ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>
    ...   small (float[1, 3] x) => (float[1, 3] y)
    ...   <float scale = {0.5}, float zero = {1.0}, float bits = {4.0}> {
    ...     [quant] y = qonnx.custom_op.general.Quant
    ...       <signed = 1, narrow = 0, rounding_mode = "ROUND">(x, scale, zero, bits)
    ...   }''')
    >>> kerasqnn.check_qonnx(model).ok
    True
    >>> report = kerasqnn.check_qonnx(model, target="hls4ml")
    >>> [(f.rule, f.severity, f.node) for f in report.errors]
    [('hls4ml-zero-point', 'silent', 'quant')]
    """
    if target not in TARGETS:
        raise ValueError(unknown_name("`target`", target, TARGETS))
    if fix is not None and not Path(fix).parent.is_dir():
        raise FileNotFoundError(
            f"The folder {str(Path(fix).parent)!r} does not exist. "
            f"Received: fix={str(fix)!r}"
        )
    checked = as_model(model)
    for _ in bodies_of(checked):  # refuses graphs that lie too deep in each other
        pass
    mended: list[str] = []
    if fix is not None:
        checked, mended = mend_model(checked, rules(target))
        write_atomically(checked, Path(fix))
    return Report(target, _findings(checked, target), mended)


def _findings(model: ModelProto, target: str) -> list[Finding]:
    facts = Facts(model)
    found = [
        _finding(entry, hit, target)
        for entry in rules(target)
        for hit in entry.find(facts)
    ]
    return sorted(found, key=lambda f: _RANK.get(f.severity, 2))


def _finding(entry: Rule, hit: Hit, target: str) -> Finding:
    node = hit.node
    name = "" if node is None else node.name or "".join(node.output[:1])
    return Finding(
        entry.id,
        entry.severity[target],
        name,
        "" if node is None else node.op_type,
        hit.where,
        hit.received,
        entry.problem,
        entry.consequence,
        entry.mend,
        entry.fix is not None and hit.fixable,
    )
