"""Sums and powers of two with the same bits in numpy, in Keras and in compilers."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from .quantizer import constant

_EXPONENTS = np.arange(-126, 128)
_POWERS = np.ldexp(np.float32(1), _EXPONENTS).astype(np.float32)
# Between two neighbours 2^k and 2^(k+1): 2^(k+1/2), where log2 rounds up.
_MIDDLES = (np.sqrt(2.0) * _POWERS[:-1].astype(np.float64)).astype(np.float32)


def ordered_sum(xp: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Return the sum along `axes`, which disappear, by pairs: first half plus second.

    Every addition is an operation of its own, which compilers neither reorder nor
    merge; the order depends on the shape alone. The relative error of a sum of n
    numbers of one sign is at most `log2(n) * 2^-24`, to first order.

    Args:
        xp: `numpy` or `keras.ops`.
        x: Array of known shape.
        axes: The axes to add up.
    """
    if not axes:
        return x
    rest = [a for a in range(len(x.shape)) if a not in axes]
    shape = [x.shape[a] for a in rest]
    rows = xp.reshape(xp.transpose(x, (*axes, *rest)), (-1, *shape))
    while (count := rows.shape[0]) > 1:
        half = count // 2
        pairs = rows[:half] + rows[half : 2 * half]
        rows = xp.concatenate([pairs, rows[2 * half :]]) if count % 2 else pairs
    return rows[0]


def tool_mean(xp: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Return the mean along `axes` as the Keras backend computes it, for numpy too."""
    if not axes:
        return x
    mean = ops.mean(ops.convert_to_tensor(x), axis=axes)
    return ops.convert_to_numpy(mean) if xp is np else mean


def nearest_power_of_two(xp: Any, x: Any) -> Any:
    """Return `2^round(log2(x))` of positive numbers, exactly.

    Looked up by comparison with `2^(k + 1/2)`: a logarithm and a power have other last
    bits in every library.
    """
    flat = xp.reshape(x, (-1,))
    index = xp.searchsorted(constant(xp, _MIDDLES, x), flat, side="right")
    return xp.reshape(xp.take(constant(xp, _POWERS, x), index, axis=0), x.shape)
