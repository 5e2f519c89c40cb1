"""Uniform quantization with a zero point."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from .quantizer import UniformQuantizer, check_int, constant, opaque, positive, quotient

LARGEST_ZERO_POINT = 2**20


@register_keras_serializable(package="kerasqnn")
class Affine(UniformQuantizer):
    """Unsigned codes with a zero point: what QONNX's `Quant` does with its `zeropt`.

    Formula, in float32 and in this order:

        y = (round(clip(x / scale + zero_point, 0, 2^bits - 1)) - zero_point) * scale

    The integers of `codes` are those of `y / scale`, from `-zero_point` on. Export is
    exact. Hardware refuses it, as hls4ml ignores zero points.

    Gradient: 1 inside the range, 0 outside.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("Affine(3, 0.5, 2)")

    Args:
        bits: Bit width, 1 to 16.
        scale: Positive number, the step.
        zero_point: Code that stands for 0, from -2^20 to 2^20; outside of
            `0 .. 2^bits - 1` no code does.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from kerasqnn.quantizers import Affine
    >>> Affine(2, 0.5, 1).quantize([-9.0, 0.1, 0.3, 9.0]).tolist()
    [-0.5, 0.0, 0.5, 1.0]
    """

    scale: float
    zero_point: int

    def __init__(self, bits: int, scale: float, zero_point: int = 0) -> None:
        limit = LARGEST_ZERO_POINT
        self._set(
            bits=check_int("bits", bits, 1, 16),
            scale=positive("scale", scale),
            zero_point=check_int("zero_point", zero_point, -limit, limit),
        )

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether there are values below zero."""
        return self.code_min < 0

    @property
    def step(self) -> np.ndarray:
        """Distance between neighbouring values, float32, `()`."""
        return np.asarray(self.scale, np.float32)

    @property
    def code_min(self) -> int:
        """Smallest value over the step."""
        return -self.zero_point

    @property
    def code_max(self) -> int:
        """Largest value over the step."""
        return int(2**self.bits) - 1 - self.zero_point

    def _forward(self, xp: Any, x: Any) -> Any:
        scale = opaque(xp, np.float32(self.scale), x)
        return affine(xp, x, scale, self.zero_point, self.bits)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        low, high = (constant(ops, v, x) for v in (self.min, self.max))
        inside = ops.logical_and(x >= low, x <= high)
        return upstream * ops.cast(inside, upstream.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "bits": self.bits,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


def affine(xp: Any, x: Any, scale: Any, zero_point: Any, bits: int) -> Any:
    """Return the quantized values, in QONNX's order of operations."""
    codes = xp.round(xp.clip(quotient(xp, x, scale) + zero_point, 0, 2**bits - 1))
    return (codes - zero_point) * scale
