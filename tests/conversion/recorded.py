"""Predictions recorded with another library."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np


def assert_as_recorded(calls: Iterable[Callable[..., Any]], path: Path) -> None:
    """Check that models give the recorded outputs, bit for bit, none of them constant.

    Args:
        calls: Models, or functions of them.
        path: An `.npz` file with the inputs `x` and the outputs `y0`, `y1`, ...
    """
    recorded = np.load(path)
    for call in calls:
        outputs = keras.tree.flatten(call(recorded["x"], training=False))
        assert len(outputs) == len(recorded) - 1
        for i, output in enumerate(outputs):
            assert len(np.unique(output)) > 5
            np.testing.assert_array_equal(output, recorded[f"y{i}"])
