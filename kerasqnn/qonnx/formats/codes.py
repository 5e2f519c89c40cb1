"""Ranges of integer codes: as bit widths, and the types that store them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper

INT4 = helper.tensor_dtype_to_np_dtype(TensorProto.INT4)
UINT4 = helper.tensor_dtype_to_np_dtype(TensorProto.UINT4)
_LIMITS = {INT4: (-8, 7), UINT4: (0, 15)}  # numpy's iinfo does not know them


class Width(NamedTuple):
    """A range of codes as QONNX says it."""

    bits: int
    signed: bool
    narrow: bool


def width_of(low: int, high: int) -> Width | None:
    """Return the width that has these bounds, None if there is none.

    Args:
        low: Smallest code.
        high: Largest code.

    Returns:
        The bit width; narrow where one code at the lower end, of unsigned codes at the
        upper end, is left out.
    """
    signed = low < 0
    bits = int(high).bit_length() + signed
    for width in (Width(bits, signed, narrow) for narrow in (False, True)):
        if bits > signed and bounds_of(width) == (low, high):
            return width
    return None


def bounds_of(width: Width) -> tuple[int, int]:
    """Return smallest and largest code of a width."""
    if width.signed:
        half = 2 ** (width.bits - 1)
        return -half + width.narrow, half - 1
    return 0, 2**width.bits - (2 if width.narrow else 1)


def storage_type(low: int, high: int, wide: tuple[Any, ...]) -> np.dtype | None:
    """Return the smallest type that holds all codes of a range.

    Args:
        low: Smallest code.
        high: Largest code.
        wide: Types that may be used where 8 bits are too few, the smallest first.

    Returns:
        The type, or None if there is none.
    """
    for candidate in (np.int8 if low < 0 else np.uint8, *wide):
        dtype: Any = np.dtype(candidate)
        smallest, largest = limits_of(dtype)
        if smallest <= low and high <= largest:
            return dtype
    return None


def limits_of(dtype: Any) -> tuple[int, int]:
    """Return smallest and largest code of a type, 4 bits included."""
    if dtype in _LIMITS:
        return _LIMITS[dtype]
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
