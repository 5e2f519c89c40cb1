"""Which weight of a layer a quantizer argument is for."""

from __future__ import annotations

from typing import Any

import keras
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
