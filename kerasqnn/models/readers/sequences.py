"""Sequences as images of one row, so that one kind serves both."""

from __future__ import annotations

from typing import Any

from ..graph import Tensor

OPEN_LENGTH = "has sequences of no fixed length"


def has_fixed_length(inputs: list[Tensor]) -> bool:
    """Whether the number of steps and channels is known."""
    return None not in inputs[0].shape[1:]


def as_image(inputs: list[Tensor], reading: Any) -> list[Tensor]:
    """Append the reshape from `(steps, channels)` to `(1, steps, channels)`."""
    return reading.reshape(inputs, (1, *inputs[0].shape[1:]), "/image")


def image_shape(reading: Any) -> tuple[int | None, ...]:
    """Return the layer's output shape as an image's, with the batch axis."""
    batch, *others = reading.shapes[0]
    return (batch, 1, *others)


def as_sequence(outputs: list[Tensor], reading: Any) -> list[Tensor]:
    """Append the reshape back."""
    return reading.reshape(outputs, outputs[0].shape[2:], "/sequence")
