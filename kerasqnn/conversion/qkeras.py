"""`from_qkeras`: QKeras models as kerasqnn models with the same bits."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from ..errors import UnsupportedModelError
from .description import Call, LayerDescription, ModelDescription, Reference
from .formats import read_file
from .layers import entry_of
from .live import describe_live
from .weights import set_weights


def from_qkeras(model: Any, *, weights: Any = None) -> keras.Model:
    """Take over a QKeras model: a kerasqnn model with bit-identical predictions.

    Every layer becomes the kerasqnn or Keras layer of the same arithmetic, with the
    same name and weights, ready for training, export and hardware. What has no exact
    counterpart is refused by name.

    QKeras layers turn `alpha=None` in the quantizers of kernels into `"auto_po2"`; the
    new quantizers say so. QKeras's automatic `Clip` constraints are kept. Initializers,
    regularizers and constraints of Keras are kept; the optimizer is not.

    The bits are those of QKeras on TensorFlow. QKeras computes `x + (q - x)`, which is
    `q` itself but where `|x|` exceeds `2^23` steps of the grid; there kerasqnn stays on
    the grid. Weights for which it is not are refused. Sums that float32 does not hold
    exactly have the same bits where the same library computes them.

    Args:
        model: A live qkeras-v3 model, Sequential or functional; or the path of a
            `.keras` file of qkeras-v3, of an `.h5` file, or of a `.json` architecture
            of QKeras 0.9 (Keras 2). Files are parsed; nothing in them is executed, and
            neither QKeras nor Keras 2 is needed.
        weights: The path of the `.h5` file with the weights of a `.json` architecture.

    Returns:
        The model, Sequential or functional as the original, not compiled.

    Raises:
        UnsupportedModelError: If a layer, an option or a quantizer has no exact
            counterpart; the message names the layer.
        FileNotFoundError: If a file does not exist.
        ValueError: If a file holds no Keras model, or `weights` is missing or
            superfluous.

    Example:

    >>> import kerasqnn
    >>> kerasqnn.from_qkeras("no such file.keras")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no file 'no such file.keras'.
    """
    if isinstance(model, keras.Model):
        if weights is not None:
            raise ValueError(
                "`weights` goes with a .json architecture; a live model has its own. "
                f"Received: weights={weights!r}"
            )
        description = describe_live(model)
    else:
        description = read_file(model, weights)
    return build(description)


def build(description: ModelDescription) -> keras.Model:
    """Return the kerasqnn model of a description.

    Raises:
        UnsupportedModelError: If it has no exact counterpart.
    """
    if description.is_sequential:
        return _build_sequential(description)
    return _build_functional(description)


def _build_sequential(description: ModelDescription) -> keras.Model:
    if not description.layers:
        raise UnsupportedModelError(f"Model {description.name!r} has no layers.")
    first, *rest = description.layers
    if first.class_name != "InputLayer":
        rest = [first, *rest]
    tensor = _input(first, description.input_shape)
    model = keras.Sequential(name=description.name)
    model.add(tensor)
    for layer in rest:
        new = _new_layer(layer)
        _guarded(layer, model.add, new)
        set_weights(layer, entry_of(layer), new)
    return model


def _build_functional(description: ModelDescription) -> keras.Model:
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
                made[layer.name] = _new_layer(layer)
            new = made[layer.name]
            inputs = tree.map_structure(tensors.__getitem__, call.inputs)
            outputs = tree.flatten(_guarded(layer, new, inputs))
            for i, tensor in enumerate(outputs):
                tensors[Reference(layer.name, number, i)] = tensor
            if is_new:
                set_weights(layer, entry_of(layer), new)
        pending = [p for p in pending if p not in ready]
    inputs, outputs = (
        tree.map_structure(tensors.__getitem__, ends)
        for ends in (description.inputs, description.outputs)
    )
    return keras.Model(inputs, outputs, name=description.name)


def _new_layer(layer: LayerDescription) -> Any:
    return _guarded(layer, entry_of(layer).convert, layer)


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
        if not any(value is i for i in inert):
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
