"""Quantizers of activations, and activation functions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from keras import layers
from onnx import NodeProto

from ...layers import QuantActivation, QuantInput
from ...quantizers import FixedPoint, Ternary
from .graph_view import other_input
from .quantization import Quantization, is_quantizer
from .refusal import refused
from .registry import imports
from .translation import Translation
from .values import Activation


@imports("Quant", "IntQuant", "BipolarQuant")
def _quant(node: NodeProto, translation: Translation) -> None:
    name = node.input[0]
    x, quantization = read_quantizer(node, name, translation)
    quantizer: Any = quantization.quantizer()
    is_input = translation.view.producer(name) is None
    last, quantizer = _with_alpha(node, x, quantizer, translation)
    layer_class = QuantInput if is_input else QuantActivation
    layer = layer_class(quantizer, name=translation.name(node))
    y = x.moved(translation.call(node, layer, x.tensor))
    translation.define(last, y, name)


@imports("Ternary")
def _ternary(node: NodeProto, translation: Translation) -> None:
    name, threshold, half = node.input
    x = translation.activation(name, node)
    numbers = []
    for constant in (threshold, half):
        value = translation.weight(constant).value
        x, arrange = along_last_axis(node, x, value.shape, translation)
        numbers.append(np.squeeze(arrange(value)))
    try:
        quantizer = Ternary(2 * numbers[1], threshold=numbers[0])
    except ValueError as error:
        raise refused(node, str(error), "Give it a positive threshold") from error
    layer = QuantActivation(quantizer, name=translation.name(node))
    translation.define(node, x.moved(translation.call(node, layer, x.tensor)), name)


@imports("Relu")
def _relu(node: NodeProto, translation: Translation) -> None:
    name = node.input[0]
    reader = translation.view.only_consumer(node.output[0])
    if reader is not None and is_quantizer(reader):
        x, quantization = read_quantizer(reader, name, translation)
        quantizer = quantization.behind_relu()
        if quantizer is not None:
            layer = QuantActivation(quantizer, name=translation.name(reader))
            y = x.moved(translation.call(reader, layer, x.tensor))
            translation.absorb(reader)
            translation.define(reader, y, name)
            return
    x = translation.activation(name, node)
    layer = layers.ReLU(name=translation.name(node))
    translation.define(node, x.moved(translation.call(node, layer, x.tensor)), name)


def read_quantizer(
    node: NodeProto, name: str, translation: Translation
) -> tuple[Activation, Quantization]:
    """Return what a node quantizes, and how, in the order of the Keras tensor."""
    quantization = Quantization.of(node, translation.view.constants)
    x = translation.activation(name, node)
    if quantization is None:
        raise refused(node, "it is no uniform quantizer", "Use Quant")
    if quantization.scale.size == 1 and quantization.scale.ndim <= x.rank:
        return x, quantization
    x, arrange = along_last_axis(node, x, quantization.scale.shape, translation)
    return x, quantization.arranged(arrange)


def along_last_axis(
    node: NodeProto, x: Activation, shape: tuple[int, ...], translation: Translation
) -> tuple[Activation, Any]:
    """Return a tensor such that a constant of a shape runs along its last axis.

    Returns:
        The tensor, and a function that arranges the constant.
    """
    if len(shape) > x.rank:
        raise refused(
            node,
            f"its parameter of {len(shape)} axes gives its input of {x.rank} more axes",
            "Give it a parameter of at most as many axes",
        )
    full = (1,) * (x.rank - len(shape)) + shape
    along = [axis for axis, size in enumerate(full) if size != 1]
    if len(along) > 1 or along == [0]:
        raise refused(
            node,
            "its parameter varies along several axes, or that of the batch",
            "Allowed: one number, or one a channel. "
            f"Received: a parameter of shape {shape}",
        )
    if along and along[0] != x.axes[-1]:
        others = [a for a in range(1, x.rank) if a != along[0]]
        axes = (0, *others, along[0])
        x = translation.with_axes(x, axes, node.name or node.output[0])
    return x, partial(_arranged, x)


def _arranged(x: Activation, array: np.ndarray) -> np.ndarray:
    """Return a constant of the file, such that it broadcasts with the Keras tensor."""
    if array.size == 1:
        return array.reshape(())
    return x.arranged(array.reshape((1,) * (x.rank - array.ndim) + array.shape))


def _with_alpha(
    node: NodeProto, x: Activation, quantizer: Any, translation: Translation
) -> tuple[NodeProto, Any]:
    """Take in a positive factor behind a fixed-point quantizer: its `alpha`."""
    view = translation.view
    product = view.only_consumer_of(node, "Mul")
    other = product and other_input(product, node.output[0])
    plain = type(quantizer) is FixedPoint
    if not plain or product is None or not other or not translation.is_weight(other):
        return node, quantizer
    add = view.only_consumer_of(product, "Add")
    term = add and other_input(add, product.output[0])
    if term and translation.is_weight(term):
        return node, quantizer  # that is batch normalization
    factor = translation.weight(other)
    along = _vector_along(factor.value, x)
    if factor.quantization is not None or along is None or not np.all(along > 0):
        return node, quantizer
    try:
        scaled = FixedPoint(**{**quantizer.get_config(), "alpha": along})
    except ValueError:
        return node, quantizer
    translation.absorb(product)
    return product, scaled


def _vector_along(array: np.ndarray, x: Activation) -> Any:
    """Return a constant as a number or a vector along the last axis, or None."""
    if array.ndim > x.rank:
        return None
    if array.size == 1:
        return array.reshape(())
    arranged = _arranged(x, array)
    return arranged.reshape(-1) if arranged.size == arranged.shape[-1] else None
