"""The value that every loader returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A classification data set, split into training and test samples.

    Attributes:
        name: The name that `kerasqnn.data.load` knows it by.
        x_train: Training inputs, `(n_train, *input_shape)` float32; images are channels
            last. The loader says the range and the step of the values.
        y_train: Training labels, `(n_train,)` int64, `0 <= y < num_classes`.
        x_test: Test inputs, `(n_test, *input_shape)` float32.
        y_test: Test labels, `(n_test,)` int64.
        classes: The name of each class; label `i` is `classes[i]`.
        source: Where the data was found, for reports.

    Raises:
        ValueError: If the arrays do not fit together.
    """

    name: str
    x_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[np.int64]
    x_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            x, y = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
            if y.ndim != 1 or x.ndim < 2 or len(x) != len(y):
                raise self._error(
                    f"x_{split} must be (n, ...) and y_{split} (n,), with the same n. "
                    f"Received: x_{split}.shape={x.shape}, y_{split}.shape={y.shape}"
                )
            if y.size and not 0 <= y.min() <= y.max() < len(self.classes):
                raise self._error(
                    f"y_{split} must hold labels from 0 to {len(self.classes) - 1}. "
                    f"Received: labels from {y.min()} to {y.max()}"
                )
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise self._error(
                "x_train and x_test must hold samples of one shape. Received: "
                f"x_train.shape={self.x_train.shape}, x_test.shape={self.x_test.shape}"
            )

    def _error(self, message: str) -> ValueError:
        return ValueError(f"Data set {self.name!r} from {self.source}: {message}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample, as `keras.Input` wants it."""
        return self.x_train.shape[1:]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def __repr__(self) -> str:
        return (
            f"<Dataset {self.name}: {len(self.x_train)} train and {len(self.x_test)} "
            f"test samples of shape {self.input_shape}, {self.num_classes} classes, "
            f"from {self.source}>"
        )
