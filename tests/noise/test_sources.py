"""Noise sources: arguments, strings, configurations."""

import json

import numpy as np
import pytest

from kerasqnn import noise
from kerasqnn.noise import Additive, Combined, Multiplicative, get
from kerasqnn.noise.sources import DrawnSeed, source_class

SOURCES = [
    Additive(0.1),
    Additive(0.0, when="always", seed=3),
    Multiplicative(2.0, when="inference"),
    Combined(0.5),
    Combined(0.5, 0.25, "multiplicative_first", when="always", seed=-1),
]


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_round_trips(source):
    """The repr, the configuration and its JSON all give the source back."""
    assert get(repr(source)) == source
    stored = json.loads(json.dumps(noise.serialize(source)))
    assert get(stored) == source
    assert stored["registered_name"] == f"kerasqnn>{type(source).__name__}"
    assert get(source) is source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("additive(0.1)", Additive(0.1)),
        ("multiplicative(stddev=1)", Multiplicative(1.0)),
        ("Additive(0.1, when='always', seed=2)", Additive(0.1, when="always", seed=2)),
        ("combined(0.5, 0.25)", Combined(0.5, 0.25)),
        (
            "COMBINED(1, ratio=1, order='multiplicative_first')",
            Combined(1.0, 1.0, "multiplicative_first"),
        ),
    ],
)
def test_strings(text, expected):
    """Names in any case, arguments as in the constructor."""
    assert get(text) == expected


def test_properties():
    """Levels by the names that the literature gives them."""
    assert Additive(0.5).stddev == Additive(0.5).level == 0.5
    assert Multiplicative(0.5).stddev == 0.5
    combined = Combined(np.float32(0.5), np.float64(0.25))
    assert (combined.amplitude, combined.ratio, combined.level) == (0.5, 0.25, 0.5)
    assert type(combined.level) is float
    assert (Additive(1.0).when, Additive(1.0).seed) == ("training", None)
    assert get(None) is None and noise.serialize(None) is None
    assert source_class("Combined") is Combined


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Additive(-0.1), ValueError, "`stddev`.*stddev=-0.1"),
        (lambda: Additive(float("nan")), ValueError, "stddev=nan"),
        (lambda: Additive(float("inf")), ValueError, "stddev=inf"),
        (lambda: Additive(1e39), ValueError, "stddev=1e\\+39"),
        (lambda: Additive(True), ValueError, "stddev=True"),
        (lambda: Additive(None), ValueError, "stddev=None"),
        (lambda: Additive("0.1"), ValueError, "stddev='0.1'"),
        (lambda: Additive([0.1, 0.2]), ValueError, "stddev="),
        (lambda: Multiplicative(-1), ValueError, "stddev=-1"),
        (lambda: Combined(-1), ValueError, "`amplitude`.*amplitude=-1"),
        (lambda: Combined(1, 1.5), ValueError, "`ratio`.*ratio=1.5"),
        (lambda: Combined(1, -0.1), ValueError, "ratio=-0.1"),
        (lambda: Combined(1, float("nan")), ValueError, "ratio=nan"),
        (lambda: Combined(1, order="additive"), ValueError, "mean 'additive_first'"),
        (lambda: Additive(1, when="train"), ValueError, "mean 'training'"),
        (lambda: Additive(1, when="never"), ValueError, "Received: 'never'"),
        (lambda: Additive(1, seed=1.5), TypeError, "seed=1.5"),
        (lambda: Additive(1, seed=True), TypeError, "seed=True"),
        (lambda: get("aditive(1)"), ValueError, "mean 'additive'"),
        (lambda: get("additive"), ValueError, "Received: 'additive'"),
        (lambda: get("additive(1, 2)"), ValueError, "Received"),
        (lambda: get("additive(sigma=1)"), ValueError, "sigma"),
        (lambda: get("additive(1, stddev=2)"), ValueError, "Received"),
        (lambda: get("__import__('os').getpid()"), ValueError, "literal"),
        (lambda: get("additive(__import__('os').getpid())"), ValueError, "literal"),
        (lambda: get(0.1), TypeError, "Received: 0.1"),
        (lambda: get(Additive), TypeError, "Received"),
    ],
)
def test_refused(make, error, text):
    """Each error names the argument and what was received."""
    with pytest.raises(error, match=text):
        make()


def test_drawn_seed_does_not_advance():
    """It stands for a seed that was taken from a generator before."""
    seed = DrawnSeed(7)
    assert (seed.next(), seed.next(ordered=False)) == (7, 7)
