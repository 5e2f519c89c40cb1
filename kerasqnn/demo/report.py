"""`report.json` and `report.html` of the demonstration."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

_TEMPLATE = Path(__file__).parent / "report.html.j2"


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write both reports into a folder that already holds the plots.

    Args:
        folder: The folder; its PNG files are embedded in the page.
        report: What was measured, as plain values.
    """
    import jinja2

    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text())
    images = {
        file.stem: base64.b64encode(file.read_bytes()).decode()
        for file in folder.glob("*.png")
    }
    page = template.render(report=report, images=images)
    (folder / "report.html").write_text(page)
