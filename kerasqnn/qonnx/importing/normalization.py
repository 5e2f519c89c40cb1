"""Batch normalization, as one operator or as a product and a sum."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ...layers import QuantBatchNormalization
from ..operators import attributes_of
from .activations import along_last_axis
from .refusal import refused
from .registry import imports
from .translation import Translation, assign, weight_quantizer
from .values import Activation, Weight, channels_last

# The variance with it is 1 in float32, so that gamma and beta are scale and offset.
_EPSILON = 1e-3
_VARIANCE = np.float32(1) - np.float32(_EPSILON)


@imports("BatchNormalization")
def _batch_normalization(node: NodeProto, translation: Translation) -> None:
    given = attributes_of(node)
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    constant = all(map(translation.is_weight, node.input[1:]))
    if given.get("training_mode", 0) or not constant:
        raise refused(
            node,
            "it is in training mode, or its parameters are not constant",
            "Export the model for inference",
        )
    x = translation.activation(node.input[0], node)
    if x.image is None:
        name = node.name or node.output[0]
        x = translation.with_axes(x, channels_last(x.rank), name)
    layer = QuantBatchNormalization(
        epsilon=given.get("epsilon", 1e-5),
        momentum=given.get("momentum", 0.9),
        # gamma * (1 / sqrt(variance)), as ONNX Runtime computes it
        inverse="reciprocal",
        name=translation.name(node),
    )
    y = x.moved(translation.call(node, layer, x.tensor))
    for name, weight in zip(names, node.input[1:], strict=True):
        value = translation.weight(weight).value
        rows = slice(None) if x.image is None else x.image.rows()
        getattr(layer, name).assign(value[rows])
    scale, offset = layer.inference_scale_and_offset()
    magnitude = float(np.max(np.abs(scale)) + np.max(np.abs(offset)))
    translation.define(node, y, node.input[0], magnitude=magnitude, terms=4)


def scale_and_offset(
    node: NodeProto,
    last: NodeProto,
    name: str,
    scale: Weight | None,
    offset: Weight | None,
    translation: Translation,
) -> None:
    """Translate a product and a sum with constants, one of them at least.

    Args:
        node: The first of the two nodes.
        last: The last of them.
        name: What it reads.
        scale: The factor, or None.
        offset: The summand, or None.
        translation: The translation.
    """
    x = translation.activation(name, node)
    vectors = []
    for weight in (scale, offset):
        vector = None
        if weight is not None:
            x, vector = _vector(last, x, weight, translation)
        vectors.append(vector)
    scale, offset = vectors
    layer = QuantBatchNormalization(
        epsilon=_EPSILON,
        scale=scale is not None,
        center=offset is not None,
        scale_quantizer=scale and weight_quantizer(scale),
        offset_quantizer=offset and weight_quantizer(offset),
        trainable=False,
        name=translation.name(last),
    )
    y = x.moved(translation.call(node, layer, x.tensor))
    layer.moving_variance.assign(np.full(layer.moving_variance.shape, _VARIANCE))
    if scale is not None:
        assign(node, layer.gamma, scale, layer.scale_quantizer)
    if offset is not None:
        assign(last, layer.beta, offset, layer.offset_quantizer)
    if last is not node:
        translation.absorb(last)
    translation.define(last, y, name)


def _vector(
    node: NodeProto, x: Activation, weight: Weight, translation: Translation
) -> tuple[Activation, Weight]:
    """Return a constant as one number a channel, and the tensor with channels last."""
    x, arrange = along_last_axis(node, x, weight.value.shape, translation)
    channels = x.tensor.shape[-1]
    if channels is None:
        raise refused(node, "its input has no fixed number of channels", "Fix it")
    return x, weight.arranged(
        lambda a: np.broadcast_to(np.reshape(arrange(a), -1), (channels,))
    )
