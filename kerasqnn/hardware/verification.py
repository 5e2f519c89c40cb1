"""The proof that the hardware gives the model's bits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Verification:
    """The result of comparing the hardware emulation with the model.

    True in a condition when there is no mismatch.

    Attributes:
        samples: Number of samples compared.
        numbers: Number of output numbers compared.
        mismatches: Output numbers that differ from the reference.
        mismatching_samples: Samples with at least one mismatch.
        first_samples: Indices of the first mismatching samples, at most ten.
        largest_difference: Largest absolute difference.
        first_layer: The first layer, in network order, whose values differ, or None.
        reference: `"keras"`, or `"exact integers"` where float32 cannot hold the sums
            of some layer.
        wide_layers: These layers, with the bits that their sums need in the worst case.
        float_rounding: Output numbers in which Keras's float32 differs from the exact
            integers; not a fault of the hardware. Zero when the reference is Keras.
    """

    samples: int
    numbers: int
    mismatches: int
    mismatching_samples: int
    first_samples: tuple[int, ...]
    largest_difference: float
    first_layer: str | None
    reference: str
    wide_layers: dict[str, int]
    float_rounding: int

    def __bool__(self) -> bool:
        return self.mismatches == 0

    def __str__(self) -> str:
        text = (
            f"{self.mismatches} of {self.numbers} numbers differ from {self.reference} "
            f"({self.mismatching_samples} of {self.samples} samples)"
        )
        if self.mismatches:
            text += (
                f"; first samples {list(self.first_samples)}, largest difference "
                f"{self.largest_difference:g}, first layer {self.first_layer}"
            )
        if self.wide_layers:
            layers = ", ".join(f"{k} ({v} bits)" for k, v in self.wide_layers.items())
            text += (
                f". Too wide for float32's 24 bits: {layers}; Keras itself rounds "
                f"{self.float_rounding} numbers"
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {**asdict(self), "passed": bool(self)}


def compare(
    expected: list[np.ndarray], received: list[np.ndarray]
) -> tuple[int, np.ndarray, float]:
    """Count what differs between two lists of arrays with the batch axis first.

    Returns:
        Number of differing numbers, a boolean vector of the differing samples, and the
        largest absolute difference.
    """
    mismatches, largest = 0, 0.0
    wrong = np.zeros(len(expected[0]), bool)
    for want, got in zip(expected, received, strict=True):
        want = np.asarray(want, np.float64).reshape(len(wrong), -1)
        got = np.asarray(got, np.float64).reshape(len(wrong), -1)
        different = want != got
        mismatches += int(different.sum())
        wrong |= different.any(axis=1)
        if different.any():
            largest = max(largest, float(np.abs(want - got)[different].max()))
    return mismatches, wrong, largest
