"""Recurrent layers: the same bits in Keras, ONNX Runtime, qonnx and in integers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import run_reference
from kerasqnn.models import analyse, read_model
from kerasqnn.models.evaluation import evaluate, evaluate_exactly

BITS = "quantized_bits(4,0,1)"
CLASSES = (layers.QuantSimpleRNN, layers.NoisyQuantLSTM, layers.QuantGRU)


def _layer(random: np.random.Generator, layer_class: Any, **given: Any) -> Any:
    def pick(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    options = {
        "kernel_quantizer": BITS,
        "recurrent_quantizer": pick(BITS, "binary", "quantized_bits(4,0)"),
        "bias_quantizer": pick(None, "quantized_bits(5,1)"),
        "state_quantizer": pick("quantized_bits(5,0,1)", "binary"),
        "activation": pick("quantized_tanh(4)", "quantized_bits(4,1)"),
        "return_sequences": pick(True, False),
        "go_backwards": pick(True, False),
        "use_bias": pick(True, False),
        "name": "loop",
    }  # fmt: skip
    if options["bias_quantizer"] is None:
        options["use_bias"] = False
    if layer_class is not layers.QuantSimpleRNN:
        options["recurrent_activation"] = "quantized_sigmoid(4)"
    if layer_class is layers.QuantGRU:
        options["reset_after"] = pick(True, False)
    return layer_class(3, **(options | given))


def _model(layer: Any, shape: tuple[int | None, int] = (3, 4)) -> keras.Model:
    model = keras.Sequential(
        [keras.Input(shape), layers.QuantInput("quantized_bits(6,1)"), layer]
    )
    random = np.random.default_rng(5)
    for weight in model.get_layer("loop").cell.weights:
        weight.assign(random.normal(0, 0.7, weight.shape))
    return model


@pytest.mark.parametrize("seed", range(9))
def test_random_loops(seed, tmp_path):
    random = np.random.default_rng(seed)
    model = _model(_layer(random, CLASSES[seed % 3]))
    x = random.normal(0, 1.5, (16, 3, 4)).astype(np.float32)
    want = model.predict(x, verbose=0)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", check=False)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), want)
    np.testing.assert_array_equal(run_reference(path, x), want)
    np.testing.assert_array_equal(kerasqnn.integer_reference(model, x).values, want)
    graph = read_model(model).without_noise()
    (output,) = graph.outputs
    ours = evaluate(graph.operations, {graph.inputs[0]: x})[output]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours), want)
    exact = evaluate_exactly(graph, analyse(graph), [x])[output]
    np.testing.assert_array_equal(exact, want)
    assert len(np.unique(want)) > 3


@pytest.mark.parametrize(
    "given, shape, reason",
    [
        ({"activation": "tanh"}, (3, 4), "activation in floating point between"),
        ({"stateful": True}, (3, 4), "keeps them between batches"),
        ({}, (None, 4), "sequences of no fixed length"),
    ],
)
def test_loops_that_stay(given, shape, reason, tmp_path):
    layer = _layer(np.random.default_rng(0), layers.QuantLSTM, **given)
    if "stateful" in given:
        pytest.importorskip("tensorflow")
        inputs = keras.Input(batch_shape=(2, *shape))
        x = layers.QuantInput("quantized_bits(6,1)")(inputs)
        model = keras.Model(inputs, layer(x))
    else:
        model = _model(layer, shape)
    with pytest.raises(UnsupportedModelError, match=f"'loop' .*it .*{reason}"):
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx")


def test_loops_on_a_chip_are_refused(tmp_path):
    model = _model(_layer(np.random.default_rng(0), layers.QuantGRU))
    with pytest.raises(UnsupportedModelError, match="'loop' .*time steps"):
        kerasqnn.deploy(model, "arty", tmp_path / "project")
