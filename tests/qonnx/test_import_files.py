"""Files of other tools as Keras models: the numbers of qonnx's executor."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from onnx import helper

import kerasqnn
from kerasqnn import import_qonnx
from kerasqnn.errors import UnsupportedModelError, VerificationError
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN
from kerasqnn.quantizers import Affine, Binary, FixedPoint, QuantizedReLU

from . import brevitas_models
from .brevitas_models import Writer

RNG = np.random.default_rng(0)


def samples(model, count=8):
    """Inputs for a Keras model, beyond saturation too."""
    return RNG.normal(0, 3, (count, *model.input_shape[1:])).astype(np.float32)


def in_file(x):
    """Images with channels first."""
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def by_qonnx(proto, x):
    """qonnx runs the batch that the file fixes: one sample."""
    return np.concatenate([run_reference(proto, row[None]) for row in in_file(x)])


def one_layer(x_bits=4, **options):
    """A Quant of the input with these options, and a product."""
    w = Writer()
    x = w.quant("x", 0.25, x_bits, **options)
    y = w.node("MatMul", x, w.quant(w.random(3, 2), 0.25))
    return w.model(y, ("N", 3), ("N", 2))


@pytest.fixture(scope="module")
def cnn():
    """A small network with images, as file and as Keras model."""
    proto = brevitas_models.cnn()
    return proto, import_qonnx(proto, layout="channels_last", name="cnn")


@pytest.mark.parametrize(
    "make",
    [
        brevitas_models.mlp,
        lambda: brevitas_models.mlp("onnx.brevitas"),
        lambda: kerasqnn.convert_qonnx(brevitas_models.mlp(), "qcdq"),
        lambda: brevitas_models.cnn("BatchNormalization"),
        brevitas_models.resnet,
    ],
    ids=["mlp", "old domain", "QCDQ", "batch normalization", "residual"],
)
def test_equals_qonnx(make):
    proto = make()
    model = import_qonnx(proto, layout="channels_last")
    x = samples(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), by_qonnx(proto, x))


def test_images_are_channels_last(cnn, tmp_path):
    """Kernels and the rows behind Flatten are rearranged; names come from nodes."""
    proto, model = cnn
    assert model.name == "cnn"
    assert model.input_shape == (None, 8, 8, 2)
    names = [layer.name for layer in model.layers]
    assert names[:4] == [
        "x", "features_Quant_0", "features_Conv_2_padding", "features_Conv_2",
    ]  # fmt: skip
    x, path = samples(model), tmp_path / "cnn.keras"
    want = by_qonnx(proto, x)
    np.testing.assert_array_equal(model.predict(x, verbose=0), want)
    model.save(path)
    loaded = keras.models.load_model(path)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), want)


def test_layout_as_in_file():
    """Permute layers where Keras wants other axes; nothing behind Flatten."""
    proto = brevitas_models.resnet()
    model = import_qonnx(proto, layout="as_in_file")
    assert model.input_shape == (None, 3, 8, 8)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Permute") == 1
    x = samples(model)
    want = np.concatenate([run_reference(proto, row[None]) for row in x])
    np.testing.assert_array_equal(model.predict(x, verbose=0), want)


def test_moved_axes():
    """Transpose is no layer; where the order matters, one Permute is."""
    w = Writer()
    x = w.node("Transpose", w.quant("x", 0.25, 5), perm=[0, 2, 1])
    x = w.quant(x, np.float32([[[0.5], [0.25], [1]]]), 3)  # along the second axis
    x = w.node("Transpose", w.node("Relu", x), perm=[0, 2, 1])
    first = w.node("Unsqueeze", x, w.constant(np.array([1])))
    x = w.node("Flatten", w.node("Squeeze", first, w.constant(np.array([1]))))
    y = w.node("MatMul", x, w.quant(w.random(12, 2), 0.25))
    proto = w.model(y, (1, 4, 3), (1, 2))
    model = import_qonnx(proto)
    x = samples(model)
    want = np.concatenate([run_reference(proto, row[None]) for row in x])
    np.testing.assert_array_equal(model.predict(x, verbose=0), want)


def test_warns_of_channels_first():
    with pytest.warns(UserWarning, match=r"'x' has its channels first .*2, 8, 8"):
        import_qonnx(brevitas_models.cnn(), check=False)


def test_quantizers_and_floats():
    """Weights are the floats of the file; each quantizer becomes the layer's."""
    model = import_qonnx(brevitas_models.mlp())
    quant, first, relu, second = model.layers[1:]
    assert quant.quantizer == FixedPoint(8, 5)
    assert relu.activation == QuantizedReLU(4, 2)
    assert first.kernel_quantizer == FixedPoint(4, 1, overflow="SAT_SYM")
    assert first.bias_quantizer is None
    assert second.bias_quantizer.bits == 24  # 32 in the file; float32 holds 24
    floats = Writer(1).random_values(6, 5)
    np.testing.assert_array_equal(first.kernel, floats.T)


def test_training_goes_on():
    model = import_qonnx(brevitas_models.cnn(), layout="channels_last", check=False)
    x = samples(model, 32)
    y = np.argmax(x.mean((1, 2)) @ RNG.normal(size=(2, 3)), axis=-1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    history = model.fit(x, y, epochs=6, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


def test_noise_is_walked(cnn):
    _, model = cnn
    x = samples(model, 64)
    y = np.argmax(model.predict(x, verbose=0), axis=-1)
    result = kerasqnn.walk_noise(
        model, x, y, levels=[1e-9, 1e3], draws=2, progress=False
    )
    table = result.to_dataframe().set_index(["point", "level"]).accuracy
    assert {"features_Conv_2", "features_Gemm_17"} <= set(
        table.index.get_level_values(0)
    )
    logits = table["features_Gemm_17"]
    assert logits[1e-9] == 1.0 and logits[1e3] < 0.7


def test_scales_that_are_no_powers_of_two():
    """Each layer is checked alone; what a quantizer behind it makes is not."""
    proto = brevitas_models.mlp(scale=0.3)
    with pytest.raises(UnsupportedModelError, match="exact=False") as error:
        import_qonnx(proto)
    assert error.value.layer == "features_Gemm_2"
    model = import_qonnx(proto, exact=False)
    x = samples(model, 64)
    different = model.predict(x, verbose=0) - by_qonnx(proto, x)
    assert np.mean(np.abs(different) > 1e-5) < 0.05


def test_channels_last_operators():
    w = Writer()
    x = w.quant("x", 0.25, 8)
    kernel = w.quant(w.random(4, 3, 3, 2), 0.125)
    window = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}
    options = {"domain": CHANNELS_LAST_DOMAIN, "group": 1, "dilations": [1, 1]}
    x = w.node("Conv", x, kernel, **window, **options)
    x = w.node("Add", x, w.constant(np.arange(4) / 4))
    pool = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]}
    y = w.node("MaxPool", x, domain=CHANNELS_LAST_DOMAIN, **pool)
    proto = w.model(y, (1, 6, 6, 2), (1, 3, 3, 4))
    proto.opset_import.append(helper.make_opsetid(CHANNELS_LAST_DOMAIN, 1))
    model = import_qonnx(proto)
    assert [type(layer).__name__ for layer in model.layers[1:]] == [
        "QuantInput", "QuantConv2D", "QuantMaxPooling2D",
    ]  # fmt: skip
    x = samples(model)
    # qonnx infers no shapes through these operators where a Quant is before them.
    want = kerasqnn.QONNXSession(proto).run(x)
    np.testing.assert_array_equal(model.predict(x, verbose=0), want)


@pytest.mark.parametrize(
    ("options", "quantizer"),
    [
        ({"signed": 0, "zero_point": 5}, Affine(4, 0.25, 5)),
        ({"bits": 1}, Binary(0.25)),
        ({"rounding_mode": "CEIL"}, FixedPoint(4, 1, rounding="CEIL")),
        ({"signed": 0}, FixedPoint(4, 2, signed=False)),
    ],
)
def test_quantizers_of_activations(options, quantizer):
    bits = options.pop("bits", 4)
    proto = one_layer(bits, **options)
    model = import_qonnx(proto)
    assert model.layers[1].quantizer == quantizer
    x = samples(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), run_reference(proto, x))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"signed": 0, "narrow": 1}, "leaves out the largest code"),
        ({"zero_point": 3}, "unsigned codes with one scale"),
        ({"bits": 30}, "from 1 to 24"),
        ({"bits": 3.5}, "bit width is 3.5"),
    ],
)
def test_refuses_quantizers(options, text):
    bits = options.pop("bits", 4)
    with pytest.raises(UnsupportedModelError, match=text) as error:
        import_qonnx(one_layer(bits, **options))
    assert error.value.layer == "/features/Quant_0"


@pytest.mark.parametrize(
    ("append", "text"),
    [
        (lambda w, x: w.node("Erf", x), "no kerasqnn layer stands for Erf"),
        (lambda w, x: w.node("MatMul", x, x), "constant matrix"),
        (lambda w, x: w.node("Gemm", x, w.random(3, 3), w.random(3, 1)), "C has the"),
        (lambda w, x: w.quant(x, [[[[0.5]]]]), "more axes"),
        (
            lambda w, x: w.node(
                "Add", w.node("MatMul", x, w.random(3, 3)), w.random(1, 1, 3)
            ),
            "more axes",
        ),
        (lambda w, x: w.node("Gemm", x, w.random(3, 3), alpha=0.5), "alpha"),
        (lambda w, x: w.node("Transpose", x, perm=[1, 0]), "moves the batch"),
        (lambda w, x: w.node("Flatten", x, axis=0), "flattens the batch"),
        (lambda w, x: w.node("Clip", x, w.constant(-2.0), w.constant(1.0)), "clips"),
        (lambda w, x: w.node("Div", x, w.constant(3.0)), "no power of two"),
        (
            lambda w, x: w.node(
                "MatMul", x, w.quant(w.random(3, 2), np.float32([[0.5], [1], [2]]))
            ),
            "varies along another axis",
        ),
    ],
)
def test_refuses_nodes(append, text):
    w = Writer()
    y = append(w, w.quant("x", 0.25))
    node = w.nodes[-1].name
    with pytest.raises(UnsupportedModelError, match=text) as error:
        import_qonnx(w.model(y, (3, 3), (3, 3)))
    names = {node, *(n.name for n in w.nodes if n.op_type == "Quant")}
    assert error.value.layer in names
    assert error.value.layer in str(error.value)


def test_verifies_itself(monkeypatch):
    """A layer that computes something else is found, and nothing is returned."""
    proto = one_layer()
    monkeypatch.setattr(kerasqnn.layers.QuantInput, "call", lambda self, x: x)
    with pytest.raises(VerificationError, match="check=False"):
        import_qonnx(proto)
    assert import_qonnx(proto, check=False).count_params() == 6


def test_refuses_arguments(tmp_path):
    with pytest.raises(ValueError, match="Allowed: as_in_file, channels_last"):
        import_qonnx(one_layer(), layout="NCHW")
    with pytest.raises(FileNotFoundError):
        import_qonnx(tmp_path / "none.onnx")


def _sequence(w, x):
    """Conv1d with a bias vector of its own, and a pooling of sequences."""
    kernel = w.quant(w.random(4, 2, 3), 0.25)
    x = w.node("Conv", x, kernel, kernel_shape=[3], pads=[2, 0])
    x = w.node("Add", x, w.quant(w.random(4, 1), 0.125))
    x = w.node("MaxPool", x, kernel_shape=[2], strides=[2])
    return w.node("ReduceMean", x, axes=[2], keepdims=0)


def _auto_pad(w, x):
    kernel = w.quant(w.random(4, 2, 2, 3), 0.25)
    options = {"kernel_shape": [2, 3], "strides": [1, 2], "auto_pad": "SAME_LOWER"}
    x = w.node("Conv", x, kernel, w.constant(np.arange(4) / 4), **options)
    pool = {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "count_include_pad": 1}
    return w.node("AveragePool", x, **pool)


def _multiplier(w, x):
    """A depthwise convolution of two outputs a channel, dilated."""
    kernel = w.quant(w.random(4, 1, 2, 2), 0.25)
    x = w.node("Conv", x, kernel, group=2, dilations=[2, 1], kernel_shape=[2, 2])
    x = w.node("Pad", x, w.constant(np.array([0, 0, 1, 0, 0, 0, 0, 2])))
    return w.node("GlobalMaxPool", x)


def _grouped(w, x):
    kernel = w.node(
        "BipolarQuant", w.random(4, 1, 2, 2), w.constant(0.5), domain=DOMAIN
    )
    y = w.node("Conv", x, kernel, group=2, strides=[2, 1], kernel_shape=[2, 2])
    y = w.node("Sub", y, w.constant(np.float32([[[0.5]], [[1]], [[0]], [[2]]])))
    return w.node("Div", y, w.constant(4.0))


def _branches(w, x):
    """One operand flattened with channels first, the other reshaped."""
    flat = w.node("Flatten", x)
    scale = w.constant(2.0 ** np.arange(-36, 36).reshape(1, 72))
    moved = w.node("Mul", flat, scale)
    other = w.node("Reshape", x, w.constant(np.array([0, -1])))
    y = w.node("Concat", w.node("Max", moved, flat), other, axis=-1)
    return w.node("Softmax", w.node("MatMul", y, w.quant(w.random(144, 3), 0.25)))


def _functions(w, x):
    x = w.node("LeakyRelu", x, alpha=0.25)
    y = w.node("Clip", x, w.constant(0.0), w.constant(0.75))
    y = w.node("Dropout", w.node("Identity", y))
    x = w.node("Clip", x, w.constant(-1.0), w.constant(1.0))
    return w.quant(w.node("Min", x, y), 0.5, 3, rounding_mode="HALF_UP")


@pytest.mark.parametrize(
    ("append", "shape", "output_shape", "exact"),
    [
        (_sequence, (2, 8), (4,), True),
        (_auto_pad, (2, 6, 6), (4, 6, 3), True),
        (_multiplier, (2, 6, 6), (4, 1, 1), True),
        (_grouped, (2, 6, 6), (4, 3, 5), True),
        (_branches, (2, 6, 6), (3,), False),
        (_functions, (2, 6), (2, 6), True),
    ],
)
def test_operators(append, shape, output_shape, exact):
    w = Writer(4)
    proto = w.model(append(w, w.quant("x", 0.25, 5)), (1, *shape), (1, *output_shape))
    model = import_qonnx(proto, layout="as_in_file", exact=exact)
    x = samples(model)
    want = np.concatenate([run_reference(proto, row[None]) for row in x])
    got = model.predict(x, verbose=0)
    np.testing.assert_allclose(got, want, rtol=0, atol=0 if exact else 1e-6)
    other = import_qonnx(proto, layout="channels_last", exact=exact)
    moved = np.moveaxis(x, 1, -1) if other.input_shape != model.input_shape else x
    got = other.predict(moved, verbose=0)
    if got.shape != want.shape:
        got = np.moveaxis(got, -1, 1)
    np.testing.assert_allclose(got, want, rtol=0, atol=0 if exact else 1e-6)
