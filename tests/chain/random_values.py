"""Random weights and inputs: in range, on ties, at zero and beyond saturation."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np

from kerasqnn.models import read_model
from kerasqnn.quantizers import FixedPoint, Quantizer


def _scattered(
    numbers: np.random.Generator, shape: tuple[int, ...], quantizer: Quantizer | None
) -> np.ndarray:
    """Return numbers for a quantizer: inside, on its ties, beyond its ends, zero."""
    largest, step = 1.0, 0.25
    if quantizer is not None:
        largest, step = float(np.max(quantizer.max)), float(np.min(quantizer.step))
        if isinstance(quantizer, FixedPoint):
            step = float(np.min(quantizer.grid_step))
    inside = numbers.normal(0.0, 0.6 * largest, shape)
    ties = (np.floor(inside / step) + 0.5) * step
    kinds = numbers.choice(
        6, size=shape, p=[0.62, 0.2, 0.1, 0.04, 0.02, 0.02]
    )  # inside, tie, on the grid, beyond, zero, minus zero
    values = np.select(
        [kinds == 0, kinds == 1, kinds == 2, kinds == 3, kinds == 4],
        [inside, ties, ties - 0.5 * step, inside * 8.0, np.zeros(shape)],
        -np.zeros(shape),
    )
    return values.astype(np.float32)


def fill_weights(
    model: keras.Model, rng: random.Random, numbers: np.random.Generator
) -> None:
    """Set all weights of a model at random, troublesome ones among them."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            _fill_normalization(layer, rng, numbers)
        elif getattr(layer, "kernel", None) is not None:
            _fill(layer, "kernel", numbers)
            if layer.bias is not None:
                _fill(layer, "bias", numbers)


def _fill(layer: Any, name: str, numbers: np.random.Generator) -> None:
    variable = getattr(layer, name)
    quantized = hasattr(layer, "kernel_quantizer")
    quantizer = getattr(layer, f"{name}_quantizer", None)
    values = _scattered(numbers, tuple(variable.shape), quantizer)
    if not quantized:  # a Keras layer whose weights happen to lie on a grid
        values = np.clip(np.rint(values * 8) / 8, -2, 2)
    variable.assign(values)


def _fill_normalization(
    layer: Any, rng: random.Random, numbers: np.random.Generator
) -> None:
    shape = tuple(layer.moving_mean.shape)
    if getattr(layer, "gamma", None) is not None:
        signs = numbers.choice([-1.0, 1.0], shape, p=[0.2, 0.8])
        layer.gamma.assign(signs * numbers.uniform(0.2, 2.0, shape))
    if getattr(layer, "beta", None) is not None:
        layer.beta.assign(numbers.normal(0.0, 0.7, shape))
    layer.moving_mean.assign(numbers.normal(0.0, 0.7, shape))
    if rng.random() < 0.1:  # scales that are powers of two to the last bit
        layer.moving_variance.assign(np.full(shape, 0.25 - layer.epsilon))
    else:
        layer.moving_variance.assign(numbers.uniform(0.1, 4.0, shape))


def random_inputs(
    model: keras.Model, numbers: np.random.Generator, samples: int
) -> list[np.ndarray]:
    """Return an array for each input, made for the quantizer that reads it."""
    graph = read_model(model)
    arrays = []
    for name, tensor in zip(graph.inputs, model.inputs, strict=True):
        readers = [o for o in graph.consumers(name) if o.kind == "quantize"]
        quantizer = readers[0].attributes["quantizer"] if readers else None
        array = _scattered(numbers, (samples, *tensor.shape[1:]), quantizer)
        array[0] *= 1e6
        arrays.append(array)
    return arrays
