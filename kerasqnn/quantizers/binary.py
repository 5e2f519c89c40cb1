"""One-bit and ternary quantizers: `Binary`, `Heaviside` and `Ternary`."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from .quantizer import Scale, UniformQuantizer, check_scale, constant

GRADIENTS = ("identity", "tanh")


class _SignQuantizer(UniformQuantizer):
    """What all three share: a scale `alpha` and the choice of gradient."""

    alpha: Scale
    gradient: str
    signed = True

    def __init__(self, alpha: Any, gradient: str) -> None:
        if gradient not in GRADIENTS:
            raise ValueError(unknown_name("`gradient`", gradient, GRADIENTS))
        self._set(alpha=check_scale("alpha", alpha), gradient=gradient)

    @property
    def step(self) -> np.ndarray:
        """The value of code 1, float32, shape `()` or `(channels,)`."""
        return np.asarray(self.alpha, np.float32)

    @property
    def code_min(self) -> int:
        """Smallest code, -1."""
        return -1

    @property
    def code_max(self) -> int:
        """Largest code, 1."""
        return 1

    def _scaled(self, xp: Any, codes: Any) -> Any:
        if self.alpha == 1.0:
            return codes
        return codes * constant(xp, self.step, codes)

    def _gradient(self, x: Any, upstream: Any) -> Any:
        if self.gradient == "identity":
            return upstream
        return upstream * (1.0 - ops.square(ops.tanh(x)))


@register_keras_serializable(package="kerasqnn")
class Binary(_SignQuantizer):
    """The sign, times a scale (QKeras `binary`).

    Formula:

        y = +alpha for x >= 0 (minus zero included), else -alpha

    Gradient: `"tanh"`: `1 - tanh(x)^2` (QKeras's `binary()` without `alpha`);
    `"identity"`: 1 everywhere (QKeras's with a numeric `alpha`).

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("Binary()", -2, 2)

    Args:
        alpha: Positive number, or one a channel of the last axis.
        gradient: `"tanh"` or `"identity"`.

    Example:

    >>> from kerasqnn.quantizers import Binary
    >>> Binary().quantize([-0.2, 0.0, 3.0]).tolist()
    [-1.0, 1.0, 1.0]

    References:
        - QONNX `BipolarQuant`; QKeras `binary`.
    """

    bits = 1

    def __init__(self, alpha: Any = 1.0, *, gradient: str = "tanh") -> None:
        super().__init__(alpha, gradient)

    def _forward(self, xp: Any, x: Any) -> Any:
        one = xp.ones_like(x)
        return self._scaled(xp, xp.where(x >= 0, one, -one))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"alpha": self.alpha, "gradient": self.gradient}


@register_keras_serializable(package="kerasqnn")
class Heaviside(_SignQuantizer):
    """The step function, times a scale (QKeras `binary(use_01=True)`).

    Formula:

        y = alpha for x >= 0 (minus zero included), else 0

    Gradient: `"tanh"`: `1 - tanh(x)^2`; `"identity"`: 1 everywhere. As `Binary`.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("Heaviside()", -2, 2)

    Args:
        alpha: Positive number, or one a channel of the last axis.
        gradient: `"tanh"` or `"identity"`.

    Example:

    >>> from kerasqnn.quantizers import Heaviside
    >>> Heaviside().quantize([-0.2, 0.0, 3.0]).tolist()
    [0.0, 1.0, 1.0]

    References:
        - QKeras `binary(use_01=True)`.
    """

    bits = 1
    signed = False

    def __init__(self, alpha: Any = 1.0, *, gradient: str = "tanh") -> None:
        super().__init__(alpha, gradient)

    @property
    def code_min(self) -> int:
        """Smallest code, 0."""
        return 0

    def _forward(self, xp: Any, x: Any) -> Any:
        return self._scaled(xp, xp.where(x >= 0, xp.ones_like(x), xp.zeros_like(x)))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"alpha": self.alpha, "gradient": self.gradient}


@register_keras_serializable(package="kerasqnn")
class Ternary(_SignQuantizer):
    """Minus a scale, zero or plus a scale (QKeras `ternary`).

    Formula:

        y = alpha * sign(x) where |x| >= threshold, else 0

    Gradient: `"tanh"`: `1 - tanh(x)^2`; `"identity"`: 1 everywhere. As `Binary`.

    Plot:

    .. plot::

        from kerasqnn.quantizers import plot_quantizer
        plot_quantizer("Ternary()", -2, 2)

    Args:
        alpha: Positive number, or one a channel of the last axis.
        threshold: Where zero ends, in units of `x`, not scaled by `alpha`; positive, or
            one number a channel of the last axis. QKeras's default is 0.33.
        gradient: `"tanh"` or `"identity"`.

    Example:

    >>> from kerasqnn.quantizers import Ternary
    >>> Ternary(threshold=0.5).quantize([-0.7, 0.4, 0.5]).tolist()
    [-1.0, 0.0, 1.0]
    """

    bits = 2
    threshold: Scale

    def __init__(
        self, alpha: Any = 1.0, *, threshold: Any = 0.33, gradient: str = "tanh"
    ) -> None:
        super().__init__(alpha, gradient)
        self._set(threshold=check_scale("threshold", threshold))

    def _forward(self, xp: Any, x: Any) -> Any:
        threshold = constant(xp, np.asarray(self.threshold, np.float32), x)
        kept = xp.where(xp.abs(x) >= threshold, xp.sign(x), xp.zeros_like(x))
        return self._scaled(xp, kept)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "alpha": self.alpha,
            "threshold": self.threshold,
            "gradient": self.gradient,
        }
