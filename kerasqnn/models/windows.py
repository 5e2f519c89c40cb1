"""What convolutions and poolings add around their input."""

from __future__ import annotations

from collections.abc import Sequence

from .graph import Operation


def same_padding(
    size: int, window: int, stride: int, dilation: int = 1
) -> tuple[int, int]:
    """Return the padding before and after one axis for Keras's `padding="same"`."""
    reach = (window - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def padding_of(
    operation: Operation, size: Sequence[int | None], window: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the padding before and after rows and columns of a window operation.

    Args:
        operation: A convolution or pooling.
        size: Rows and columns of its input.
        window: Rows and columns of its window.
    """
    a = operation.attributes
    dilation = a.get("dilation", (1, 1))
    if a["padding"] == "same":
        return [
            same_padding(size[i] or 0, window[i], a["strides"][i], dilation[i])
            for i in (0, 1)
        ]
    # Causal: a sequence, along the columns, is padded only before its first step.
    causal = a["padding"] == "causal"
    return [(0, 0), ((window[1] - 1) * dilation[1] if causal else 0, 0)]


def is_padded(
    operation: Operation, size: Sequence[int | None], window: Sequence[int]
) -> bool:
    """Return whether anything is added; also where the size is not known."""
    if operation.attributes.get("padding", "valid") == "valid":
        return False
    return None in size or any(map(any, padding_of(operation, size, window)))
