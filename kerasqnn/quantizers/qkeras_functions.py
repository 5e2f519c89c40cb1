"""QKeras's piecewise linear functions: activations without a grid, drop-in for Keras.

QKeras's `hard_sigmoid` and `hard_tanh` are others than Keras's of the same names. They
are registered, so that saved models load, and any `activation` argument takes them.
"""

from __future__ import annotations

from typing import Any

from keras import ops
from keras.saving import register_keras_serializable


@register_keras_serializable(package="kerasqnn")
def qkeras_hard_sigmoid(x: Any) -> Any:
    """Return `clip(x / 2 + 1/2, 0, 1)`.

    Args:
        x: A tensor.
    """
    return ops.clip(0.5 * x + 0.5, 0.0, 1.0)


@register_keras_serializable(package="kerasqnn")
def qkeras_smooth_sigmoid(x: Any) -> Any:
    """Return `clip(3 x / 16 + 1/2, 0, 1)`, nearer to the sigmoid.

    Args:
        x: A tensor.
    """
    return ops.clip(0.1875 * x + 0.5, 0.0, 1.0)


@register_keras_serializable(package="kerasqnn")
def qkeras_hard_tanh(x: Any) -> Any:
    """Return `2 qkeras_hard_sigmoid(x) - 1`.

    Args:
        x: A tensor.
    """
    return 2.0 * qkeras_hard_sigmoid(x) - 1.0


@register_keras_serializable(package="kerasqnn")
def qkeras_smooth_tanh(x: Any) -> Any:
    """Return `2 qkeras_smooth_sigmoid(x) - 1`.

    Args:
        x: A tensor.
    """
    return 2.0 * qkeras_smooth_sigmoid(x) - 1.0
