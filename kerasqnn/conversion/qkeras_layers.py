"""kerasqnn's layers as QKeras's, by the table of `layers` read from right to left.

A new layer is proved by the way there: what `from_qkeras` makes of it must have the
arguments, the quantizers and the weights of the layer that it came from.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from ..errors import UnsupportedModelError
from ..layers import Clip, NoisePoint, QuantBatchNormalization, QuantInput
from ..layers._quantized import QuantizedLayer
from ..layers._weights import weight_of
from ..models.rewriting import transfer_weights, with_config
from .architecture import plain
from .description import LayerDescription
from .layers import KERAS_LAYERS, QKERAS_LAYERS, Entry, _keras_class
from .live import describe_layer
from .qkeras_quantizers import (
    inference_form,
    qkeras_activation,
    qkeras_quantizer,
    same_values,
)
from .weights import copy_weights, set_weights

Layer = Any
_SIDES = ("forward_layer", "backward_layer")
# Keys of configurations that are set otherwise, or choose among implementations.
_SET_ASIDE = frozenset({"name", "trainable", "dtype", "use_cudnn", "noise", *_SIDES})


def qkeras_layers(layer: Layer, path: str) -> list[Layer]:
    """Return what a layer becomes, without its weights.

    Args:
        layer: A built layer of a kerasqnn model.
        path: Its name, after those of the models around it.

    Returns:
        A QKeras or Keras layer; a Keras layer and a `QActivation` where QKeras's has no
        quantizer of its output.

    Raises:
        UnsupportedModelError: If QKeras has no layer that computes the same.
    """
    _check_noise_and_dtype(layer, path)
    if isinstance(layer, QuantInput):
        return [_q_activation(layer, "quantizer", layer.name, path)]
    if _is_plain(layer):
        new = [with_config(_keras_twin(layer), layer)]
        if getattr(layer, "output_quantizer", None) is not None:
            name = f"{layer.name}_quantizer"
            new.append(_q_activation(layer, "output_quantizer", name, path))
        return new
    return [_converted(layer, path)]


def transfer(old: Layer, new: Layer, path: str) -> None:
    """Give the first of the new layers its weights, and prove it.

    Raises:
        UnsupportedModelError: If QKeras keeps another value of an argument, or leaves
            the grid with these weights.
    """
    new.trainable = old.trainable
    if isinstance(old, QuantInput) or _is_plain(old):
        transfer_weights(old, new, path)
        return
    _, entry = _entry_of(old, path)
    copy_weights(entry, old, new, path)
    description = describe_layer(new)
    try:
        back = entry.convert(description)
        if entry.weights:
            back.build_from_config(old.get_build_config())
        set_weights(description, entry, back)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(str(error), path) from error
    _check_same(old, back, entry, path)


def refused(layer: Layer, path: str, reason: str) -> UnsupportedModelError:
    """Return the error for a layer that QKeras cannot express."""
    return UnsupportedModelError(
        f"Layer {path!r} ({type(layer).__name__}): {reason}", path
    )


# -- which layer -----------------------------------------------------------------------


def _entries() -> Iterator[tuple[str, Entry]]:
    """Return QKeras's classes with all of their entries."""
    for name, found in QKERAS_LAYERS.items():
        if isinstance(found, Entry):
            yield name, found
            continue
        for given in (None, True):
            config = {"average_quantizer": given}
            yield name, found(LayerDescription(name, "qkeras", name, config, (), {}))


def _entry_of(layer: Layer, path: str) -> tuple[type, Entry]:
    """Return the class that a layer becomes, and its entry in the table."""
    import qkeras

    cls = type(layer)
    if cls is not keras.layers.Bidirectional or _is_quantized(layer.forward_layer):
        for name, entry in _entries():
            if entry.target is cls:
                return getattr(qkeras, name), entry
    if cls is getattr(keras.layers, cls.__name__, None):
        found = KERAS_LAYERS.get(cls.__name__)
        if found is not None and not isinstance(found, Entry):
            found = found(describe_layer(layer))
        if found is not None:
            return cls, found
    raise refused(
        layer,
        path,
        "QKeras has no layer that computes the same, and this is none of the Keras "
        "layers that from_qkeras takes over.",
    )


def _is_quantized(layer: Layer) -> bool:
    return isinstance(layer, QuantizedLayer)


def _keras_twin(layer: Layer) -> type:
    return getattr(keras.layers, layer._keras_layer().__name__)


def _is_plain(layer: Layer) -> bool:
    """Whether a layer is Keras's with at most its output quantized, unlike QKeras's."""
    if not _is_quantized(layer):
        return False
    if isinstance(layer, QuantBatchNormalization):
        return not layer.is_quantized
    has_entry = any(entry.target is type(layer) for _, entry in _entries())
    only_output = set(layer.quantizer_arguments) <= {"output_quantizer"}
    return not has_entry and only_output and _keras_twin(layer).__name__ in KERAS_LAYERS


def _check_noise_and_dtype(layer: Layer, path: str) -> None:
    if isinstance(layer, NoisePoint) or getattr(layer, "noise_point", None) is not None:
        raise refused(
            layer,
            path,
            "QKeras has no noise. kerasqnn.strip_noise(model) takes it out.",
        )
    policy = getattr(getattr(layer, "dtype_policy", None), "name", "float32")
    if policy != "float32":
        raise refused(
            layer, path, f"only float32 layers can be taken. Received: dtype={policy!r}"
        )


# -- the new layer ---------------------------------------------------------------------


def _q_activation(layer: Layer, argument: str, name: str, path: str) -> Layer:
    import qkeras

    return qkeras.QActivation(_activation(layer, argument, path), name=name)


def _converted(layer: Layer, path: str) -> Layer:
    cls, entry = _entry_of(layer, path)
    arguments: dict[str, Any] = {"name": layer.name}
    if cls.__name__ == "QBidirectional":
        sides = [_converted(getattr(layer, s), f"{path}/{s}") for s in _SIDES]
        new = cls(
            sides[0], backward_layer=sides[1], merge_mode=layer.merge_mode, **arguments
        )
        new.forward_layer = sides[0]  # Keras makes it anew of what QKeras saves
        return new
    own = {*entry.quantizers, *entry.activations}
    for name in own:
        given = entry.renamed.get(name, name)
        is_activation = name in entry.activations
        convert = _activation if is_activation else _quantizer
        scaled = {} if is_activation else {"is_scaled": entry.quantizers[name]}
        arguments[name] = convert(layer, given, path, **scaled)
    config = layer.get_config()
    known = {*inspect.signature(cls).parameters, *entry.extra}
    known |= {*inspect.signature(_keras_class(entry.target)).parameters}
    skipped = {*arguments, *_SET_ASIDE, *entry.renamed.values()}
    for name in config.keys() & known - skipped:
        arguments[name] = _keras_object(name, config[name])
    try:
        new = cls(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise refused(layer, path, f"QKeras cannot make it: {error}") from error
    new.name = layer.name  # QKeras's recurrent layers name their cell so
    holder = getattr(new, "cell", new)
    for name, value in arguments.items():
        # QKeras wraps initializers, and adds a Clip where there is no constraint.
        if name.endswith(("_initializer", "_constraint")) and hasattr(holder, name):
            setattr(holder, name, value)
    return new


def _keras_object(name: str, value: Any) -> Any:
    import qkeras

    if name.endswith("_initializer"):
        return keras.initializers.get(value)
    if name.endswith("_constraint"):
        constraint = keras.constraints.get(value)
        if isinstance(constraint, Clip):
            return qkeras.Clip(constraint.min_value, constraint.max_value)
        return constraint
    return value


def _attribute(layer: Layer, name: str) -> Any:
    return getattr(getattr(layer, "cell", layer), name)


def _values_of(layer: Layer, argument: str) -> np.ndarray | None:
    """Return the weights that a quantizer acts on, None for those of activations."""
    if hasattr(layer, "folded_kernel_and_bias"):
        kernel, bias = layer.folded_kernel_and_bias()
        return bias if argument == "bias_quantizer" else kernel
    weight = weight_of(layer, argument)
    return None if weight is None else keras.ops.convert_to_numpy(weight)


def _quantizer(layer: Layer, argument: str, path: str, *, is_scaled: bool) -> Any:
    quantizer = _attribute(layer, argument)
    if quantizer is None:
        return None
    try:
        values = _values_of(layer, argument)
        return qkeras_quantizer(quantizer, values, is_scaled=is_scaled)
    except ValueError as error:
        raise refused(layer, path, f"{argument}: {error}") from error


def _activation(layer: Layer, argument: str, path: str) -> Any:
    activation = _attribute(layer, argument)
    try:
        return None if activation is None else qkeras_activation(activation)
    except ValueError as error:
        raise refused(layer, path, f"{argument}: {error}") from error


# -- the proof -------------------------------------------------------------------------


def _check_same(old: Layer, back: Layer, entry: Entry, path: str) -> None:
    """Compare a layer with what becomes of its QKeras layer on the way back."""
    if isinstance(old, keras.layers.Bidirectional):
        for side in _SIDES:
            inner = getattr(old, side)
            _, entry = _entry_of(inner, path)
            _check_same(inner, getattr(back, side), entry, f"{path}/{side}")
    before, after = plain(old.get_config()), plain(back.get_config())
    activations = {n for n in before if n.endswith("activation")}
    objects = {*getattr(old, "quantizer_arguments", ()), *activations}
    for name in objects:
        one, other = _attribute(old, name), _attribute(back, name)
        values = None if name in activations else _values_of(old, name)
        if not same_values(inference_form(one, values), other):
            raise _lost(old, path, name, one, other)
    for name in before.keys() - objects - _SET_ASIDE - {*entry.dropped, "layer"}:
        one, other = before[name], after.get(name)
        if one != other and not (name == "inverse" and _same_parameters(old, back)):
            raise _lost(old, path, name, one, other)


def _same_parameters(old: Layer, back: Layer) -> bool:
    """Whether two normalizations compute the same from their weights."""
    for name in ("inference_scale_and_offset", "folded_kernel_and_bias"):
        if hasattr(old, name):
            pairs = zip(getattr(old, name)(), getattr(back, name)(), strict=True)
            return all(np.array_equal(one, other) for one, other in pairs)
    return False


def _lost(layer: Layer, path: str, name: str, one: Any, other: Any) -> Exception:
    return refused(
        layer,
        path,
        f"QKeras has {name}={other!r} in its place. Received: {name}={one!r}",
    )
