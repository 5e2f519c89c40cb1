"""What an exported file says of itself: quantizers, and types that hold."""

from __future__ import annotations

import json

import keras
import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.cleanup import cleanup_model

import kerasqnn
from kerasqnn import layers
from kerasqnn.export import build_qonnx, run_reference
from kerasqnn.models import analyse, read_model
from kerasqnn.quantizers import get

WEIGHTS = {"kernel_quantizer": "quantized_bits(4,0,1)", "bias_quantizer": "binary"}
X = np.random.default_rng(0).normal(0, 3, (20, 6, 6, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 2), name="image")
    x = layers.QuantInput("quantized_bits(5,4,1)", name="grid")(x)
    first = layers.QuantConv2D(
        3, 3, padding="same", activation="quantized_relu(4,4)", name="first",
        kernel_quantizer="ternary", bias_quantizer="quantized_bits(3,2,1)",
    )(x)  # fmt: skip
    x = layers.QuantConv2D(3, 3, padding="same", name="second", **WEIGHTS)(first)
    x = layers.QuantActivation("binary", name="signs")(x)
    x = layers.QuantConcatenate()([x, first])
    x = layers.QuantAveragePooling2D(
        2, output_quantizer="quantized_bits(4,1)", name="average"
    )(x)
    x = layers.QuantActivation("quantized_tanh(4)", name="tanh")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, layers.QuantDense(3, name="last", **WEIGHTS)(x))


def _types(proto: onnx.ModelProto) -> dict[str, str]:
    return {
        annotation.tensor_name: entry.value
        for annotation in proto.graph.quantization_annotation
        for entry in annotation.quant_parameter_tensor_names
        if entry.key == "finn_datatype"
    }


def test_types_hold(model):
    """qonnx reads each type, all values lie in it, and it is no wider than needed."""
    proto = build_qonnx(model)
    types, wrapper = _types(proto), ModelWrapper(proto)
    assert {"INT5", "UINT4", "BIPOLAR"} <= set(types.values())
    assert any(t.startswith("FIXED<") for t in types.values())
    values = kerasqnn.QONNXSession(proto).tensors(X)
    values |= {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    for name, text in types.items():
        datatype = wrapper.get_tensor_datatype(name)
        assert datatype.get_canonical_name() == text
        assert np.all(datatype.allowed(values[name])), (name, text)
    unknown = {n.output[0] for n in proto.graph.node} - types.keys()
    assert unknown <= {"image/channels_first", "average"}


def test_types_of_the_arithmetic(model):
    """The types from the file's constants hold what the reading of the model says."""
    graph, wrapper = read_model(model), ModelWrapper(build_qonnx(model))
    facts = analyse(graph).facts
    compared = 0
    for operation in graph.of_kind("quantize", "dense"):
        grid, name = facts[operation.output].grid, operation.output
        datatype = wrapper.get_tensor_datatype(name)
        if grid is None or datatype.get_canonical_name() == "FLOAT32":
            continue
        for bound in (grid.low, grid.high):
            assert np.all(datatype.allowed(np.asarray(bound, np.float32))), name
        compared += 1
    assert compared >= 4


@pytest.mark.parametrize("target", ["qonnx", "qcdq"])
def test_numbers_stay(target, tmp_path):
    """With annotations qonnx's cleanup and executor give the numbers of Keras."""
    small = keras.Sequential(
        [keras.Input((4,)), layers.QuantInput("quantized_bits(5,4,1)"),
         layers.QuantDense(3, kernel_quantizer="quantized_bits(4,3,1)",
                           use_bias=False, activation="quantized_bits(6,5)")]
    )  # fmt: skip
    x = np.random.default_rng(1).normal(0, 6, (16, 4)).astype(np.float32)
    want = small.predict(x, verbose=0)
    path = kerasqnn.export_qonnx(small, tmp_path / "m.onnx", target=target)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), want)
    if target == "qonnx":
        cleaned = cleanup_model(ModelWrapper(str(path))).model
        np.testing.assert_array_equal(run_reference(cleaned, x), want)
        np.testing.assert_array_equal(run_reference(path, x), want)


def test_metadata(model):
    proto = build_qonnx(model)
    properties = {p.key: p.value for p in proto.metadata_props}
    assert (proto.producer_name, proto.producer_version) == (
        "kerasqnn",
        kerasqnn.__version__,
    )
    assert properties["kerasqnn.exact"] == "true"
    quantizers = json.loads(properties["kerasqnn.quantizers"])
    assert get(quantizers["grid"]) == get("quantized_bits(5,4,1)")
    assert get(quantizers["last/kernel"]) == get("quantized_bits(4,0,1)")
    assert {"first/kernel", "first/bias", "signs", "second/bias"} <= quantizers.keys()
    assert all(get(text) for text in quantizers.values())
