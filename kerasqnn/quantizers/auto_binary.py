"""Binary and ternary weights whose scale follows from the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.saving import register_keras_serializable

from .auto_scale import AutoScale
from .binary import Binary, Heaviside, Ternary
from .quantizer import UniformQuantizer, constant, quotient


@register_keras_serializable(package="kerasqnn")
class AutoBinary(AutoScale):
    """The sign, or 0 and 1, with a scale from the weights (QKeras `binary`).

    Formula, in float32, with `code = +1` for `x >= 0`, else `-1` (`0` with `zero_one`):

        y = scale * code,   scale = mean(x code) / (mean(code^2) + 1e-7)
        mode="auto_po2":    the nearest power of two, 2^round(log2(scale + 1e-7))

    Gradient: straight through, 1 everywhere; none through the scale.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("AutoBinary(mode='auto')")

    Args:
        mode: `"auto"` or `"auto_po2"`.
        zero_one: Whether the codes are 0 and 1 instead of -1 and +1.
        axis: The axis, or axes, along which the scale varies.
        group: Number of neighbours along `axis` that share a scale.
        min_exponent: Smallest exponent of the scale; `"auto_po2"` only.
        max_exponent: Largest exponent of the scale; `"auto_po2"` only.

    Raises:
        ValueError: As `AutoFixedPoint`.

    Example:

    >>> from kerasqnn.quantizers import AutoBinary
    >>> AutoBinary(mode="auto_po2").quantize([[0.5, 3], [-0.25, 4]]).tolist()
    [[0.5, 4.0], [-0.5, 4.0]]

    References:
        - QKeras `binary(alpha="auto")`; XNOR-Net, https://arxiv.org/abs/1603.05279.
    """

    bits = 1
    zero_one: bool

    def __init__(
        self,
        *,
        mode: str,
        zero_one: bool = False,
        axis: Any = -1,
        group: Any = 1,
        min_exponent: int | None = None,
        max_exponent: int | None = None,
    ) -> None:
        super().__init__(
            mode,
            axis=axis,
            group=group,
            min_exponent=min_exponent,
            max_exponent=max_exponent,
        )
        self._set(zero_one=bool(zero_one))

    def _solve(self, xp: Any, x: Any) -> tuple[Any, Any]:
        one = xp.ones_like(x)
        codes = xp.where(x >= 0, one, xp.zeros_like(x) if self.zero_one else -one)
        return codes, self._fitted(xp, x, codes)

    def _grid(self, x: np.ndarray, codes: np.ndarray, step: Any) -> UniformQuantizer:
        kind = Heaviside if self.zero_one else Binary
        return kind(step, gradient="identity")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "mode": self.mode,
            "zero_one": self.zero_one,
            "axis": self.axis,
            "group": self.group,
            "min_exponent": self.min_exponent,
            "max_exponent": self.max_exponent,
        }


@register_keras_serializable(package="kerasqnn")
class AutoTernary(AutoScale):
    """Three values with scale and threshold from the weights (QKeras `ternary`).

    Formula, in float32, starting from `scale = 2 max|x| / 3` (its nearest power of two
    with `mode="auto_po2"`), `iterations` times:

        code = sign(x) where |x| / scale > 1/2, else 0
        scale = mean(x code) / (mean(code^2) + 1e-7)
        mode="auto_po2":  its nearest power of two, 2^round(log2(scale + 1e-7))

    and `y = scale * code`: the threshold is half the scale before the last.

    Gradient: straight through, 1 everywhere; none through the scale.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("AutoTernary(mode='auto')")

    Args:
        mode: `"auto"` or `"auto_po2"`.
        iterations: How often threshold and scale are fitted, 1 to 16; QKeras's
            `number_of_unrolls`, 5.
        axis: The axis, or axes, along which the scale varies.

    Raises:
        ValueError: As `AutoFixedPoint`.

    Example:

    >>> from kerasqnn.quantizers import AutoTernary
    >>> weights = [[0.9], [-1.1], [0.1], [1.2]]
    >>> AutoTernary(mode="auto_po2").quantize(weights).tolist()
    [[1.0], [-1.0], [0.0], [1.0]]

    References:
        - QKeras `ternary(alpha="auto")`; ternary weight networks,
          https://arxiv.org/abs/1605.04711.
    """

    bits = 2

    def __init__(self, *, mode: str, iterations: int = 5, axis: Any = -1) -> None:
        super().__init__(mode, axis=axis, iterations=iterations)

    def _largest(self, xp: Any, x: Any) -> Any:
        if len(x.shape) == 1:  # QKeras starts a vector from one scale
            return xp.max(x, keepdims=True)
        return super()._largest(xp, x)

    def _solve(self, xp: Any, x: Any) -> tuple[Any, Any]:
        largest = self._largest(xp, xp.abs(x))
        step = largest * 2 * constant(xp, 1 / 3, largest)
        if self.mode == "auto_po2":
            step = self._power_of_two(xp, step)
        codes = xp.zeros_like(x)
        for _ in range(self.iterations):
            codes = self._codes(xp, x, step)
            step = self._fitted(xp, x, codes)
        return codes, step

    def _codes(self, xp: Any, x: Any, step: Any) -> Any:
        divisor = xp.where(step > 0, step, xp.ones_like(step))
        ratio = quotient(xp, xp.abs(x), divisor)
        kept = xp.logical_and(ratio > 0.5, step > 0)
        return xp.where(kept, xp.sign(x), xp.zeros_like(x))

    def _grid(self, x: np.ndarray, codes: np.ndarray, step: Any) -> UniformQuantizer:
        # On these values: nothing below the smallest number kept is kept.
        largest = np.finfo(np.float32).max
        kept = np.where(codes != 0, np.abs(x), largest)
        threshold = kept.min()
        if np.any(np.abs(x)[codes == 0] >= threshold):
            threshold = kept.min(axis=tuple(range(x.ndim - 1)))
        return Ternary(step, threshold=threshold, gradient="identity")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"mode": self.mode, "iterations": self.iterations, "axis": self.axis}
