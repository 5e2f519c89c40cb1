"""Scales computed from the weights, along the whole chain."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import run_reference
from kerasqnn.models import read_model


def network(kernel, bias="quantized_bits(6,1,1)"):
    """Return a network, whose initial weights serve, and images."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.QuantInput("quantized_bits(6,1)"),
            layers.QuantConv2D(
                4,
                3,
                kernel_quantizer=kernel,
                bias_quantizer=bias,
                activation="quantized_relu(4,2)",
            ),
            keras.layers.Flatten(),
            layers.QuantDense(3, kernel_quantizer=kernel, bias_quantizer=bias),
        ]
    )
    x = np.random.default_rng(0).normal(0, 1, (200, 6, 6, 2)).astype(np.float32)
    return model, x


@pytest.mark.parametrize(
    "kernel",
    [
        "quantized_bits(4,0,1,alpha='auto_po2')",
        "quantized_linear(4,0,1,alpha='auto_po2')",
        "binary(alpha='auto_po2')",
        "ternary(alpha='auto_po2')",
        "stochastic_ternary(alpha='auto_po2')",
    ],
)
def test_powers_of_two(kernel, tmp_path):
    """Keras, with XLA too, ONNX Runtime, qonnx and the emulation give the same bits."""
    model, x = network(kernel)
    expected = model.predict(x, verbose=0)
    assert len(np.unique(expected)) > 20
    for operation in read_model(model).of_kind("conv2d", "dense"):
        quantizer = operation.weights["kernel"].quantizer
        assert quantizer.is_power_of_two
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), expected)
    np.testing.assert_array_equal(run_reference(path, x), expected)
    if "bits" in kernel:
        compiled = tf.function(model, jit_compile=True)(x)
        np.testing.assert_array_equal(compiled.numpy(), expected)
        deployment = kerasqnn.deploy(model, "arty", tmp_path / "project")
        np.testing.assert_array_equal(deployment.emulate(x), expected)


def test_scales_of_a_bias(tmp_path):
    """In a vector each number has a scale of its own."""
    model, x = network(
        "quantized_bits(4,0,1,alpha='auto_po2')",
        "quantized_bits(4,0,1,alpha='auto_po2')",
    )
    expected = model.predict(x, verbose=0)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), expected)


@pytest.mark.parametrize(
    "kernel",
    ["quantized_bits(4,0,1,alpha='auto')", "ternary(alpha='auto')"],
)
def test_other_scales(kernel, tmp_path):
    """Refused as exact; else within rounding errors, save where a code flips.

    The sums of the first layer depend on the order of addition. A sum that lies on the
    edge of two codes of the activation may fall on either side: here in none.
    """
    model, x = network(kernel)
    with pytest.raises(UnsupportedModelError, match="bits for its sums"):
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", exact=False)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(
        kerasqnn.run_qonnx(path, x), expected, rtol=0, atol=64 * 2.0**-24 * 8
    )
