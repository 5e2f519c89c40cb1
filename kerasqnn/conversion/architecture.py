"""From the JSON architecture of a Keras 2 or Keras 3 model to its description.

Nothing in the JSON is executed: class names are only looked up, code that Keras would
unpickle (`Lambda`) is left as it is, and every value stays plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from keras import tree

from ..errors import UnsupportedModelError
from .description import Call, LayerDescription, ModelDescription, Reference

# (names of the models around a layer, one in the other, and its own) -> its weights
WeightsOf = Callable[..., Mapping[str, np.ndarray]]
_MODELS = ("Sequential", "Functional", "Model")


def describe(
    architecture: Any, weights_of: WeightsOf, *, is_keras2: bool = False
) -> ModelDescription:
    """Return the description of a model.

    Args:
        architecture: The parsed JSON of the model: `class_name` and `config`.
        weights_of: The weights of the layer of a name.
        is_keras2: Whether Keras 2 wrote it.

    Raises:
        UnsupportedModelError: If the model, or one in it, is neither Sequential nor
            functional.
    """
    kind = architecture.get("class_name") if isinstance(architecture, dict) else None
    if kind not in _MODELS:
        raise UnsupportedModelError(
            "Only Sequential and functional models can be taken over. "
            f"Received: a model of class {kind!r}"
        )
    config = architecture["config"]
    if isinstance(config, list):  # Keras before 2.2.3
        config = {"layers": config}
    layers = tuple(
        layer_description(entry, weights_of, is_keras2=is_keras2)
        for entry in config["layers"]
    )
    name = str(config.get("name", "model"))
    if kind == "Sequential":
        shape = config.get("build_input_shape")
        return ModelDescription(name, layers, input_shape=shape)
    layers, outputs = _counted_from_zero(
        layers, _endpoints(config["output_layers"], is_keras2), is_keras2
    )
    inputs = _endpoints(config["input_layers"], is_keras2)
    return ModelDescription(name, layers, inputs, outputs)


def _counted_from_zero(
    layers: tuple[LayerDescription, ...], outputs: Any, is_keras2: bool
) -> tuple[tuple[LayerDescription, ...], Any]:
    """Return layers and outputs that count the calls of models as those of layers.

    Keras counts them from 1, after a call that each model has of its own: Keras 3 those
    of functional models at the outputs, Keras 2 those of all models everywhere.
    """
    counted = {
        layer.name
        for layer in layers
        if layer.model is not None and (is_keras2 or layer.class_name == "Functional")
    }

    def shifted(references: Any) -> Any:
        return tree.map_structure(
            lambda r: replace(r, call=r.call - 1) if r.layer in counted else r,
            references,
        )

    if is_keras2 and counted:
        layers = tuple(
            replace(
                layer,
                calls=tuple(replace(c, inputs=shifted(c.inputs)) for c in layer.calls),
            )
            for layer in layers
        )
    return layers, shifted(outputs)


def plain(value: Any) -> Any:
    """Return a value of the JSON with Keras's wrappings of plain data taken off."""
    if isinstance(value, dict):
        if value.get("class_name") in ("__numpy__", "__tensor__", "__ndarray__"):
            config = value["config"]
            return np.asarray(config["value"], config.get("dtype"))
        if value.get("type") == "ndarray":  # Keras 2
            return np.asarray(value["value"])
        if value.get("class_name") in ("__tuple__", "TensorShape"):
            return plain(value["items" if "items" in value else "config"])
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def layer_description(
    entry: Mapping[str, Any], weights_of: WeightsOf, *, is_keras2: bool = False
) -> LayerDescription:
    """Return the description of a layer, or of a model in its place.

    Args:
        entry: Its parsed JSON: `class_name`, `config` and, in a model, its calls.
        weights_of: The weights of the layer of a name.
        is_keras2: Whether Keras 2 wrote it.
    """
    class_name = str(entry["class_name"])
    config = plain(entry["config"])
    name = str(entry.get("name", config.get("name", class_name)))
    model = None
    if class_name in _MODELS:
        model = describe(entry, partial(weights_of, name), is_keras2=is_keras2)
    return LayerDescription(
        class_name=class_name,
        package=_package(entry),
        name=name,
        config=config if model is None else {},
        calls=tuple(_call(node, name) for node in entry.get("inbound_nodes", ())),
        weights=weights_of(name) if model is None else {},
        is_keras2=is_keras2,
        model=model,
    )


def _package(entry: Mapping[str, Any]) -> str:
    """Return `"qkeras"`, `"keras"` or another package's name."""
    registered, _, _ = str(entry.get("registered_name") or "").partition(">")
    module = str(entry.get("module") or "").partition(".")[0]
    if "module" not in entry:  # Keras 2 names no module; a Q is QKeras's mark
        initials = str(entry["class_name"]).partition(">")[2] or entry["class_name"]
        is_quantized = initials[:1] == "Q" and initials[1:2].isupper()
        return "qkeras" if is_quantized else "keras"
    return module or registered


def _endpoints(entry: Any, is_keras2: bool) -> Any:
    if is_keras2 and len(entry) == 1:  # Keras 2 writes a list in any case
        entry = entry[0]
    if entry and isinstance(entry[0], str):
        return _reference(entry)
    if not isinstance(entry, list):
        raise UnsupportedModelError(
            "Models whose inputs or outputs are dictionaries are not taken over. "
            f"Received: {entry!r}"
        )
    return [_reference(e) for e in entry]


def _reference(entry: Any) -> Reference:
    layer, call, output = entry[:3]
    return Reference(str(layer), int(call), int(output))


def _call(node: Any, layer: str) -> Call:
    if isinstance(node, dict):  # Keras 3
        arguments = [_tensors(a, layer) for a in node["args"]]
        kwargs = dict(node["kwargs"])
        if "inputs" in kwargs and not arguments:
            arguments = [_tensors(kwargs.pop("inputs"), layer)]
        if len(arguments) != 1:
            raise UnsupportedModelError(
                f"Layer {layer!r} is called with {len(arguments)} arguments; only "
                "layers with one argument, or one list, are taken over.",
                layer,
            )
        return Call(arguments[0], kwargs)
    if node and isinstance(node[0], str):  # Keras 2, one input
        node = [node]
    references: list[Reference] = []
    kwargs = {}
    for entry in node:
        references.append(_reference(entry))
        kwargs |= entry[3] if len(entry) > 3 else {}
    return Call(references[0] if len(references) == 1 else references, kwargs)


def _tensors(value: Any, layer: str) -> Any:
    if isinstance(value, list):
        return [_tensors(v, layer) for v in value]
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return _reference(value["config"]["keras_history"])
    raise UnsupportedModelError(
        f"Layer {layer!r} is called with something else than tensors of the model. "
        f"Received: {value!r}",
        layer,
    )
