"""Products with weights: `MatMul` and `Gemm`, with the bias behind them."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ...layers import QuantDense
from ..operators import attributes_of
from .graph_view import other_input
from .refusal import refused
from .registry import imports
from .translation import Translation, assign, weight_quantizer
from .values import Activation, Weight


@imports("MatMul")
def _matmul(node: NodeProto, translation: Translation) -> None:
    name, kernel = node.input
    if translation.is_weight(name) or not translation.is_weight(kernel):
        raise refused(
            node,
            "only products of a tensor with a constant matrix on its right are layers",
            "Transpose the product, or leave it to another model",
        )
    rank = translation.activation(name, node).rank
    last, bias = bias_behind(node, translation, -1, rank)
    _dense(node, last, translation, translation.weight(kernel), bias)


@imports("Gemm")
def _gemm(node: NodeProto, translation: Translation) -> None:
    given = attributes_of(node)
    kernel, *rest = node.input[1:]
    for attribute, want in {"alpha": 1.0, "beta": 1.0, "transA": 0}.items():
        if given.get(attribute, want) != want:
            raise refused(
                node,
                f"`{attribute}` is {given[attribute]}",
                f"Only {attribute}={want} is a dense layer",
            )
    constant = [translation.is_weight(i) for i in node.input]
    if constant[0] or not all(constant[1:]):
        raise refused(
            node, "its weights are not constant", "Give initializers for B and C"
        )
    weight = translation.weight(kernel)
    if given.get("transB", 0):
        weight = weight.arranged(np.transpose)
    if not rest or not rest[0]:
        last, bias = bias_behind(node, translation, -1, 2)
        _dense(node, last, translation, weight, bias)
        return
    bias = translation.weight(rest[0])
    if not _runs_along(bias, -1, 2):
        raise refused(
            node,
            f"C has the shape {bias.value.shape}",
            "A bias has one number, or one an output",
        )
    _dense(node, node, translation, weight, bias)


def bias_behind(
    node: NodeProto, translation: Translation, axis: int, rank: int
) -> tuple[NodeProto, Weight | None]:
    """Return the Add of a bias that alone reads a product, and the bias; or the node.

    Args:
        node: The product.
        translation: The translation.
        axis: The axis of the outputs, from the end.
        rank: Number of axes of the product.
    """
    add = translation.view.only_consumer_of(node, "Add")
    other = add and other_input(add, node.output[0])
    if add is None or not other or not translation.is_weight(other):
        return node, None
    bias = translation.weight(other)
    return (add, bias) if _runs_along(bias, axis, rank) else (node, None)


def _runs_along(weight: Weight, axis: int, rank: int) -> bool:
    """Whether a constant is one number, or one along an axis of a tensor."""
    shape = weight.value.shape
    others = [n for i, n in enumerate(shape) if i != len(shape) + axis]
    return len(shape) <= rank and all(n == 1 for n in others)


def vector_of(weight: Weight, size: int, node: NodeProto) -> Weight:
    """Return a constant as a vector of `size` numbers."""
    if weight.value.size not in (1, size):
        raise refused(
            node,
            f"it adds {weight.value.size} numbers to {size} outputs",
            "Allowed: one number, or one an output",
        )
    return weight.arranged(lambda a: np.broadcast_to(a.reshape(-1), (size,)))


def _dense(
    node: NodeProto,
    last: NodeProto,
    translation: Translation,
    kernel: Weight,
    bias: Weight | None,
) -> None:
    name = node.input[0]
    x = translation.activation(name, node)
    if kernel.value.ndim != 2:
        raise refused(
            node,
            f"its matrix has {kernel.value.ndim} axes",
            "A dense layer has a matrix of two",
        )
    if x.image is not None:
        rows = x.image.rows()
        kernel = kernel.arranged(lambda a: a[rows])
    elif x.axes[-1] != x.rank - 1:
        x = translation.as_in_file(x, node.name or node.output[0])
    units = kernel.value.shape[1]
    bias = None if bias is None else vector_of(bias, units, last)
    layer = QuantDense(
        units,
        use_bias=bias is not None,
        kernel_quantizer=weight_quantizer(kernel),
        bias_quantizer=None if bias is None else weight_quantizer(bias),
        name=translation.name(last),
    )
    tensor = translation.call(node, layer, x.tensor)
    finish_weighted(node, last, translation, layer, kernel, bias)
    y = Activation.plain(tensor) if x.image else Activation(tensor, x.axes)
    define_sum(last, y, name, translation, kernel, bias)


def finish_weighted(
    node: NodeProto,
    last: NodeProto,
    translation: Translation,
    layer: object,
    kernel: Weight,
    bias: Weight | None,
) -> None:
    """Give a layer its kernel and bias."""
    argument = "depthwise" if hasattr(layer, "depthwise_quantizer") else "kernel"
    quantizer = getattr(layer, f"{argument}_quantizer")
    assign(node, layer.kernel, kernel, quantizer)  # type: ignore[attr-defined]
    if bias is not None:
        assign(last, layer.bias, bias, layer.bias_quantizer)  # type: ignore[attr-defined]
    if last is not node:
        translation.absorb(last)


def define_sum(
    last: NodeProto,
    y: Activation,
    name: str,
    translation: Translation,
    kernel: Weight,
    bias: Weight | None,
) -> None:
    """Define the output of a weighted sum, and how far float32 may round it."""
    values = np.abs(kernel.value.astype(np.float64))
    columns = values.reshape(-1, values.shape[-1])
    largest = float(columns.sum(axis=0).max(initial=0.0))
    if bias is not None:
        largest += float(np.abs(bias.value).max(initial=0.0))
    translation.define(last, y, name, magnitude=largest, terms=len(columns) + 1)
