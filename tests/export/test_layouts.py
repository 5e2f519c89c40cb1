"""Images with channels first or last, no transposition inside, and fixed batches."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import VerificationError
from kerasqnn.export import build_qonnx, comparison, run_reference

from .consumers import BIAS, KERNEL, channels_first, convolutional, filled, samples

GRID = "quantized_bits(6,2,1)"


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return convolutional()


def operators(proto: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in proto.graph.node]


def convolution(filters: int = 3) -> keras.layers.Layer:
    return ql.QuantConv2D(filters, 2, kernel_quantizer=KERNEL, bias_quantizer=BIAS)


def dense() -> keras.layers.Layer:
    return ql.QuantDense(3, kernel_quantizer=KERNEL, bias_quantizer=BIAS)


def two_flattened() -> keras.Model:
    """A concatenation of images that are flattened, scaled and read by one kernel."""
    inputs = keras.Input((5, 4, 2))
    x = ql.QuantInput(GRID)(inputs)
    branches = [kl.Flatten()(convolution(filters)(x)) for filters in (3, 2)]
    x = kl.Concatenate()([*branches, kl.Flatten()(x)])
    x = ql.QuantActivation(GRID)(x)
    return filled(keras.Model(inputs, dense()(x)))


def image_to_image() -> keras.Model:
    inputs = keras.Input((5, 4, 2), name="image")
    x = convolution()(ql.QuantInput(GRID)(inputs))
    y = ql.QuantActivation(GRID, name="enhanced")(x)
    return filled(keras.Model(inputs, [y, kl.GlobalMaxPooling2D(name="best")(x)]))


def sequence() -> keras.Model:
    inputs = keras.Input((9, 2))
    x = ql.QuantInput(GRID)(inputs)
    for _ in range(2):
        x = ql.QuantConv1D(3, 2, kernel_quantizer=KERNEL, use_bias=False)(x)
        x = ql.QuantActivation(GRID)(x)
    x = kl.MaxPooling1D(2)(x)
    return filled(keras.Model(inputs, dense()(kl.Flatten()(x))))


MODELS = {
    "convolutional": (convolutional, 0),
    "two flattened": (two_flattened, 0),
    "image to image": (image_to_image, 1),
    "sequence": (sequence, 0),
}  # and how many images come out


@pytest.mark.parametrize("case", MODELS)
def test_no_transposition_inside(case):
    make, images_out = MODELS[case]
    model = make()
    x = samples(model)
    want = keras.tree.flatten(model.predict(x, verbose=0))
    last = build_qonnx(model)
    assert operators(last).count("Transpose") == 1 + images_out
    assert "Gather" not in operators(last)
    got = keras.tree.flatten(kerasqnn.QONNXSession(last).run(x))
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(a, b)
    if x.ndim != 4:
        return
    first = build_qonnx(model, layout="channels_first")
    assert not {"Transpose", "Gather"}.intersection(operators(first))
    got = keras.tree.flatten(kerasqnn.QONNXSession(first).run(channels_first(x)))
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(channels_first(a) if a.ndim == 4 else a, b)


def test_a_flattened_output_is_in_the_order_of_keras():
    inputs = keras.Input((5, 4, 2))
    x = convolution()(ql.QuantInput(GRID)(inputs))
    model = filled(keras.Model(inputs, kl.Flatten(name="flat")(x)))
    x = samples(model)
    want = model.predict(x, verbose=0)
    proto = build_qonnx(model, layout="channels_first")
    np.testing.assert_array_equal(
        kerasqnn.QONNXSession(proto).run(channels_first(x)), want
    )
    np.testing.assert_array_equal(
        kerasqnn.QONNXSession(build_qonnx(model)).run(x), want
    )


def test_names_are_those_of_keras():
    proto = build_qonnx(image_to_image())
    assert [i.name for i in proto.graph.input] == ["image"]
    assert [o.name for o in proto.graph.output] == ["enhanced", "best"]


def test_the_check_compares_in_the_layout_of_the_file(model, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    kerasqnn.export_qonnx(model, path, layout="channels_first")
    images = channels_first(samples(model))
    np.testing.assert_array_equal(
        kerasqnn.run_qonnx(path, images), run_reference(path, images)
    )
    monkeypatch.setattr(
        comparison,
        "_in_layout",
        lambda array, layout: np.ascontiguousarray(array[:, ::-1].transpose(
            layout.axes(array.ndim))) if array.ndim == 4 else array,
    )  # fmt: skip
    with pytest.raises(VerificationError, match="nothing was written"):
        kerasqnn.export_qonnx(model, tmp_path / "other.onnx", layout="channels_first")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("batch_size", [None, 1, 5])
def test_batch_size(model, batch_size, tmp_path):
    path = kerasqnn.export_qonnx(model, tmp_path / "m.onnx", batch_size=batch_size)
    graph = onnx.load(path).graph
    for value in [*graph.input, *graph.output]:
        batch = value.type.tensor_type.shape.dim[0]
        assert (batch.dim_value or batch.dim_param) == (batch_size or "batch")
    x = samples(model, 7)
    np.testing.assert_array_equal(
        kerasqnn.run_qonnx(path, x), model.predict(x, verbose=0)
    )


def test_a_model_that_fixes_another_batch(tmp_path):
    inputs = keras.Input(batch_shape=(4, 3))
    model = filled(keras.Model(inputs, dense()(ql.QuantInput(GRID)(inputs))))
    kerasqnn.export_qonnx(model, tmp_path / "m.onnx", batch_size=4)
    with pytest.raises(ValueError, match=r"must be 4.*Received: batch_size=2"):
        build_qonnx(model, batch_size=2)
