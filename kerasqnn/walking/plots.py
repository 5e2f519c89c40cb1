"""Plots of a walk over the noise points of a network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .result import PointCurve, WalkResult

_LEVEL_LABELS = {
    "additive": "Noise standard deviation [units of the activation]",
    "multiplicative": "Noise standard deviation [fraction of the activation]",
    "combined": "Noise amplitude",
}
_MOST_LEGEND_ROWS = 24


def plot_curves(
    result: WalkResult, ax: Axes | None = None, *, relative: bool = False
) -> Axes:
    """Plot accuracy against noise, one curve per noise point, coloured by depth.

    Dots are measurements and shaded bands their confidence intervals; lines are the
    fits (dashed between the measurements where there is no fit). A diamond marks each
    midpoint noise level, a bar through it its interval.

    Args:
        result: The walk.
        ax: Axes to draw on; a new figure if None.
        relative: Show the noise relative to the RMS of each activation.

    Returns:
        The axes.
    """
    entries = len(result.curves) + 2
    columns = math.ceil(entries / _MOST_LEGEND_ROWS)
    if ax is None:
        rows = math.ceil(entries / columns)
        ax = _new_axes(6.7 + 1.8 * columns, max(4.5, 0.8 + 0.19 * rows))
    ax.set_xscale("log")
    clean = ax.axhline(result.clean_accuracy, color="0.35", lw=1, ls="--")
    chance = ax.axhline(result.chance, color="0.35", lw=1, ls=":")
    handles, labels = [clean, chance], ["without noise", "chance"]
    for curve, colour in zip(result.curves, _colours(result), strict=True):
        handles.append(_draw_curve(ax, result, curve, colour, relative))
        labels.append(curve.point)
    ax.set_ylim(0.0, 1.03)
    ax.set_xlabel(_level_label(result, relative))
    ax.set_ylabel("Accuracy")
    ax.set_title(f"Accuracy under {result.noise} noise at one point at a time")
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    ax.legend(
        handles,
        labels,
        title="Noise point, input to output",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        ncols=columns,
    )
    return ax


def plot_midpoints(
    result: WalkResult, ax: Axes | None = None, *, relative: bool = False
) -> Axes:
    """Plot the midpoint noise level of each noise point with its interval.

    A midpoint that is known only to be larger (smaller) than a bound is drawn as an
    arrow to the right (left) that starts there.

    Args:
        result: The walk.
        ax: Axes to draw on; a new figure if None.
        relative: Show the noise relative to the RMS of each activation.

    Returns:
        The axes.
    """
    if ax is None:
        ax = _new_axes(7.0, 1.6 + 0.26 * len(result.curves))
    ax.set_xscale("log")
    shown = [
        _converted(
            result,
            curve,
            [curve.midpoint.low, curve.midpoint.mu, curve.midpoint.high],
            relative,
        )
        for curve in result.curves
    ]
    first, last = _decades(shown)
    ax.set_xlim(first, last)
    for row, (curve, colour) in enumerate(
        zip(result.curves, _colours(result), strict=True)
    ):
        _draw_midpoint(ax, row, curve, shown[row], colour)
    names = [
        c.point if c.kind in c.point else f"{c.point} ({c.kind})" for c in result.curves
    ]
    ax.set_yticks(range(len(names)), names, fontsize="small")
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel("Midpoint: " + _lower_first(_level_label(result, relative)))
    confidence = result.curves[0].midpoint.confidence
    ax.set_title(f"Midpoint and {100 * confidence:g} % interval, {result.noise} noise")
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    return ax


def _draw_curve(
    ax: Axes, result: WalkResult, curve: PointCurve, colour: Any, relative: bool
) -> Any:
    """Draw band, measurements, fit and midpoint; return the legend's handle."""
    from matplotlib.lines import Line2D

    levels, midpoint = curve.levels, curve.midpoint
    fitted = midpoint.censored == "no"
    fine = np.union1d(np.geomspace(levels[0], levels[-1], 300), levels)
    # Between two measurements the band follows the shape of the fit.
    shape = midpoint.accuracy if fitted else np.zeros_like
    low, high = (
        np.interp(np.log(fine), np.log(levels), edge - shape(levels)) + shape(fine)
        for edge in (curve.accuracy_low, curve.accuracy_high)
    )
    fine_x = _converted(result, curve, fine, relative)
    alpha = 0.16 if len(result.curves) <= 8 else 0.08
    ax.fill_between(fine_x, low, high, color=colour, alpha=alpha, lw=0)
    x = _converted(result, curve, levels, relative)
    ax.plot(x, curve.accuracy, "o", ms=2.8, color=colour)
    if fitted:
        ax.plot(fine_x, midpoint.accuracy(fine), color=colour, lw=1.3)
        half = (midpoint.clean + midpoint.chance) / 2.0
        ends = np.clip([midpoint.low, midpoint.high], levels[0], levels[-1])
        ends = _converted(result, curve, ends, relative)
        ax.plot(ends, [half, half], color=colour, lw=2.5, solid_capstyle="butt")
        centre = _converted(result, curve, midpoint.mu, relative)
        ax.plot(centre, half, "D", ms=6, color=colour, mec="white", mew=0.8, zorder=4)
    else:
        ax.plot(x, curve.accuracy, color=colour, lw=1.0, ls="--")
    style = "-" if fitted else "--"
    return Line2D([], [], color=colour, lw=1.3, ls=style, marker="o", ms=2.8)


def _draw_midpoint(
    ax: Axes, row: int, curve: PointCurve, shown: np.ndarray, colour: Any
) -> None:
    """Draw one row: interval and midpoint, or an arrow, or the word `undefined`."""
    low, centre, high = shown
    first, last = ax.get_xlim()
    if curve.midpoint.censored == "undefined" or np.isnan(centre):
        middle = math.sqrt(first * last)
        ax.text(middle, row, "undefined", ha="center", va="center", color="0.45")
        return
    if not np.isnan([low, high]).any():
        ends = np.clip([low, high], first, last)
        ax.plot(ends, [row, row], color=colour, lw=1.4)
        for end, unbounded, arrow in zip(
            ends, (low == 0.0, high == math.inf), "<>", strict=True
        ):
            marker, size = (arrow, 6.0) if unbounded else ("|", 8.0)
            ax.plot(end, row, marker, ms=size, mew=1.4, color=colour, clip_on=False)
    if curve.midpoint.censored == "no":
        ax.plot(centre, row, "o", ms=4.5, color=colour, zorder=4)


def _new_axes(width: float, height: float) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _colours(result: WalkResult) -> Any:
    """One colour per noise point, by depth; viridis without its pale end."""
    import matplotlib

    return matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, len(result.curves)))


def _converted(
    result: WalkResult, curve: PointCurve, levels: Any, relative: bool
) -> np.ndarray:
    levels = np.asarray(levels, dtype=np.float64)
    return result.relative(curve, levels) if relative else levels


def _decades(shown: list[np.ndarray]) -> tuple[float, float]:
    """Limits of a log axis around all finite values, with room for arrows."""
    values = np.concatenate(shown)
    values = values[np.isfinite(values) & (values > 0.0)]
    if not len(values):
        return 0.1, 10.0
    logs = np.log10([values.min(), values.max()])
    room = max(0.1 * (logs[1] - logs[0]), 0.25)
    return float(10.0 ** (logs[0] - room)), float(10.0 ** (logs[1] + room))


def _level_label(result: WalkResult, relative: bool) -> str:
    if relative:
        return "Noise RMS / activation RMS"
    return _LEVEL_LABELS.get(result.noise, "Noise level")


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]
