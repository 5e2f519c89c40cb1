"""Readers of normalizations."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers, ops

from ... import layers as quant_layers
from ..graph import Parameter, Tensor
from .registry import quantized_parameter, reads


@reads(layers.BatchNormalization, quant_layers.QuantBatchNormalization)
def _batch_normalization(
    layer: Any, inputs: list[Tensor], reading: Any
) -> list[Tensor]:
    if getattr(layer, "is_quantized", False):
        scale, offset = layer.inference_scale_and_offset()
        weights = {
            "scale": quantized_parameter(scale, layer.scale_quantizer),
            "offset": quantized_parameter(offset, layer.offset_quantizer),
        }
    else:
        scale, offset = inference_scale_and_offset(layer)
        weights = {"scale": Parameter(scale), "offset": Parameter(offset)}
    rank = len(inputs[0].shape)
    outputs = reading.add(
        "scale_offset", inputs, weights=weights, axis=layer.axis % rank
    )
    return reading.finish(layer, outputs)


@reads(quant_layers.CenteredBatchNormalization)
def _centered(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    """`(x - mean)`, and then `x * scale + beta`."""
    scale, mean = _float32(_inference_scale(layer)), _float32(layer.moving_mean)
    beta = _float32(layer.beta) if layer.center else np.zeros_like(mean)
    axis = layer.axis % len(inputs[0].shape)
    first = {"scale": Parameter(np.ones_like(mean)), "offset": Parameter(-mean)}
    last = {"scale": Parameter(scale), "offset": Parameter(beta)}
    centered = reading.add(
        "scale_offset", inputs, part="/centered", weights=first, axis=axis
    )
    return reading.add("scale_offset", centered, weights=last, axis=axis)


def inference_scale_and_offset(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return `s` and `o` of `y = x * s + o`, as Keras's layer computes at inference."""
    scale = _inference_scale(layer)
    offset = ops.multiply(layer.moving_mean, scale)
    offset = ops.subtract(layer.beta, offset) if layer.center else ops.negative(offset)
    return _float32(scale), _float32(offset)


def _inference_scale(layer: Any) -> Any:
    # The operations of Keras's own inference, on the backend, so that the last bit
    # agrees: numpy's reciprocal square root rounds differently.
    scale = ops.rsqrt(ops.add(layer.moving_variance, layer.epsilon))
    return ops.multiply(scale, layer.gamma) if layer.scale else scale


def _float32(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)
