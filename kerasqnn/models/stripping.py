"""From quantized and noisy models back to plain ones."""

from __future__ import annotations

from typing import Any

import keras

from .. import layers as quant_layers
from ..errors import UnsupportedModelError, unknown_name
from ..layers import NoisePoint, QuantActivation, QuantInput
from ..layers._quantized import Noisy, QuantizedLayer
from ..layers._weights import weight_of
from ..quantizers import Binary, Quantizer, StatefulQuantizer, Ternary
from .noise_control import noise_points
from .quantize_config import twin
from .readers.registry import parameter
from .rewriting import array, copy_of, rewrite, with_config

WEIGHTS = ("quantized", "float")


def dequantize_model(model: keras.Model, *, weights: str = "quantized") -> keras.Model:
    """Return a plain Keras copy of a quantized model, without quantizers and noise.

    Each `Quant` layer becomes the Keras layer that it extends. Quantized ReLUs become
    `relu`; other activation quantizers and `QuantInput` disappear, so that activations
    are floats. With `weights="quantized"` the weights are the quantized values: what is
    left of the difference to `model` is what its activation quantizers round and clip.

    Args:
        model: A built Sequential or functional model; it is not changed.
        weights: `"quantized"`: the values that the forward pass uses; `"float"`: the
            stored ones.

    Returns:
        The new model; compiled like `model`, with a fresh optimizer, if that is.

    Raises:
        ValueError: If `weights` is none of the two.
        UnsupportedModelError: If a layer has no Keras counterpart that computes the
            same with plain weights.

    Example:

    >>> import keras, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     kerasqnn.layers.QuantInput("quantized_bits(6,0,1)"),
    ...     kerasqnn.layers.QuantDense(
    ...         2, activation="quantized_relu(4,2)",
    ...         kernel_quantizer="quantized_bits(4,0,1)"),
    ... ])
    >>> plain = kerasqnn.dequantize_model(model)
    >>> [type(layer).__name__ for layer in plain.layers]
    ['Dense']
    >>> plain.layers[0].activation.__name__
    'relu'
    """
    if weights not in WEIGHTS:
        raise ValueError(unknown_name("`weights`", weights, WEIGHTS))
    made: list[tuple[Any, Any, str]] = []

    def replace(layer: Any, path: str) -> list[Any]:
        if isinstance(layer, NoisePoint):
            return []
        if isinstance(layer, QuantInput):
            function = _plain_activation(layer.quantizer, path)
            if function in ("linear", "relu"):  # unsigned, like what it quantized
                return []
            return [keras.layers.Activation(function, name=layer.name)]
        if type(layer) is QuantActivation:
            function = _plain_activation(layer.activation, path)
            if function == "linear":
                return []
            return [keras.layers.Activation(function, name=layer.name)]
        if not isinstance(layer, QuantizedLayer):
            return [_checked(layer, path)]
        new = _plain(layer, path)
        made.append((layer, new, path))
        return [new]

    copy = rewrite(model, replace)
    if weights == "quantized":
        for layer, new, path in made:
            _store_quantized(layer, new, path)
    return copy


def strip_noise(model: keras.Model) -> keras.Model:
    """Return a copy of a model without noise; bit-identical to it with noise off.

    `NoisyQuant` layers become their `Quant` twins, `noise=` arguments None, and
    `NoisePoint` layers disappear. Quantizers and float weights stay.

    Args:
        model: A built Sequential or functional model; it is not changed.

    Returns:
        The new model; compiled like `model`, with a fresh optimizer, if that is.

    Raises:
        UnsupportedModelError: If noise is left, in a layer that kerasqnn does not know.

    Example:

    >>> import keras, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     kerasqnn.layers.NoisyQuantDense(2, noise="additive(0.1)"),
    ...     kerasqnn.layers.NoisePoint("additive(0.1)"),
    ... ])
    >>> [type(layer).__name__ for layer in kerasqnn.strip_noise(model).layers]
    ['QuantDense']
    """

    def replace(layer: Any, path: str) -> list[Any]:
        if isinstance(layer, NoisePoint):
            return []
        if not isinstance(layer, QuantizedLayer) or layer.noise_point is None:
            return [copy_of(layer)]
        return [with_config(_without_noise(type(layer)), layer, noise=None)]

    copy = rewrite(model, replace)
    left = list(noise_points(copy)) or [
        inner.name for inner in copy._flatten_layers() if isinstance(inner, NoisePoint)
    ]
    if left:
        raise UnsupportedModelError(
            f"Noise point {left[0]!r} is inside a layer that strip_noise cannot take "
            "apart. Set its `when` to 'never' instead.",
            layer=left[0],
        )
    return copy


def _without_noise(cls: type) -> type:
    """Return the class without noise: for `NoisyQuantDense`, `QuantDense`."""
    if Noisy not in cls.__mro__:
        return cls
    name = cls.__name__.removeprefix("Noisy")
    return getattr(quant_layers, name, cls.__mro__[2])


def _plain(layer: Any, path: str) -> Any:
    """Return the Keras layer that a quantized one extends, with its arguments."""
    cls = type(layer)._keras_layer()
    if twin(cls) is None or not issubclass(type(layer), twin(cls)):  # type: ignore
        raise UnsupportedModelError(
            f"Layer {path!r} ({type(layer).__name__}) has no plain Keras counterpart.",
            layer=path,
        )
    changes = {}
    for name in ("activation", "recurrent_activation"):
        if isinstance(getattr(layer, name, None), (Quantizer, StatefulQuantizer)):
            changes[name] = _plain_activation(getattr(layer, name), path)
    return with_config(cls, layer, **changes)


def _plain_activation(activation: Any, path: str) -> Any:
    """Return the Keras activation that stays when a quantizer is taken away."""
    if not isinstance(activation, (Quantizer, StatefulQuantizer)):
        return keras.activations.serialize(activation) or "linear"
    function = getattr(activation, "keras_activation", "")
    if function:
        return function
    *functions, last = activation.stages()
    if function is None or isinstance(last, (Binary, Ternary)) or len(functions) > 1:
        raise UnsupportedModelError(
            f"Layer {path!r} has the activation {type(activation).__name__}, which no "
            "Keras activation stands for.",
            layer=path,
        )
    if functions:
        return functions[0]
    return "relu" if getattr(last, "code_min", -1) >= 0 else "linear"


def _checked(layer: Any, path: str) -> Any:
    """Return a copy of a layer in which no quantizer or noise is hidden."""
    inner = layer._flatten_layers() if hasattr(layer, "_flatten_layers") else ()
    if any(isinstance(i, (QuantizedLayer, NoisePoint)) for i in inner):
        raise UnsupportedModelError(
            f"Layer {path!r} ({type(layer).__name__}) wraps quantized layers, which "
            "dequantize_model cannot take out.",
            layer=path,
        )
    return copy_of(layer)


def _store_quantized(layer: Any, new: Any, path: str) -> None:
    """Put the values that the forward pass uses into the plain layer."""
    if isinstance(layer, keras.layers.BatchNormalization):
        if layer.is_quantized:
            _store_normalization(layer, new, path)
        return
    if layer.is_quantized and getattr(layer, "lora_enabled", False):
        raise UnsupportedModelError(
            f"Layer {path!r} quantizes the sum of its kernel and low-rank weights, "
            "which a plain layer would not.",
            layer=path,
        )
    for argument in layer.quantizer_arguments:
        quantizer = getattr(layer, argument)
        base = argument.removesuffix("_quantizer")
        if quantizer is None or base == "output":
            continue
        weight = weight_of(new, argument)
        if weight is not None:
            weight.assign(parameter(weight, quantizer).value)
        elif base != "bias":
            raise UnsupportedModelError(
                f"Layer {path!r} quantizes {base!r}, which no weight of "
                f"{type(new).__name__} holds.",
                layer=path,
            )


def _store_normalization(layer: Any, new: Any, path: str) -> None:
    """Make inference `x * s + o`: mean 0, variance 1 - epsilon, gamma s, beta o."""
    if not (layer.scale and layer.center and layer.epsilon < 1):
        raise UnsupportedModelError(
            f"Layer {path!r} has no gamma or no beta to hold its quantized scale and "
            "offset. Allowed: scale=True and center=True, or weights='float'.",
            layer=path,
        )
    scale, offset = layer.inference_scale_and_offset()
    new.gamma.assign(scale)
    new.beta.assign(offset)
    new.moving_mean.assign(array(new.moving_mean) * 0)
    new.moving_variance.assign(array(new.moving_variance) * 0 + (1 - new.epsilon))
