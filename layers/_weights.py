"""Which weight of a layer a quantizer argument is for, and its values."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


def weight_of(layer: Any, argument: str) -> Any:
    """Return what a quantizer argument of a built layer, also Keras's, acts on.

    Returns:
        A variable (a tensor where low-rank weights are added to it); None where the
        layer goes without the weight or the argument is of an activation.
    """
    holder = getattr(layer, "cell", layer)  # of a recurrent layer
    stem = argument.removesuffix("_quantizer")
    names = [f"{stem}_kernel", stem, f"moving_{stem}"]
    if stem == "depthwise":
        names.append("kernel")
    found = (getattr(holder, name, None) for name in names)
    return next(
        (w for w in found if isinstance(w, keras.Variable) or ops.is_tensor(w)), None
    )


def values_of(weight: Any) -> np.ndarray | None:
    """Return a weight's values in float32; None where it has none (yet)."""
    if weight is None:
        return None
    try:
        return np.asarray(ops.convert_to_numpy(weight), np.float32)
    except Exception:  # symbolic: each backend refuses in its own way
        return None
