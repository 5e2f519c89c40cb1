"""The registry of readers, and what all of them use."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from ...quantizers.parsing import AnyQuantizer
from ..graph import Parameter, Tensor
from ..grids import grid_of_values

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
    """Return a weight as the forward pass uses it.

    Its quantizer is `quantizer.fixed(value)`; where no single grid quantizes as the
    layer does, the coarsest power-of-two grid that holds the quantized values.
    """
    array = np.asarray(ops.convert_to_numpy(value), np.float32)
    if quantizer is None:
        return Parameter(array)
    grid = quantizer.fixed(array)
    if grid is None:
        array = np.asarray(ops.convert_to_numpy(quantizer(array)), np.float32)
        return Parameter(array, grid_of_values(array))
    return Parameter(grid.quantize(array), grid)


def quantized_parameter(value: Any, quantizer: AnyQuantizer | None) -> Parameter:
    """Return a weight that `quantizer` has quantized already, with a grid for it."""
    array = np.asarray(value, np.float32)
    if quantizer is None:
        return Parameter(array)
    return Parameter(array, quantizer.fixed(array) or grid_of_values(array))
