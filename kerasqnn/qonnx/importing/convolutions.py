"""Convolutions: plain, grouped and depthwise, along one to three axes."""

from __future__ import annotations

from typing import Any

from onnx import NodeProto

from ... import layers as quant_layers
from ...errors import UnsupportedModelError
from ..operators import attributes_of
from .refusal import refused
from .registry import imports
from .translation import Translation, weight_quantizer
from .values import Weight
from .weighted import bias_behind, define_sum, finish_weighted, vector_of
from .windows import Window, image_of, is_channels_last, padded, window_of


@imports("Conv")
def _conv(node: NodeProto, translation: Translation) -> None:
    if translation.is_weight(node.input[0]) or not all(
        translation.is_weight(i) for i in node.input[1:] if i
    ):
        raise refused(
            node, "its weights are not constant", "Give initializers for W and B"
        )
    x = image_of(node, translation)
    kernel = _with_outputs_last(translation.weight(node.input[1]), node)
    window = window_of(node, x, kernel.value.shape[:-2])
    tensor, padding = padded(node, x.tensor, window, translation)
    last, bias = node, None
    if len(node.input) > 2 and node.input[2]:
        bias = translation.weight(node.input[2])
    else:
        axis = -1 if is_channels_last(node) else -1 - window.rank
        last, bias = bias_behind(node, translation, axis, x.rank)
    filters = kernel.value.shape[-1]
    bias = None if bias is None else vector_of(bias, filters, last)
    groups = attributes_of(node).get("group", 1)
    if kernel.value.shape[-2] * groups != tensor.shape[-1]:
        raise refused(
            node,
            f"{groups} groups of {kernel.value.shape[-2]} channels are not the "
            f"{tensor.shape[-1]} of its input",
            "Correct `group`",
        )
    options = {
        "strides": _one_or_all(window.strides),
        "dilation_rate": _one_or_all(window.dilation),
        "padding": padding,
        "use_bias": bias is not None,
        "bias_quantizer": None if bias is None else weight_quantizer(bias),
        "name": translation.name(last),
    }
    layer, kernel = _depthwise_layer(kernel, window, groups, options) or (
        _plain_layer(kernel, window, groups, options),
        kernel,
    )
    y = x.moved(translation.call(node, layer, tensor))
    finish_weighted(node, last, translation, layer, kernel, bias)
    define_sum(last, y, node.input[0], translation, kernel, bias)


def _with_outputs_last(kernel: Weight, node: NodeProto) -> Weight:
    rank = kernel.value.ndim
    order = (*range(2, rank), 1, 0)
    if is_channels_last(node):
        order = (*range(1, rank), 0)
    return kernel.arranged(lambda a: a.transpose(order))


def _one_or_all(numbers: tuple[int, ...]) -> Any:
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _plain_layer(
    kernel: Weight, window: Window, groups: int, options: dict[str, Any]
) -> Any:
    return getattr(quant_layers, f"QuantConv{window.rank}D")(
        kernel.value.shape[-1],
        _one_or_all(window.size),
        groups=groups,
        kernel_quantizer=weight_quantizer(kernel),
        **options,
    )


def _depthwise_layer(
    kernel: Weight, window: Window, groups: int, options: dict[str, Any]
) -> tuple[Any, Weight] | None:
    """Return a layer with a group a channel, and its kernel; None if Keras has none."""
    *size, inputs, filters = kernel.value.shape
    # Keras's depthwise convolutions have the same stride along both axes.
    one_stride = len(set(window.strides)) == 1
    if groups == 1 or inputs != 1 or window.rank == 3 or not one_stride:
        return None
    multiplied = kernel.arranged(lambda a: a.reshape(*size, groups, filters // groups))
    try:
        quantizer = weight_quantizer(multiplied)
    except UnsupportedModelError:  # each channel has a scale of its own
        return None
    layer = getattr(quant_layers, f"QuantDepthwiseConv{window.rank}D")(
        _one_or_all(window.size),
        depth_multiplier=filters // groups,
        depthwise_quantizer=quantizer,
        **options,
    )
    return layer, multiplied
