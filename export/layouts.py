"""How the numbers of a tensor lie in an ONNX value, seen from Keras's order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Layout:
    """An order of the numbers of a sample.

    Attributes:
        is_channels_first: Whether the channels, Keras's last axis, come right behind
            the batch; vectors have no such order.
        features: Of a vector, Keras's index of each number; empty in Keras's order.
    """

    is_channels_first: bool = False
    features: tuple[int, ...] = ()

    def of_rank(self, rank: int) -> Layout:
        """Return what is left of the layout in a tensor of a rank, batch included."""
        first = self.is_channels_first and rank > 2
        return Layout(first, self.features if rank == 2 else ())

    def axes(self, rank: int) -> tuple[int, ...]:
        """Return Keras's axes in the order in which they lie in the ONNX value."""
        if self.is_channels_first and rank > 2:
            return (0, rank - 1, *range(1, rank - 1))
        return tuple(range(rank))

    def shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """Return the shape of the ONNX value of a tensor of Keras's `shape`."""
        return tuple(shape[axis] for axis in self.axes(len(shape)))

    def along(self, vector: np.ndarray, axis: int, rank: int) -> np.ndarray:
        """Return a vector along one of Keras's axes, ready to be broadcast."""
        position = self.axes(rank).index(axis % rank)
        shape = tuple(-1 if i == position else 1 for i in range(rank))
        return self.rows(vector).reshape(shape)

    def rows(self, kernel: np.ndarray) -> np.ndarray:
        """Return the rows of a kernel in the order of the vector that it multiplies."""
        return kernel[list(self.features)] if self.features else kernel

    def reshaped(
        self, source: Sequence[int | None], target: Sequence[int | None]
    ) -> Layout | None:
        """Return the layout after a plain reshape that is also one in Keras's order.

        Args:
            source: Keras's shape, without the batch.
            target: Keras's shape after it, without the batch.

        Returns:
            The layout, or None where the numbers must be put in Keras's order first.
        """
        if self == CHANNELS_LAST or tuple(source) == tuple(target):
            return self
        if not self.is_channels_first:
            return None
        if len(target) == 1 and None not in source:
            sizes: list[Any] = list(source)
            order = np.arange(math.prod(sizes)).reshape(1, *sizes)
            features = order.transpose(self.axes(order.ndim)).ravel()
            is_same = np.array_equal(features, order.ravel())
            return Layout(features=() if is_same else tuple(features.tolist()))
        keeps = len(target) > 1 and source[-1] == target[-1] is not None
        return self if keeps else None


CHANNELS_LAST, CHANNELS_FIRST = Layout(), Layout(is_channels_first=True)
LAYOUTS = {"channels_last": CHANNELS_LAST, "channels_first": CHANNELS_FIRST}


def joined_features(layouts: Sequence[Layout], sizes: Sequence[int | None]) -> Layout:
    """Return the layout of vectors one after the other."""
    if None in sizes or not any(layout.features for layout in layouts):
        return CHANNELS_LAST
    features: list[int] = []
    for layout, size in zip(layouts, sizes, strict=True):
        own = layout.features or range(size or 0)
        features += [len(features) + index for index in own]
    return Layout(features=tuple(features))
