"""Weights of a described layer into the layer that it becomes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .description import LayerDescription
from .layers import Entry


def set_weights(layer: LayerDescription, entry: Entry, target: Any) -> None:
    """Give a built layer its weights.

    Raises:
        UnsupportedModelError: If one is missing, superfluous, of another shape, or such
            that QKeras quantizes it to a value off the grid.
    """
    variables = {}
    for name in entry.weights:
        variable = _variable(target, name)
        if variable is not None:
            variables[name] = variable
    given = dict(layer.weights)
    if given.keys() != variables.keys():  # a .keras file numbers them
        given = {
            name: given[str(i)] for i, name in enumerate(variables) if str(i) in given
        } | {name: value for name, value in given.items() if not name.isdigit()}
    if given.keys() != variables.keys():
        raise layer.refused(
            f"its weights are not those of the class. Allowed: {list(variables)}. "
            f"Received: {sorted(layer.weights)}"
        )
    for name, variable in variables.items():
        value = given[name]
        if tuple(value.shape) != tuple(variable.shape):
            raise layer.refused(
                f"its weight {name!r} has another shape. Allowed: "
                f"{tuple(variable.shape)}. Received: {tuple(value.shape)}"
            )
        variable.assign(value)
    for name in entry.quantizers:
        _check_on_grid(layer, entry.renamed.get(name, name), target)


def _variable(target: Any, name: str) -> Any:
    """Return the variable of a name, or None where the layer has none."""
    variable = getattr(target, name, None)
    if variable is None and name == "depthwise_kernel":
        variable = target.kernel  # Keras 3's name in depthwise convolutions
    return variable


def _check_on_grid(layer: LayerDescription, argument: str, target: Any) -> None:
    """Refuse weights for which `x + (q - x)`, which QKeras computes, is not `q`."""
    quantizer = getattr(target, argument, None)
    stem = argument.removesuffix("_quantizer")
    names = (stem, f"{stem}_kernel")
    variables = [v for v in (_variable(target, n) for n in names) if v is not None]
    if quantizer is None or not variables:
        return
    x = keras.ops.convert_to_numpy(variables[0])
    q = quantizer.quantize(x)
    if not np.array_equal(x + (q - x), q):
        raise layer.refused(
            f"QKeras computes x + (q - x) in float32, which for these weights is not q "
            f"itself, so that its {argument} leaves the grid. Quantizers with power-"
            f"of-two scales stay on it. Received: {argument}={quantizer!r}"
        )
