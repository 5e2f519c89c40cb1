"""QKeras's quantizers by their QKeras names and arguments.

Each function takes the arguments of the QKeras class of the same name and returns the
kerasqnn quantizer that gives the same values. `alpha=None` is scale 1, what QKeras itself
computes when the quantizer is called alone; a QKeras *layer* silently turns it into
`"auto_po2"`, kerasqnn never does. Options that change the values and have no counterpart
here are refused by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .binary import Binary, Ternary
from .fixed_point import FixedPoint, QuantizedReLU
from .quantizer import Quantizer


def quantized_bits(
    bits: int = 8,
    integer: int = 0,
    symmetric: int = 0,
    keep_negative: bool | int = True,
    alpha: Any = None,
    use_stochastic_rounding: bool = False,
    qnoise_factor: float = 1.0,
    post_training_scale: Any = None,
    **options: Any,
) -> Quantizer:
    """Fixed point with QKeras's arguments: `integer` excludes the sign bit.

    Args:
        bits: Bit width, sign included.
        integer: Bits before the binary point, sign excluded.
        symmetric: 1 drops the smallest signed code.
        keep_negative: 0 makes the numbers unsigned.
        alpha: None (scale 1), a number, or one number a channel; multiplies the result.
        use_stochastic_rounding: Refused unless False.
        qnoise_factor: Refused unless 1.
        post_training_scale: Refused unless None.
        **options: Further QKeras arguments; those that would change values are refused.

    Returns:
        A `FixedPoint`, or `Binary` for one signed bit.
    """
    name = "quantized_bits"
    _refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    _refuse(name, default=1.0, qnoise_factor=qnoise_factor)
    _refuse(name, default=None, post_training_scale=post_training_scale)
    _refuse_unknown(name, options)
    factor = _alpha(name, alpha)
    signed = bool(keep_negative)
    if bits == 1 and signed:
        return Binary(factor, gradient="identity")
    overflow = "SAT_SYM" if symmetric and signed else "SAT"
    return FixedPoint(
        _int(bits), _int(integer), signed=signed, overflow=overflow, alpha=factor
    )


def quantized_relu(
    bits: int = 8,
    integer: int = 0,
    use_sigmoid: int = 0,
    negative_slope: float = 0.0,
    use_stochastic_rounding: bool = False,
    relu_upper_bound: float | None = None,
    is_quantized_clip: bool = True,
    qnoise_factor: float = 1.0,
    **options: Any,
) -> Quantizer:
    """ReLU to unsigned fixed point with QKeras's arguments.

    Args:
        bits: Bit width.
        integer: Bits before the binary point.
        use_sigmoid: Refused unless 0.
        negative_slope: Refused unless 0.
        use_stochastic_rounding: Refused unless False.
        relu_upper_bound: Has no effect in QKeras while `is_quantized_clip` is true, and
            none here; refused otherwise.
        is_quantized_clip: Refused if false together with `relu_upper_bound`.
        qnoise_factor: Refused unless 1.
        **options: Further QKeras arguments; those that would change values are refused.

    Returns:
        A `QuantizedReLU`.
    """
    name = "quantized_relu"
    _refuse(name, use_sigmoid=use_sigmoid, negative_slope=negative_slope)
    _refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    _refuse(name, default=1.0, qnoise_factor=qnoise_factor)
    if not is_quantized_clip:
        _refuse(name, default=None, relu_upper_bound=relu_upper_bound)
    _refuse_unknown(name, options)
    return QuantizedReLU(_int(bits), _int(integer))


def binary(
    use_01: bool = False,
    alpha: Any = None,
    use_stochastic_rounding: bool = False,
    **options: Any,
) -> Quantizer:
    """The sign with QKeras's arguments.

    Args:
        use_01: Refused unless False.
        alpha: None (scale 1, tanh gradient) or a number (identity gradient).
        use_stochastic_rounding: Refused unless False.
        **options: Further QKeras arguments; those that would change values are refused.

    Returns:
        A `Binary`.
    """
    _refuse("binary", use_01=use_01, use_stochastic_rounding=use_stochastic_rounding)
    _refuse_unknown("binary", options)
    gradient = "tanh" if alpha is None else "identity"
    return Binary(_alpha("binary", alpha), gradient=gradient)


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
        number_of_unrolls: Used by QKeras for `alpha="auto"` only; no effect here.

    Returns:
        A `Ternary`.
    """
    del number_of_unrolls
    _refuse("ternary", use_stochastic_rounding=use_stochastic_rounding)
    if isinstance(threshold, str):
        raise ValueError(_unsupported("ternary", "threshold", threshold))
    gradient = "tanh" if alpha is None else "identity"
    factor = _alpha("ternary", alpha)
    if threshold is None:
        return Ternary(factor, gradient=gradient)
    return Ternary(factor, threshold=threshold, gradient=gradient)


def _int(value: Any) -> int:
    return int(np.asarray(value).reshape(()))


def _alpha(name: str, alpha: Any) -> Any:
    if isinstance(alpha, str):
        raise ValueError(
            f"{name}(alpha={alpha!r}) computes its scale from the data, which kerasqnn "
            "does not support; give a number, or one number a channel. Allowed: None "
            f"(scale 1) or positive numbers. Received: alpha={alpha!r}"
        )
    return 1.0 if alpha is None else alpha


def _unsupported(name: str, argument: str, value: Any) -> str:
    return (
        f"{name}({argument}={value!r}) changes the values and has no counterpart in "
        f"kerasqnn. Leave `{argument}` at its default. Received: {argument}={value!r}"
    )


def _refuse(name: str, *, default: Any = 0, **arguments: Any) -> None:
    for argument, value in arguments.items():
        same = value is None if default is None else value == default
        if not same:
            raise ValueError(_unsupported(name, argument, value))


# Arguments of the QKeras constructors that do not change the values of a quantizer with
# a fixed scale, with their defaults.
_HARMLESS = {
    "scale_axis": None,
    "var_name": None,
    "use_ste": True,
    "use_variables": False,
    "elements_per_scale": None,
    "min_po2_exponent": None,
    "max_po2_exponent": None,
    "training": False,
}


def _refuse_unknown(name: str, options: dict[str, Any]) -> None:
    for argument, value in options.items():
        if argument not in _HARMLESS:
            raise ValueError(
                f"{name} has no argument `{argument}`. Received: {argument}={value!r}"
            )
        _refuse(name, default=_HARMLESS[argument], **{argument: value})
