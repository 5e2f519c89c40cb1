"""Tables, files and plots of a walk."""

import ast
import inspect
import json
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from kerasqnn.walking import midpoint, plots, result
from kerasqnn.walking.midpoint import fit_midpoint, wilson_interval
from kerasqnn.walking.result import PointCurve, WalkResult

LEVELS = np.array([0.01, 0.1, 1.0, 10.0])
SHARES = {
    "no": [0.9, 0.8, 0.3, 0.1],
    "above": [0.9, 0.9, 0.9, 0.8],
    "below": [0.3, 0.2, 0.1, 0.1],
    "undefined": [0.1, 0.1, 0.1, 0.1],
}


def walk_curve(point="dense", kind="dense", censored="no", rms=2.0, scale=1.0):
    """A curve of two draws; 200 samples in the order of how much noise they stand."""
    shares = np.array(SHARES[censored])[:, None, None]
    correct = np.arange(200) < 200 * np.tile(shares, (1, 2, 1))
    fine = np.arange(200) < 200 * (0.1 if censored == "undefined" else 0.9)
    fit = fit_midpoint(LEVELS * scale, correct, fine, 0.1, bootstrap=100)
    assert fit.censored == censored
    return PointCurve(point, f"{point}_layer", kind, LEVELS * scale, correct, rms, fit)


@pytest.fixture
def walk():
    """One curve for each kind of censoring, from the input to the logits."""
    curves = [
        walk_curve("input", "input"),
        walk_curve("conv", "conv2d", "above"),
        walk_curve("pool", "pooling", "below"),
        walk_curve("dead", "activation", "undefined", rms=0.0),
        walk_curve("logits", "logits", scale=3.0, rms=0.5),
    ]
    settings = {"draws": np.int64(2), "tolerance": math.inf, "levels": LEVELS}
    return WalkResult(curves, "additive", 0.9, 0.1, settings)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_wilson_interval():
    """Values from the closed form; both ends stay within 0 to 1."""
    low, high = wilson_interval(np.array([0.0, 0.5, 1.0]), 10)
    np.testing.assert_allclose(low, [0.0, 0.23659, 0.72247], atol=5e-6)
    np.testing.assert_allclose(high, [0.27753, 0.76341, 1.0], atol=5e-6)


def test_curve():
    """Draws that agree completely count once, so the trials are the samples."""
    curve = walk_curve()
    np.testing.assert_array_equal(curve.accuracy, SHARES["no"])
    low, high = wilson_interval(curve.accuracy, 200)
    # the number of trials is found by a division, exact up to rounding
    np.testing.assert_allclose(curve.accuracy_low, low, rtol=1e-12)
    np.testing.assert_allclose(curve.accuracy_high, high, rtol=1e-12)
    assert (curve.draws, curve.samples) == (2, 200)
    assert "4 levels x 2 draws x 200 samples" in repr(curve)


def test_independent_draws_narrow_the_band():
    """Draws that agree only by chance count nearly each; the count is an estimate."""
    rng = np.random.default_rng(0)
    correct = rng.random((4, 5, 2000)) < np.array(SHARES["no"])[:, None, None]
    curve = walk_curve()
    curve = PointCurve("a", "a", "add", LEVELS, correct, 1.0, curve.midpoint)
    low, high = wilson_interval(curve.accuracy, 5 * 2000)
    width = curve.accuracy_high - curve.accuracy_low
    np.testing.assert_allclose(width, high - low, rtol=0.1)


@pytest.mark.parametrize("shape", [(4, 200), (3, 2, 200), (4, 0, 200)])
def test_curve_checks_shapes(shape):
    """One row of measurements per level."""
    fit = walk_curve().midpoint
    with pytest.raises(ValueError, match="levels, draws, samples"):
        PointCurve("a", "a", "add", LEVELS, np.ones(shape, bool), 1.0, fit)
    with pytest.raises(TypeError, match="float64"):
        PointCurve("a", "a", "add", LEVELS, np.ones((4, 2, 9)), 1.0, fit)


def test_midpoint_table(walk):
    """One row per point in network order; RMS-relative values by hand."""
    table = walk.midpoints
    assert list(table.columns) == [
        *("point", "layer", "kind", "mu", "low", "high", "slope", "censored"),
        *("relative", "snr_db"),
    ]
    assert list(table["point"]) == ["input", "conv", "pool", "dead", "logits"]
    assert list(table["layer"])[1] == "conv_layer"
    assert list(table["censored"]) == ["no", "above", "below", "undefined", "no"]
    mu = walk.curves[0].midpoint.mu
    assert table["mu"][0] == mu
    assert table["relative"][0] == mu / 2.0
    # two roundings of the same expression
    assert table["snr_db"][0] == pytest.approx(20 * math.log10(2.0 / mu), rel=1e-12)
    assert (table["mu"][1], table["relative"][1]) == (math.inf, math.inf)
    assert (table["mu"][2], table["snr_db"][2]) == (0.0, math.inf)
    assert np.isnan(table["relative"][3])


@pytest.mark.parametrize("order", ["additive_first", "multiplicative_first"])
def test_relative_noise_is_the_measured_one(order):
    """RMS of noise over RMS of signal, by drawing a million of them (within 1 %)."""
    rng = np.random.default_rng(0)
    signal = rng.exponential(size=1_000_000)
    a, m = rng.normal(size=(2, signal.size))
    curve = walk_curve(rms=float(np.sqrt(np.mean(signal**2))))
    add, factor = 1.5 * 0.4 * a, 1 + 1.5 * 0.6 * m
    both = (signal + add) * factor if order[0] == "a" else signal * factor + add
    noisy = {
        "additive": signal + 1.5 * a,
        "multiplicative": signal * (1 + 1.5 * m),
        "combined": both,
    }
    for noise, value in noisy.items():
        walk = WalkResult([curve], noise, 0.9, 0.1, {"ratio": 0.4, "order": order})
        measured = np.sqrt(np.mean((value - signal) ** 2)) / curve.rms
        assert walk.relative(curve, 1.5) == pytest.approx(measured, rel=0.01)
    unknown = WalkResult([curve], "combined", 0.9, 0.1)
    assert np.isnan(unknown.relative(curve, 1.5))


def test_long_table(walk):
    """One row per point and level."""
    table = walk.to_dataframe()
    assert list(table.columns) == [
        *("point", "layer", "kind", "level", "accuracy", "low", "high", "draws"),
        "samples",
    ]
    assert len(table) == 5 * len(LEVELS)
    rows = table[table["point"] == "logits"]
    np.testing.assert_array_equal(rows["level"], 3 * LEVELS)
    np.testing.assert_array_equal(rows["accuracy"], SHARES["no"])
    assert (table["low"] < table["accuracy"]).all()
    assert (table["accuracy"] < table["high"]).all()
    assert set(table["draws"]) == {2}
    assert set(table["samples"]) == {200}


def test_json_round_trip(walk):
    """Strict JSON: no NaN, no infinities, no NumPy values; fitted numbers unchanged."""
    found = walk.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["settings"] == {"draws": 2, "tolerance": None, "levels": list(LEVELS)}
    first, above, below, undefined, _ = (c["midpoint"] for c in found["curves"])
    assert first["mu"] == walk.curves[0].midpoint.mu
    assert first["relative"] == first["mu"] / 2.0
    for fit, name in ((above, "above"), (below, "below"), (undefined, "undefined")):
        assert fit["censored"] == name
        for key in ("mu", "crossing", "slope", "relative", "snr_db", "r_squared"):
            assert fit[key] is None
    assert (above["low"], above["high"]) == (10.0, None)
    assert (below["low"], below["high"]) == (0.0, 0.01)
    assert found["curves"][0]["accuracy"] == SHARES["no"]
    assert found["curves"][0]["rms"] == 2.0


def test_csv(walk, tmp_path):
    """The file holds the long table, every bit of it."""
    walk.to_csv(tmp_path / "walk.csv")
    found = pd.read_csv(tmp_path / "walk.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(found, walk.to_dataframe(), check_exact=True)
    assert [path.name for path in tmp_path.iterdir()] == ["walk.csv"]


def test_csv_is_written_whole_or_not_at_all(walk, tmp_path, monkeypatch):
    """A write that fails half way leaves the old file and nothing else."""
    path = tmp_path / "walk.csv"
    path.write_text("old")

    def fail(self, file, **options):
        file.write("half a ta")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="disk full"):
        walk.to_csv(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text(walk):
    """A heading and one line per point, censored midpoints as bounds."""
    text = str(walk)
    assert text == repr(walk)
    head, columns, *lines = text.splitlines()
    assert head == (
        "Walking noise, additive: clean accuracy 0.9, chance 0.1, 5 noise points"
    )
    assert columns.split()[:3] == ["point", "kind", "mu"]
    assert [line.split()[0] for line in lines] == [c.point for c in walk.curves]
    assert f"{walk.curves[0].midpoint.mu:.3g}" in lines[0]
    assert "> 10" in lines[1]
    assert "< 0.01" in lines[2]
    assert "undefined" in lines[3]
    assert "inf" not in text
    assert "nan" not in text


def test_plot(walk):
    """Log axis, one legend entry per point, midpoints at their levels, by depth."""
    ax = walk.plot()
    assert isinstance(ax, Axes)
    assert ax.get_xscale() == "log"
    assert "units of the activation" in ax.get_xlabel()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["without noise", "chance", *(c.point for c in walk.curves)]
    marked = [line for line in ax.get_lines() if line.get_marker() == "D"]
    first, last = walk.curves[0].midpoint, walk.curves[-1].midpoint
    assert [float(line.get_xdata()[0]) for line in marked] == [first.mu, last.mu]
    assert [float(line.get_ydata()[0]) for line in marked] == [0.5, 0.5]
    dark, bright = (sum(to_rgba(line.get_color())[:3]) for line in marked)
    assert dark < bright
    assert len(ax.collections) == len(walk.curves)
    ax.figure.canvas.draw()


def test_bands_pass_through_the_intervals(walk):
    """At the measured levels the band is the Wilson interval, fitted or not."""
    ax = walk.plot()
    for curve, band in zip(walk.curves, ax.collections, strict=True):
        corners = band.get_paths()[0].vertices
        for level, low in zip(curve.levels, curve.accuracy_low, strict=True):
            heights = corners[np.isclose(corners[:, 0], level, rtol=1e-12), 1]
            assert heights.min() == pytest.approx(low, abs=1e-12)


def test_bands_follow_the_fit():
    """Over two decades without a level, a straight band would leave the fit."""
    levels = np.array([0.01, 1.0, 100.0])
    correct = np.arange(200) < 200 * np.array([0.9, 0.5, 0.1])[:, None, None]
    fit = fit_midpoint(levels, correct, np.arange(200) < 180, 0.1, bootstrap=0)
    curve = PointCurve("a", "a", "add", levels, correct, 1.0, fit)
    band = WalkResult([curve], "additive", 0.9, 0.1).plot().collections[0]
    x, y = band.get_paths()[0].vertices.T
    near = np.abs(np.log10(x) + 1) < 0.02
    assert y[near].min() < fit.accuracy(0.1) < y[near].max()


def test_plot_midpoints(walk):
    """One row per point, the input on top; arrows for bounds, a word for undefined."""
    ax = walk.plot_midpoints()
    assert isinstance(ax, Axes)
    assert ax.get_xscale() == "log"
    ax.figure.canvas.draw()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[:2] == ["input", "conv (conv2d)"]
    bottom, top = ax.get_ylim()
    assert top < 0 < 4 < bottom
    marks = {marker: [] for marker in "<>o"}
    for line in ax.get_lines():
        if line.get_marker() in marks:
            marks[line.get_marker()].append(float(line.get_ydata()[0]))
    assert marks == {"<": [2.0], ">": [1.0], "o": [0.0, 4.0]}
    assert [(t.get_text(), t.get_position()[1]) for t in ax.texts] == [("undefined", 3)]
    assert "95 % interval" in ax.get_title()


def test_plots_draw_where_they_are_told(walk):
    """Given axes are used, and relative noise divides by the RMS of each point."""
    _, (left, right) = plt.subplots(1, 2)
    assert walk.plot(left, relative=True) is left
    assert walk.plot_midpoints(right, relative=True) is right
    for ax, marker in ((left, "D"), (right, "o")):
        marked = [line for line in ax.get_lines() if line.get_marker() == marker]
        expected = [walk.curves[i].midpoint.mu / walk.curves[i].rms for i in (0, -1)]
        assert [float(line.get_xdata()[0]) for line in marked] == expected
        assert "activation RMS" in ax.get_xlabel()
    left.figure.canvas.draw()


@pytest.mark.parametrize("module", [midpoint, plots, result])
def test_nothing_heavy_at_import(module):
    """Only NumPy is imported outside functions and type checking."""
    tree = ast.parse(inspect.getsource(module))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).split(".")[0])
    assert names.isdisjoint({"pandas", "matplotlib", "scipy", "keras", "tensorflow"})
    assert "numpy" in names
