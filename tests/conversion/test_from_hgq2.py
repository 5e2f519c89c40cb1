"""Files of HGQ2, and the predictions recorded with it; `make_hgq2_files.py` wrote them.

HGQ2 itself is not needed: the files are only parsed.
"""

import io
import json
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasqnn
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.quantizers import FixedPoint, HeterogeneousFixedPoint, get

from .recorded import assert_as_recorded

FILES = Path(__file__).with_name("files")
NAMES = ("default", "per_tensor", "modes")


def taken_over(name: str) -> keras.Model:
    if name == "per_tensor":
        return kerasqnn.from_hgq2(FILES / f"hgq2_{name}.keras")
    with pytest.warns(UserWarning, match="quantized values on one grid"):
        return kerasqnn.from_hgq2(FILES / f"hgq2_{name}.keras")


def changed(tmp_path, name, change=None, weights=None):
    """Return a file with another architecture or other weights."""
    with zipfile.ZipFile(FILES / f"hgq2_{name}.keras") as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    architecture = json.loads(parts["config.json"])
    if change is not None:
        layers = architecture["config"]["layers"]
        change({x["config"]["name"]: x for x in layers})
    if weights is not None:
        buffer = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            weights(file["layers"])
        parts["model.weights.h5"] = buffer.getvalue()
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for part, data in (parts | {"config.json": json.dumps(architecture)}).items():
            archive.writestr(part, data)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_those_of_hgq2(name, tmp_path):
    """Bit for bit, called eagerly and traced, taken over and loaded again."""
    model = taken_over(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    calls = (model, tf.function(model, autograph=False), loaded)
    assert_as_recorded(calls, FILES / f"hgq2_{name}.npz")


def test_what_the_layers_become():
    """One width for all is a `FixedPoint`; the float weights stay."""
    model = taken_over("per_tensor")
    first, convolution, second, _, third, dense, last = model.layers
    assert isinstance(first, kerasqnn.layers.QuantInput)
    assert first.quantizer == HeterogeneousFixedPoint(2, 5, overflow="SAT")
    assert isinstance(convolution, kerasqnn.layers.QuantConv1D)
    assert convolution.kernel_quantizer == FixedPoint(6, 0, overflow="SAT_SYM")
    assert second.activation == FixedPoint(7, 3, signed=False, rounding="FLOOR")
    assert third.activation == FixedPoint(8, 3, signed=False, overflow="WRAP")
    assert len(np.unique(dense.kernel)) == dense.kernel.shape[0] * 3
    assert last.name == f"{dense.name}_oq"


def test_widths_an_element():
    """Activations keep them, weights are on one grid, pruned elements are 0."""
    model = taken_over("default")
    layers = {layer.name: layer for layer in model.layers}
    quantizer = layers["q_conv2d_iq"].quantizer
    assert np.shape(quantizer.fraction) == (6, 6, 2)
    kernel, grid = (
        getattr(layers["q_conv2d"], n) for n in ("kernel", "kernel_quantizer")
    )
    assert isinstance(grid, FixedPoint)
    np.testing.assert_array_equal(grid(kernel), kernel)
    assert 0 < np.mean(np.asarray(kernel) == 0) < 0.5
    assert not layers["q_batch_normalization"].trainable


def test_one_width_a_tensor_is_exported(tmp_path):
    """Half up is a shift and a floor in every tool; what never wraps is exported."""
    recorded = np.load(FILES / "hgq2_per_tensor.npz")
    model = taken_over("per_tensor")
    kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    outputs = kerasqnn.run_qonnx(tmp_path / "model.onnx", recorded["x"])
    np.testing.assert_array_equal(outputs, recorded["y0"])


def test_order_of_the_variables_is_checked(tmp_path):
    """Integers (`k`) where HGQ2 saves floats are refused, not misread."""

    def swap(layers):
        variables = layers["q_conv1d/iq/quantizer/vars"]
        variables.move("0", "x")
        variables.move("2", "0")
        variables.move("x", "2")

    path = changed(tmp_path, "per_tensor", weights=swap)
    with pytest.raises(UnsupportedModelError, match="not those that HGQ2 saves"):
        kerasqnn.from_hgq2(path)


def test_weights_that_wrap(tmp_path):
    """HGQ2 wraps a kernel only if it is not trained."""

    def wrap(layers):
        options = layers["q_conv1d"]["config"]["kq_conf"]["config"]
        options["overflow_mode"] = "WRAP"

    def widths(layers):
        group = layers["q_conv1d/kq/quantizer/vars"]
        b, i, k = (np.asarray(group[n]) for n in "012")
        for number, value in enumerate((b, k, i)):
            del group[str(number)]
            group[str(number)] = value
        layers["q_conv1d/vars/0"][0, 0, 0] = 1.3

    path = changed(tmp_path, "per_tensor", wrap, widths)
    with pytest.raises(UnsupportedModelError, match="leaves the range") as caught:
        kerasqnn.from_hgq2(path)
    assert caught.value.layer == "q_conv1d"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("scaler", 0.5, "Train with scaler=None"),
        ("affine", [0.25, 0.5], "Train with affine=None"),
        ("q_type", "float", "Unknown `q_type`"),
        ("round_mode", "ODD", "Unknown `round_mode`"),
        ("overflow_mode", "WRAP_SM", "Unknown `overflow_mode`"),
        ("bw_mapper", {"class_name": "Own", "config": {}}, "default bw_mapper"),
    ],
)
def test_options_that_are_refused(tmp_path, option, value, message):
    def change(layers):
        layers["q_conv1d"]["config"]["iq_conf"]["config"][option] = value

    path = changed(tmp_path, "per_tensor", change)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        kerasqnn.from_hgq2(path)
    assert caught.value.layer == "q_conv1d_iq"


def test_layers_that_are_refused(tmp_path):
    def change(layers):
        layers["q_dense"]["class_name"] = "QDenseT"

    path = changed(tmp_path, "per_tensor", change)
    with pytest.raises(UnsupportedModelError, match="q_dense.*Unknown layer"):
        kerasqnn.from_hgq2(path)
    with pytest.raises(FileNotFoundError):
        kerasqnn.from_hgq2(tmp_path / "missing.keras")


def test_bits_of_a_live_model_are_checked():
    """A model that is its own conversion passes; any Keras model is one."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    new = kerasqnn.from_hgq2(model)
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(model(x), new(x))


@pytest.mark.parametrize("rounding", ["RND", "RND_CONV", "TRN", "RND_MIN_INF"])
@pytest.mark.parametrize("overflow", ["SAT", "SAT_SYM", "WRAP"])
def test_quantizer(rounding, overflow):
    """By hand, an element at a time; traced too, where vectors of steps are folded."""
    integer, fraction = (2, 1, 0, -1, 3, 0, 1, 2, 0), (1, 3, 4, 3, -1, 1, 0, 2, -3)
    signed = (True, False, True, True, False, True, False, True, True)
    quantizer = HeterogeneousFixedPoint(
        integer, fraction, signed=signed, rounding=rounding, overflow=overflow
    )
    x = np.arange(-320, 320, dtype=np.float32)[:, None] / 32 * np.ones(9, np.float32)
    expected = np.zeros_like(x)
    round_ = {
        "RND": lambda c: np.floor(c + 0.5),
        "RND_CONV": np.rint,
        "TRN": np.floor,
        "RND_MIN_INF": lambda c: np.ceil(c - 0.5),
    }[rounding]
    for n, (i, f, k) in enumerate(zip(integer, fraction, signed, strict=True)):
        if k + i + f <= 0:
            continue
        codes = round_(x[:, n].astype(np.float64) * 2.0**f)
        low, high = -k * 2 ** (i + f), 2 ** (i + f) - 1
        if overflow == "WRAP":
            codes = (codes - low) % (high - low + 1) + low
        codes = np.clip(codes, low + (k and overflow == "SAT_SYM"), high)
        expected[:, n] = codes * 2.0**-f
    np.testing.assert_array_equal(quantizer.quantize(x), expected)
    for call in (quantizer, tf.function(lambda t: quantizer(t))):
        np.testing.assert_array_equal(call(tf.constant(x)), expected)
    assert get(repr(quantizer)) == quantizer
    assert type(quantizer).from_config(quantizer.get_config()) == quantizer
    with tf.GradientTape() as tape:
        tensor = tf.Variable(x)
        y = quantizer(tensor)
    inside = np.abs(expected - x) <= 2.0 ** -np.float32(fraction)
    gradient = np.asarray(tape.gradient(y, tensor))
    if overflow == "WRAP":
        assert np.all(gradient == 1)
    else:
        assert np.all(gradient[~inside] == 0)
        np.testing.assert_array_equal(gradient[:, [3, 8]][:, 1], 0)
        assert 0 < np.mean(gradient) < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"integer": 20, "fraction": 8}, "at most 24. Received: 29"),
        ({"integer": 0.5, "fraction": 1}, "`integer` must be an integer"),
        ({"integer": (1, 2), "fraction": (1, 2, 3)}, "shapes broadcast"),
        ({"integer": 1, "fraction": 1, "signed": 2}, "`signed` must be"),
        ({"integer": 1, "fraction": 1, "rounding": "ROUND"}, "`rounding`"),
        ({"integer": 1, "fraction": 1, "overflow": "CLIP"}, "`overflow`"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeterogeneousFixedPoint(**arguments)


def test_models_in_models_are_refused(tmp_path):
    inner = keras.Sequential([keras.Input((3,)), keras.layers.ReLU()], name="inner")
    keras.Sequential([keras.Input((3,)), inner]).save(tmp_path / "m.keras")
    with pytest.raises(UnsupportedModelError, match="'inner'.*within a model"):
        kerasqnn.from_hgq2(tmp_path / "m.keras")
