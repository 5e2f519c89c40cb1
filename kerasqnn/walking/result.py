"""What a walk over the noise points of a network returns."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .midpoint import Midpoint, wilson_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, repr=False)
class PointCurve:
    """Accuracy against noise with exactly one noise point switched on.

    Attributes:
        point: Name of the noise point.
        layer: Name of the layer whose output the noise is added to.
        kind: Operation the point follows, such as `"input"`, `"dense"`, `"conv2d"`,
            `"batch_normalization"`, `"activation"`, `"pooling"`, `"add"`, `"logits"`.
        levels: `(L,)` noise levels, positive and ascending.
        correct: `(L, D, N)` bool, whether test sample `n` is classified correctly at
            the level in noise draw `d`.
        rms: Root mean square of the activation at the point without noise.
        midpoint: Fitted midpoint noise level.
    """

    point: str
    layer: str
    kind: str
    levels: np.ndarray
    correct: np.ndarray
    rms: float
    midpoint: Midpoint

    def __post_init__(self) -> None:
        """Check that levels and measurements agree."""
        shape = np.shape(self.correct)
        if len(shape) != 3 or np.shape(self.levels) != shape[:1] or 0 in shape:
            raise ValueError(
                "`correct` must be (levels, draws, samples), one row per level. "
                f"Received: correct.shape={shape}, levels.shape="
                f"{np.shape(self.levels)}"
            )
        if self.correct.dtype != np.bool_:
            raise TypeError(
                f"`correct` must be bool. Received: dtype={self.correct.dtype}"
            )

    def __repr__(self) -> str:
        """Return name, kind, measurements and midpoint."""
        levels, draws, samples = self.correct.shape
        return (
            f"PointCurve({self.point!r}, kind={self.kind!r}, {levels} levels x {draws} "
            f"draws x {samples} samples, mu {_mu_text(self.midpoint)})"
        )

    @property
    def draws(self) -> int:
        """Noise draws per test sample and level."""
        return int(self.correct.shape[1])

    @property
    def samples(self) -> int:
        """Test samples."""
        return int(self.correct.shape[2])

    @property
    def accuracy(self) -> np.ndarray:
        """Share of correct classifications per level, `(L,)`."""
        return self.correct.mean(axis=(1, 2))

    @property
    def accuracy_low(self) -> np.ndarray:
        """Lower ends of the Wilson intervals of `accuracy`, `(L,)`.

        The draws of one test sample are not independent. The number of trials used is
        the one that gives the variance seen between samples, `N` to `D * N`.
        """
        return self._band()[0]

    @property
    def accuracy_high(self) -> np.ndarray:
        """Upper ends, as `accuracy_low`."""
        return self._band()[1]

    def _band(self) -> tuple[np.ndarray, np.ndarray]:
        share = self.accuracy
        spread = self.correct.mean(axis=1).var(axis=1) / self.samples
        independent = np.full(share.shape, float(self.samples))
        np.divide(share * (1.0 - share), spread, out=independent, where=spread > 0.0)
        trials = np.clip(independent, self.samples, self.draws * self.samples)
        return wilson_interval(share, trials, self.midpoint.confidence)


@dataclass(frozen=True, eq=False, repr=False)
class WalkResult:
    """Robustness of each noise point of a network.

    Attributes:
        curves: One `PointCurve` per noise point, from the input to the logits.
        noise: `"additive"`, `"multiplicative"` or `"combined"`.
        clean_accuracy: Accuracy without noise.
        chance: Accuracy of guessing.
        settings: How the walk was run. For combined noise, `"ratio"` and `"order"`
            are needed to state noise relative to the activation.
    """

    curves: Sequence[PointCurve]
    noise: str
    clean_accuracy: float
    chance: float
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def midpoints(self) -> pd.DataFrame:
        """One row per noise point, from the input to the logits.

        Columns: `point`, `layer`, `kind`; `mu`, `low`, `high`, `slope`, `censored` as
        in `Midpoint`; `relative`, RMS of the noise at `mu` over RMS of the activation
        (`mu / RMS` for additive noise); `snr_db`, the same as a signal-to-noise ratio,
        `-20 log10(relative)`.
        """
        import pandas as pd

        return pd.DataFrame([self._midpoint_row(curve) for curve in self.curves])

    def to_dataframe(self) -> pd.DataFrame:
        """One row per noise point and level.

        Columns: `point`, `layer`, `kind`, `level`, `accuracy`, `low`, `high`, `draws`,
        `samples`.
        """
        import pandas as pd

        frames = [pd.DataFrame(_columns(curve)) for curve in self.curves]
        return pd.concat(frames, ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single classifications, as strict JSON values.

        What is infinite or undefined, and every censored midpoint, is `None`;
        `censored` tells which.
        """
        curves = []
        for curve in self.curves:
            midpoint = curve.midpoint.to_dict()
            for key in ("relative", "snr_db"):
                known = midpoint["mu"] is not None
                midpoint[key] = self._midpoint_row(curve)[key] if known else None
            entry = {**_columns(curve), "rms": curve.rms, "midpoint": midpoint}
            curves.append(entry)
        return _json_value(
            {
                "noise": self.noise,
                "clean_accuracy": self.clean_accuracy,
                "chance": self.chance,
                "settings": self.settings,
                "curves": curves,
            }
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dataframe()` to `path`, as a whole or not at all."""
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("w", encoding="utf-8", newline="") as file:
                self.to_dataframe().to_csv(file, index=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def plot(self, ax: Axes | None = None, *, relative: bool = False) -> Axes:
        """Plot accuracy against noise, one curve per noise point; return the axes.

        Args:
            ax: Axes to draw on; a new figure if None.
            relative: Show the noise relative to the RMS of each activation.
        """
        from .plots import plot_curves

        return plot_curves(self, ax, relative=relative)

    def plot_midpoints(self, ax: Axes | None = None, *, relative: bool = False) -> Axes:
        """Plot each midpoint noise level with its interval; return the axes.

        Args:
            ax: Axes to draw on; a new figure if None.
            relative: Show the noise relative to the RMS of each activation.
        """
        from .plots import plot_midpoints

        return plot_midpoints(self, ax, relative=relative)

    def relative(self, curve: PointCurve, level: Any) -> np.ndarray:
        """RMS of the noise at `level` over RMS of the activation of `curve`.

        `nan` for an activation that is zero throughout, and for combined noise if
        `settings` has no `"ratio"`.
        """
        level = np.asarray(level, dtype=np.float64)
        if self.noise == "multiplicative":
            return level
        if not curve.rms > 0.0:
            return np.full(level.shape, np.nan)
        if self.noise == "additive":
            return level / curve.rms
        ratio = float(self.settings.get("ratio", math.nan))
        added, factor = level * ratio / curve.rms, level * (1.0 - ratio)
        if self.settings.get("order", "additive_first") == "additive_first":
            return np.sqrt(factor**2 + added**2 * (1.0 + factor**2))
        return np.sqrt(factor**2 + added**2)

    def _midpoint_row(self, curve: PointCurve) -> dict[str, Any]:
        midpoint = curve.midpoint
        relative = float(self.relative(curve, midpoint.mu))
        with np.errstate(divide="ignore"):
            snr_db = float(-20.0 * np.log10(relative))
        return {
            "point": curve.point,
            "layer": curve.layer,
            "kind": curve.kind,
            "mu": midpoint.mu,
            "low": midpoint.low,
            "high": midpoint.high,
            "slope": midpoint.slope,
            "censored": midpoint.censored,
            "relative": relative,
            "snr_db": snr_db,
        }

    def __repr__(self) -> str:
        """Return the table of midpoints as text."""
        rows = [["point", "kind", "mu", "low", "high", "slope", "relative", "SNR [dB]"]]
        for curve in self.curves:
            row, cells = self._midpoint_row(curve), []
            for key in ("low", "high", "slope", "relative", "snr_db"):
                known = math.isfinite(row[key]) and (row[key] != 0.0 or key == "snr_db")
                digits = ".1f" if key == "snr_db" else ".3g"
                cells.append(format(row[key], digits) if known else "-")
            rows.append([curve.point, curve.kind, _mu_text(curve.midpoint), *cells])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"Walking noise, {self.noise}: clean accuracy {self.clean_accuracy:.4g}, "
            f"chance {self.chance:.4g}, {len(self.curves)} noise points"
        ]
        for row_cells in rows:
            padded = zip(row_cells, "<<>>>>>>", widths, strict=True)
            lines.append("  ".join(f"{cell:{side}{n}}" for cell, side, n in padded))
        return "\n".join(lines)


def _columns(curve: PointCurve) -> dict[str, Any]:
    return {
        "point": curve.point,
        "layer": curve.layer,
        "kind": curve.kind,
        "level": curve.levels,
        "accuracy": curve.accuracy,
        "low": curve.accuracy_low,
        "high": curve.accuracy_high,
        "draws": curve.draws,
        "samples": curve.samples,
    }


def _mu_text(midpoint: Midpoint) -> str:
    if midpoint.censored == "above":
        return f"> {midpoint.low:.3g}"
    if midpoint.censored == "below":
        return f"< {midpoint.high:.3g}"
    return "undefined" if math.isnan(midpoint.mu) else f"{midpoint.mu:.3g}"


def _json_value(value: Any) -> Any:
    """Plain JSON values; numbers that are not finite become None, objects text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
