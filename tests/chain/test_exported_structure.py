"""Paddings, permuted axes, poolings by a reciprocal: exact everywhere, or refused."""

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

GRID = "quantized_bits(6,1)"
SIZE = (9, 6)


def _pool(random: np.random.Generator) -> Any:
    """A pooling with random windows, strides and quantizers."""
    bits = int(random.integers(3, 9))
    options = {
        "average_quantizer": f"quantized_bits({bits},0,keep_negative=0)",
        "output_quantizer": [None, "quantized_bits(5,1)"][random.integers(2)],
    }
    if random.random() < 0.3:
        keep = bool(random.integers(2))
        return layers.QuantReciprocalGlobalAveragePooling2D(keepdims=keep, **options)
    window = tuple(int(n) for n in random.integers(1, 4, 2))
    strides = tuple(int(n) for n in random.integers(1, 3, 2))
    return layers.QuantReciprocalAveragePooling2D(window, strides, **options)


def _random_model(seed: int) -> keras.Model:
    random = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((*SIZE, 2))
    x = layers.QuantInput(GRID)(x)
    pads = tuple(map(tuple, random.integers(0, 3, (2, 2)).tolist()))
    if random.random() < 0.5:
        x = layers.QuantConv2D(
            3, 2, kernel_quantizer="quantized_bits(4,0,1)", use_bias=False,
            activation=GRID,
        )(x)  # fmt: skip
    x = keras.layers.ZeroPadding2D(pads)(x)
    return keras.Model(inputs, _pool(random)(x))


@pytest.mark.parametrize("seed", range(8))
def test_random_models(seed, tmp_path):
    model = _random_model(seed)
    x = np.random.default_rng(seed).normal(0, 1.5, (10, *SIZE, 2)).astype(np.float32)
    want = model.predict(x, verbose=0)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", check=False)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), want)
    np.testing.assert_array_equal(run_reference(path, x), want)
    graph = read_model(model)
    (output,) = graph.outputs
    ours = evaluate(graph.operations, {graph.inputs[0]: x})[output]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours), want)
    facts = analyse(graph)
    exact = evaluate_exactly(graph, facts, [x])[output]
    np.testing.assert_array_equal(exact, want)
    grid = facts.facts[output].grid
    assert np.all(want >= grid.low) and np.all(want <= grid.high)
    assert np.all(want % grid.step == 0)
    reference = kerasqnn.integer_reference(model, x)
    np.testing.assert_array_equal(reference.values, want)
    assert len(np.unique(want)) > 3


def test_padded_sequence(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((5, 2)),
            layers.QuantInput(GRID),
            keras.layers.ZeroPadding1D((2, 1)),
            layers.QuantConv1D(3, 3, kernel_quantizer="quantized_bits(4,0,1)"),
        ]
    )
    x = np.random.default_rng(0).normal(0, 1, (6, 5, 2)).astype(np.float32)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    want = model.predict(x, verbose=0)
    np.testing.assert_array_equal(run_reference(path, x), want)
    np.testing.assert_array_equal(kerasqnn.integer_reference(model, x).values, want)


def test_permuted(tmp_path):
    """Between two convolutions, with other channels, and of a sequence."""
    quantizer = {"kernel_quantizer": "quantized_bits(4,0,1)"}
    model = keras.Sequential(
        [
            keras.Input((4, 5, 2)),
            layers.QuantInput(GRID),
            layers.QuantConv2D(3, 2, activation=GRID, **quantizer),
            keras.layers.Permute((3, 2, 1)),
            layers.QuantConv2D(2, 2, activation=GRID, **quantizer),
            keras.layers.Reshape((6, 2)),
            keras.layers.Permute((2, 1)),
            layers.QuantDense(3, **quantizer),
        ]
    )
    x = np.random.default_rng(0).normal(0, 1, (6, 4, 5, 2)).astype(np.float32)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    want = model.predict(x, verbose=0)
    np.testing.assert_array_equal(run_reference(path, x), want)
    np.testing.assert_array_equal(kerasqnn.integer_reference(model, x).values, want)
    graph = read_model(model)
    facts = analyse(graph)
    exact = evaluate_exactly(graph, facts, [x])[graph.outputs[0]]
    np.testing.assert_array_equal(exact, want)
    (permuted, _) = graph.of_kind("permute")
    grid = facts.facts[permuted.output].grid
    ours = evaluate(graph.operations, {graph.inputs[0]: x})[permuted.output]
    values = keras.ops.convert_to_numpy(ours)
    assert values.shape[1:] == (3, 4, 3)
    assert np.all(values >= grid.low) and np.all(values <= grid.high)


def _pooled(window: Any, bits: int = 6, **options: Any) -> keras.Model:
    pool = layers.QuantReciprocalAveragePooling2D(
        window, average_quantizer="quantized_bits(8,0)", name="mean", **options
    )
    quantizer = f"quantized_bits({bits},1)"
    return keras.Sequential(
        [keras.Input((12, 12, 1)), layers.QuantInput(quantizer), pool]
    )


@pytest.mark.parametrize(
    "model, reason",
    [
        (lambda: _pooled(5, padding="same"), "fewer values in windows at its border"),
        (lambda: _pooled(4, bits=22), "needs 25 bits"),
        (lambda: _pooled((1, 7)), "with other bits"),
    ],
)
def test_refused(model, reason, tmp_path):
    with pytest.raises(UnsupportedModelError, match=f"'mean' .*{reason}"):
        kerasqnn.export_qonnx(model(), tmp_path / "model.onnx")


def test_sizes_whose_reciprocals_divide():
    """What is accepted is exact whether a tool divides or multiplies."""
    accepted = []
    for window in range(1, 13):
        graph = read_model(_pooled(window))
        if analyse(graph).facts[graph.outputs[0]].reproducible:
            accepted.append(window)
    assert {1, 2, 3, 4, 8} <= set(accepted) and len(accepted) < 12
