"""The registry of readers, and what all of them use."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from ...quantizers import QuantizedWeight
from ...quantizers.parsing import AnyQuantizer
from ..graph import Parameter, Tensor

Reader = Callable[[Any, list[Tensor], Any], list[Tensor]]
_READERS: dict[type, Reader] = {}


def reads(*classes: type) -> Callable[[Reader], Reader]:
    """Register a reader for exactly these classes (subclasses may compute anything)."""

    def register(reader: Reader) -> Reader:
        _READERS.update(dict.fromkeys(classes, reader))
        return reader

    return register


def reader_of(operation: Any, node: Any) -> Reader:
    """Return the reader of a Keras operation as it is called.

    Where there is none, or the call is not a plain one, Keras runs it as a whole.
    """
    reader = _READERS.get(type(operation))
    reason = _not_plain(operation, node)
    if reader is None:
        name = getattr(operation, "__name__", type(operation).__name__)
        reason = (
            reason
            or f"is of class {name}, which Keras runs as a whole, in floating point"
        )
    elif not reason:
        return reader
    return lambda layer, inputs, reading: reading.as_layer(inputs, reason)


def _not_plain(operation: Any, node: Any) -> str:
    """Say what a call has besides tensor arguments in float32 and channels last."""
    tensors = [*node.arguments.keras_tensors, *node.outputs]
    arguments = [*node.arguments.args, *node.arguments.kwargs.values()]
    constants = [a for a in keras.tree.flatten(arguments) if a is not None]
    computed = getattr(operation, "compute_dtype", "float32")
    dtypes = [computed, *(keras.backend.standardize_dtype(t.dtype) for t in tensors)]
    for dtype in dtypes:
        if dtype != "float32":
            return f"computes with {dtype}, not with float32"
    if getattr(operation, "data_format", "channels_last") != "channels_last":
        return "has its channels first, not last"
    if getattr(operation, "quantization_mode", None) is not None:
        return f"is quantized by Keras itself, to {operation.quantization_mode}"
    if not all(isinstance(a, (keras.KerasTensor, bool)) for a in constants):
        return "is called with constants besides tensors"
    if _is_given_mask(operation, node):
        return "is called with a mask"
    return ""


def _is_given_mask(operation: Any, node: Any) -> bool:
    """Whether a call names a mask among its tensors."""
    if not isinstance(operation, keras.Layer):
        return False
    signature = inspect.signature(operation.call)
    given = signature.bind(*node.arguments.args, **node.arguments.kwargs).arguments
    return any(
        isinstance(value, keras.KerasTensor)
        for name, value in given.items()
        if name == "mask" or name.endswith("_mask")
    )


# Merges that take the mask from their tensors, not as an argument.
_MASKED_MERGES = (keras.layers.Maximum, keras.layers.Minimum, keras.layers.Multiply)


def uses_masks(operation: Any) -> bool:
    """Whether what a Keras operation computes at inference depends on masks."""
    if isinstance(operation, keras.layers.BatchNormalization):
        return False  # only its statistics do, in training
    if not isinstance(operation, keras.Layer):
        return False
    arguments = inspect.signature(operation.call).parameters
    takes = any(n == "mask" or n.endswith("_mask") for n in arguments)
    return takes or isinstance(operation, _MASKED_MERGES)


def parameter(value: Any, quantizer: AnyQuantizer | None = None) -> Parameter:
    """Return a weight as the forward pass uses it, with the grid that holds it."""
    if quantizer is None:
        return Parameter(np.asarray(ops.convert_to_numpy(value), np.float32))
    weight = QuantizedWeight.of(value, quantizer)
    return Parameter(weight.values, weight.grid)


def quantized_parameter(value: Any, quantizer: AnyQuantizer | None) -> Parameter:
    """Return a weight that `quantizer` has quantized already, with a grid for it."""
    if quantizer is None:
        return Parameter(np.asarray(value, np.float32))
    weight = QuantizedWeight.holding(value, quantizer)
    return Parameter(weight.values, weight.grid)
