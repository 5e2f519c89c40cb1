"""Running files in ONNX Runtime: inputs, broken files, the kept session."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn.export import QONNXSession, run_reference
from kerasqnn.layers import QuantDense, QuantInput
from kerasqnn.quantizers import Binary


@pytest.fixture
def model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4,), name="pixels"),
            QuantInput("quantized_bits(6,1,1)"),
            kl.ReLU(),
            QuantDense(
                3,
                kernel_quantizer="quantized_bits(4,0,1)",
                bias_quantizer="quantized_bits(6,1,1)",
                name="logits",
            ),
        ]
    )


def test_missing_and_corrupt_files(tmp_path):
    x = np.zeros((1, 4), np.float32)
    with pytest.raises(FileNotFoundError, match=r"path='.*no\.onnx'"):
        kerasqnn.run_qonnx(tmp_path / "no.onnx", x)
    with pytest.raises(FileNotFoundError):
        QONNXSession(tmp_path / "no.onnx")
    with pytest.raises(FileNotFoundError):
        kerasqnn.run_qonnx(tmp_path, x)
    corrupt = tmp_path / "corrupt.onnx"
    for content in (b"", b"not a model", b"\x00" * 100):
        corrupt.write_bytes(content)
        with pytest.raises(ValueError, match=r"corrupt\.onnx"):
            kerasqnn.run_qonnx(corrupt, x)


def test_truncated_file(model, tmp_path):
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError):
        kerasqnn.run_qonnx(path, np.zeros((1, 4), np.float32))


def test_operators_without_functions(model, tmp_path):
    """A file of another exporter: bodies of the operators are not needed."""
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    proto = onnx.load(path)
    del proto.functions[:]
    onnx.save(proto, path)
    x = np.random.default_rng(0).normal(0, 1, (9, 4)).astype(np.float32)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), run_reference(path, x))


def test_wrong_inputs(tmp_path):
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    grid = [QuantInput("quantized_bits(6,1,1)")(x) for x in (a, b)]
    model = keras.Model([a, b], kl.Concatenate()(grid))
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    first, second = np.ones((3, 4), np.float32), np.ones((3, 2), np.float32)
    want = model.predict([first, second], verbose=0)
    for given in ([first, second], (first, second), {"b": second, "a": first}):
        np.testing.assert_array_equal(kerasqnn.run_qonnx(path, given), want)
    with pytest.raises(ValueError, match=r"2 inputs \(a, b\).*Received: 1 arrays"):
        kerasqnn.run_qonnx(path, first)
    with pytest.raises(ValueError, match=r"named a, b.*Received: a, c"):
        kerasqnn.run_qonnx(path, {"a": first, "c": second})
    with pytest.raises(ValueError, match=r"'b' has the shape.*shape \(3, 4\)"):
        kerasqnn.run_qonnx(path, [first, first])


def test_one_input_as_nested_lists(model, tmp_path):
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    x = [[0.5, 1.0, -0.5, 0.25], [0.0, 0.0, 1.0, 2.0]]
    want = model.predict(np.array(x, np.float32), verbose=0)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), want)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, np.array(x)), want)
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        kerasqnn.run_qonnx(path, np.zeros(4))


def test_a_changed_file_is_loaded_again(model, tmp_path):
    """The session is kept, but never beyond the file that it was made from."""
    path = tmp_path / "model.onnx"
    x = np.ones((1, 4), np.float32)
    results = []
    for value in (0.25, 0.5, 0.25):
        model.get_layer("logits").bias.assign(np.full(3, value))
        kerasqnn.export_qonnx(model, path)
        results.append(kerasqnn.run_qonnx(path, x))
        np.testing.assert_array_equal(results[-1], model.predict(x, verbose=0))
    assert np.all(results[1] == results[0] + 0.25)


def test_special_numbers(tmp_path):
    """Infinities saturate as in Keras; NaN stays NaN."""
    model = keras.Sequential(
        [keras.Input((1,)), QuantInput("quantized_bits(6,1,1)"),
         QuantDense(1, kernel_quantizer=Binary(), use_bias=False)]
    )  # fmt: skip
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    x = np.array([[np.inf], [-np.inf], [3e38], [np.nan], [-0.0]], np.float32)
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), kerasqnn.run_qonnx(path, x)
    )
