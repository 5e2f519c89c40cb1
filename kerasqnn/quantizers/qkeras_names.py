"""QKeras's quantizers by their QKeras names and arguments.

Each function takes the arguments of the QKeras class of the same name, in its order,
and returns the kerasqnn quantizer that gives the same values. `alpha=None` is scale 1,
what QKeras itself computes when the quantizer is called alone; a QKeras *layer*
silently turns it into `"auto_po2"`, kerasqnn never does. Options that change the values
and have no counterpart here are refused by name, as is `use_ste=False`, which makes the
gradient zero. Those that play no part while the scale is fixed are accepted:
`scale_axis`, `var_name`, `use_variables`, `training`, `number_of_unrolls`.
"""

from __future__ import annotations

from typing import Any

from ._qkeras_options import fixed_alpha, number, refuse, unsupported
from .binary import Binary, Ternary
from .fixed_point import FixedPoint
from .quantizer import Quantizer


def quantized_bits(
    bits: int = 8,
    integer: int = 0,
    symmetric: int = 0,
    keep_negative: bool | int = True,
    alpha: Any = None,
    use_stochastic_rounding: bool = False,
    scale_axis: Any = None,
    qnoise_factor: float = 1.0,
    var_name: str | None = None,
    use_ste: bool = True,
    use_variables: bool = False,
    elements_per_scale: Any = None,
    min_po2_exponent: int | None = None,
    max_po2_exponent: int | None = None,
    post_training_scale: Any = None,
) -> Quantizer:
    """Fixed point with QKeras's arguments: `integer` excludes the sign bit.

    Args:
        bits: Bit width, sign included.
        integer: Bits before the binary point, sign excluded.
        symmetric: 1 drops the smallest signed code.
        keep_negative: 0 makes the numbers unsigned.
        alpha: None (scale 1), a number, or one number a channel; multiplies the result.
        use_stochastic_rounding: Refused unless False.
        scale_axis: No effect here.
        qnoise_factor: Refused unless 1.
        var_name: No effect here.
        use_ste: Refused unless True.
        use_variables: No effect here.
        elements_per_scale: Refused unless None.
        min_po2_exponent: Refused unless None.
        max_po2_exponent: Refused unless None.
        post_training_scale: Refused unless None.

    Returns:
        A `FixedPoint`, or `Binary` for one signed bit.
    """
    name = "quantized_bits"
    refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    refuse(name, default=1, qnoise_factor=qnoise_factor, use_ste=use_ste)
    refuse(
        name,
        default=None,
        elements_per_scale=elements_per_scale,
        min_po2_exponent=min_po2_exponent,
        max_po2_exponent=max_po2_exponent,
        post_training_scale=post_training_scale,
    )
    factor = fixed_alpha(name, alpha)
    signed = bool(keep_negative)
    if bits == 1 and signed:
        return Binary(factor, gradient="identity")
    overflow = "SAT_SYM" if symmetric and signed else "SAT"
    return FixedPoint(
        number(bits), number(integer), signed=signed, overflow=overflow, alpha=factor
    )


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
        use_01: Refused unless False.
        alpha: None (scale 1, tanh gradient) or a number (identity gradient).
        training: No effect here.
        use_stochastic_rounding: Refused unless False.
        scale_axis: No effect here.
        elements_per_scale: Refused unless None.
        min_po2_exponent: Refused unless None.
        max_po2_exponent: Refused unless None.

    Returns:
        A `Binary`.
    """
    refuse("binary", use_01=use_01, use_stochastic_rounding=use_stochastic_rounding)
    refuse(
        "binary",
        default=None,
        elements_per_scale=elements_per_scale,
        min_po2_exponent=min_po2_exponent,
        max_po2_exponent=max_po2_exponent,
    )
    gradient = "tanh" if alpha is None else "identity"
    return Binary(fixed_alpha("binary", alpha), gradient=gradient)


def ternary(
    alpha: Any = None,
    threshold: float | None = None,
    use_stochastic_rounding: bool = False,
    number_of_unrolls: int = 5,
) -> Quantizer:
    """Three values with QKeras's arguments.

    Args:
        alpha: None (scale 1, tanh gradient) or a number (identity gradient).
        threshold: Where zero ends; None is QKeras's 0.33.
        use_stochastic_rounding: Refused unless False.
        number_of_unrolls: No effect here.

    Returns:
        A `Ternary`.
    """
    refuse("ternary", use_stochastic_rounding=use_stochastic_rounding)
    if isinstance(threshold, str):
        raise ValueError(unsupported("ternary", "threshold", threshold))
    gradient = "tanh" if alpha is None else "identity"
    factor = fixed_alpha("ternary", alpha)
    if threshold is None:
        return Ternary(factor, gradient=gradient)
    return Ternary(factor, threshold=threshold, gradient=gradient)
