"""What a tensor of the file is while the Keras model is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .quantization import Quantization


@dataclass(frozen=True)
class Weight:
    """A constant tensor.

    Attributes:
        stored: The floats in the file.
        value: What the file makes of them: `stored` if nothing quantizes them.
        quantization: How, with a parameter for each number; or None.
    """

    stored: np.ndarray
    value: np.ndarray
    quantization: Quantization | None = None

    def arranged(self, arrange: Callable[[np.ndarray], np.ndarray]) -> Weight:
        """Return the weight with its axes changed."""
        quantization = self.quantization
        return Weight(
            arrange(self.stored),
            arrange(self.value),
            None if quantization is None else quantization.arranged(arrange),
        )


@dataclass(frozen=True)
class Image:
    """What has been flattened, in the order of the Keras model.

    Attributes:
        shape: Its shape without the batch.
        axes: As in `Activation`, for the image.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def rows(self) -> np.ndarray:
        """Return where each entry of the flat Keras tensor is in the file's."""
        in_file = tuple(self.shape[self.axes.index(i) - 1] for i in range(1, self.rank))
        numbers = np.arange(int(np.prod(in_file))).reshape(in_file)
        return numbers.transpose([a - 1 for a in self.axes[1:]]).reshape(-1)

    @property
    def rank(self) -> int:
        """Number of axes, that of the batch included."""
        return len(self.axes)


@dataclass(frozen=True)
class Activation:
    """A tensor that depends on the input.

    Attributes:
        tensor: The Keras tensor.
        axes: For each axis of the Keras tensor, which axis of the file's it is.
        image: Set where the file flattens an image whose axes are in another order in
            the Keras model: then the entries are in another order too.
    """

    tensor: Any
    axes: tuple[int, ...]
    image: Image | None = None

    @classmethod
    def plain(cls, tensor: Any) -> Activation:
        """Return a tensor that is the same in the file."""
        return cls(tensor, tuple(range(len(tensor.shape))))

    @classmethod
    def channels_last(cls, tensor: Any) -> Activation:
        """Return a tensor whose channels are behind the batch in the file."""
        return cls(tensor, channels_last(len(tensor.shape)))

    def moved(self, tensor: Any) -> Activation:
        """Return another tensor with the same axes."""
        return Activation(tensor, self.axes, self.image)

    @property
    def rank(self) -> int:
        """Number of axes, that of the batch included."""
        return len(self.axes)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape in the file."""
        return tuple(self.tensor.shape[self.axes.index(i)] for i in range(self.rank))

    def arranged(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the file in the order of the Keras tensor."""
        if self.image is not None:
            return array[..., self.image.rows()]
        return array.transpose(self.axes)

    def in_file(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the Keras tensor in the order of the file."""
        if self.image is not None:
            return array[..., np.argsort(self.image.rows())]
        return array.transpose(np.argsort(self.axes))


def channels_last(rank: int) -> tuple[int, ...]:
    """Return the axes of a Keras tensor whose channels are second in the file."""
    return (0, *range(2, rank), 1)
