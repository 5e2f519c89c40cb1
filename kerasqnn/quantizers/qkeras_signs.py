"""QKeras's binary and ternary quantizers by their QKeras names and arguments.

As `qkeras_names`. In QKeras `stochastic_binary` and `stochastic_ternary` draw only when
called with `training=True`, which its own layers of version 3 never do; at inference
they are `binary` and `ternary`. Here they draw in training.
"""

from __future__ import annotations

from typing import Any

from ._qkeras_options import fixed_alpha, refuse, scale_axes, unsupported
from .auto_binary import AutoBinary, AutoTernary
from .binary import Binary, Heaviside, Ternary
from .quantizer import Quantizer
from .stateful import StatefulQuantizer
from .stochastic import StochasticBinary, StochasticTernary


def binary(
    use_01: bool = False,
    alpha: Any = None,
    training: bool = False,
    use_stochastic_rounding: bool = False,
    scale_axis: Any = None,
    elements_per_scale: Any = None,
    min_po2_exponent: int | None = None,
    max_po2_exponent: int | None = None,
) -> Quantizer:
    """The sign with QKeras's arguments.

    Args:
        use_01: Whether the values are 0 and `alpha` instead of `-alpha` and `alpha`.
        alpha: None (scale 1, tanh gradient), `"auto"`, `"auto_po2"`, a number, or one
            number a channel (identity gradient).
        training: No effect here.
        use_stochastic_rounding: Refused unless False.
        scale_axis: Axis, or list of axes, of the scale that `"auto"` computes; None is
            the last axis.
        elements_per_scale: Neighbours along `scale_axis` with one scale; `"auto"` and
            `"auto_po2"`.
        min_po2_exponent: Smallest exponent of the scale; `"auto_po2"`.
        max_po2_exponent: Largest exponent of the scale; `"auto_po2"`.

    Returns:
        A `Binary`, `Heaviside` or `AutoBinary`.
    """
    name = "binary"
    refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    if not (isinstance(alpha, str) and alpha == "auto_po2"):
        refuse(
            name,
            default=None,
            min_po2_exponent=min_po2_exponent,
            max_po2_exponent=max_po2_exponent,
        )
    if isinstance(alpha, str):
        axis, group = scale_axes(name, scale_axis, elements_per_scale)
        return AutoBinary(
            mode=alpha,
            zero_one=bool(use_01),
            axis=axis,
            group=group,
            min_exponent=min_po2_exponent,
            max_exponent=max_po2_exponent,
        )
    refuse(name, default=None, elements_per_scale=elements_per_scale)
    kind = Heaviside if use_01 else Binary
    return kind(fixed_alpha(name, alpha), gradient=_gradient(alpha))


def ternary(
    alpha: Any = None,
    threshold: float | None = None,
    use_stochastic_rounding: bool = False,
    number_of_unrolls: int = 5,
) -> Quantizer:
    """Three values with QKeras's arguments.

    Args:
        alpha: None (scale 1, tanh gradient), `"auto"`, `"auto_po2"`, a number, or one
            number a channel (identity gradient).
        threshold: Where zero ends; None is QKeras's 0.33. Refused if `alpha` is a
            string, and computed then.
        use_stochastic_rounding: Refused unless False.
        number_of_unrolls: How often `"auto"` fits threshold and scale.

    Returns:
        A `Ternary` or `AutoTernary`.
    """
    name = "ternary"
    refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    if isinstance(threshold, str):
        raise ValueError(unsupported(name, "threshold", threshold))
    if isinstance(alpha, str):
        refuse(name, default=None, threshold=threshold)
        return AutoTernary(mode=alpha, iterations=number_of_unrolls)
    factor = fixed_alpha(name, alpha)
    threshold = 0.33 if threshold is None else threshold
    return Ternary(factor, threshold=threshold, gradient=_gradient(alpha))


def stochastic_binary(
    alpha: Any = None, temperature: float = 6.0, use_real_sigmoid: bool = True
) -> StatefulQuantizer:
    """A drawn sign with QKeras's arguments.

    Args:
        alpha: None (scale 1), `"auto"`, `"auto_po2"` or a number.
        temperature: How sharply the probability follows the sign.
        use_real_sigmoid: False is the hard sigmoid, `clip(x / 2 + 1/2, 0, 1)`.

    Returns:
        A `StochasticBinary`.
    """
    return StochasticBinary(
        1.0 if alpha is None else alpha,
        temperature=temperature,
        sigmoid="sigmoid" if use_real_sigmoid else "hard_sigmoid",
    )


def stochastic_ternary(
    alpha: Any = None,
    threshold: float | None = None,
    temperature: float = 8.0,
    use_real_sigmoid: bool = True,
    number_of_unrolls: int = 5,
) -> Quantizer | StatefulQuantizer:
    """Three drawn values with QKeras's arguments.

    Args:
        alpha: `"auto"` or `"auto_po2"`; with a number or None QKeras cannot draw, and
            nothing is drawn here: the result is that of `ternary`.
        threshold: As in `ternary`.
        temperature: How sharply the probabilities follow.
        use_real_sigmoid: False is the hard sigmoid, `clip(x / 2 + 1/2, 0, 1)`.
        number_of_unrolls: How often threshold and scale are fitted.

    Returns:
        A `StochasticTernary`, or what `ternary` returns.
    """
    if not isinstance(alpha, str):
        return ternary(alpha, threshold, number_of_unrolls=number_of_unrolls)
    refuse("stochastic_ternary", default=None, threshold=threshold)
    return StochasticTernary(
        alpha,
        iterations=number_of_unrolls,
        temperature=temperature,
        sigmoid="sigmoid" if use_real_sigmoid else "hard_sigmoid",
    )


def _gradient(alpha: Any) -> str:
    return "tanh" if alpha is None else "identity"
