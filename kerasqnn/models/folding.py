"""Folding batch normalizations into the layers before them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np

from ..errors import UnsupportedModelError
from .reading import functional_of
from .rewriting import (
    array,
    copy_of,
    list_weights,
    rewrite,
    transfer_weights,
    with_config,
)

_FOLDABLE = {
    cls: "pointwise_kernel" if "Separable" in cls.__name__ else "kernel"
    for cls in (
        keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D,
        keras.layers.Conv3D, keras.layers.DepthwiseConv1D,
        keras.layers.DepthwiseConv2D, keras.layers.SeparableConv1D,
        keras.layers.SeparableConv2D,
    )
}  # fmt: skip


def fold_batch_normalization(
    model: keras.Model, *, strict: bool = False
) -> keras.Model:
    """Return a copy of a float model whose batch normalizations became weights.

    A `BatchNormalization` that follows a dense or convolution layer with a linear
    activation disappears: with `s = gamma / sqrt(variance + epsilon)`, in float64,

        kernel' = kernel * s        bias' = (bias - mean) * s + beta

    At inference the copy computes the same up to float32 rounding: about 1e-6 of the
    largest value of each layer. In training it does not, since batch statistics are
    gone.

    Args:
        model: A built Sequential or functional model; it is not changed.
        strict: Raise where a batch normalization cannot be folded, instead of leaving
            it as it is.

    Returns:
        The new model; compiled like `model`, with a fresh optimizer, if that is.

    Raises:
        UnsupportedModelError: If `strict`, for a batch normalization behind something
            else, an activation, or a tensor that others read too; names it and the
            reason.

    Example:

    >>> import keras, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     keras.layers.Dense(8, use_bias=False),
    ...     keras.layers.BatchNormalization(),
    ...     keras.layers.ReLU(),
    ... ])
    >>> folded = kerasqnn.fold_batch_normalization(model)
    >>> [type(layer).__name__ for layer in folded.layers]
    ['Dense', 'ReLU']
    """
    pairs, refused = _find_pairs(model)
    if strict and refused:
        path, reason = next(iter(refused.items()))
        raise UnsupportedModelError(
            f"Batch normalization {path!r} cannot be folded: {reason}.", layer=path
        )
    partner = {id(layer): norm for layer, norm in pairs}
    folded_away = {id(norm) for norm in partner.values()}

    def replace(layer: Any, path: str) -> list[Any]:
        if id(layer) in folded_away:
            return []
        if id(layer) in partner:
            return [with_config(type(layer), layer, use_bias=True)]
        return [copy_of(layer)]

    def transfer(old: Any, new: Any, path: str) -> None:
        if id(old) in partner:
            _fold(old, partner[id(old)], new)
        else:
            transfer_weights(old, new, path)

    return rewrite(model, replace, transfer=transfer)


def _fold(old: Any, norm: Any, new: Any) -> None:
    def value(weight: Any) -> np.ndarray:
        return array(weight).astype(np.float64)

    scale = 1.0 / np.sqrt(value(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * value(norm.gamma)
    name = _FOLDABLE[type(old)]
    kernel = value(getattr(old, name))
    factors = scale
    if "Depthwise" in type(old).__name__:  # (..., channels, multiplier)
        factors = scale.reshape(kernel.shape[-2:])
    bias = value(old.bias) if old.use_bias else np.zeros_like(scale)
    bias = (bias - value(norm.moving_mean)) * scale
    if norm.center:
        bias = bias + value(norm.beta)
    for weight in list_weights(old):  # a separable convolution has another kernel
        if weight.name != "bias":
            next(w for w in new.weights if w.name == weight.name).assign(weight)
    getattr(new, name).assign((kernel * factors).astype(np.float32))
    new.bias.assign(bias.astype(np.float32))


def _find_pairs(
    model: keras.Model,
) -> tuple[list[tuple[Any, Any]], dict[str, str]]:
    """Return what can be folded, and the reason for each that cannot."""
    functions: dict[int, tuple[str, Any]] = {}
    _collect(model, "", functions)
    nodes = [n for _, f in functions.values() for n in _nodes(f)]
    calls = Counter(id(n.operation) for n in nodes)
    pairs: list[tuple[Any, Any]] = []
    refused: dict[str, str] = {}
    for prefix, function in functions.values():
        for node in _nodes(function):
            if not isinstance(node.operation, keras.layers.BatchNormalization):
                continue
            tensor = node.input_tensors[0]  # a mask may follow
            source = tensor._keras_history.operation
            reason = _why_not(source, node.operation, tensor, function)
            if not reason and (calls[id(source)], calls[id(node.operation)]) != (1, 1):
                reason = f"layer {source.name!r} or the normalization is shared"
            if reason:
                refused[prefix + node.operation.name] = reason
            else:
                pairs.append((source, node.operation))
    return pairs, refused


def _collect(
    model: keras.Model, prefix: str, functions: dict[int, tuple[str, Any]]
) -> None:
    """Collect the graphs of a model and of those in it, each once."""
    function = functional_of(model)
    if id(function) in functions:
        return
    functions[id(function)] = (prefix, function)
    for node in _nodes(function):
        if isinstance(node.operation, keras.Model):
            _collect(node.operation, f"{prefix}{node.operation.name}/", functions)


def _nodes(function: Any) -> list[Any]:
    return [n for depth in function._nodes_by_depth.values() for n in depth]


def _why_not(layer: Any, norm: Any, tensor: Any, function: Any) -> str:
    """Return why a normalization cannot go into the layer before it, or nothing."""
    readers = [n for n in _nodes(function) if any(t is tensor for t in n.input_tensors)]
    name = layer.name
    if type(norm) is not keras.layers.BatchNormalization:
        return "it has quantizers; fold before quantizing"
    if type(layer) not in _FOLDABLE:
        return f"layer {name!r} before it is of class {type(layer).__name__}"
    if layer.activation is not keras.activations.linear:
        return f"the activation of layer {name!r} stands between"
    if len(readers) > 1 or any(t is tensor for t in function.outputs):
        return f"the output of layer {name!r} is used elsewhere too"
    channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    if not channels_last or norm.axis not in (-1, len(tensor.shape) - 1):
        return "it normalizes another axis than the last"
    if norm.renorm:
        return "it renormalizes"
    if getattr(layer, "lora_enabled", False):
        return f"layer {name!r} has low-rank weights"
    return ""
