"""Weights of a described layer into the layer that it becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from ..errors import UnsupportedModelError
from .description import LayerDescription
from .layers import Entry
from .live import variables

# Parts of layers: as QKeras names them in files, and the attributes here.
_PARTS = {"batchnorm": "batch_normalization"}


def set_weights(layer: LayerDescription, entry: Entry, target: Any) -> None:
    """Give a built layer its weights.

    Raises:
        UnsupportedModelError: If one is missing, superfluous, of another shape, or such
            that QKeras quantizes it to a value off the grid.
    """
    own = _variables(entry, target)
    given = _named(layer.weights, list(own))
    if given.keys() != own.keys():
        raise layer.refused(
            f"its weights are not those of the class. Allowed: {list(own)}. "
            f"Received: {sorted(layer.weights)}"
        )
    for name, variable in own.items():
        value = given[name]
        if tuple(value.shape) != tuple(variable.shape):
            raise layer.refused(
                f"its weight {name!r} has another shape. Allowed: "
                f"{tuple(variable.shape)}. Received: {tuple(value.shape)}"
            )
        variable.assign(value.astype(variable.dtype))
    for argument, quantizer, values in _quantized_values(entry, target):
        _check_on_grid(layer, argument, quantizer, values)


def copy_weights(entry: Entry, source: Any, target: Any, path: str) -> None:
    """Give a layer of QKeras the weights of the layer that it was made of.

    Raises:
        UnsupportedModelError: If they are not the same ones.
    """
    given = _variables(entry, source)
    found = _named(variables(target), list(given))
    shapes = [{k: tuple(v.shape) for k, v in side.items()} for side in (given, found)]
    if shapes[0] != shapes[1]:
        raise UnsupportedModelError(
            f"Layer {path!r} ({type(source).__name__}): its weights do not fit "
            f"{type(target).__name__}. Allowed: {shapes[1]}. Received: {shapes[0]}",
            path,
        )
    for name, variable in given.items():
        found[name].assign(variable)


def _variables(entry: Entry, target: Any) -> dict[str, Any]:
    """Return the weights of a layer of the table's right side that it has."""
    found = {name: _variable(target, name) for name in entry.weights}
    return {name: v for name, v in found.items() if v is not None}


def _named(weights: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return weights by the names of the table.

    Files name them (`kernel`), with or without the part of the layer they belong to,
    or number those of each part (`0`, `batchnorm/0`).
    """
    named = {}
    numbers: Counter[str] = Counter()
    left = dict(weights)
    for name in names:
        part, _, base = name.rpartition("/")
        number = f"{part}/{numbers[part]}" if part else str(numbers[part])
        numbers[part] += 1
        key = next((k for k in (name, base, number) if k in left), None)
        if key is not None:
            named[name] = left.pop(key)
    return named | left


def _variable(target: Any, name: str) -> Any:
    """Return the variable of a name, or None where the layer has none."""
    part, _, base = name.rpartition("/")
    holder = getattr(target, _PARTS.get(part, part)) if part else target
    holder = getattr(holder, "cell", holder)
    variable = getattr(holder, base, None)
    if variable is None and base == "depthwise_kernel":
        variable = target.kernel  # Keras 3's name in depthwise convolutions
    return variable


def _quantized_values(
    entry: Entry, target: Any
) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Return arguments, the quantizers of weights that they are, and the weights."""
    if hasattr(target, "folded_kernel_and_bias"):
        kernel, bias = target.folded_kernel_and_bias()
        argument = target.kernel_quantizer_argument
        yield argument, getattr(target, argument), kernel
        yield "bias_quantizer", target.bias_quantizer, bias
        return
    if isinstance(target, keras.layers.Bidirectional):
        for side in (target.forward_layer, target.backward_layer):
            yield from _quantized_values(entry, side)
        return
    for name in entry.quantizers:
        stem = name.removesuffix("_quantizer")
        for weight in (stem, f"{stem}_kernel", f"moving_{stem}"):
            variable = _variable(target, weight)
            if isinstance(variable, keras.Variable):
                values = keras.ops.convert_to_numpy(variable)
                argument = entry.renamed.get(name, name)
                yield argument, getattr(target, argument), values
                break


def _check_on_grid(
    layer: LayerDescription, argument: str, quantizer: Any, x: np.ndarray
) -> None:
    """Refuse weights for which `x + (q - x)`, which QKeras computes, is not `q`."""
    if quantizer is None:
        return
    q = keras.ops.convert_to_numpy(quantizer(keras.ops.convert_to_tensor(x)))
    if not np.array_equal(x + (q - x), q):
        raise layer.refused(
            f"{argument}: QKeras computes x + (q - x) in float32, which for these "
            "weights is not q itself but leaves the grid. Quantizers with power-of-two "
            f"scales stay on it. Received: {argument}={quantizer!r}"
        )
