"""Sequences, depthwise convolutions and merges: the same bits along the chain."""

import keras
import numpy as np
import pytest

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import run_reference
from kerasqnn.models import analyse, read_model
from kerasqnn.models.evaluation import evaluate, evaluate_exactly

GRID = "quantized_bits(4,0,1)"
SCALES = "quantized_bits(4,0,1,alpha=(0.5,2.0))"
WEIGHTS = {"kernel_quantizer": GRID, "bias_quantizer": GRID}
DEPTHWISE = {"depthwise_quantizer": SCALES, "bias_quantizer": GRID}
SEPARABLE = {**DEPTHWISE, "pointwise_quantizer": GRID, "bias_quantizer": GRID}
RELU = "quantized_relu(4,2)"
CASES = {
    "conv-1d": [
        layers.QuantConv1D(4, 3, strides=2, padding="same", **WEIGHTS),
        layers.QuantActivation(RELU),
        layers.NoisyQuantConv1D(4, 2, groups=2, dilation_rate=2, **WEIGHTS),
    ],
    "conv-1d-causal": [
        layers.QuantConv1D(3, 3, padding="causal", dilation_rate=2, **WEIGHTS),
        layers.QuantActivation("quantized_bits(5,2)"),
        layers.QuantConv1D(3, 2, padding="causal", strides=2, **WEIGHTS),
    ],
    "depthwise-1d": [
        layers.QuantDepthwiseConv1D(
            3, strides=2, padding="same", depth_multiplier=2, activation=RELU,
            **DEPTHWISE,
        ),
        layers.NoisyQuantDepthwiseConv1D(2, depthwise_quantizer="binary"),
    ],
    "separable-1d": [
        layers.QuantSeparableConv1D(
            3, 3, padding="same", depth_multiplier=2, activation=RELU, **SEPARABLE
        ),
    ],
    "depthwise-2d": [
        layers.QuantDepthwiseConv2D(
            3, strides=2, padding="same", depth_multiplier=2, activation=RELU,
            **DEPTHWISE,
        ),
        layers.NoisyQuantDepthwiseConv2D(2, dilation_rate=2, **{**DEPTHWISE,
                                         "depthwise_quantizer": "ternary"}),
    ],
    "separable-2d": [
        layers.QuantSeparableConv2D(
            3, 3, strides=2, depth_multiplier=2, use_bias=False, **SEPARABLE
        ),
    ],
    "pooling-1d": [
        layers.QuantMaxPooling1D(3, 2, "same", output_quantizer="quantized_bits(6,1)"),
        layers.QuantAveragePooling1D(2, output_quantizer="quantized_bits(7,1)"),
        layers.QuantGlobalAveragePooling1D(keepdims=True),
        layers.QuantGlobalMaxPooling1D(output_quantizer="quantized_bits(6,1)"),
    ],
}  # fmt: skip


def model_of(name, chain):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 8, 3) if name.endswith("2d") else (16, 3))
    x = layers.QuantInput("quantized_bits(6,1)")(inputs)
    for layer in chain:
        x = type(layer).from_config(layer.get_config())(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("name", CASES)
def test_export(name, tmp_path):
    """Keras, the reading in float32 and in integers, ONNX Runtime and qonnx agree."""
    model = model_of(name, CASES[name])
    images = np.random.default_rng(0).normal(0, 1, (20, *model.input_shape[1:]))
    images = images.astype(np.float32)
    expected = model.predict(images, verbose=0)
    assert len(np.unique(expected)) > 5
    graph = read_model(model)
    (given,), (wanted,) = graph.inputs, graph.outputs
    known = evaluate(graph.operations, {given: keras.ops.convert_to_tensor(images)})
    np.testing.assert_array_equal(known[wanted], expected)
    exactly = evaluate_exactly(graph, analyse(graph), [images])
    np.testing.assert_array_equal(exactly[wanted], expected)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, images), expected)
    np.testing.assert_array_equal(run_reference(path, images), expected)


def _merging_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = layers.QuantInput("quantized_bits(6,1)")(inputs)
    a, b = (
        layers.QuantConv2D(2, 3, padding="same", activation=RELU, **WEIGHTS)(x)
        for _ in range(2)
    )
    merged = [
        layers.NoisyQuantAdd(output_quantizer="quantized_bits(4,2)", name="sum")(
            [a, b]
        ),
        layers.QuantSubtract(output_quantizer="quantized_bits(4,2)")([a, b]),
        layers.QuantMultiply(output_quantizer="quantized_bits(5,3)")([a, b]),
        layers.QuantAverage(output_quantizer="quantized_bits(3,2)")([a, b]),
        layers.QuantMaximum(output_quantizer="quantized_bits(3,1)")([a, x]),
        layers.QuantMinimum(output_quantizer="quantized_bits(3,1)")([a, x]),
    ]
    x = layers.QuantConcatenate(output_quantizer="quantized_bits(4,2)")(merged)
    x = layers.QuantMaxPooling2D(2, output_quantizer="quantized_relu(3,2)")(x)
    x = layers.QuantGlobalMaxPooling2D(output_quantizer="quantized_bits(3,2)")(x)
    return keras.Model(inputs, layers.QuantDense(3, **WEIGHTS)(x))


def test_merges(tmp_path):
    """Keras, ONNX Runtime, qonnx and the emulation quantize the same merges."""
    model = _merging_model()
    assert "sum/noise" in kerasqnn.noise_points(model)
    images = np.random.default_rng(0).normal(0, 1, (200, 6, 6, 2)).astype(np.float32)
    expected = model.predict(images, verbose=0)
    assert len(np.unique(expected)) > 5
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, images), expected)
    np.testing.assert_array_equal(run_reference(path, images), expected)
    deployment = kerasqnn.deploy(model, "arty", tmp_path / "project")
    np.testing.assert_array_equal(deployment.emulate(images), expected)


def test_merges_of_unlike_ranks(tmp_path):
    """Keras puts the missing axes behind the batch, not before it."""
    inputs = keras.Input((3, 4)), keras.Input((4,))
    x = [layers.QuantInput("quantized_bits(6,1)")(i) for i in inputs]
    model = keras.Model(inputs, layers.QuantMaximum()(x))
    arrays = [np.random.default_rng(0).normal(size=(3, *i.shape[1:])) for i in inputs]
    arrays = [a.astype(np.float32) for a in arrays]
    expected = model.predict(arrays, verbose=0)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, arrays), expected)


REFUSED = {
    "a-dot": lambda x: layers.QuantDot(2, output_quantizer=GRID, name="here")([x, x]),
    "an-average-of-three": lambda x: layers.QuantAverage(
        output_quantizer=GRID, name="here"
    )([x, x, x]),
    "an-average-of-steps": lambda x: layers.QuantAveragePooling1D(3, name="here")(x),
    "attention": lambda x: layers.QuantMultiHeadAttention(
        2, 2, kernel_quantizer=GRID, name="here"
    )(x, x),
    "a-normalization": lambda x: layers.QuantLayerNormalization(
        gamma_quantizer=GRID, name="here"
    )(x),
    "a-mask": lambda x: layers.QuantGlobalAveragePooling1D(name="here")(
        keras.layers.Masking()(x)
    ),
    "a-mask-of-a-merge": lambda x: keras.layers.Maximum(name="here")(
        [keras.layers.Masking()(x), x]
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    """What no file can say exactly is refused, and named."""
    inputs = keras.Input((6, 4))
    outputs = REFUSED[name](layers.QuantInput("quantized_bits(6,1)")(inputs))
    model = keras.Model(inputs, outputs)
    why = "'here'.*with the mask" if "mask" in name else "'here'"
    with pytest.raises(UnsupportedModelError, match=why):
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx")


def test_refused_embedding(tmp_path):
    """Its table is quantized where no handler sees it; also with exact=False."""
    inputs = keras.Input((6,), dtype="int32")
    table = layers.QuantEmbedding(5, 3, embeddings_quantizer=GRID, name="here")
    with pytest.raises(UnsupportedModelError, match="'here'"):
        kerasqnn.export_qonnx(
            keras.Model(inputs, table(inputs)), tmp_path / "model.onnx", exact=False
        )
