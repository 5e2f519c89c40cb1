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
    layer, kernel = _layer(node, kernel, window, tensor.shape[-1])(
        strides=_one_or_all(window.strides),
        dilation_rate=_one_or_all(window.dilation),
        padding=padding,
        use_bias=bias is not None,
        bias_quantizer=None if bias is None else weight_quantizer(bias),
        name=translation.name(last),
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


def _layer(node: NodeProto, kernel: Weight, window: Window, channels: int) -> Any:
    """Return what makes the layer of a convolution, and its kernel in Keras's axes."""
    groups = attributes_of(node).get("group", 1)
    inputs, filters = kernel.value.shape[-2:]
    if inputs * groups != channels:
        raise refused(
            node,
            f"{groups} groups of {inputs} channels are not the {channels} of its input",
            "Correct `group`",
        )

    def make(**options: Any) -> tuple[Any, Weight]:
        if groups > 1 and inputs == 1 and window.rank < 3:
            multiplied = _depthwise(kernel, channels)
            quantizer = _quantizer_of_depthwise(multiplied)
            # Keras's depthwise convolutions have the same stride along both axes.
            if quantizer is not _NONE and len(set(window.strides)) == 1:
                name = f"QuantDepthwiseConv{window.rank}D"
                layer_class = getattr(quant_layers, name)
                layer = layer_class(
                    _one_or_all(window.size),
                    depth_multiplier=filters // channels,
                    depthwise_quantizer=quantizer,
                    **options,
                )
                return layer, multiplied
        layer_class = getattr(quant_layers, f"QuantConv{window.rank}D")
        layer = layer_class(
            filters,
            _one_or_all(window.size),
            groups=groups,
            kernel_quantizer=weight_quantizer(kernel),
            **options,
        )
        return layer, kernel

    return make


_NONE = object()


def _depthwise(kernel: Weight, channels: int) -> Weight:
    """Return the kernel with channels and multiplier as its last axes."""
    *size, _, filters = kernel.value.shape
    shape = (*size, channels, filters // channels)
    return kernel.arranged(lambda a: a.reshape(shape))


def _quantizer_of_depthwise(kernel: Weight) -> Any:
    """Return the quantizer, or `_NONE` where each channel has its own."""
    try:
        return weight_quantizer(kernel)
    except UnsupportedModelError:
        return _NONE
