"""QKeras's quantizers and activations, as they stand in its models, as kerasqnn's."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import keras
import numpy as np

from .. import quantizers
from .._values import parse_call
from ..quantizers.auto_scale import AutoScale
from ..quantizers.parsing import _FACTORIES, AnyQuantizer
from ..quantizers.quantizer import UniformQuantizer, all_powers_of_two
from .description import LayerDescription

# What a QKeras layer makes of `alpha=None` in quantizers of what it multiplies with.
_SCALED_BY_LAYERS = frozenset(
    {
        "quantized_bits",
        "quantized_linear",
        "bernoulli",
        "ternary",
        "stochastic_ternary",
        "binary",
        "stochastic_binary",
    }
)

# Functions of the same name and arithmetic in Keras 2, Keras 3 and under both QKeras.
KERAS_ACTIVATIONS = frozenset(
    {
        "elu",
        "exponential",
        "linear",
        "relu",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "swish",
        "tanh",
    }
)


QKERAS_FUNCTIONS = {
    "hard_sigmoid": quantizers.qkeras_hard_sigmoid,
    "hard_tanh": quantizers.qkeras_hard_tanh,
    "smooth_sigmoid": quantizers.qkeras_smooth_sigmoid,
    "smooth_tanh": quantizers.qkeras_smooth_tanh,
}


def quantizer(
    layer: LayerDescription, argument: str, *, is_scaled: bool = False
) -> AnyQuantizer | None:
    """Return the quantizer that a QKeras layer has as `argument`.

    Args:
        layer: The layer.
        argument: Name of the argument in its configuration.
        is_scaled: Whether the layer turns `alpha=None` into `"auto_po2"`: it does for
            kernels of all kinds, and for gamma and variance, but not for biases.

    Returns:
        The quantizer, or None where the layer has none.

    Raises:
        UnsupportedModelError: If no kerasqnn quantizer gives the same values.
    """
    value = layer.config.get(argument)
    if value is None:
        return None
    try:
        if type(value).__module__.partition(".")[0] == "qkeras":
            _factory(type(value).__name__)
            return quantizers.get(value)  # a live one has its scale mode already
        name, arguments = _name_and_arguments(value)
        return _convert(name, arguments, is_scaled)
    except (TypeError, ValueError) as error:
        raise layer.refused(f"{argument}: {error}") from error


def activation(layer: LayerDescription, argument: str = "activation") -> Any:
    """Return the activation that a layer has as `argument`.

    Returns:
        A quantizer, a function, the name of one of Keras's, or None.

    Raises:
        UnsupportedModelError: If the activation has no counterpart.
    """
    value = layer.config.get(argument)
    if value is None:
        return None
    name = _function_name(value)
    if name in KERAS_ACTIVATIONS:
        return name
    if name in QKERAS_FUNCTIONS:
        function = _function(name, value, layer)
        if function is not None:
            return function
    if name is not None and not _is_quantizer(name):
        raise layer.refused(
            f"{argument}: the function {name!r} has no counterpart in kerasqnn. "
            f"Allowed: quantizers, {', '.join(sorted(QKERAS_FUNCTIONS))} of QKeras, "
            f"{', '.join(sorted(KERAS_ACTIVATIONS))}. "
            f"Received: {argument}={value!r}"
        )
    found = quantizer(layer, argument)
    check_fixed_scale(layer, argument, found)
    return found


def check_fixed_scale(
    layer: LayerDescription, argument: str, found: AnyQuantizer | None
) -> None:
    """Refuse a quantizer of computed values without a fixed power-of-two grid.

    Raises:
        UnsupportedModelError: If its scale is computed, or its step no power of two, so
            that it leaves its grid in QKeras.
    """
    if isinstance(getattr(found, "inference", found), AutoScale):
        raise layer.refused(
            f"{argument}: its scale is computed from values that are no weights; of a "
            "batch, a prediction would depend on the others. "
            f"Received: {argument}={found!r}"
        )
    if isinstance(found, UniformQuantizer) and not all_powers_of_two(found.step):
        raise layer.refused(
            f"{argument}: QKeras computes x + (q - x) in float32, which leaves a grid "
            f"whose step is no power of two. Received: {argument}={found!r}"
        )


def _function(name: str, value: Any, layer: LayerDescription) -> Any:
    """Return a function with a name that QKeras has, and Keras may have too.

    QKeras looks names up among its own functions first, but those that Keras 3 wrapped
    in a dictionary among Keras's.
    """
    if isinstance(value, str):
        is_own = layer.package == "qkeras"
    elif isinstance(value, Mapping):
        is_own = layer.package == "qkeras" and not hasattr(keras.activations, name)
    else:
        is_own = value.__module__.partition(".")[0] == "qkeras"
    if is_own:
        return QKERAS_FUNCTIONS[name]
    return None if layer.is_keras2 else name  # Keras 2's hard_sigmoid is another


def _convert(
    name: str, arguments: Mapping[str, Any], is_scaled: bool
) -> AnyQuantizer | None:
    arguments = dict(arguments)
    if is_scaled and name in _SCALED_BY_LAYERS and arguments.get("alpha") is None:
        arguments["alpha"] = "auto_po2"
    factory = _FACTORIES[name]
    unknown = [a for a in arguments if a not in signature(factory).parameters]
    if unknown:
        raise ValueError(
            f"{name} has an option that kerasqnn does not know. Received: "
            f"{unknown[0]}={arguments[unknown[0]]!r}"
        )
    return factory(**arguments)


def _name_and_arguments(value: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(value, str):
        name, positional, named = parse_call(value, "quantized_bits(4,0,1)")
        bound = signature(_factory(name)).bind(*positional, **named)
        return name, bound.arguments
    if isinstance(value, Mapping):
        name = str(value["class_name"]).rpartition(">")[2]
        _factory(name)
        return name, {k: _number(v) for k, v in value["config"].items()}
    raise ValueError(f"{value!r} is no quantizer")


def _factory(name: str) -> Any:
    if not _is_quantizer(name):
        raise ValueError(f"the quantizer {name!r} has no counterpart in kerasqnn")
    return _FACTORIES[name]


def _is_quantizer(name: str) -> bool:
    return name[:1].islower() and name in _FACTORIES


def _function_name(value: Any) -> str | None:
    """Return the name where `value` stands for a function or a bare name."""
    if isinstance(value, str):
        return value if value.isidentifier() else None
    if isinstance(value, Mapping):
        if value.get("class_name") == "function":
            return str(value["config"])
        return None
    if type(value).__module__.partition(".")[0] == "qkeras":
        return None
    return getattr(value, "__name__", None)


def _number(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        return value.item()
    return value
