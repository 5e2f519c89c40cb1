"""kerasqnn's quantizers and activations as QKeras's.

Each quantizer becomes the QKeras object that looks like it, and then the proof is
`quantizers.get`, which reads QKeras objects: what it makes of the object must compute
the same values as the quantizer at inference. So nothing here decides about bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import quantizers as q
from ..quantizers.auto_scale import AutoScale
from ..quantizers.parsing import AnyQuantizer
from ..quantizers.quantizer import all_powers_of_two
from .quantizers import QKERAS_FUNCTIONS

# (name, arguments) of a QKeras quantizer.
Call = tuple[str, Mapping[str, Any]]
# Arguments that say how a quantizer trains, not what it computes at inference.
_OF_TRAINING = frozenset({"gradient", "seed", "name", "trainable", "dtype"})
_LEARNED = (q.LearnedStepSize, q.PACT, q.LearnedBits)


def qkeras_quantizer(
    quantizer: AnyQuantizer, values: Any = None, *, is_scaled: bool = False
) -> Any:
    """Return the QKeras quantizer with the values of a kerasqnn one.

    Args:
        quantizer: The kerasqnn quantizer.
        values: The weights that it quantizes, or None for an activation.
        is_scaled: Whether the QKeras layer turns `alpha=None` into `"auto_po2"`.

    Raises:
        ValueError: If QKeras has none with the same values at inference.
    """
    import qkeras

    at_inference = inference_form(quantizer, values)
    reason = f"QKeras has no {type(at_inference).__name__}"
    for name, arguments in _candidates(at_inference):
        if is_scaled and arguments.get("alpha", 1.0) is None:
            arguments = {**arguments, "alpha": 1.0}
        try:
            candidate = getattr(qkeras, name)(**arguments)
            read = q.get(candidate)
        except (TypeError, ValueError) as error:
            reason = f"QKeras's {name} cannot express it: {error}"
            continue
        if read is not None and same_values(read, at_inference):
            return candidate
        reason = f"QKeras's {name} is {read!r}"
    raise ValueError(f"{reason}. Received: {quantizer!r}")


def inference_form(quantizer: AnyQuantizer, values: Any = None) -> AnyQuantizer:
    """Return the quantizer that gives the same values at inference, without variables.

    What a quantizer has learned is the grid that it has now; one that sets in gradually
    is what it leads to. Quantizers that draw stay as they are.

    Raises:
        ValueError: If the learned values lie on no single grid.
    """
    if isinstance(quantizer, q.Gradual):
        return inference_form(quantizer.quantizer, values)
    if isinstance(quantizer, _LEARNED):
        grid = quantizer.fixed(values)
        if grid is None:
            raise ValueError(
                "what it has learned is no single grid of fixed-point numbers. "
                f"Received: {quantizer!r}"
            )
        return grid
    if isinstance(quantizer, AutoScale) and values is not None:
        return _with_positive_axes(quantizer, np.ndim(values))
    return quantizer


def same_values(one: Any, other: Any) -> bool:
    """Whether two activations, or quantizers without variables, compute the same."""
    if not isinstance(one, AnyQuantizer) or not isinstance(other, AnyQuantizer):
        return one is other
    return _values(one) == _values(other)


def qkeras_activation(activation: Any) -> Any:
    """Return what a QKeras layer takes for an activation: a quantizer or a function.

    Raises:
        ValueError: If QKeras has no such quantizer, or another function of that name.
    """
    import qkeras

    if isinstance(activation, AnyQuantizer):
        return qkeras_quantizer(activation)
    for name, function in QKERAS_FUNCTIONS.items():
        if activation is function:
            return getattr(qkeras, name)
    own = getattr(activation, "__name__", None)
    if own in QKERAS_FUNCTIONS:
        raise ValueError(
            f"the files of QKeras would take its own {own} for Keras's, which is "
            f"another. Received: {activation!r}"
        )
    return activation


def _with_positive_axes(quantizer: AutoScale, rank: int) -> AutoScale:
    """Return it with the axes as QKeras counts them, but for the last alone."""
    axis = quantizer.axis
    axes = axis if isinstance(axis, tuple) else (axis,)
    if rank == 1 or min(axes) >= 0 or (axis == -1 and quantizer.group == 1):
        return quantizer
    positive = [a % rank for a in axes]
    config = quantizer.get_config()
    config["axis"] = positive if isinstance(axis, tuple) else positive[0]
    return type(quantizer).from_config(config)


def _values(quantizer: Any) -> tuple[Any, ...]:
    """Return what a quantizer computes at inference, in a form to compare."""
    if isinstance(quantizer, q.StochasticRounding):
        return ("drawn", *_values(quantizer.inference))
    if isinstance(quantizer, q.FixedPoint):
        return (
            "grid",
            quantizer.rounding,
            quantizer.overflow == "WRAP",
            (quantizer.code_min, quantizer.code_max),
            quantizer.grid_step.tolist(),
            quantizer.step.tolist(),
        )
    config = quantizer.get_config().items()
    kept = {k: v for k, v in config if k not in _OF_TRAINING}
    return (type(quantizer).__name__, *sorted(kept.items()))


# -- candidates ------------------------------------------------------------------------


def _candidates(quantizer: Any) -> Iterator[Call]:
    """Return the QKeras quantizers that may have the same values, best first."""
    if isinstance(quantizer, q.StochasticRounding):
        for name, arguments in _candidates(quantizer.inference):
            yield name, {**arguments, "use_stochastic_rounding": True}
    elif type(quantizer) is q.FixedPoint:
        yield from _fixed_point(quantizer)
    elif type(quantizer) in _CALLS:
        yield _CALLS[type(quantizer)](quantizer)


def _fixed_point(x: q.FixedPoint) -> Iterator[Call]:
    integer, scale = x.integer, x.scale
    if not isinstance(scale, tuple) and all_powers_of_two(np.float32(scale)):
        integer, scale = integer + int(np.log2(scale)), 1.0
    grid = {"bits": x.bits, "integer": integer, "keep_negative": x.signed}
    symmetric = x.overflow == "SAT_SYM"
    if x.rounding == "HALF_UP":  # QKeras's rounding where the scale was computed
        post = np.asarray(x.scale, np.float32)
        post_grid = {**grid, "integer": x.integer, "post_training_scale": post}
        yield "quantized_bits", {**post_grid, "alpha": "auto_po2"}
    yield "quantized_bits", {**grid, "symmetric": symmetric, "alpha": _factor(x.alpha)}
    # The grid itself is scaled; its gradient ends at the range.
    yield "quantized_linear", {**grid, "symmetric": symmetric, "alpha": _factor(scale)}


def _factor(value: Any) -> Any:
    return np.asarray(value, np.float32) if isinstance(value, tuple) else value


def _signs(x: Any) -> Any:
    """Return `alpha`, None where QKeras's gradient shall be that of tanh."""
    return None if x.gradient == "tanh" and x.alpha == 1.0 else _factor(x.alpha)


def _scale_of(x: AutoScale) -> dict[str, Any]:
    return {
        "alpha": x.mode,
        "scale_axis": None if x.axis == -1 else x.axis,
        "elements_per_scale": None if x.group == 1 else x.group,
        "min_po2_exponent": x.min_exponent,
        "max_po2_exponent": x.max_exponent,
    }


def _power_of_two(x: Any) -> dict[str, Any]:
    return {
        "bits": x.bits,
        "max_value": x.max_value,
        "quadratic_approximation": x.quadratic,
        "log2_rounding": x.rounding,
    }


def _bounded_relu(x: Any) -> dict[str, Any]:
    return {
        "bits": x.bits,
        "integer": x.integer,
        "relu_upper_bound": x.upper_bound,
        "is_quantized_clip": x.saturating_gradient,
    }


def _drawn(x: Any) -> dict[str, Any]:
    real = x.sigmoid == "sigmoid"
    return {"temperature": x.temperature, "use_real_sigmoid": real}


_CALLS: dict[type, Callable[[Any], Call]] = {
    q.QuantizedReLU: lambda x: (
        "quantized_relu",
        {"bits": x.bits, "integer": x.integer},
    ),
    q.QuantizedLinear: lambda x: (
        "quantized_linear",
        {
            "bits": x.bits,
            "integer": x.integer,
            "symmetric": x.symmetric,
            "keep_negative": x.signed,
            "alpha": _factor(x.scale),
        },
    ),
    q.QuantizedLeakyReLU: lambda x: (
        "quantized_relu",
        {**_bounded_relu(x), "negative_slope": x.negative_slope},
    ),
    q.QuantizedSigmoidReLU: lambda x: (
        "quantized_relu",
        {**_bounded_relu(x), "use_sigmoid": 1},
    ),
    q.QuantizedTanh: lambda x: (
        "quantized_tanh",
        {
            "bits": x.bits,
            "symmetric": x.symmetric,
            "use_real_tanh": x.function == "tanh",
        },
    ),
    q.QuantizedSigmoid: lambda x: (
        "quantized_sigmoid",
        {
            "bits": x.bits,
            "symmetric": x.symmetric,
            "use_real_sigmoid": x.function == "sigmoid",
        },
    ),
    q.QuantizedHardSwish: lambda x: (
        "quantized_hswish",
        {
            "bits": x.bits,
            "integer": x.integer,
            "symmetric": x.symmetric,
            "alpha": _factor(x.alpha),
            "relu_shift": x.shift,
            "relu_upper_bound": x.bound,
        },
    ),
    q.PowerOfTwo: lambda x: ("quantized_po2", _power_of_two(x)),
    q.PowerOfTwoReLU: lambda x: (
        "quantized_relu_po2",
        {**_power_of_two(x), "negative_slope": x.negative_slope},
    ),
    q.Binary: lambda x: ("binary", {"alpha": _signs(x)}),
    q.Heaviside: lambda x: ("binary", {"use_01": True, "alpha": _signs(x)}),
    q.Ternary: lambda x: (
        "ternary",
        {"alpha": _signs(x), "threshold": _factor(x.threshold)},
    ),
    q.AutoFixedPoint: lambda x: (
        "quantized_bits",
        {"bits": x.bits, "integer": x.integer, "symmetric": 1, **_scale_of(x)},
    ),
    q.AutoLinear: lambda x: (
        "quantized_linear",
        {
            "bits": x.bits,
            "symmetric": x.symmetric,
            "keep_negative": x.signed,
            "alpha": x.mode,
            "scale_axis": _scale_of(x)["scale_axis"],
        },
    ),
    q.AutoBinary: lambda x: ("binary", {"use_01": x.zero_one, **_scale_of(x)}),
    q.AutoTernary: lambda x: (
        "ternary",
        {"alpha": x.mode, "number_of_unrolls": x.iterations},
    ),
    q.StochasticBinary: lambda x: (
        "stochastic_binary",
        {"alpha": x.get_config()["alpha"], **_drawn(x)},
    ),
    q.StochasticTernary: lambda x: (
        "stochastic_ternary",
        {
            "alpha": x.inference.mode,
            "number_of_unrolls": x.inference.iterations,
            **_drawn(x),
        },
    ),
}
