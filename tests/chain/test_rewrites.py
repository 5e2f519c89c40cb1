"""What hls4ml lacks or computes wrongly, and kerasqnn expresses in another way."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn.layers import (
    QuantActivation,
    QuantBatchNormalization,
    QuantConv2D,
    QuantDense,
    QuantInput,
)
from kerasqnn.quantizers import Binary, FixedPoint, Ternary

IO_TYPES = pytest.mark.parametrize("io_type", ["io_stream", "io_parallel"])
FINE = "quantized_bits(8,1,1)"


def dense(units: int, seed: int = 1, **options: Any) -> QuantDense:
    kernel = keras.initializers.RandomNormal(0.0, 0.6, seed=seed)
    return QuantDense(
        units,
        kernel_initializer=kernel,
        bias_initializer=keras.initializers.RandomNormal(0.0, 0.5, seed=3),
        kernel_quantizer="quantized_bits(4,1,1)",
        bias_quantizer="quantized_bits(5,1,1)",
        **options,
    )


def conv(filters: int, size: Any, **options: Any) -> QuantConv2D:
    kernel = keras.initializers.RandomNormal(0.0, 0.6, seed=filters)
    options.setdefault("kernel_quantizer", "quantized_bits(4,1,1)")
    return QuantConv2D(filters, size, kernel_initializer=kernel, **options)


def assert_exact(
    outputs: Any, x: keras.KerasTensor, folder: Any, shape: tuple[int, ...], **how: Any
) -> kerasqnn.Deployment:
    """Deploy, compare with Keras, and see that no output is constant by mistake."""
    model = keras.Model(x, outputs)
    rng = np.random.default_rng(5)
    inputs = rng.normal(0.0, 1.5, (64, *shape)).astype(np.float32)
    inputs[0], inputs[1] = 100.0, -100.0
    inputs[2:8] = np.floor(inputs[2:8] * 8) / 8
    deployment = kerasqnn.deploy(model, "arty-a7-100t", folder / "deployment", **how)
    want = keras.tree.flatten(model.predict(inputs, verbose=0))
    got = keras.tree.flatten(deployment.emulate(inputs))
    names = model.output_names
    for name, a, b in zip(names, want, got, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert np.ptp(a) > 0 or name.startswith("zero"), name
    assert deployment.verify(inputs)
    return deployment


@IO_TYPES
def test_quantizers(io_type, tmp_path):
    """All readers of one dense layer: each is wrong when hls4ml infers the types."""
    x = keras.Input((3,))
    y = dense(4)(QuantInput("quantized_bits(6,1,1)")(x))
    coarse = QuantActivation(FixedPoint(4, 3, rounding="HALF_UP"))(y)
    quantizers = {
        # Saturates within the grid of its input, at a finer step than that grid.
        "saturating": FixedPoint(8, 1),
        "symmetric": FixedPoint(8, 1, overflow="SAT_SYM"),
        "wrapping": FixedPoint(4, 1, overflow="WRAP", rounding="DOWN"),
        "unsigned_wrapping": FixedPoint(3, 1, signed=False, overflow="WRAP"),
        "binary": Binary(0.5),
        "ternary": Ternary(2.0, threshold=1.3),
    }
    outputs = [QuantActivation(q, name=n)(coarse) for n, q in quantizers.items()]
    outputs += [
        QuantActivation(FixedPoint(4, 1, scale=(1, 2, 4, 8)), name="scales")(y),
        QuantActivation(FixedPoint(4, 1, alpha=(1, 2, 4, 8)), name="alphas")(y),
        # Its step is larger than the largest number of its input.
        QuantActivation(
            FixedPoint(3, 6, rounding="HALF_UP"), name="zero_beyond_its_input"
        )(outputs[1]),
        kl.Add(name="twice")([outputs[0], outputs[0]]),
    ]
    assert_exact(outputs, x, tmp_path, (3,), io_type=io_type)


@IO_TYPES
def test_normalizations_and_merges(io_type, tmp_path):
    """A normalization by one keeps its quantizer; merges keep exact partial results."""
    x = keras.Input((4,))
    first = QuantInput("quantized_bits(6,1,1)")(x)
    one = QuantBatchNormalization(
        epsilon=0.0,
        scale_quantizer="quantized_bits(4,2,1)",
        offset_quantizer="quantized_bits(4,1,1)",
        name="by_one",
    )
    y = QuantActivation("quantized_bits(3,1,1)", name="after_one")(one(first))
    others = [dense(4, i, name=f"branch_{i}")(y) for i in range(3)]
    total, difference = kl.Add()(others), kl.Subtract()(others[:2])
    outputs = [
        y,
        QuantActivation(FINE, name="total")(total),
        QuantActivation(FINE, name="difference")(difference),
        kl.Multiply(name="product")(others[:2]),
        kl.Maximum(name="largest")(others),
        kl.Minimum(name="smallest")(others),
        kl.Concatenate(name="side_by_side")([y, *others]),
        QuantDense(2, kernel_initializer="zeros", kernel_quantizer=FINE, name="zero")(
            y
        ),
    ]
    assert_exact(outputs, x, tmp_path, (4,), io_type=io_type)


@IO_TYPES
def test_images(io_type, tmp_path):
    """Pooling with padding, strided kernels of one pixel, flattening for any reader."""
    x = keras.Input((7, 5, 2))
    first = conv(4, 3, padding="same", activation="quantized_relu(4,2)")(
        QuantInput("quantized_bits(5,1,1)")(x)
    )
    pooled = kl.MaxPooling2D(2, padding="same", name="padded_pool")(first)
    average = kl.AveragePooling2D((1, 4), name="average")(first)
    strided = conv(3, 1, strides=2, activation=FINE, name="strided")(first)
    tall = conv(2, (3, 1), strides=(2, 1), activation=FINE, name="tall")(strided)
    flat = kl.Flatten(name="flat")(strided)
    outputs = [
        pooled,
        average,
        kl.GlobalMaxPooling2D(name="global_max")(first),
        kl.GlobalAveragePooling2D(keepdims=True, name="global_average")(
            kl.MaxPooling2D((7, 1))(conv(2, (1, 2), name="four_wide")(first))
        ),
        kl.Flatten(name="flat_tall")(tall),
        QuantActivation("quantized_relu(3,1)", name="flat_relu")(flat),
        dense(3, name="flat_dense")(flat),
        kl.Reshape((2, 2, 9), name="reshaped")(flat),
    ]
    assert_exact(outputs, x, tmp_path, (7, 5, 2), io_type=io_type)


@IO_TYPES
def test_reuse_beyond_the_inputs(io_type, tmp_path):
    """A parallel convolution with more uses than inputs adds up wrongly."""
    x = keras.Input((4, 4, 1))
    y = conv(6, 1, activation=FINE)(QuantInput("quantized_bits(5,1,1)")(x))
    y = conv(4, 2, activation=FINE)(y)
    deployment = assert_exact(
        dense(3)(kl.Flatten()(y)), x, tmp_path, (4, 4, 1),
        io_type=io_type, strategy="Resource", reuse_factor=6,
    )  # fmt: skip
    layers = {lay["class"]: lay for lay in deployment.report()["layers"]}
    wanted = 1 if io_type == "io_parallel" else 6
    assert layers["PointwiseConv2D"]["reuse_factor"] == wanted
    assert layers["Dense"]["reuse_factor"] == 6
