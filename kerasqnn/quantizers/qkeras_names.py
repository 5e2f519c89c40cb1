"""QKeras's fixed-point quantizers by their QKeras names and arguments.

Each function takes the arguments of the QKeras class of the same name, in its order,
and returns the kerasqnn quantizer that gives the same values; those of `qkeras_signs`
and `qkeras_activations` too. `alpha=None` is scale 1, what QKeras itself computes when
the quantizer is called alone; a QKeras *layer* silently turns it into `"auto_po2"` for
its kernel, kerasqnn never does. Options that change the values and have no counterpart
here are refused by name, as is `use_ste=False`, which makes the gradient zero. Those
that play no part in the result are accepted: `var_name`, `use_variables`, `training`,
and `scale_axis` while the scale is fixed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._qkeras_options import fixed_alpha, number, refuse, scale_axes, unsupported
from .auto_fixed_point import AutoFixedPoint, AutoLinear
from .binary import Binary
from .fixed_point import FixedPoint, QuantizedLinear
from .quantizer import Quantizer
from .stateful import StatefulQuantizer
from .stochastic import StochasticRounding


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
) -> Quantizer | StatefulQuantizer:
    """Fixed point with QKeras's arguments: `integer` excludes the sign bit.

    Args:
        bits: Bit width, sign included.
        integer: Bits before the binary point, sign excluded.
        symmetric: 1 drops the smallest signed code; always so if `alpha` is a string.
        keep_negative: 0 makes the numbers unsigned; no effect if `alpha` is a string.
        alpha: None (scale 1), `"auto"`, `"auto_po2"`, a number, or one number a
            channel, which multiplies the result.
        use_stochastic_rounding: Draws in training; no effect if `alpha` is a string.
        scale_axis: Axis, or list of axes, of the scale that `"auto"` computes; None is
            the last axis.
        qnoise_factor: Refused unless 1.
        var_name: No effect here.
        use_ste: Refused unless True.
        use_variables: No effect here.
        elements_per_scale: Neighbours along `scale_axis` with one scale; `"auto_po2"`.
        min_po2_exponent: Smallest exponent of the scale; `"auto_po2"`.
        max_po2_exponent: Largest exponent of the scale; `"auto_po2"`.
        post_training_scale: The scale itself, in place of the computed one.

    Returns:
        A `FixedPoint`, `Binary` for one signed bit, `AutoFixedPoint` if `alpha` is a
        string (`FixedPoint` with a `post_training_scale`), or `StochasticRounding`.
    """
    name = "quantized_bits"
    refuse(name, default=1, qnoise_factor=qnoise_factor, use_ste=use_ste)
    bits, integer, signed = number(bits), number(integer), bool(keep_negative)
    if not (isinstance(alpha, str) and alpha == "auto_po2"):
        refuse(
            name,
            default=None,
            elements_per_scale=elements_per_scale,
            min_po2_exponent=min_po2_exponent,
            max_po2_exponent=max_po2_exponent,
        )
    if isinstance(alpha, str):
        if post_training_scale is not None:
            scale = np.asarray(post_training_scale, np.float64) * 2.0 ** (signed - 1)
            return FixedPoint(
                bits, integer, rounding="HALF_UP", overflow="SAT_SYM", scale=scale
            )
        axis, group = scale_axes(name, scale_axis, elements_per_scale)
        return AutoFixedPoint(
            bits,
            integer,
            mode=alpha,
            axis=axis,
            group=group,
            min_exponent=min_po2_exponent,
            max_exponent=max_po2_exponent,
        )
    refuse(name, default=None, post_training_scale=post_training_scale)
    factor = fixed_alpha(name, alpha)
    if bits == 1 and signed:
        return Binary(factor, gradient="identity")
    overflow = "SAT_SYM" if symmetric and signed else "SAT"
    grid = FixedPoint(bits, integer, signed=signed, overflow=overflow, alpha=factor)
    return StochasticRounding(grid) if use_stochastic_rounding else grid


def quantized_linear(
    bits: int = 8,
    integer: int = 0,
    symmetric: int = 1,
    keep_negative: bool | int = True,
    alpha: Any = None,
    use_stochastic_rounding: bool = False,
    scale_axis: Any = None,
    qnoise_factor: float = 1.0,
    var_name: str | None = None,
    use_variables: bool = False,
) -> Quantizer | StatefulQuantizer:
    """Fixed point with QKeras's arguments, whose gradient ends at the range.

    Args:
        bits: Bit width, sign included; one signed bit is refused, which QKeras rounds
            up for the smallest negative numbers.
        integer: Bits before the binary point; no effect if `alpha` is a string.
        symmetric: 0 keeps the smallest signed code.
        keep_negative: 0 makes the numbers unsigned.
        alpha: None (scale 1), `"auto"`, `"auto_po2"`, a number, or one number a
            channel, which scales the grid.
        use_stochastic_rounding: Draws in training; refused if `alpha` is a string.
        scale_axis: Axis, or list of axes, of the scale that `"auto"` computes; None is
            the last axis.
        qnoise_factor: Refused unless 1.
        var_name: No effect here.
        use_variables: No effect here.

    Returns:
        A `QuantizedLinear`, `AutoLinear`, or `StochasticRounding`.
    """
    name = "quantized_linear"
    refuse(name, default=1, qnoise_factor=qnoise_factor)
    bits, integer, signed = number(bits), number(integer), bool(keep_negative)
    if bits == 1 and signed:
        raise ValueError(
            unsupported(name, "bits", 1) + "; for -1 and +1 use binary(alpha=0.5)"
        )
    if isinstance(alpha, str):
        refuse(name, use_stochastic_rounding=use_stochastic_rounding)
        axis, _ = scale_axes(name, scale_axis)
        return AutoLinear(
            bits, mode=alpha, signed=signed, symmetric=bool(symmetric), axis=axis
        )
    grid = QuantizedLinear(
        bits,
        integer,
        signed=signed,
        symmetric=bool(symmetric),
        scale=fixed_alpha(name, alpha),
    )
    return StochasticRounding(grid) if use_stochastic_rounding else grid
