"""How each Keras layer is read: one small function a layer family.

| kind | attributes | weights |
|---|---|---|
| `input` | | |
| `quantize` | `quantizer` | |
| `noise` | `point` | |
| `dense` | | `kernel` `(inputs, units)`, `bias` |
| `conv2d` | `strides`, `padding`, `dilation`, `groups` | `kernel` HWIO, `bias` |
| `scale_offset` | `axis` | `scale`, `offset` `(channels,)` |
| `relu`, `softmax`, `activation` | `axis`; `function` | |
| `max_pool2d`, `average_pool2d` | `pool_size`, `strides`, `padding` | |
| `global_max_pool2d`, `global_average_pool2d` | `keepdims` | |
| `reshape` | `target_shape` | |
| `add`, `subtract`, `multiply`, `maximum`, `minimum` | | |
| `concatenate` | `axis` | |
| `layer` | `operation`, `call`: any other Keras operation | |

Images are channels-last. A new layer gets a reader here, and where a new kind is
needed, a rule in `arithmetic`, an evaluation in `evaluation`, and a handler in `export`
and in `hardware.lowering`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from .. import layers as quant_layers
from ..quantizers import Quantizer
from .graph import Parameter, Tensor

Reader = Callable[[Any, list[Tensor], Any], list[Tensor]]
_READERS: dict[type, Reader] = {}


def reads(*classes: type) -> Callable[[Reader], Reader]:
    """Register a reader for exactly these classes (subclasses may compute anything)."""

    def register(reader: Reader) -> Reader:
        _READERS.update(dict.fromkeys(classes, reader))
        return reader

    return register


def reader_of(operation: Any, node: Any) -> Reader | None:
    """Return the reader of a Keras operation as it is called, or None."""
    reader = _READERS.get(type(operation))
    if reader is None or not _is_plain_call(operation, node):
        return None
    return reader


def _is_plain_call(operation: Any, node: Any) -> bool:
    """Whether the call has only tensor arguments, in float32 and channels last."""
    tensors = [*node.arguments.keras_tensors, *node.outputs]
    arguments = [*node.arguments.args, *node.arguments.kwargs.values()]
    constants = [a for a in keras.tree.flatten(arguments) if a is not None]
    return (
        all(keras.backend.standardize_dtype(t.dtype) == "float32" for t in tensors)
        and all(isinstance(a, (keras.KerasTensor, bool)) for a in constants)
        and getattr(operation, "compute_dtype", "float32") == "float32"
        and getattr(operation, "data_format", "channels_last") == "channels_last"
        and getattr(operation, "quantization_mode", None) is None
    )


def parameter(value: Any, quantizer: Quantizer | None = None) -> Parameter:
    """Return a weight as the forward pass uses it."""
    array = np.asarray(ops.convert_to_numpy(value), np.float32)
    return Parameter(
        array if quantizer is None else quantizer.quantize(array), quantizer
    )


def _kernel_and_bias(layer: Any) -> dict[str, Parameter]:
    weights = {
        "kernel": parameter(layer.kernel, getattr(layer, "kernel_quantizer", None))
    }
    if layer.bias is not None:
        quantizer = getattr(layer, "bias_quantizer", None)
        weights["bias"] = parameter(layer.bias, quantizer)
    return weights


@reads(layers.Dense, quant_layers.QuantDense, quant_layers.NoisyQuantDense)
def _dense(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    outputs = reading.add("dense", inputs, weights=_kernel_and_bias(layer))
    return reading.finish(layer, outputs)


@reads(layers.Conv2D, quant_layers.QuantConv2D, quant_layers.NoisyQuantConv2D)
def _conv2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    outputs = reading.add(
        "conv2d",
        inputs,
        weights=_kernel_and_bias(layer),
        strides=tuple(layer.strides),
        padding=layer.padding,
        dilation=tuple(layer.dilation_rate),
        groups=layer.groups,
    )
    return reading.finish(layer, outputs)


@reads(layers.BatchNormalization, quant_layers.QuantBatchNormalization)
def _batch_normalization(
    layer: Any, inputs: list[Tensor], reading: Any
) -> list[Tensor]:
    if getattr(layer, "is_quantized", False):
        scale, offset = layer.inference_scale_and_offset()
        weights = {
            "scale": Parameter(scale, layer.scale_quantizer),
            "offset": Parameter(offset, layer.offset_quantizer),
        }
    else:
        scale, offset = _keras_scale_and_offset(layer)
        weights = {"scale": Parameter(scale), "offset": Parameter(offset)}
    rank = len(inputs[0].shape)
    outputs = reading.add(
        "scale_offset", inputs, weights=weights, axis=layer.axis % rank
    )
    return reading.finish(layer, outputs)


def _keras_scale_and_offset(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    # The operations of Keras's own inference, on the backend, so that the last bit
    # agrees: numpy's reciprocal square root rounds differently.
    scale = ops.rsqrt(ops.add(layer.moving_variance, layer.epsilon))
    if layer.scale:
        scale = ops.multiply(scale, layer.gamma)
    offset = ops.multiply(layer.moving_mean, scale)
    offset = ops.subtract(layer.beta, offset) if layer.center else ops.negative(offset)
    return (
        np.asarray(ops.convert_to_numpy(scale), np.float32),
        np.asarray(ops.convert_to_numpy(offset), np.float32),
    )


@reads(quant_layers.QuantInput)
def _quant_input(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("quantize", inputs, quantizer=layer.quantizer)


@reads(layers.Activation, quant_layers.QuantActivation)
def _activation(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.activation(layer.activation, inputs, "")


@reads(layers.ReLU)
def _relu(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    if layer.max_value is None and not layer.negative_slope and not layer.threshold:
        return reading.add("relu", inputs)
    return reading.add("activation", inputs, function=layer)


@reads(layers.Softmax)
def _softmax(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("softmax", inputs, axis=layer.axis)


@reads(quant_layers.NoisePoint)
def _noise_point(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("noise", inputs, point=layer)


@reads(
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    quant_layers.QuantAveragePooling2D,
    quant_layers.NoisyQuantAveragePooling2D,
)
def _pool2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    maximum = isinstance(layer, layers.MaxPooling2D)
    outputs = reading.add(
        "max_pool2d" if maximum else "average_pool2d",
        inputs,
        pool_size=tuple(layer.pool_size),
        strides=tuple(layer.strides),
        padding=layer.padding,
    )
    return reading.finish(layer, outputs)


@reads(
    layers.GlobalMaxPooling2D,
    layers.GlobalAveragePooling2D,
    quant_layers.QuantGlobalAveragePooling2D,
    quant_layers.NoisyQuantGlobalAveragePooling2D,
)
def _global_pool2d(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    maximum = isinstance(layer, layers.GlobalMaxPooling2D)
    kind = "global_max_pool2d" if maximum else "global_average_pool2d"
    outputs = reading.add(kind, inputs, keepdims=bool(layer.keepdims))
    return reading.finish(layer, outputs)


@reads(layers.Flatten, layers.Reshape)
def _reshape(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("reshape", inputs, target_shape=reading.shapes[0][1:])


_MERGES = {
    layers.Add: "add",
    layers.Subtract: "subtract",
    layers.Multiply: "multiply",
    layers.Maximum: "maximum",
    layers.Minimum: "minimum",
}


@reads(*_MERGES)
def _merge(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add(_MERGES[type(layer)], inputs)


@reads(layers.Concatenate)
def _concatenate(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return reading.add("concatenate", inputs, axis=layer.axis % len(inputs[0].shape))


@reads(
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
)
def _identity(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    return inputs
