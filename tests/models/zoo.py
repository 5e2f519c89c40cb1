"""Small models, among them one for each kind of operation that is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from kerasqnn import layers as ql
from kerasqnn.quantizers import FixedPoint

INPUT = "quantized_bits(6,2)"
KERNEL = {
    "kernel_quantizer": "quantized_bits(4,0,1)",
    "bias_quantizer": "quantized_bits(5,1)",
}
RELU = "quantized_relu(5,2)"


def data(*shape: int, samples: int = 7) -> np.ndarray:
    """Return float inputs."""
    numbers = np.random.default_rng(0).normal(0, 2, (samples, *shape))
    return numbers.astype(np.float32)


def fill(model: keras.Model, seed: int = 1) -> keras.Model:
    """Give all float weights numbers, variances positive ones; return the model."""
    numbers = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype == "float32" and weight.shape:
            values = numbers.normal(0, 0.7, weight.shape)
            weight.assign(np.abs(values) + 0.3 if "variance" in weight.name else values)
    return model


def outputs(model: keras.Model, x: object) -> np.ndarray | list[np.ndarray]:
    """Return what a model computes, without the time that `predict` takes to trace."""
    if isinstance(x, list) and len(x) == 1:
        x = x[0]
    if isinstance(getattr(model, "input", None), list) and isinstance(x, np.ndarray):
        x = [x]
    y = model(x, training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, y)


def functional(shape: tuple[int, ...], *steps: Callable[[Any], Any]) -> keras.Model:
    """Return a filled functional model of one layer after another."""
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return fill(keras.Model(inputs, x))


def _on(shape: tuple[int, ...], *steps: Any) -> Callable[[], keras.Model]:
    return lambda: functional(shape, ql.QuantInput(INPUT), *steps)


def _merged(merge: Any) -> Callable[[], keras.Model]:
    def make() -> keras.Model:
        x = inputs = keras.Input((4,))
        branches = [ql.QuantInput(INPUT)(x)]
        branches += [ql.QuantDense(4, **KERNEL)(branches[0])]
        return fill(keras.Model(inputs, merge(branches)))

    return make


IMAGE = (6, 5, 2)
# By the kind that must occur; every one is reproducible.
EXACT: dict[str, Callable[[], keras.Model]] = {
    "quantize": _on((4,)),
    "dense": _on((4,), ql.QuantDense(3, activation=RELU, **KERNEL)),
    "dense on a sequence": _on((3, 4), ql.QuantDense(5, **KERNEL)),
    "conv2d": _on(IMAGE, ql.QuantConv2D(3, 3, activation=RELU, **KERNEL)),
    "conv2d same": _on(
        IMAGE, ql.QuantConv2D(3, (2, 3), strides=(2, 1), padding="same", **KERNEL)
    ),
    "conv2d grouped": _on(IMAGE, ql.QuantConv2D(4, 2, groups=2, **KERNEL)),
    "conv2d dilated": _on(IMAGE, ql.QuantConv2D(2, 2, dilation_rate=2, **KERNEL)),
    "scale_offset": _on(
        IMAGE,
        ql.QuantBatchNormalization(
            scale_quantizer="quantized_bits(6,2)",
            offset_quantizer="quantized_bits(6,3)",
        ),
    ),
    "scale_offset of Keras": _on((4,), kl.BatchNormalization()),
    "scale_offset first axis": _on(
        (3, 4), kl.BatchNormalization(axis=1, center=False, scale=False)
    ),
    "relu": _on((4,), kl.ReLU()),
    "relu activation": _on((4,), kl.Activation("relu")),
    "max_pool2d": _on(IMAGE, kl.MaxPooling2D(2)),
    "max_pool2d same": _on(IMAGE, kl.MaxPooling2D((3, 2), strides=2, padding="same")),
    "average_pool2d": _on(IMAGE, kl.AveragePooling2D(2)),
    "global_max_pool2d": _on(IMAGE, kl.GlobalMaxPooling2D()),
    "global_max_pool2d keepdims": _on(IMAGE, kl.GlobalMaxPooling2D(keepdims=True)),
    "global_average_pool2d": _on((4, 2, 3), kl.GlobalAveragePooling2D()),
    "reshape": _on(IMAGE, kl.Flatten(), kl.Reshape((4, 15))),
    "add": _merged(kl.Add()),
    "subtract": _merged(kl.Subtract()),
    "multiply": _merged(kl.Multiply()),
    "maximum": _merged(kl.Maximum()),
    "minimum": _merged(kl.Minimum()),
    "concatenate": _merged(kl.Concatenate()),
    # A new point each time: tests switch it on.
    "noise": lambda: functional(
        (4,),
        ql.QuantInput(INPUT),
        ql.NoisePoint("additive(0.5)"),
        ql.QuantDense(3, **KERNEL),
    ),
}
# Read as well, but computed in floating point.
FLOAT: dict[str, Callable[[], keras.Model]] = {
    "dense": lambda: functional((4,), kl.Dense(3, activation="relu")),
    "conv2d": lambda: functional(IMAGE, kl.Conv2D(3, 3, padding="same")),
    "softmax": _on((4,), kl.Dense(3, activation="softmax")),
    "softmax layer": _on((2, 4), kl.Softmax(axis=1)),
    "activation": _on((4,), kl.Dense(3, activation="tanh")),
    "activation layer": _on((4,), kl.ReLU(max_value=1.5, negative_slope=0.25)),
    "average_pool2d": _on(IMAGE, kl.AveragePooling2D(3, padding="same", strides=1)),
    "layer": _on((4,), kl.LayerNormalization()),
    "layer operation": _on((4,), keras.ops.sin),
    "layer with constants": _on((4,), lambda x: keras.ops.add(2.0 * x, 1.0)),
}


def wide(bias: float) -> keras.Model:
    """Return a dense layer whose largest sum is 8191 * 2047 + bias.

    Args:
        bias: 10239 makes it 2^24; of the integers up to there float32 holds every one.
    """
    model = keras.Sequential(
        [
            keras.Input((1,)),
            ql.QuantInput(FixedPoint(13, 13, signed=False)),
            kl.Dense(1, name="sum"),
        ]
    )
    model.get_layer("sum").set_weights([np.array([[2047.0]]), np.array([bias])])
    return model
