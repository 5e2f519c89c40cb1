"""Weights as inference uses them: values, codes, and the grid that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from .affine import Affine
from .exact_grids import grid_of_values
from .parsing import AnyQuantizer
from .quantizer import UniformQuantizer


@dataclass(frozen=True, repr=False)
class QuantizedWeight:
    """A quantized weight: `values == (codes - zero_point) * scale`.

    Attributes:
        values: float32 array, as the layer uses it at inference.
        codes: int64 array of its shape; None where no grid of at most 16 bits holds
            the values.
        scale: The step, float32, `()` or `(channels,)` along the last axis; None where
            `codes` is.
        zero_point: 0 in every grid but `Affine`, int64, with the shape of `scale`.
        bits: Bits of a code, sign included, int64, `()`; or None.
        grid: The grid, a `UniformQuantizer`, or None.
    """

    values: np.ndarray
    grid: UniformQuantizer | None

    @classmethod
    def of(cls, value: Any, quantizer: AnyQuantizer) -> QuantizedWeight:
        """Quantize a float weight.

        The grid is `quantizer.fixed(value)`; where no single grid quantizes as the
        quantizer does, the coarsest power-of-two grid that holds the quantized values.
        """
        array = np.asarray(ops.convert_to_numpy(value), np.float32)
        grid = quantizer.fixed(array)
        if grid is not None:
            return cls(grid.quantize(array), grid)
        quantized = quantizer(ops.convert_to_tensor(array))
        return cls.holding(ops.convert_to_numpy(quantized), None)

    @classmethod
    def holding(cls, values: Any, quantizer: AnyQuantizer | None) -> QuantizedWeight:
        """Describe a weight that `quantizer`, if any, has quantized already."""
        array = np.asarray(values, np.float32)
        grid = None if quantizer is None else quantizer.fixed(array)
        return cls(array, grid or grid_of_values(array))

    @property
    def codes(self) -> np.ndarray | None:  # noqa: D102
        if self.grid is None:
            return None
        codes = self.values.astype(np.float64) / self.grid.step.astype(np.float64)
        return np.rint(codes).astype(np.int64) + _zero_point(self.grid)

    @property
    def scale(self) -> np.ndarray | None:  # noqa: D102
        return None if self.grid is None else self.grid.step

    @property
    def zero_point(self) -> np.ndarray | None:  # noqa: D102
        if self.grid is None:
            return None
        return np.full(self.grid.step.shape, _zero_point(self.grid), np.int64)

    @property
    def bits(self) -> np.ndarray | None:  # noqa: D102
        return None if self.grid is None else np.array(self.grid.bits, np.int64)

    def __repr__(self) -> str:
        return f"<QuantizedWeight: shape {self.values.shape}, grid {self.grid!r}>"


def _zero_point(grid: UniformQuantizer) -> int:
    return grid.zero_point if isinstance(grid, Affine) else 0
