"""Weights held within bounds while training."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable


@register_keras_serializable(package="kerasqnn")
class Clip(keras.constraints.Constraint):
    """Constraint that clips weights to `[min_value, max_value]` after each update.

    Formula: `w = min(max(w, min_value), max_value)`. With the range of a quantizer it
    keeps weights where a straight-through gradient still moves their codes.

    Args:
        min_value: Smallest weight.
        max_value: Largest weight.

    Raises:
        ValueError: If `min_value` is larger than `max_value`.

    Example:

    >>> import keras, kerasqnn
    >>> clip = kerasqnn.layers.Clip(-1.0, 1.0)
    >>> [float(w) for w in clip(keras.ops.array([-3.0, 0.5]))]
    [-1.0, 0.5]

    References:
        - QKeras `Clip`.
    """

    def __init__(self, min_value: float, max_value: float) -> None:
        if not min_value <= max_value:
            raise ValueError(
                "`min_value` must not be larger than `max_value`. "
                f"Received: min_value={min_value!r}, max_value={max_value!r}"
            )
        self.min_value = float(min_value)
        self.max_value = float(max_value)

    def __call__(self, w: Any) -> Any:
        """Return the clipped weights."""
        return ops.clip(w, self.min_value, self.max_value)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"min_value": self.min_value, "max_value": self.max_value}
