"""from_qkeras on qkeras-v3: random models, what is read, what is refused."""

import io
import json
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
import qkeras

import kerasqnn
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.quantizers import AutoFixedPoint, FixedPoint

from .random_qkeras import DIFFERENT, IDENTICAL, REFUSED, predictions, run_many, table

X = (np.rint(np.random.default_rng(0).normal(0, 12, (16, 6))) / 8).astype("f4")
BITS = "quantized_bits(4,0,1,alpha=1)"


def _check(outcomes):
    kinds = {
        kind: sum(o.kind == kind for o in outcomes) for kind in (IDENTICAL, REFUSED)
    }
    assert [o for o in outcomes if o.kind == DIFFERENT] == []
    assert kinds[IDENTICAL] > 0.5 * sum(kinds.values()) and kinds[REFUSED] > 0
    assert all(o.reason for o in outcomes if o.kind == REFUSED)


def test_random_models():
    """Every model that qkeras computes is bit-identical or refused; most are not."""
    outcomes = run_many(40, first=10_000)
    _check(outcomes)
    assert "| identical |" in table(outcomes)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_random_models():
    """The 2,000 models of docs/from_qkeras.md."""
    _check(run_many(2000))


def _model(*layers, shape=(6,)):
    model = keras.Sequential([keras.Input(shape), *layers])
    random = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(random.normal(0, 0.6, variable.shape))
    return model


def _same(theirs, ours, x=X):
    np.testing.assert_array_equal(predictions(ours, x), predictions(theirs, x))
    np.testing.assert_array_equal(
        ours.predict(x, verbose=0), theirs.predict(x, verbose=0)
    )


# -- graphs ----------------------------------------------------------------------------


def _graph():
    """Two inputs, two outputs, a shared layer, a merge, a layer out of order."""
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    shared = qkeras.QDense(4, kernel_quantizer=BITS, name="shared")
    x, y = shared(a), shared(b)
    z = keras.layers.Concatenate()([keras.layers.Subtract()([x, y]), x])
    z = qkeras.QActivation("quantized_relu(5,2)", name="relu")(z)
    last = qkeras.QDense(2, kernel_quantizer=BITS, name="last")(z)
    return keras.Model([a, b], [last, y], name="graph")


@pytest.mark.parametrize("through", ["live", "keras", "h5", "json"])
def test_graph(through, tmp_path):
    theirs = _graph()
    ours = _through(theirs, through, tmp_path)
    assert [x.name for x in ours.layers] == [x.name for x in theirs.layers]
    assert ours.name == "graph" and len(ours.weights) == len(theirs.weights)
    for one, other in zip(ours([X, X[::-1]]), theirs([X, X[::-1]]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(np.unique(other)) > 20


def _stack(name, **options):
    """A Sequential model whose layers have the names of those of all the others."""
    dense = qkeras.QDense(6, kernel_quantizer=BITS, name="dense", **options)
    act = qkeras.QActivation("quantized_relu(4,2)", name="act")
    return keras.Sequential([keras.Input((6,)), dense, act], name=name)


def _nested():
    """Models in models, one of them called twice, with two inputs and outputs."""
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    x = keras.layers.Maximum(name="max")([_stack("deep")(a), b])
    last = qkeras.QDense(6, kernel_quantizer=BITS, name="dense")(x)
    inner = keras.Model([a, b], [last, x], name="inner")
    c = keras.Input((6,), name="c")
    one, two = inner([_stack("other")(c), c])
    three, four = inner([two, one])
    model = keras.Model(c, [three, four, one], name="outer")
    random = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(random.normal(0, 0.6, variable.shape))
    return model


def _through(theirs, through, folder):
    """Take a model over, live or by a file."""
    if through == "live":
        return kerasqnn.from_qkeras(theirs)
    if through == "json":
        (folder / "m.json").write_text(theirs.to_json())
        theirs.save_weights(folder / "m.weights.h5")
        weights = folder / "m.weights.h5"
        return kerasqnn.from_qkeras(folder / "m.json", weights=weights)
    theirs.save(folder / f"m.{through}")
    return kerasqnn.from_qkeras(folder / f"m.{through}")


@pytest.mark.parametrize("through", ["live", "keras", "h5", "json"])
def test_models_in_models(through, tmp_path):
    """Their structure stays, and each layer has the weights of its own model."""
    theirs = _nested()
    ours = _through(theirs, through, tmp_path)
    for one, other in zip(ours(X), theirs(X), strict=True):
        np.testing.assert_array_equal(one, other)
        assert len(np.unique(other)) > 20
    assert [type(x) for x in ours.layers] == [type(x) for x in theirs.layers]
    deep = ours.get_layer("inner").get_layer("deep")
    assert [x.name for x in deep.layers] == ["dense", "act"]
    assert type(deep.layers[0]) is kerasqnn.layers.QuantDense
    back = kerasqnn.to_qkeras(ours)
    for one, other in zip(back(X), theirs(X), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("through", ["live", "keras", "h5"])
def test_models_in_a_sequential_model(through, tmp_path):
    theirs = _model(_stack("first"), _stack("second", use_bias=False))
    ours = _through(theirs, through, tmp_path)
    _same(theirs, ours)
    assert [x.name for x in ours.layers] == ["first", "second"]


def test_live_quantizers_of_inner_models_are_read_as_they_are():
    """QKeras's get_config() leaves `max_po2_exponent` out."""
    exponents = {"min_po2_exponent": -9, "max_po2_exponent": -2}
    inner = _stack("inner")
    inner.layers[0].kernel_quantizer_internal = qkeras.quantized_bits(
        4, 0, alpha="auto_po2", **exponents
    )
    ours = kerasqnn.from_qkeras(_model(inner))
    quantizer = ours.get_layer("inner").get_layer("dense").kernel_quantizer
    assert quantizer.max_exponent == -2


def test_refusals_in_inner_models_name_the_path():
    inner = _stack("inner")
    inner.add(qkeras.QActivation("quantized_ulaw(6,1)", name="l"))
    with pytest.raises(UnsupportedModelError, match="In model 'inner': Layer 'l'") as e:
        kerasqnn.from_qkeras(keras.Sequential([keras.Input((6,)), inner]))
    assert e.value.layer == "inner/l"


def test_masks_given_to_inner_models_are_refused():
    inputs = keras.Input((6,))
    inner = _stack("inner")
    model = keras.Model(inputs, inner(inputs, mask=keras.layers.ReLU()(inputs)))
    with pytest.raises(UnsupportedModelError, match="mask="):
        kerasqnn.from_qkeras(model)


def test_result_trains_and_loads(tmp_path):
    """A taken over model is an ordinary kerasqnn model."""
    theirs = _model(qkeras.QDense(3, kernel_quantizer=BITS), qkeras.QActivation("relu"))
    ours = kerasqnn.from_qkeras(theirs)
    _same(theirs, ours)
    before = ours.get_weights()[0]
    ours.compile("sgd", "mse")
    ours.fit(X, np.ones((16, 3)), verbose=0)
    assert not np.array_equal(before, ours.get_weights()[0])
    ours.save(tmp_path / "ours.keras")
    loaded = keras.models.load_model(tmp_path / "ours.keras")
    np.testing.assert_array_equal(loaded(X), ours(X))


# -- quantizers ------------------------------------------------------------------------


def test_alpha_of_kernels_and_biases():
    """None is auto_po2 for a kernel and 1 for a bias, as QKeras computes them."""
    theirs = _model(
        qkeras.QDense(
            3,
            kernel_quantizer=qkeras.quantized_bits(4, 0),
            bias_quantizer=qkeras.quantized_bits(4, 0),
        )
    )
    (layer,) = kerasqnn.from_qkeras(theirs).layers
    assert layer.kernel_quantizer == AutoFixedPoint(4, 0, mode="auto_po2")
    assert layer.bias_quantizer == FixedPoint(4, 0)


def test_alpha_recorded_as_none(tmp_path):
    """Also where the file says None, as it does when another program wrote it."""
    theirs = _model(qkeras.QDense(3, kernel_quantizer="quantized_bits(4,0)"))
    theirs.save(tmp_path / "m.keras")

    def change(architecture):
        config = architecture["config"]["layers"][1]["config"]
        assert config["kernel_quantizer"]["config"]["alpha"] == "auto_po2"
        config["kernel_quantizer"]["config"] |= {"alpha": None, "symmetric": 0}

    _rewrite(tmp_path / "m.keras", change)
    _same(theirs, kerasqnn.from_qkeras(tmp_path / "m.keras"))


def test_live_quantizers_are_read_as_they_are():
    """QKeras's get_config() leaves `max_po2_exponent` out."""
    exponents = {"min_po2_exponent": -9, "max_po2_exponent": -2}
    quantizer = qkeras.quantized_bits(4, 0, alpha="auto_po2", **exponents)
    theirs = _model(qkeras.QDense(3, kernel_quantizer=quantizer))
    ours = kerasqnn.from_qkeras(theirs)
    assert ours.layers[0].kernel_quantizer.max_exponent == -2
    _same(theirs, ours)


@pytest.mark.parametrize("name", ["hard_sigmoid", "hard_tanh", "smooth_tanh"])
def test_functions_of_qkeras(name, tmp_path):
    """QKeras's hard_sigmoid is not Keras's; a file of a QActivation means Keras's."""
    theirs = _model(qkeras.QDense(3, kernel_quantizer=BITS, activation=name))
    _same(theirs, kerasqnn.from_qkeras(theirs))
    theirs.save(tmp_path / "m.keras")
    _same(theirs, kerasqnn.from_qkeras(tmp_path / "m.keras"))


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (qkeras.QActivation("quantized_ulaw(6,1)", name="l"), "'quantized_ulaw'"),
        (
            qkeras.QDense(
                2, kernel_quantizer="quantized_bits(4,0,alpha=0.7)", name="l"
            ),
            r"kernel_quantizer: QKeras computes x \+ \(q - x\)",
        ),
        (
            qkeras.QDense(2, activation="quantized_bits(4,0,alpha=0.7)", name="l"),
            "whose step is no power of two",
        ),
        (
            qkeras.QDense(
                2,
                kernel_quantizer=qkeras.quantized_bits(4, qnoise_factor=0.5),
                name="l",
            ),
            "qnoise_factor=0.5",
        ),
        (
            qkeras.QDense(2, activation="quantized_bits(4,0,alpha='auto')", name="l"),
            "its scale is computed",
        ),
        (keras.layers.Lambda(lambda x: x, name="l"), "Unknown layer"),
        (keras.layers.Dense(2, dtype="bfloat16", name="l"), "float32"),
        (keras.layers.UnitNormalization(name="l"), "Unknown layer"),
    ],
)
def test_refused_with_the_name_of_the_layer(layer, text):
    theirs = _model(layer)
    with pytest.raises(UnsupportedModelError, match=text) as caught:
        kerasqnn.from_qkeras(theirs)
    assert caught.value.layer == "l" and "'l'" in str(caught.value)


def test_call_in_training_mode_is_refused():
    inputs = keras.Input((6,))
    outputs = keras.layers.Dropout(0.5, name="drop")(inputs, training=True)
    with pytest.raises(UnsupportedModelError, match="training=True"):
        kerasqnn.from_qkeras(keras.Model(inputs, outputs))


def test_models_that_are_no_graph_are_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(UnsupportedModelError, match="subclass"):
        kerasqnn.from_qkeras(Own())
    outer = keras.Sequential([keras.Input((6,)), Own(name="own")])
    with pytest.raises(UnsupportedModelError, match="'own'.*not of QKeras"):
        kerasqnn.from_qkeras(outer)


# -- files -----------------------------------------------------------------------------


def _rewrite(path, change):
    """Change the architecture in a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    architecture = json.loads(entries["config.json"])
    change(architecture)
    entries["config.json"] = json.dumps(architecture)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


class _Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def test_nothing_in_a_file_is_executed(tmp_path):
    """A Lambda with code, a class of another module: refused, never loaded."""
    theirs = _model(qkeras.QDense(3, kernel_quantizer=BITS))
    for entry in (
        {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"name": "bad", "function": pickle.dumps(_Bomb()).hex()},
        },
        {
            "module": "os",
            "class_name": "system",
            "config": {"name": "bad", "command": "exit 1"},
            "registered_name": None,
        },
    ):
        theirs.save(tmp_path / "m.keras")

        def change(architecture, entry=entry):
            architecture["config"]["layers"].append(entry)

        _rewrite(tmp_path / "m.keras", change)
        with pytest.raises(UnsupportedModelError, match="'bad'"):
            kerasqnn.from_qkeras(tmp_path / "m.keras")


def test_weights_in_another_file_are_refused(tmp_path):
    """HDF5 links and external data could name any file of the machine."""
    theirs = _model(qkeras.QDense(3, kernel_quantizer=BITS, name="d"))
    theirs.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["kernel"] = np.zeros((6, 3), "f4")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        group = file["model_weights/d"]
        path = next(p for p in group.attrs["weight_names"] if "kernel" in str(p))
        path = path.decode() if isinstance(path, bytes) else path
        del group[path]
        group[path] = h5py.ExternalLink(tmp_path / "other.h5", "kernel")
    with pytest.raises(ValueError, match="lies in another file"):
        kerasqnn.from_qkeras(tmp_path / "m.h5")


def _changed_weights(path, change):
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO(entries["model.weights.h5"])
    with h5py.File(buffer, "a") as file:
        change(file["layers"])
    entries["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def test_wrong_weights_are_refused(tmp_path):
    path = tmp_path / "m.keras"
    theirs = _model(qkeras.QDense(3, kernel_quantizer=BITS, name="d"))

    def without_bias(layers):
        del layers["q_dense/vars/1"]

    def other_shape(layers):
        del layers["q_dense/vars/1"]
        layers["q_dense/vars/1"] = np.zeros(4, "f4")

    for change, text in (
        (without_bias, "are not those"),
        (other_shape, "another shape"),
    ):
        theirs.save(path)
        _changed_weights(path, change)
        with pytest.raises(UnsupportedModelError, match=text):
            kerasqnn.from_qkeras(path)


def test_wrong_files(tmp_path):
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(ValueError, match=r"must be a \.keras archive"):
        kerasqnn.from_qkeras(tmp_path / "text.keras")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
        pass
    with pytest.raises(ValueError, match="is not a Keras model"):
        kerasqnn.from_qkeras(tmp_path / "empty.keras")
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(ValueError, match="weights=None"):
        kerasqnn.from_qkeras(tmp_path / "m.json")
    with pytest.raises(FileNotFoundError):
        kerasqnn.from_qkeras(tmp_path / "m.json", weights=tmp_path / "none.h5")
    with pytest.raises(ValueError, match="a live model has its own"):
        kerasqnn.from_qkeras(_model(keras.layers.Dense(1)), weights="w.h5")
