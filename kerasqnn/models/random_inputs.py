"""Random inputs on which two ways of running a model are compared."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def random_inputs(
    model: keras.Model, samples: int, *, open_size: int | None = None
) -> list[np.ndarray] | None:
    """Return an array for each input: samples near zero and far beyond saturation.

    Args:
        model: The model.
        samples: Their number, where the model does not fix it.
        open_size: What stands for unknown sizes behind the batch; integers are then 0
            and 1. If None, there are no inputs for unknown sizes and other types than
            float32.

    Returns:
        Arrays in the order of `model.inputs`, or None.
    """
    rng = np.random.default_rng(0)
    arrays: list[Any] = []
    for tensor in model.inputs:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if open_size is None and (None in tensor.shape[1:] or dtype != "float32"):
            return None
        sizes: list[Any] = [open_size if n is None else n for n in tensor.shape[1:]]
        shape = (tensor.shape[0] or samples, *sizes)
        if not keras.backend.is_float_dtype(dtype):
            arrays.append(rng.integers(0, 2, shape).astype(dtype))
            continue
        # Half of the samples near zero, half far beyond any saturation.
        spread = np.geomspace(0.25, 16.0, shape[0])
        spread = spread.reshape(-1, *[1] * (len(shape) - 1))
        arrays.append((rng.standard_normal(shape) * spread).astype(dtype))
    return arrays
