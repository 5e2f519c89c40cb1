"""Copies of a model in which layers are replaced, with the weights carried over."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from ..errors import QuantizationWarning, UnsupportedModelError
from ..layers import NoisePoint
from ..layers._quantized import QuantizedLayer
from ..quantizers import StatefulQuantizer
from .reading import functional_of

Layer = Any
# (layer, path) -> the layers that take its place, one after another. The first gets
# the weights; none at all removes a layer of one input.
Replace = Callable[[Layer, str], Sequence[Layer]]
# (layer, the first that takes its place, path): gives the new one its weights.
Transfer = Callable[[Layer, Layer, str], None]


def copy_of(layer: Layer) -> Layer:
    """Return a layer (or any Keras operation) with the same arguments."""
    return type(layer).from_config(layer.get_config())


def with_config(cls: type, layer: Layer, **changes: Any) -> Layer:
    """Return a layer of class `cls` with the arguments of `layer`, some changed.

    Arguments that `cls` does not have are left out.
    """
    config = {**layer.get_config(), **changes}
    for name in set(config) - set(cls_arguments(cls)):
        del config[name]
    return cls.from_config(config)  # type: ignore[attr-defined]


def cls_arguments(cls: type) -> set[str]:
    """Return the names of the arguments that a layer class saves or takes."""
    names: set[str] = {"name", "trainable", "dtype"}
    for base in cls.__mro__:
        if issubclass(base, keras.layers.Layer):
            names |= set(inspect.signature(base).parameters)
    return names


def transfer_weights(old: Layer, new: Layer, path: str) -> None:
    """Copy the weights of one layer into another, state of noise and quantizers aside.

    Between layers of one class everything is copied.

    Raises:
        UnsupportedModelError: If shapes or numbers of weights differ.
    """
    whole = type(old) is type(new)
    source, target = list_weights(old, whole), list_weights(new, whole)
    shapes = [[tuple(w.shape) for w in weights] for weights in (source, target)]
    if whole and shapes[0] != shapes[1]:  # quantizers were set or removed
        source, target = list_weights(old, False), list_weights(new, False)
        shapes = [[tuple(w.shape) for w in weights] for weights in (source, target)]
    if shapes[0] != shapes[1]:
        raise UnsupportedModelError(
            f"The weights of layer {path!r} ({type(old).__name__}) do not fit "
            f"{type(new).__name__}: shapes {shapes[0]} against {shapes[1]}.",
            layer=path,
        )
    for a, b in zip(source, target, strict=True):
        b.assign(a)


def rewrite(
    model: keras.Model,
    replace: Replace,
    *,
    transfer: Transfer = transfer_weights,
    quantize_input: Callable[[str], Layer | None] | None = None,
) -> keras.Model:
    """Return a copy of a model in which `replace` says what each layer becomes.

    Shared layers stay shared, nested models are rewritten too. A compiled model's copy
    is compiled alike, with a fresh optimizer.

    Args:
        model: A built Sequential or functional model; it is not changed.
        replace: Called once a layer with the layer and its path (`"inner/dense"`).
        transfer: Copies the weights of a layer.
        quantize_input: Called with each input's name; the layer to put behind it.

    Returns:
        The new model, of the same kind.

    Raises:
        UnsupportedModelError: If the model cannot be read, or weights do not fit.
    """
    functional_of(model)  # refuses what has no graph
    with warnings.catch_warnings():
        # Weights before the transfer mean nothing.
        warnings.simplefilter("ignore", QuantizationWarning)
        copy = _Rewriting(replace, transfer).model(model, "", quantize_input)
    if model.compiled and not copy.compiled:
        copy.compile_from_config(model.get_compile_config())
    return copy


class _Rewriting:
    """One copy: remembers layers already replaced, so that sharing survives."""

    def __init__(self, replace: Replace, transfer: Transfer) -> None:
        self._replace = replace
        self._copy_weights = transfer
        self._chains: dict[int, list[Layer]] = {}

    def model(
        self,
        model: keras.Model,
        prefix: str,
        quantize_input: Callable[[str], Layer | None] | None = None,
    ) -> keras.Model:
        if isinstance(model, keras.Sequential):
            return self._sequential(model, prefix, quantize_input)
        return self._functional(model, prefix, quantize_input)

    def _chain(self, layer: Layer, prefix: str) -> list[Layer]:
        """Return what replaces a layer, made once and built as the layer is."""
        if id(layer) not in self._chains:
            path = prefix + layer.name
            if isinstance(layer, keras.Model):
                functional_of(layer)
                chain = [self.model(layer, f"{path}/")]
            else:
                chain = list(self._replace(layer, path))
            self._chains[id(layer)] = chain
        return self._chains[id(layer)]

    def _sequential(
        self, model: Any, prefix: str, quantize_input: Any
    ) -> keras.Sequential:
        (tensor,) = model.inputs
        layers = [
            keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        ]
        first = quantize_input(tensor.name) if quantize_input else None
        layers += [] if first is None else [first]
        for layer in model.layers:
            layers += self._chain(layer, prefix)
        copy = keras.Sequential(layers, name=model.name, trainable=model.trainable)
        for layer in model.layers:
            self._transfer(layer, prefix)
        return copy

    def _functional(self, model: Any, prefix: str, quantize_input: Any) -> keras.Model:
        removed = _Removed(name="removed")
        followers: dict[int, list[Layer]] = {}
        quantized: dict[int, Any] = {}

        def clone(layer: Layer) -> Layer:
            chain = self._chain(layer, prefix)
            if not chain:
                return removed
            followers[id(chain[0])] = chain[1:]
            return chain[0]

        def behind_input(x: Any) -> Any:
            if not isinstance(x, keras.KerasTensor) or not _is_input(x):
                return x
            if id(x) not in quantized:
                layer = quantize_input(x.name)
                quantized[id(x)] = x if layer is None else layer(x)
            return quantized[id(x)]

        def call(layer: Layer, *args: Any, **kwargs: Any) -> Any:
            if quantize_input is not None:
                args, kwargs = tree.map_structure(behind_input, (args, kwargs))
            if layer is removed:
                return args[0]
            outputs = layer(*args, **_known(layer, kwargs))
            for follower in followers[id(layer)]:
                outputs = follower(outputs)
            return outputs

        copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
        if not model.trainable:
            copy.trainable = False
        for layer in model.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                self._transfer(layer, prefix)
        return copy

    def _transfer(self, layer: Layer, prefix: str) -> None:
        chain = self._chain(layer, prefix)
        if chain and not isinstance(layer, keras.Model):
            self._copy_weights(layer, chain[0], prefix + layer.name)
            for part in chain[0]._flatten_layers():
                if isinstance(part, QuantizedLayer):
                    part.start_quantizers()


class _Removed(keras.layers.Layer):
    """Marks a layer that has no successor in the copy."""


def _known(layer: Layer, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call without those, not given, that a layer lacks."""
    known = inspect.signature(layer.call).parameters
    return {k: v for k, v in kwargs.items() if k in known or v is not None}


def _is_input(tensor: Any) -> bool:
    return isinstance(tensor._keras_history.operation, keras.layers.InputLayer)


def list_weights(layer: Layer, whole: bool = False) -> list[Any]:
    """Return the weights of a layer, without those of noise points and quantizers."""
    weights = getattr(layer, "weights", [])
    if whole:
        return list(weights)
    extra: set[int] = set()
    for inner in layer._flatten_layers() if hasattr(layer, "_flatten_layers") else ():
        if isinstance(inner, (NoisePoint, StatefulQuantizer)):
            extra |= {id(v) for v in inner.variables}
    return [w for w in weights if id(w) not in extra]


def array(value: Any) -> np.ndarray:
    """Return a tensor or variable as a numpy array."""
    return np.asarray(ops.convert_to_numpy(value))
