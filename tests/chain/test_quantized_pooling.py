"""Pooling layers with a quantized output: the same bits along the chain."""

import keras
import numpy as np

import kerasqnn
from kerasqnn import layers
from kerasqnn.export import run_reference

WEIGHTS = {
    "kernel_quantizer": "quantized_bits(4,0,1)",
    "bias_quantizer": "quantized_bits(4,0,1)",
}


def test_pooling(tmp_path):
    """Keras, ONNX Runtime, qonnx and the emulation quantize the same averages."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2))
    x = layers.QuantInput("quantized_bits(6,1)")(inputs)
    x = layers.QuantConv2D(
        3, 3, padding="same", activation="quantized_relu(4,2)", **WEIGHTS
    )(x)
    x = layers.NoisyQuantAveragePooling2D(
        2, output_quantizer="quantized_relu(3,2)", noise="additive(0.1)", name="pool"
    )(x)
    x = layers.QuantGlobalAveragePooling2D(output_quantizer="quantized_bits(5,2)")(x)
    model = keras.Model(inputs, layers.QuantDense(2, **WEIGHTS)(x))
    images = np.random.default_rng(0).normal(0, 1, (200, 8, 8, 2)).astype(np.float32)
    expected = model.predict(images, verbose=0)
    assert len(np.unique(expected)) > 5
    assert "pool/noise" in kerasqnn.noise_points(model)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, images), expected)
    np.testing.assert_array_equal(run_reference(path, images), expected)
    deployment = kerasqnn.deploy(model, "arty", tmp_path / "project")
    np.testing.assert_array_equal(deployment.emulate(images), expected)
