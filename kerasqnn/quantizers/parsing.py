"""From strings, dictionaries and QKeras objects to quantizers, without `eval`."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import keras
import numpy as np

from .._values import parse_call
from ..errors import unknown_name
from . import qkeras_activations, qkeras_names, qkeras_signs
from .affine import Affine
from .auto_binary import AutoBinary, AutoTernary
from .auto_fixed_point import AutoFixedPoint, AutoLinear
from .binary import Binary, Heaviside, Ternary
from .fixed_point import FixedPoint, QuantizedLinear, QuantizedReLU
from .gradual import Gradual
from .heterogeneous_fixed_point import HeterogeneousFixedPoint
from .learned_bits import LearnedBits
from .learned_step_size import PACT, LearnedStepSize
from .lsq_plus import LSQPlus
from .power_of_two import PowerOfTwo, PowerOfTwoReLU
from .quantized_functions import QuantizedHardSwish, QuantizedSigmoid, QuantizedTanh
from .quantized_softmax import QuantizedSoftmax
from .quantizer import Quantizer
from .rectifiers import QuantizedLeakyReLU, QuantizedSigmoidReLU
from .stateful import StatefulQuantizer
from .stochastic import StochasticBinary, StochasticRounding, StochasticTernary
from .table_function import TableFunction

AnyQuantizer = Quantizer | StatefulQuantizer

_FACTORIES: dict[str, Callable[..., AnyQuantizer]] = {
    "FixedPoint": FixedPoint,
    "HeterogeneousFixedPoint": HeterogeneousFixedPoint,
    "QuantizedReLU": QuantizedReLU,
    "QuantizedLeakyReLU": QuantizedLeakyReLU,
    "QuantizedSigmoidReLU": QuantizedSigmoidReLU,
    "QuantizedTanh": QuantizedTanh,
    "QuantizedSigmoid": QuantizedSigmoid,
    "QuantizedHardSwish": QuantizedHardSwish,
    "QuantizedSoftmax": QuantizedSoftmax,
    "TableFunction": TableFunction,
    "PowerOfTwo": PowerOfTwo,
    "PowerOfTwoReLU": PowerOfTwoReLU,
    "QuantizedLinear": QuantizedLinear,
    "Binary": Binary,
    "Heaviside": Heaviside,
    "Ternary": Ternary,
    "AutoFixedPoint": AutoFixedPoint,
    "AutoLinear": AutoLinear,
    "AutoBinary": AutoBinary,
    "AutoTernary": AutoTernary,
    "StochasticRounding": StochasticRounding,
    "StochasticBinary": StochasticBinary,
    "StochasticTernary": StochasticTernary,
    "LearnedStepSize": LearnedStepSize,
    "PACT": PACT,
    "LSQPlus": LSQPlus,
    "Affine": Affine,
    "LearnedBits": LearnedBits,
    "Gradual": Gradual,
    "quantized_bits": qkeras_names.quantized_bits,
    "quantized_relu": qkeras_activations.quantized_relu,
    "quantized_tanh": qkeras_activations.quantized_tanh,
    "quantized_sigmoid": qkeras_activations.quantized_sigmoid,
    "quantized_hswish": qkeras_activations.quantized_hswish,
    "quantized_po2": qkeras_activations.quantized_po2,
    "quantized_relu_po2": qkeras_activations.quantized_relu_po2,
    "quantized_linear": qkeras_names.quantized_linear,
    "binary": qkeras_signs.binary,
    "ternary": qkeras_signs.ternary,
    "stochastic_binary": qkeras_signs.stochastic_binary,
    "stochastic_ternary": qkeras_signs.stochastic_ternary,
}


def get(identifier: Any) -> AnyQuantizer | None:
    """Return the quantizer that `identifier` names.

    Args:
        identifier: None, a `Quantizer` or `StatefulQuantizer`, a string such as
            `"quantized_bits(4,0,1)"` or a quantizer's `repr`, a Keras configuration
            dictionary, or a `qkeras` quantizer object.

    Returns:
        The quantizer, or None for None.

    Raises:
        ValueError: If the string names no quantizer, or an argument is refused.
        TypeError: If `identifier` is of another kind.

    Example:

    >>> from kerasqnn import quantizers
    >>> quantizers.get("quantized_relu(4, 2)")
    QuantizedReLU(bits=4, integer=2, rounding='ROUND')
    """
    if identifier is None or isinstance(identifier, AnyQuantizer):
        return identifier
    if isinstance(identifier, str):
        return _from_string(identifier)
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if type(identifier).__module__.partition(".")[0] == "qkeras":
        return _from_qkeras(identifier)
    raise TypeError(
        "A quantizer must be None, a kerasqnn Quantizer, a string such as "
        "'quantized_bits(4,0,1)', its configuration, or a qkeras quantizer. "
        f"Received: {identifier!r} of type {type(identifier).__name__}"
    )


def is_quantizer_string(identifier: Any) -> bool:
    """Whether a string names a quantizer rather than, say, a Keras activation."""
    name = str(identifier).partition("(")[0].strip()
    return isinstance(identifier, str) and name in _FACTORIES


def serialize(quantizer: AnyQuantizer | None) -> dict[str, Any] | None:
    """Return the Keras configuration of a quantizer, or None for None."""
    if quantizer is None:
        return None
    return keras.saving.serialize_keras_object(quantizer)


def deserialize(config: dict[str, Any]) -> AnyQuantizer:
    """Return the quantizer of a Keras configuration, or raise TypeError."""
    quantizer = keras.saving.deserialize_keras_object(config)
    if not isinstance(quantizer, AnyQuantizer):
        raise TypeError(
            f"The configuration is not a kerasqnn quantizer's. Received: {config!r}"
        )
    return quantizer


def copy(quantizer: AnyQuantizer | None) -> AnyQuantizer | None:
    """Return a quantizer for another tensor: one with variables gets new ones."""
    if not isinstance(quantizer, StatefulQuantizer):
        return quantizer
    return deserialize(_unshared(serialize(quantizer)))


def _unshared(config: Any) -> Any:
    """Return a configuration without Keras's marks of objects that are one."""
    if isinstance(config, dict):
        return {k: _unshared(v) for k, v in config.items() if k != "shared_object_id"}
    return [_unshared(v) for v in config] if isinstance(config, list) else config


def _from_string(text: str) -> AnyQuantizer:
    name, positional, named = parse_call(text, "quantized_bits(4,0,1)")
    if name not in _FACTORIES:
        raise ValueError(unknown_name("quantizer", name, _FACTORIES))
    try:
        return _FACTORIES[name](*positional, **named)
    except TypeError as error:
        raise ValueError(f"{error}. Received: {text!r}") from None


def _from_qkeras(quantizer: Any) -> AnyQuantizer:
    name = type(quantizer).__name__
    qkeras_classes = [n for n in _FACTORIES if n[0].islower()]
    if name not in qkeras_classes:
        raise ValueError(unknown_name("qkeras quantizer", name, qkeras_classes))
    # The attributes, not get_config(): QKeras leaves some arguments out of it.
    arguments = {
        argument: _plain(getattr(quantizer, argument))
        for argument in signature(_FACTORIES[name]).parameters
        if hasattr(quantizer, argument)
    }
    return qkeras_activations.with_internal_sigmoid(_FACTORIES[name](**arguments))


def _plain(value: Any) -> Any:
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value.item()
    return value
