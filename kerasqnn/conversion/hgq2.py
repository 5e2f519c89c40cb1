"""`from_hgq2`: HGQ2 models as kerasqnn models with the same bits."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from keras import tree

from ..errors import UnsupportedModelError
from ..models.random_inputs import random_inputs
from ..models.reading import functional_of
from .building import build
from .description import LayerDescription, ModelDescription
from .formats import read_file
from .hgq2_layers import convert, on_new_grids, set_weights
from .hgq2_parts import taken_apart
from .layers import entry_of
from .weights import set_weights as set_keras_weights

_CHECKED_SAMPLES = 24


def from_hgq2(model: Any) -> keras.Model:
    """Take over an HGQ2 model: a kerasqnn model with bit-identical predictions.

    Each layer becomes a `QuantInput` or `QuantActivation` with the quantizer of its
    input, the kerasqnn layer of the same arithmetic and name, and a `QuantActivation`
    with the quantizer of its output. What has no exact counterpart is refused by name.

    Activations keep their widths: as a `FixedPoint` where one does for all, else as a
    `HeterogeneousFixedPoint`, which is exported and deployed only with one width for
    all. Weights with one width for all keep their float values and quantizer. Those
    with widths an element become the quantized values, and their quantizer the one grid
    that holds them all: exact, but training goes on with this grid, for all elements,
    and a warning names them. Normalizations become the quantized scale and offset, for
    inference only (`trainable=False`).

    The bits are those of HGQ2 on TensorFlow. Where `|x|` exceeds `2^22` steps of a
    wrapping activation HGQ2 wraps what float32 has rounded; kerasqnn wraps exactly.

    Args:
        model: A live HGQ2 model, Sequential or functional, or the path of its `.keras`
            file. Files are parsed; nothing in them is executed, and HGQ2 is not needed.

    Returns:
        The model, not compiled. That of a live one has given the same bits for random
        inputs.

    Raises:
        UnsupportedModelError: If a layer, an option or a quantizer has no exact
            counterpart; the message names the layer.
        FileNotFoundError: If the file does not exist.
        ValueError: If it holds no Keras model.

    Example:

    >>> import kerasqnn
    >>> kerasqnn.from_hgq2("no such file.keras")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no file 'no such file.keras'.
    """
    if not isinstance(model, keras.Model):
        return _taken_over(read_file(model))
    new = _taken_over(_saved(model))
    _check_bits(model, new)
    return new


def _saved(model: keras.Model) -> ModelDescription:
    """Return what a live model is saved as: HGQ2's own account of its layers."""
    functional_of(model)
    for layer in model._flatten_layers():
        config: Any = getattr(layer, "config", None)
        is_hard_tanh = type(config).__name__ == "HardTanhConfig"
        if is_hard_tanh and config.config["overflow_mode"] != "SAT":
            raise UnsupportedModelError(
                f"Layer {layer.name!r} has a HardTanhConfig(symmetric=True), which "
                "HGQ2 does not save. Train with "
                "QuantizerConfig(overflow_mode='SAT_SYM').",
                layer.name,
            )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return read_file(path)


def _taken_over(description: ModelDescription) -> keras.Model:
    parts = taken_apart(description)
    model = build(parts, _convert, _set_weights)
    _warn_of_new_grids(parts)
    return model


def _convert(layer: LayerDescription) -> Any:
    if layer.package == "hgq":
        return convert(layer)
    return entry_of(layer).convert(layer)


def _set_weights(layer: LayerDescription, new: Any) -> None:
    if layer.package == "hgq":
        set_weights(layer, new)
    else:
        set_keras_weights(layer, entry_of(layer), new)


def _warn_of_new_grids(description: ModelDescription) -> None:
    changed = [
        f"{layer.name}/{name}"
        for layer in description.layers
        if layer.package == "hgq"
        for name in on_new_grids(layer)
    ]
    if changed:
        warnings.warn(
            "These weights have widths an element, and are kept as their quantized "
            "values on one grid each. Predictions are those of HGQ2; training would go "
            f"on with that grid: {', '.join(changed)}",
            UserWarning,
            stacklevel=4,
        )


def _check_bits(model: keras.Model, new: keras.Model) -> None:
    """Refuse a model whose outputs are not those of the original, bit for bit."""
    arrays = random_inputs(model, _CHECKED_SAMPLES, open_size=4)
    inputs = [keras.ops.convert_to_tensor(x) for x in arrays or []]
    outputs = (
        tree.flatten(m(inputs if len(inputs) > 1 else inputs[0], training=False))
        for m in (model, new)
    )
    for pair in zip(*outputs, strict=True):
        theirs, ours = (keras.ops.convert_to_numpy(y) for y in pair)
        if not np.array_equal(theirs, ours, equal_nan=True):
            raise UnsupportedModelError(
                f"Model {model.name!r} would give other bits than HGQ2's."
            )
