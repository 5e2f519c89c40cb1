"""The base of quantizers whose scale follows from the values that they quantize."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from ..errors import unknown_name
from .quantizer import (
    TINY,
    Quantizer,
    UniformQuantizer,
    check_int,
    constant,
    divide,
    without_denormals,
)
from .reductions import nearest_power_of_two, ordered_sum, tool_mean

SCALE_MODES = ("auto", "auto_po2")
EPSILON = 1e-7  # QKeras adds Keras's epsilon, here always its default
Axes = int | tuple[int, ...]


class AutoScale(Quantizer):
    """A quantizer of weights that computes its step from the weights at every call.

    `y = code * step`, where `step` depends on the values: one step for all of them that
    share an index along `axis` (by default the last, the output channels). What QKeras
    calls `alpha="auto"` and `alpha="auto_po2"`, with its arithmetic.

    With `mode="auto_po2"` the steps are powers of two, and they are the same bits in
    numpy, in every Keras backend, eager, traced and compiled: maxima are exact, sums
    are added in a fixed order by single additions, and the nearest power of two is
    looked up by comparisons instead of a logarithm. QKeras sums as its backend likes
    and rounds a float32 logarithm; its choice differs only where its own depends on
    that, when the least-squares scale lies within rounding errors of the middle (of the
    exponents) of two powers of two.

    With `mode="auto"` the fixed-point quantizers divide a maximum, with the same bits
    everywhere. `AutoBinary` and `AutoTernary` divide sums by the backend's own
    reduction, as QKeras does: the bits of QKeras on TensorFlow, eager and traced; XLA
    and other backends may differ in the last bits of the scale.

    The number of channels and of weights in each must be known, so that this is for
    weights, not for activations, whose scale would change with the batch.
    """

    mode: str
    axis: Axes
    group: Axes
    iterations: int
    min_exponent: int | None
    max_exponent: int | None
    _unit = 1.0

    def __init__(
        self,
        mode: str,
        *,
        axis: Any = -1,
        group: Any = 1,
        iterations: int = 5,
        min_exponent: int | None = None,
        max_exponent: int | None = None,
    ) -> None:
        if mode not in SCALE_MODES:
            raise ValueError(unknown_name("`mode`", mode, SCALE_MODES))
        self._set(
            mode=mode,
            axis=_axes("axis", axis, -8),
            group=_axes("group", group, 1),
            iterations=check_int("iterations", iterations, 1, 16),
            min_exponent=_exponent("min_exponent", min_exponent),
            max_exponent=_exponent("max_exponent", max_exponent),
        )
        if mode == "auto" and (min_exponent, max_exponent) != (None, None):
            raise ValueError(
                "`min_exponent` and `max_exponent` are for mode='auto_po2'. Received: "
                f"min_exponent={min_exponent}, max_exponent={max_exponent}"
            )
        if isinstance(group, tuple | list) and len(group) != np.size(axis):
            raise ValueError(
                "`group` must be one number, or one for each axis of `axis`. Received: "
                f"group={group!r}, axis={axis!r}"
            )

    # -- what a subclass says ----------------------------------------------------------

    @abstractmethod
    def _solve(self, xp: Any, x: Any) -> tuple[Any, Any]:
        """Return the codes and the step, which broadcasts against them."""

    @abstractmethod
    def _grid(self, x: np.ndarray, codes: np.ndarray, step: Any) -> UniformQuantizer:
        """Return the grid with `step`, a number or a vector along the last axis."""

    # -- what follows from it ----------------------------------------------------------

    def _forward(self, xp: Any, x: Any) -> Any:
        codes, step = self._solve(xp, self._checked(x))
        return codes * step

    def _gradient(self, x: Any, upstream: Any) -> Any:
        return upstream

    def step(self, values: Any) -> np.ndarray:
        """Return the steps that these values get, float32, one a channel.

        Args:
            values: Array of weights.

        Returns:
            The steps, in a shape that broadcasts against `values`.
        """
        x = self._checked(without_denormals(values))
        return np.asarray(self._solve(np, x)[1], np.float32)

    def fixed(self, values: Any = None) -> UniformQuantizer | None:
        """Return the grid with the scale that these values get.

        Args:
            values: The weights, or None for an activation.

        Returns:
            The grid; None for an activation, or where the steps vary along another
            axis than the last, or are too small for a grid.
        """
        if values is None:
            return None
        x = self._checked(without_denormals(values))
        codes, step = self._solve(np, x)
        along_last = _along_last_axis(np.broadcast_to(step, x.shape))
        if along_last is None:
            return None
        # Where all codes are zero, or the step is, any step gives the zeros.
        along_last = np.where(along_last < TINY, np.float32(1), along_last)
        try:
            grid = self._grid(x, codes, along_last)
        except ValueError:  # beyond the range of float32
            return None
        same = np.array_equal(grid.quantize(x), self.quantize(x))
        return grid if same else None

    def _checked(self, x: Any) -> Any:
        shape = tuple(x.shape)
        if not shape or None in shape:
            raise ValueError(
                f"{type(self).__name__} computes its scale from all values, so that "
                "their shape must be known and have at least one axis: use it for "
                f"weights, not for activations. Received: shape={shape}"
            )
        return x

    # -- reductions --------------------------------------------------------------------

    def _axes_and_groups(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if rank == 1:  # in a vector each number is a channel
            return (0,), (1,)
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        groups = self.group if isinstance(self.group, tuple) else (self.group,)
        if any(not -rank <= a < rank for a in axes):
            raise ValueError(
                f"`axis` must lie within the {rank} axes of the values. "
                f"Received: axis={self.axis!r}"
            )
        if len(groups) < len(axes):
            groups = groups * len(axes)
        return tuple(a % rank for a in axes), groups

    def _largest(self, xp: Any, x: Any) -> Any:
        """Return the largest value of each channel; exact in any order."""
        axes, _ = self._axes_and_groups(len(x.shape))
        others = tuple(a for a in range(len(x.shape)) if a not in axes)
        return xp.max(x, axis=others, keepdims=True) if others else x

    def _least_squares(self, xp: Any, x: Any, codes: Any) -> Any:
        """Return `mean(x codes) / (mean(codes^2) + epsilon)` of each channel.

        It is the step that brings `code * step` nearest to `x`.
        """
        axes, groups = self._axes_and_groups(len(x.shape))
        split: list[int] = []
        kept: list[int] = []
        spread: list[int] = []
        for axis, size in enumerate(x.shape):
            group = groups[axes.index(axis)] if axis in axes else size
            if size % group:
                raise ValueError(
                    f"`group` must divide the size of its axis, {size}. "
                    f"Received: group={self.group!r}, axis={self.axis!r}"
                )
            kept += [len(split)] if axis in axes else []
            split += [size // group, group] if axis in axes else [size]
            spread.append(size // group)
        others = tuple(a for a in range(len(split)) if a not in kept)
        count = float(np.prod([split[a] for a in others]))

        products = x * codes, codes * codes
        if self.mode == "auto":
            numerator, denominator = (
                tool_mean(xp, xp.reshape(p, split), others) for p in products
            )
        else:
            # Both factors have one sign; the maximum changes nothing, and keeps
            # compilers from fusing the product with the sum that follows.
            terms = xp.maximum(xp.abs(xp.stack(products)), -xp.abs(x))
            axes_of_terms = tuple(a + 1 for a in others)
            total = ordered_sum(xp, xp.reshape(terms, (2, *split)), axes_of_terms)
            means = divide(xp, total, count)
            numerator, denominator = means[0], means[1]
        step = numerator / (denominator + EPSILON)
        step = xp.reshape(step, spread)
        for axis, group in zip(axes, groups, strict=True):
            step = step if group == 1 else xp.repeat(step, group, axis=axis)
        return step

    def _power_of_two(self, xp: Any, step: Any) -> Any:
        """Return `unit * 2^round(log2(step / unit + 1e-7))`."""
        unit = constant(xp, self._unit, step)
        return nearest_power_of_two(xp, step / unit + EPSILON) * unit

    def _fitted(self, xp: Any, x: Any, codes: Any) -> Any:
        """Return the least-squares step, as a power of two where `mode` says so."""
        step = self._least_squares(xp, x, codes)
        if self.mode == "auto":
            return step
        step = self._power_of_two(xp, step)
        if self.min_exponent is not None:
            low = self._unit * 2.0**self.min_exponent
            step = xp.maximum(step, constant(xp, low, step))
        if self.max_exponent is not None:
            high = self._unit * 2.0**self.max_exponent
            step = xp.minimum(step, constant(xp, high, step))
        return step


def _axes(name: str, value: Any, low: int) -> Axes:
    if isinstance(value, tuple | list) and value:
        return tuple(check_int(name, v, low, 2**31 - 1) for v in value)
    return check_int(name, value, low, 2**31 - 1)


def _exponent(name: str, value: Any) -> int | None:
    return None if value is None else check_int(name, value, -64, 64)


def _along_last_axis(step: np.ndarray) -> Any:
    """Return steps as a number or a vector along the last axis, or None."""
    rows = step.reshape(-1, step.shape[-1])
    if not np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape)):
        return None
    return rows[0, 0] if np.all(rows[0] == rows[0, 0]) else rows[0]
