"""What cannot be exported or run says why, names the layer and leaves nothing."""

from __future__ import annotations

import os

import keras
import numpy as np
import onnx
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn.errors import UnsupportedModelError, VerificationError
from kerasqnn.export import assembly, handlers, keras_layers, run_reference
from kerasqnn.layers import (
    QuantActivation,
    QuantConv1DTranspose,
    QuantConv2D,
    QuantDense,
    QuantInput,
)
from kerasqnn.quantizers import FixedPoint

KERNEL = "quantized_bits(4,0,1)"
BIAS = "quantized_bits(6,1,1)"


def small(*layers: keras.layers.Layer, shape: tuple[int, ...] = (4,)) -> keras.Model:
    """A quantized input, the layers, and a quantized dense layer."""
    return keras.Sequential(
        [
            keras.Input(shape, name="pixels"),
            QuantInput("quantized_bits(6,1,1)", name="grid"),
            *layers,
            QuantDense(3, kernel_quantizer=KERNEL, bias_quantizer=BIAS, name="logits"),
        ]
    )


@pytest.fixture
def model() -> keras.Model:
    return small(kl.ReLU(name="rectifier"))


# -- where to --------------------------------------------------------------------------


def test_missing_folder(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"does not exist.*path='.*no/m\.onnx'"):
        kerasqnn.export_qonnx(model, tmp_path / "no" / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_unwritable_folder(model):
    with pytest.raises(OSError):
        kerasqnn.export_qonnx(model, "/proc/model.onnx")


def test_folder_in_the_way(model, tmp_path):
    folder = tmp_path / "model.onnx"
    folder.mkdir()
    with pytest.raises(OSError):
        kerasqnn.export_qonnx(model, folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_failure_keeps_the_file_that_was_there(model, tmp_path):
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    before = path.read_bytes()
    with pytest.raises(UnsupportedModelError):
        kerasqnn.export_qonnx(small(kl.Activation("tanh")), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_strings_spaces_and_permissions(model, tmp_path):
    folder = tmp_path / "with a space"
    folder.mkdir()
    mask = os.umask(0o027)
    try:
        path = kerasqnn.export_qonnx(model, str(folder / "my model.onnx"))
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o640
    assert kerasqnn.run_qonnx(str(path), np.zeros((2, 4))).shape == (2, 3)


# -- what is refused -------------------------------------------------------------------

REFUSED = {
    "wide sums": (
        lambda: small(QuantDense(4, kernel_quantizer=FixedPoint(20, 0), name="wide")),
        "wide",
        r"needs \d+ bits for its sums in the worst case, more than the 24",
    ),
    "bare kernel": (
        lambda: small(kl.Dense(4, name="bare")),
        "bare",
        r"needs \d+ bits .* quantize its kernel",
    ),
    "bare input": (
        lambda: keras.Sequential(
            [keras.Input((4,)), QuantDense(2, kernel_quantizer=KERNEL, name="first")]
        ),
        "first",
        r"adds up numbers that lie on no power-of-two grid.*quantize its input",
    ),
    "alpha": (
        lambda: small(QuantActivation(FixedPoint(4, 0, alpha=0.3), name="scaled")),
        "logits",
        r"no power-of-two grid",
    ),
    "softmax": (
        lambda: small(kl.Softmax(name="probabilities")),
        "probabilities",
        r"computes softmax in floating point",
    ),
    "average": (
        lambda: small(
            kl.AveragePooling2D(3, name="ninth"), kl.Flatten(), shape=(3, 3, 1)
        ),
        "ninth",
        r"averages 9 values",
    ),
    "wrapping": (
        lambda: small(QuantActivation(FixedPoint(3, 0, overflow="WRAP"), name="wraps")),
        "wraps",
        r"no wrapping overflow.*overflow='SAT'",
    ),
    "function": (
        lambda: small(kl.Activation("tanh", name="curve")),
        "curve",
        r"computes tanh in floating point",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case, tmp_path):
    make, layer, pattern = REFUSED[case]
    with pytest.raises(UnsupportedModelError, match=pattern) as caught:
        kerasqnn.export_qonnx(make(), tmp_path / "model.onnx")
    assert caught.value.layer == layer
    assert repr(layer) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_factors_that_round(tmp_path):
    """One Quant cannot give weights that two float32 factors have rounded."""
    both = FixedPoint(6, 0, scale=0.7, alpha=0.3)
    kernel = np.linspace(-1, 1, 16).reshape(4, 4).astype(np.float32)
    dense = QuantDense(4, kernel_quantizer=both, use_bias=False, name="factors")
    model = small(dense)
    dense.kernel.assign(kernel)
    with pytest.raises(UnsupportedModelError, match=r"`scale` and `alpha` round") as e:
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx", exact=False)
    assert e.value.layer == "factors"


def test_shared_layers_are_named_as_keras_names_them(tmp_path):
    shared = QuantDense(4, kernel_quantizer=FixedPoint(20, 0), name="shared")
    x = keras.Input((4,))
    narrow = QuantInput(FixedPoint(2, 0))(x)
    wide = QuantInput(FixedPoint(16, 0))(x)
    model = keras.Model(x, [shared(narrow), shared(wide)])
    with pytest.raises(UnsupportedModelError) as caught:
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    assert caught.value.layer == "shared"


def test_no_model(tmp_path):
    with pytest.raises(
        TypeError, match=r"Expected a keras\.Model.*Received: 'm\.keras'"
    ):
        kerasqnn.export_qonnx("m.keras", tmp_path / "model.onnx")
    with pytest.raises(UnsupportedModelError, match=r"no fixed input shape"):
        kerasqnn.export_qonnx(keras.Sequential([kl.Dense(2)]), tmp_path / "model.onnx")


def test_open_shapes_are_exported_without_the_check(tmp_path):
    """A symbolic image size: there is no shape to check with, and no reason to fail."""
    x = keras.Input((None, None, 1))
    y = QuantConv2D(2, 3, kernel_quantizer=KERNEL, use_bias=False)(
        QuantInput("quantized_bits(4,0,1)")(x)
    )
    model = keras.Model(x, y)
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    images = np.random.default_rng(0).normal(size=(2, 5, 6, 1)).astype(np.float32)
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), kerasqnn.run_qonnx(path, images)
    )


# -- the check -------------------------------------------------------------------------


def test_check_finds_a_wrong_handler(model, tmp_path, monkeypatch):
    def negate(operation, builder):
        value = builder.node("Neg", [builder.value(operation.input)], operation.name)
        builder.define(operation.output, value)

    monkeypatch.setitem(handlers._HANDLERS, "relu", negate)
    path = tmp_path / "model.onnx"
    with pytest.raises(
        VerificationError, match=r"differs between.*nothing was written"
    ):
        kerasqnn.export_qonnx(model, path)
    assert not list(tmp_path.iterdir())
    kerasqnn.export_qonnx(model, path, check=False)
    assert path.is_file()


def test_check_runs_the_functions_in_the_file(model, tmp_path, monkeypatch):
    """What stock ONNX Runtime will run, not only what `QONNXSession` makes of it."""
    right = assembly.functions_for

    def wrong(nodes):
        functions = right(nodes)
        for node in functions[0].node:
            if node.op_type == "Round":
                node.op_type = "Floor"
        return functions

    monkeypatch.setattr(assembly, "functions_for", wrong)
    with pytest.raises(VerificationError, match="nothing was written"):
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx")


def test_check_is_blind_to_noise(tmp_path):
    """Points that are on at inference stay so; the file is the quiet network."""
    dense = QuantDense(
        4, kernel_quantizer=KERNEL, bias_quantizer=BIAS, noise="additive(0.5)"
    )
    model = small(dense)
    dense.noise_point.when = "always"
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    assert dense.noise_point.when == "always"
    x = np.ones((2, 4), np.float32)
    assert np.any(kerasqnn.run_qonnx(path, x) != model.predict(x, verbose=0))


# -- layers without a handler ----------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        kl.Softmax(),
        kl.Activation("elu"),
        kl.LayerNormalization(),
        kl.UnitNormalization(),
    ],
    ids=lambda layer: layer.name,
)
def test_other_layers_go_through_tf2onnx(layer, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            QuantInput("quantized_bits(6,1,1)"),
            QuantDense(5, kernel_quantizer=KERNEL, bias_quantizer=BIAS),
            layer,
            kl.Dense(2, bias_initializer="ones"),
        ]
    )
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", exact=False)
    properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert properties["kerasqnn.exact"] == "false"
    x = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    want = model.predict(x, verbose=0)
    # Floating point is what exact=False allows: a few units in the last place.
    for got in (kerasqnn.run_qonnx(path, x), run_reference(path, x)):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_an_error_that_tf2onnx_only_logs_is_raised(tmp_path):
    """It has no Erfc: it says so in its log, and returns a model all the same."""
    with pytest.raises(UnsupportedModelError, match=r"'curve'.*Erfc") as caught:
        kerasqnn.export_qonnx(
            small(kl.Activation("gelu", name="curve")),
            tmp_path / "model.onnx",
            exact=False,
        )
    assert caught.value.layer == "curve"
    assert not list(tmp_path.iterdir())


def test_a_failure_of_tf2onnx_names_the_layer(tmp_path, monkeypatch):
    import tf2onnx

    def fails(*args, **kwargs):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(tf2onnx.convert, "from_function", fails)
    with pytest.raises(
        UnsupportedModelError, match=r"'curve': no such thing"
    ) as caught:
        kerasqnn.export_qonnx(
            small(kl.Activation("gelu", name="curve")), tmp_path / "m.onnx", exact=False
        )
    assert caught.value.layer == "curve"


def test_fallback_needs_tensorflow(monkeypatch, tmp_path):
    model = small(kl.Activation("gelu", name="curve"))
    monkeypatch.setattr(keras_layers.keras.backend, "backend", lambda: "jax")
    with pytest.raises(
        UnsupportedModelError, match=r"'curve'.*KERAS_BACKEND=tensorflow"
    ):
        kerasqnn.export.build_qonnx(model, exact=False)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda **name: kl.TimeDistributed(
            QuantDense(2, kernel_quantizer=KERNEL), **name
        ),
        lambda **name: QuantConv1DTranspose(2, 2, kernel_quantizer=KERNEL, **name),
    ],
)
def test_fallback_never_loses_a_quantizer(make, exact, tmp_path):
    x = keras.Input((3, 4))
    layer = make(name="refused")
    model = keras.Model(x, layer(QuantInput("quantized_bits(6,1,1)")(x)))
    with pytest.raises(UnsupportedModelError, match=r"holds quantizers") as caught:
        kerasqnn.export_qonnx(model, tmp_path / "m.onnx", exact=exact)
    assert caught.value.layer == "refused"
    assert not list(tmp_path.iterdir())
