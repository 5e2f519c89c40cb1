"""Troublesome numbers for a quantizer."""

from __future__ import annotations

import numpy as np

HUGE = np.array([1e8, 3e8, 1e20, 3e38, -1e8, -3e8, -1e20, -3e38], np.float32)
TINY = np.array([1e-45, 1e-40, 1.17e-38, 1e-30], np.float32)
ZEROS = np.array([0.0, -0.0], np.float32)


def around(values: np.ndarray) -> np.ndarray:
    """Return the numbers and the next float32 numbers on both sides of each."""
    values = np.asarray(values, np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    return np.concatenate(
        [values, np.nextafter(values, up), np.nextafter(values, down)]
    )


def corners(step: float, reach: int = 12) -> np.ndarray:
    """Return codes and ties with their neighbours, zeros, denormals, huge numbers.

    Args:
        step: Distance of two codes.
        reach: Largest code.
    """
    halves = np.arange(-2 * reach, 2 * reach + 1).astype(np.float32) / 2
    near = around(halves * np.float32(step))
    wide = around(np.float32(step) * 2.0 ** np.arange(22, 29, dtype=np.float32))
    return np.concatenate([near, wide, -wide, ZEROS, TINY, -TINY, HUGE])


def same(received: np.ndarray, expected: np.ndarray) -> None:
    """Assert equal values, dtypes and shapes; the sign of a zero does not count."""
    received, expected = np.asarray(received), np.asarray(expected)
    assert received.dtype == expected.dtype
    np.testing.assert_array_equal(received, expected, strict=True)
