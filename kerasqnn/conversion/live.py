"""From a live qkeras model to its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from ..errors import UnsupportedModelError
from ..models.reading import functional_of
from .architecture import describe, layer_description
from .description import LayerDescription, ModelDescription


def describe_live(model: keras.Model) -> ModelDescription:
    """Return the description of a model with the quantizers as they are now.

    They come from the layers, not from `get_config()`: QKeras's leaves some of their
    arguments out, and a quantizer may have changed since it was made.

    Raises:
        TypeError: If `model` is no Keras model.
        UnsupportedModelError: If it is subclassed or not built.
    """
    functional_of(model)
    try:
        architecture = keras.saving.serialize_keras_object(model)
    except Exception as error:  # noqa: BLE001  (any layer's get_config)
        raise UnsupportedModelError(
            f"Model {model.name!r} cannot be read, since a layer has no configuration: "
            f"{type(error).__name__}: {error}"
        ) from error

    def weights_of(*path: str) -> Mapping[str, np.ndarray]:
        layer: Any = model
        for name in path:
            layer = _layers(layer).get(name)
        return {} if layer is None else _weights(layer)

    return _as_it_is(describe(architecture, weights_of), model)


def _as_it_is(described: ModelDescription, model: Any) -> ModelDescription:
    live = _layers(model)
    layers = (_with_live_quantizers(d, live) for d in described.layers)
    return replace(described, layers=tuple(layers))


def _layers(model: Any) -> dict[str, Any]:
    return {layer.name: layer for layer in model.layers}


def describe_layer(layer: Any) -> LayerDescription:
    """Return the description of one layer, as it is now."""
    serialized = keras.saving.serialize_keras_object(layer)
    described = layer_description(serialized, lambda _: _weights(layer))
    return _with_live_quantizers(described, {layer.name: layer})


def variables(layer: Any) -> dict[str, Any]:
    """Return the weights of a layer by name; those of a wrapper under `side/name`."""
    sides = ("forward_layer", "backward_layer")
    if all(hasattr(layer, side) for side in sides):
        return {
            f"{side}/{name}": value
            for side in sides
            for name, value in variables(getattr(layer, side)).items()
        }
    return {v.name: v for v in layer.weights}


def _weights(layer: Any) -> dict[str, np.ndarray]:
    return {k: keras.ops.convert_to_numpy(v) for k, v in variables(layer).items()}


def _with_live_quantizers(
    description: LayerDescription, live: Mapping[str, Any]
) -> LayerDescription:
    layer = live.get(description.name)
    if layer is not None and description.model is not None:
        return replace(description, model=_as_it_is(description.model, layer))
    if layer is None or description.package != "qkeras":
        return description
    return replace(description, config=_live_config(description.config, layer))


def _live_config(config: Mapping[str, Any], layer: Any) -> dict[str, Any]:
    config = dict(config)
    for side in ("layer", "backward_layer"):
        if isinstance(config.get(side), Mapping) and hasattr(layer, "forward_layer"):
            part = layer.forward_layer if side == "layer" else layer.backward_layer
            inner = config[side]
            config[side] = {**inner, "config": _live_config(inner["config"], part)}
    holder = getattr(layer, "cell", layer)
    for name in config:
        if name.endswith("_quantizer") and hasattr(holder, f"{name}_internal"):
            given = getattr(holder, name)  # a layer quantizes where this is set
            internal = getattr(holder, f"{name}_internal")
            config[name] = internal if given else None
        elif name.endswith("activation"):
            value = getattr(holder, name, None)
            config[name] = value
    return config
