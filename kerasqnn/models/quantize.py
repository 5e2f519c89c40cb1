"""From a float Keras model to a quantized one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from ..layers._degenerate_kernels import warn_of_degenerate_kernels
from ..layers._quantized import QuantizedLayer
from .activation_ranges import Ranges
from .quantize_config import (
    check_patterns,
    read_config,
    read_per_layer,
)
from .quantize_plan import Plan
from .reading import read_model
from .rewriting import rewrite
from .tables import Table

_COLUMNS = ("layer", "class", "became", "quantizers", "note")


class QuantizationReport(Table):
    """What `quantize_model` made of each layer: a row a layer.

    Columns: `layer` (path), `class`, `became`, `quantizers`, and in `note` why a layer
    or its activation stays as it is.
    """

    @property
    def skipped(self) -> dict[str, str]:
        """The reason by name of every layer that stayed as it was."""
        return {row[0]: row[4] for row in self.rows if row[1] == row[2]}


def quantize_model(
    model: keras.Model,
    config: str | Mapping[str, Any],
    *,
    per_layer: Mapping[str, Any] | None = None,
    skip: Sequence[str] = (),
    calibration: Any = None,
    method: str = "mse",
) -> keras.Model:
    """Return a quantized copy of a float Keras model, with its weights.

    Each layer becomes its `Quant` twin. Where a number of bits is given, the step is a
    power of two that suits the float weights or, for activations and inputs, the
    values on `calibration` (see `kerasqnn.quantizers.calibrate`). A ReLU becomes a
    quantized ReLU; behind other activation functions a quantizer is inserted. Layers
    that only move values (pooling by maximum, flattening) need no quantizer; linear
    outputs and the model's final activation are left as they are. Learned steps start
    from the float weights or, of activations, with the first training batch. Fold batch
    normalizations first where you can (`fold_batch_normalization`).

    Args:
        model: A built Sequential or functional model; it is not changed.
        config: Bit widths: `"w4a6"`, `"w4b8a6i8"` (`i`: inputs), or a dictionary with
            any of `"weights"`, `"bias"` (default: `max(8, weights)`), `"activations"`
            and `"input"`. And, or instead, by layer class: `{"Dense":
            {"kernel_quantizer": "quantized_bits(4,0,1)", "bias_quantizer": 8,
            "activation": "quantized_relu(4,2)"}}`, with quantizers or bits;
            `"Activation"` takes one for all ReLUs, or a dictionary by function,
            `{"relu": 4, "tanh": 8}`. A quantizer takes a named function's place, a
            number of bits follows it.
        per_layer: The same by layer name, which may be a pattern such as `"conv_*"`
            or the path `"inner/dense"` of a nested model's layer; changes what `config`
            says, None leaves the layer as it is.
        skip: Names, patterns or class names of layers to leave as they are.
        calibration: Inputs as `model.predict` takes them: an array, or a list or
            dictionary of arrays.
        method: `"mse"`, `"min_max"` or `"percentile"`.

    Returns:
        The new model; compiled like `model`, with a fresh optimizer, if that is. Its
        `quantization_report` (not saved with it) tells for each layer what it became.

    Raises:
        ValueError: If a name or an argument is unknown, or bits are asked for a value
            whose range only `calibration` could tell.
        UnsupportedModelError: If the model has no readable graph.

    Example:

    >>> import keras, numpy as np, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     keras.layers.Dense(8, activation="relu", name="hidden"),
    ...     keras.layers.Dense(2, name="logits"),
    ... ])
    >>> x = np.random.default_rng(0).random((64, 4))
    >>> small = kerasqnn.quantize_model(model, "w4a4i8", calibration=x)
    >>> [type(layer).__name__ for layer in small.layers]
    ['QuantInput', 'QuantDense', 'QuantDense']
    >>> small.get_layer("hidden").kernel_quantizer.bits
    4
    >>> small.quantization_report.skipped
    {}
    """
    settings, overrides = read_config(config), read_per_layer(per_layer)
    graph = read_model(model)
    ranges = Ranges(model, graph, calibration, method)
    plan = Plan(graph, settings, overrides, tuple(skip), ranges)
    copy = rewrite(model, plan.replace, quantize_input=plan.quantize_input)
    check_patterns("per_layer", overrides, plan.paths)
    check_patterns("skip", set(skip), [*plan.paths, *plan.classes])
    for layer in copy._flatten_layers():
        if isinstance(layer, QuantizedLayer):
            warn_of_degenerate_kernels(layer)
    copy.quantization_report = QuantizationReport(
        f"Quantization of {model.name!r}",
        _COLUMNS,
        sorted(plan.rows, key=lambda row: row[1] != "Input"),
    )
    return copy
