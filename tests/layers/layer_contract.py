"""What every layer must do, in one call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Recorder(keras.layers.Layer):
    """Keeps the mask that it receives."""

    mask: Any = None
    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Keep the mask."""
        self.mask = mask
        return inputs


def check_layer(
    make: Callable[..., keras.layers.Layer],
    x: np.ndarray,
    *,
    weights: Sequence[str],
    fresh_process: Any,
    folder: Path,
) -> None:
    """Check a layer.

    Args:
        make: Makes the layer; takes further keyword arguments, such as `dtype`.
        x: Inputs with the batch axis, on a grid, so that sums are exact in any order.
        weights: The names of the layer's weights, in order.
        fresh_process: Loads models in a process that has only imported kerasqnn.
        folder: For files.
    """
    layer = make(name="layer")
    _check_building(layer, x, weights)
    model = _model(layer, x)
    eager = np.asarray(layer(x))
    np.testing.assert_array_equal(model.predict(x, verbose=0), eager)
    _check_configuration(layer)
    _check_clone(model, x)
    received = fresh_process.predict(model, x, folder / "saved")
    np.testing.assert_array_equal(received, eager, strict=True)
    _check_training(make, x)
    _check_half_precision(make, x)
    if layer.supports_masking and x.ndim == 3:
        _check_mask(make())


def _model(layer: keras.layers.Layer, x: np.ndarray) -> keras.Model:
    inputs = keras.Input(x.shape[1:])
    return keras.Model(inputs, layer(inputs))


def _fill(layer: keras.layers.Layer) -> None:
    """Give every float weight numbers of its own, variances positive ones."""
    numbers = np.random.default_rng(0)
    for weight in layer.weights:
        if weight.dtype == "float32" and weight.shape:
            values = np.rint(numbers.normal(0, 8, weight.shape)) / 16
            weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)


def _check_building(
    layer: keras.layers.Layer, x: np.ndarray, names: Sequence[str]
) -> None:
    layer.build(x.shape)
    assert layer.built
    assert [w.name for w in layer.weights] == list(names)
    _fill(layer)
    output = layer(x)
    shape = tuple(layer.compute_output_shape(x.shape))
    if isinstance(layer, keras.layers.EinsumDense):  # Keras's says only what is given
        shape = tuple(output.shape[i] if n is None else n for i, n in enumerate(shape))
    assert shape == tuple(output.shape)
    symbolic = layer(keras.Input(x.shape[1:]))
    assert symbolic.shape == (None, *output.shape[1:])
    dtypes = (symbolic.dtype, keras.backend.standardize_dtype(output.dtype))
    assert dtypes == ("float32", "float32")


def _check_configuration(layer: keras.layers.Layer) -> None:
    config = layer.get_config()
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    copies = [type(layer).from_config(config)]
    copies.append(keras.saving.deserialize_keras_object(stored))
    for copy in copies:
        assert type(copy) is type(layer)
        assert copy.get_config() == layer.get_config() == config
    assert stored["registered_name"] == f"kerasqnn>{type(layer).__name__}"
    parameters = set(inspect.signature(type(layer)).parameters) - {"kwargs"}
    # Keras leaves these out where they are not used.
    unused = {"lora_rank", "lora_alpha", "activity_regularizer"}
    unused |= {"gptq_unpacked_column_size"}
    assert parameters <= config.keys() | unused


def _check_clone(model: keras.Model, x: np.ndarray) -> None:
    clone = keras.models.clone_model(model)
    assert clone.layers[1].get_config() == model.layers[1].get_config()
    clone.set_weights(model.get_weights())
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(clone.predict(x, verbose=0), expected)


def _check_training(make: Callable[..., keras.layers.Layer], x: np.ndarray) -> None:
    """Every trainable weight gets a gradient, and a step moves it."""
    layer = make()
    model = _model(layer, x)
    model.compile("sgd", "mse")
    target = np.zeros(layer(x).shape)
    with tf.GradientTape() as tape:
        loss = keras.ops.sum(layer(x, training=True) ** 2)
    values = [w.value for w in layer.trainable_weights]
    assert all(g is not None for g in tape.gradient(loss, values))
    before = [np.array(w) for w in layer.trainable_weights]
    assert np.isfinite(model.train_on_batch(x, target))
    for weight, old in zip(layer.trainable_weights, before, strict=True):
        assert np.any(np.asarray(weight) != old), weight.name


def _check_half_precision(
    make: Callable[..., keras.layers.Layer], x: np.ndarray
) -> None:
    layer = make(dtype="mixed_float16")
    for training in (False, True):
        y = layer(x, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == "float16"
        assert np.all(np.isfinite(np.asarray(y)))
    assert {w.dtype for w in layer.trainable_weights} <= {"float32"}
    model = _model(layer, x)
    assert model.output.dtype == "float16"
    if layer.activity_regularizer is not None:
        return  # Keras cannot add its float16 loss to the others
    model.compile("sgd", "mse")
    assert np.isfinite(model.train_on_batch(x, np.zeros(y.shape)))


def _check_mask(layer: keras.layers.Layer) -> None:
    recorder = Recorder()
    x = np.ones((2, 3, 4), np.float32)
    x[1, 1:] = 0.0
    recorder(layer(keras.layers.Masking()(x)))
    np.testing.assert_array_equal(recorder.mask, x[..., 0] != 0)
