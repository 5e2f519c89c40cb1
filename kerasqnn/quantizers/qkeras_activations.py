"""QKeras's activations and powers of two by their QKeras names and arguments.

As `qkeras_names`: each function takes the arguments of the QKeras class of the same
name, in its order, and returns the kerasqnn quantizer that gives the same values and
gradients. QKeras keeps the sigmoid of `quantized_tanh`, `quantized_sigmoid` and
`quantized_relu(use_sigmoid=1)` in a variable of its module, `"hard"` until
`set_internal_sigmoid` changes it: these functions take `"hard"`, and
`kerasqnn.quantizers.get` takes for a QKeras *object* what is set at that moment.
"""

from __future__ import annotations

import sys
from typing import Any

from ._qkeras_options import fixed_alpha, number, refuse, unsupported
from .fixed_point import QuantizedReLU
from .power_of_two import PowerOfTwo, PowerOfTwoReLU
from .quantized_functions import QuantizedHardSwish, QuantizedSigmoid, QuantizedTanh
from .quantizer import Quantizer
from .rectifiers import QuantizedLeakyReLU, QuantizedSigmoidReLU


def quantized_relu(
    bits: int = 8,
    integer: int = 0,
    use_sigmoid: int = 0,
    negative_slope: float = 0.0,
    use_stochastic_rounding: bool = False,
    relu_upper_bound: float | None = None,
    is_quantized_clip: bool = True,
    qnoise_factor: float = 1.0,
    var_name: str | None = None,
    use_ste: bool = True,
    use_variables: bool = False,
) -> Quantizer:
    """ReLU to fixed point with QKeras's arguments.

    Args:
        bits: Bit width, the sign of a leaky ReLU included.
        integer: Bits before the binary point, sign excluded.
        use_sigmoid: 1 for the upper half of a sigmoid; refused with `negative_slope`.
        negative_slope: Slope below zero, 0 or a power of two.
        use_stochastic_rounding: Refused unless False.
        relu_upper_bound: Largest value; without effect, as in QKeras, while
            `is_quantized_clip` is true.
        is_quantized_clip: Whether the gradient ends at the largest value of the grid.
        qnoise_factor: Refused unless 1.
        var_name: No effect here.
        use_ste: Refused unless True.
        use_variables: No effect here.

    Returns:
        A `QuantizedReLU`, `QuantizedLeakyReLU` or `QuantizedSigmoidReLU`.
    """
    name = "quantized_relu"
    refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    refuse(name, default=1, qnoise_factor=qnoise_factor, use_ste=use_ste)
    if use_sigmoid:
        refuse(name, negative_slope=negative_slope)
    elif is_quantized_clip and not negative_slope:
        return QuantizedReLU(number(bits), number(integer))
    if is_quantized_clip:
        relu_upper_bound = None
    elif relu_upper_bound is not None and not relu_upper_bound > 0:
        raise ValueError(unsupported(name, "relu_upper_bound", relu_upper_bound))
    common: dict[str, Any] = {
        "upper_bound": relu_upper_bound,
        "saturating_gradient": bool(is_quantized_clip),
    }
    if use_sigmoid:
        return QuantizedSigmoidReLU(number(bits), number(integer), **common)
    return QuantizedLeakyReLU(
        number(bits), number(integer), negative_slope=negative_slope, **common
    )


def quantized_tanh(
    bits: int = 8,
    use_stochastic_rounding: bool = False,
    symmetric: bool = False,
    use_real_tanh: bool = False,
) -> Quantizer:
    """Tanh to fixed point with QKeras's arguments.

    Args:
        bits: Bit width, sign included.
        use_stochastic_rounding: Refused unless False.
        symmetric: Whether the smallest code is left out.
        use_real_tanh: Whether it is `tanh`, not `2 hard_sigmoid(x) - 1`.

    Returns:
        A `QuantizedTanh`.
    """
    refuse("quantized_tanh", use_stochastic_rounding=use_stochastic_rounding)
    function = "tanh" if use_real_tanh else "hard_tanh"
    return QuantizedTanh(number(bits), function=function, symmetric=symmetric)


def quantized_sigmoid(
    bits: int = 8,
    symmetric: bool = False,
    use_real_sigmoid: bool = False,
    use_stochastic_rounding: bool = False,
) -> Quantizer:
    """Sigmoid to fixed point with QKeras's arguments.

    Args:
        bits: Bit width.
        symmetric: Whether 0 is left out.
        use_real_sigmoid: Whether it is the sigmoid, not `hard_sigmoid`.
        use_stochastic_rounding: Refused unless False.

    Returns:
        A `QuantizedSigmoid`.
    """
    refuse("quantized_sigmoid", use_stochastic_rounding=use_stochastic_rounding)
    function = "sigmoid" if use_real_sigmoid else "hard_sigmoid"
    return QuantizedSigmoid(number(bits), function=function, symmetric=symmetric)


def quantized_hswish(
    bits: int = 8,
    integer: int = 0,
    symmetric: int = 0,
    alpha: Any = None,
    use_stochastic_rounding: bool = False,
    scale_axis: Any = None,
    qnoise_factor: float = 1.0,
    var_name: str | None = None,
    use_variables: bool = False,
    relu_shift: int = 3,
    relu_upper_bound: int = 6,
) -> Quantizer:
    """Hard swish to fixed point with QKeras's arguments.

    Args:
        bits: Bit width, sign included.
        integer: Bits before the binary point, sign excluded.
        symmetric: 1 drops the smallest code.
        alpha: None (scale 1), a number, or one number a channel; multiplies the result.
        use_stochastic_rounding: Refused unless False.
        scale_axis: No effect here.
        qnoise_factor: Refused unless 1.
        var_name: No effect here.
        use_variables: No effect here.
        relu_shift: Where the function starts to rise, below zero.
        relu_upper_bound: Upper bound of the factor.

    Returns:
        A `QuantizedHardSwish`.
    """
    name = "quantized_hswish"
    refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    refuse(name, default=1, qnoise_factor=qnoise_factor)
    return QuantizedHardSwish(
        number(bits),
        number(integer),
        symmetric=bool(symmetric),
        alpha=fixed_alpha(name, alpha),
        shift=relu_shift,
        bound=relu_upper_bound,
    )


def quantized_po2(
    bits: int = 8,
    max_value: float | None = None,
    use_stochastic_rounding: bool = False,
    quadratic_approximation: bool = False,
    log2_rounding: str = "rnd",
    qnoise_factor: float = 1.0,
    var_name: str | None = None,
    use_ste: bool = True,
    use_variables: bool = False,
) -> Quantizer:
    """Signed powers of two with QKeras's arguments.

    Args:
        bits: Bit width of exponent, its sign and the sign of the number.
        max_value: Larger magnitudes count as this one, or None.
        use_stochastic_rounding: Refused unless False.
        quadratic_approximation: Whether only even exponents are used.
        log2_rounding: `"rnd"` or `"floor"`.
        qnoise_factor: Refused unless 1.
        var_name: No effect here.
        use_ste: Refused unless True.
        use_variables: No effect here.

    Returns:
        A `PowerOfTwo`.
    """
    name = "quantized_po2"
    refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    refuse(name, default=1, qnoise_factor=qnoise_factor, use_ste=use_ste)
    return PowerOfTwo(
        number(bits),
        max_value,
        quadratic=quadratic_approximation,
        rounding=log2_rounding,
    )


def quantized_relu_po2(
    bits: int = 8,
    max_value: float | None = None,
    negative_slope: float = 0,
    use_stochastic_rounding: bool = False,
    quadratic_approximation: bool = False,
    log2_rounding: str = "rnd",
    qnoise_factor: float = 1.0,
    var_name: str | None = None,
    use_ste: bool = True,
    use_variables: bool = False,
) -> Quantizer:
    """ReLU to powers of two with QKeras's arguments.

    Args:
        bits: Bit width of exponent and its sign.
        max_value: Larger magnitudes count as this one, or None.
        negative_slope: Slope below zero, 0 or a power of two.
        use_stochastic_rounding: Refused unless False.
        quadratic_approximation: Whether only even exponents are used.
        log2_rounding: `"rnd"` or `"floor"`.
        qnoise_factor: Refused unless 1.
        var_name: No effect here.
        use_ste: Refused unless True.
        use_variables: No effect here.

    Returns:
        A `PowerOfTwoReLU`.
    """
    name = "quantized_relu_po2"
    refuse(name, use_stochastic_rounding=use_stochastic_rounding)
    refuse(name, default=1, qnoise_factor=qnoise_factor, use_ste=use_ste)
    return PowerOfTwoReLU(
        number(bits),
        max_value,
        negative_slope,
        quadratic=quadratic_approximation,
        rounding=log2_rounding,
    )


def with_internal_sigmoid(quantizer: Quantizer) -> Quantizer:
    """Return a quantizer with the sigmoid that QKeras has set, if it has a hard one."""
    function = getattr(quantizer, "function", "")
    qkeras = sys.modules.get("qkeras.quantizers")
    if qkeras is None or not function.startswith("hard_"):
        return quantizer
    sigmoid = qkeras._sigmoid.__name__
    if function == "hard_tanh":
        sigmoid = sigmoid.replace("_sigmoid", "_tanh")
        sigmoid = "sigmoid_tanh" if sigmoid == "sigmoid" else sigmoid
    return type(quantizer).from_config({**quantizer.get_config(), "function": sigmoid})
