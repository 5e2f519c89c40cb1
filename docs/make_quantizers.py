"""Draw docs/quantizers.png: the plot of every quantizer's docstring, on one sheet.

    python docs/make_quantizers.py

The order is that of the table in docs/quantizers.md.
"""

from __future__ import annotations

import math
import re
from functools import partial
from io import BytesIO
from pathlib import Path
from textwrap import dedent
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from PIL import Image

from kerasqnn import quantizers

HERE = Path(__file__).parent
_COLUMNS = 4
_DPI, _COLOURS = 160, 48
_ROOM = 1.2  # shown, in units of the outermost ticks
_STYLE = {
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.edgecolor": "0.6",
    "axes.linewidth": 0.6,
    "xtick.color": "0.6",
    "ytick.color": "0.6",
    "xtick.labelcolor": "0.25",
    "ytick.labelcolor": "0.25",
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
}


def listed(page: str) -> list[str]:
    """Return the names of the quantizers in the table of the page, in order."""
    return re.findall(r"^\| \[`(\w+)`\]", page, re.M)


def plot_code(docstring: str) -> str:
    """Return the code of the `.. plot::` directive of a docstring, "" without one."""
    lines = re.search(r"^ *\.\. plot::\n\n((?: {8}.*\n)+)", docstring, re.M)
    return dedent(lines[1]) if lines else ""


def draw(name: str, ax: Axes) -> None:
    """Run the code of a quantizer's docstring, and draw its plot on `ax`."""
    code = plot_code(getattr(quantizers, name).__doc__)
    on_ax = partial(quantizers.plot_quantizer, ax=ax)
    with patch.object(quantizers, "plot_quantizer", on_ax):
        exec(compile(code, name, "exec"), {})


def sheet(names: list[str], path: Path) -> None:
    """Draw the plots of these quantizers into one file."""
    rows = math.ceil(len(names) / _COLUMNS)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            rows, _COLUMNS, figsize=(10.0, 1.95 * rows), layout="constrained"
        )
        handles: dict[str, object] = {}
        for name, ax in zip(names, axes.flat, strict=False):
            draw(name, ax)
            found, labels = ax.get_legend_handles_labels()
            handles |= dict(zip(labels, found, strict=True))
            ax.get_legend().remove()
            ax.set(title=name, xlabel="")
            _same_ticks(ax)
        for ax in axes.flat[len(names) :]:
            ax.axis("off")
        figure.legend(
            handles.values(),
            handles,
            loc="outside upper center",
            ncols=len(handles),
            frameon=False,
            markerscale=1.6,
        )
        figure.savefig(pixels := BytesIO(), dpi=_DPI)
        plt.close(figure)
    # Few colours make a small file.
    Image.open(pixels).convert("RGB").quantize(_COLOURS).save(path, optimize=True)


def _same_ticks(ax: Axes) -> None:
    """Show a power of two to both sides of zero on the vertical axis."""
    drawn, _ = ax.get_legend_handles_labels()
    largest = max(float(np.max(np.abs(line.get_ydata()))) for line in drawn)
    top = 2.0 ** math.ceil(math.log2(largest / _ROOM))
    ax.set_ylim(-_ROOM * top, _ROOM * top)
    ax.set_yticks([-top, -top / 2, 0.0, top / 2, top])
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\u2212"))


if __name__ == "__main__":
    page = (HERE / "quantizers.md").read_text()
    sheet(listed(page), HERE / "quantizers.png")
