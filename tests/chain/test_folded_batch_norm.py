"""Folded batch normalization: trained, and then the same bits along the chain."""

import keras
import numpy as np

import kerasqnn
from kerasqnn import layers
from kerasqnn.export import run_reference

WEIGHTS = {
    "kernel_quantizer": "quantized_bits(5,1,1)",
    "bias_quantizer": "quantized_bits(8,3,1)",
}


def test_folded_batch_norm(tmp_path):
    """Keras, ONNX Runtime, qonnx and the emulation compute with the folded weights."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.QuantInput("quantized_bits(6,1)"),
            layers.NoisyQuantConv2DBatchNorm(
                3,
                3,
                2,
                "same",
                activation="quantized_relu(4,2)",
                name="conv",
                **WEIGHTS,
            ),
            keras.layers.Flatten(),
            layers.QuantDenseBatchNorm(
                4, use_bias=False, folding_mode="batch_stats_folding", **WEIGHTS
            ),
        ]
    )
    numbers = np.random.default_rng(0)
    images = numbers.normal(0, 1, (200, 8, 8, 2)).astype(np.float32)
    model.compile(keras.optimizers.Adam(0.02), "mse")
    model.fit(images, numbers.normal(size=(200, 4)), epochs=3, verbose=0)
    expected = model.predict(images, verbose=0)
    assert len(np.unique(expected)) > 50
    conv = kerasqnn.read_model(model).operation("conv")
    layer = model.get_layer("conv")
    kernel, _ = layer.folded_kernel_and_bias()
    folded = layer.kernel_quantizer.quantize(kernel)
    np.testing.assert_array_equal(conv.weights["kernel"].value, folded)
    unfolded = layer.kernel_quantizer.quantize(layer.kernel)
    assert np.any(folded != unfolded)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, images), expected)
    np.testing.assert_array_equal(run_reference(path, images), expected)
    deployment = kerasqnn.deploy(model, "arty", tmp_path / "project")
    np.testing.assert_array_equal(deployment.emulate(images), expected)
