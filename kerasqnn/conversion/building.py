"""From the description of a model to the kerasqnn model, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from ..errors import UnsupportedModelError
from .description import Call, LayerDescription, ModelDescription, Reference

Convert = Callable[[LayerDescription], Any]
SetWeights = Callable[[LayerDescription, Any], None]


def build(
    description: ModelDescription, convert: Convert, set_weights: SetWeights
) -> keras.Model:
    """Return the kerasqnn model of a description.

    Args:
        description: The model.
        convert: Returns the new layer of a described one, without its weights.
        set_weights: Gives a new layer, once it is built, its weights.

    Raises:
        UnsupportedModelError: If it has no exact counterpart.
    """
    if description.is_sequential:
        return _build_sequential(description, convert, set_weights)
    return _build_functional(description, convert, set_weights)


def _build_sequential(
    description: ModelDescription, convert: Convert, set_weights: SetWeights
) -> keras.Model:
    if not description.layers:
        raise UnsupportedModelError(f"Model {description.name!r} has no layers.")
    first, *rest = description.layers
    if first.class_name != "InputLayer":
        rest = [first, *rest]
    tensor = _input(first, description.input_shape)
    model = keras.Sequential(name=description.name)
    model.add(tensor)
    for layer in rest:
        new = _made(layer, convert, set_weights)
        _guarded(layer, model.add, new)
        if layer.model is None:
            set_weights(layer, new)
    return model


def _build_functional(
    description: ModelDescription, convert: Convert, set_weights: SetWeights
) -> keras.Model:
    tensors: dict[Reference, Any] = {}
    made: dict[str, Any] = {}
    pending: list[tuple[LayerDescription, int, Call]] = []
    for layer in description.layers:
        if layer.class_name == "InputLayer":
            tensors[Reference(layer.name, 0, 0)] = _input(layer, None)
        pending += [(layer, i, call) for i, call in enumerate(layer.calls)]
    while pending:
        ready = [p for p in pending if all(r in tensors for r in p[2].references())]
        if not ready:
            raise ValueError(f"layer {pending[0][0].name!r} has an unknown input")
        for layer, number, call in ready:
            _check_call(layer, call)
            is_new = layer.name not in made
            if is_new:
                made[layer.name] = _made(layer, convert, set_weights)
            new = made[layer.name]
            inputs = tree.map_structure(tensors.__getitem__, call.inputs)
            outputs = tree.flatten(_guarded(layer, new, inputs))
            for i, tensor in enumerate(outputs):
                tensors[Reference(layer.name, number, i)] = tensor
            if is_new and layer.model is None:
                set_weights(layer, new)
        pending = [p for p in pending if p not in ready]
    inputs, outputs = (
        tree.map_structure(tensors.__getitem__, ends)
        for ends in (description.inputs, description.outputs)
    )
    return keras.Model(inputs, outputs, name=description.name)


def _made(layer: LayerDescription, convert: Convert, set_weights: SetWeights) -> Any:
    """Return the new layer, without its weights; or the new model, with them."""
    if layer.model is None:
        return _guarded(layer, convert, layer)
    try:
        return build(layer.model, convert, set_weights)
    except UnsupportedModelError as error:
        path = "/".join([layer.name, *([error.layer] if error.layer else [])])
        raise UnsupportedModelError(f"In model {layer.name!r}: {error}", path) from None


def _guarded(layer: LayerDescription, function: Any, argument: Any) -> Any:
    """Call a function that makes or builds a layer; its errors name the layer."""
    try:
        return function(argument)
    except UnsupportedModelError:
        raise
    except (TypeError, ValueError, NotImplementedError) as error:
        raise layer.refused(f"{error}") from error


def _check_call(layer: LayerDescription, call: Call) -> None:
    for name, value in call.arguments.items():
        inert = (None, False) if name == "training" else (None,)
        # A model's masks may be a list.
        if not all(any(v is i for i in inert) for v in tree.flatten(value)):
            raise layer.refused(
                "it is called with an argument that cannot be taken over. "
                f"Received: {name}={value!r}"
            )


def _input(layer: LayerDescription, shape: Any) -> Any:
    config = layer.config
    shape = config.get("batch_shape", config.get("batch_input_shape", shape))
    if shape is None:
        raise layer.refused(
            "the model has no fixed input shape. Start it with keras.Input(shape), or "
            "build it before it is saved."
        )
    return keras.Input(
        shape=tuple(shape[1:]),
        batch_size=shape[0],
        dtype=_dtype(config.get("dtype")) if layer.class_name == "InputLayer" else None,
        name=layer.name if layer.class_name == "InputLayer" else None,
    )


def _dtype(value: Any) -> Any:
    return value if isinstance(value, str) else None
