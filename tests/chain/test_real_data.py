"""Trained networks on whole test sets: Keras = ONNX Runtime = qonnx = hardware."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import data
from kerasqnn.data import Dataset
from kerasqnn.export import run_reference
from kerasqnn.layers import (
    NoisyQuantDense,
    QuantActivation,
    QuantBatchNormalization,
    QuantConv2D,
    QuantDense,
    QuantInput,
)

WEIGHTS = {
    "kernel_quantizer": "quantized_bits(4,0,1)",
    "bias_quantizer": "quantized_bits(6,1,1)",
}
PIXELS = "quantized_bits(6,0,keep_negative=0)"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load_digits()


@pytest.fixture(scope="module")
def fashion() -> Dataset:
    try:
        return data.load_fashion_mnist(download=False)
    except FileNotFoundError:
        pytest.skip("Fashion-MNIST is not on this machine")


def mlp(inputs: int, hidden: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            QuantInput(PIXELS),
            NoisyQuantDense(hidden, activation="quantized_relu(4,2)", **WEIGHTS),
            QuantDense(24, **WEIGHTS),
            QuantActivation("quantized_relu(4,2)"),
            QuantDense(10, **WEIGHTS),
        ]
    )


def cnn(plain: bool) -> keras.Model:
    """Convolutions, pooling, a residual connection, one kind of normalization."""
    quantizers = {
        "scale_quantizer": "quantized_bits(8,3)",
        "offset_quantizer": "quantized_bits(8,3)",
    }

    def normalization(name: str) -> keras.layers.Layer:
        if plain:
            return kl.BatchNormalization(momentum=0.9, name=name)
        return QuantBatchNormalization(momentum=0.9, name=name, **quantizers)

    x = keras.Input((28, 28, 1))
    y = QuantInput(PIXELS)(x)
    y = QuantConv2D(8, 3, strides=2, **WEIGHTS)(y)
    y = QuantActivation("quantized_relu(4,2)")(normalization("norm_1")(y))
    y = kl.MaxPooling2D()(y)
    z = QuantConv2D(8, 3, padding="same", **WEIGHTS)(y)
    z = QuantActivation("quantized_bits(5,2)")(normalization("norm_2")(z))
    y = QuantActivation("quantized_relu(4,2)")(kl.Add()([y, z]))
    y = kl.AveragePooling2D(2)(y)
    y = kl.Dropout(0.1)(kl.Flatten()(y))
    return keras.Model(x, QuantDense(10, **WEIGHTS)(y))


def train(model: keras.Model, dataset: Dataset, samples: int, epochs: int) -> None:
    keras.utils.set_random_seed(1)
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x, y = dataset.x_train[:samples], dataset.y_train[:samples]
    model.fit(_shaped(model, x), y, batch_size=64, epochs=epochs, verbose=0)


def _shaped(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.reshape(-1, *model.input_shape[1:]))


def assert_one_set_of_bits(
    model: keras.Model, dataset: Dataset, folder: Path, boards: tuple[str, ...]
) -> list[kerasqnn.Deployment]:
    """Check the whole test set; return the deployments."""
    x = _shaped(model, dataset.x_test)
    want = model.predict(x, batch_size=500, verbose=0)
    share = np.mean(want.argmax(-1) == dataset.y_test)
    assert 0.6 < share <= 1.0, f"the network has learnt too little to show: {share}"
    path = kerasqnn.export_qonnx(model, folder / "model.onnx")
    assert np.array_equal(want, kerasqnn.run_qonnx(path, x))
    parts = [run_reference(path, x[i : i + 2500]) for i in range(0, len(x), 2500)]
    assert np.array_equal(want, np.concatenate(parts))
    deployments = []
    for board in boards:
        deployment = kerasqnn.deploy(model, board, folder / board)
        verification = deployment.verify(x)
        assert verification, str(verification)
        assert verification.numbers == len(x) * 10
        if verification.reference == "keras":
            assert np.array_equal(want, deployment.emulate(x))
        deployments.append(deployment)
    return deployments


def test_digits_mlp(digits, tmp_path):
    model = mlp(64, 32)
    train(model, digits, 1347, 8)
    for deployment in assert_one_set_of_bits(
        model, digits, tmp_path, ("arty-a7-100t", "pynq-z2")
    ):
        assert deployment.verify(digits.x_test).reference == "keras"


def test_fashion_mnist_mlp(fashion, tmp_path):
    model = mlp(784, 24)
    train(model, fashion, 6000, 2)
    assert_one_set_of_bits(model, fashion, tmp_path, ("arty-a7-100t",))


def test_fashion_mnist_cnn(fashion, tmp_path):
    model = cnn(plain=False)
    train(model, fashion, 6000, 2)
    assert_one_set_of_bits(model, fashion, tmp_path, ("arty-a7-100t",))


@pytest.mark.slow
def test_fashion_mnist_cnn_with_plain_normalization(fashion, tmp_path):
    """Float scales: the same bits in every tool, and exact integers in hardware."""
    model = cnn(plain=True)
    train(model, fashion, 6000, 2)
    (deployment,) = assert_one_set_of_bits(model, fashion, tmp_path, ("arty-a7-100t",))
    verification = deployment.verify(_shaped(model, fashion.x_test))
    assert verification.reference == "exact integers"
    assert set(verification.wide_layers) >= {"norm_1", "norm_2"}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_fashion_mnist_on_pynq(network, fashion, tmp_path):
    model = mlp(784, 24) if network == "mlp" else cnn(plain=False)
    train(model, fashion, 6000, 2)
    assert_one_set_of_bits(model, fashion, tmp_path, ("pynq-z2",))
