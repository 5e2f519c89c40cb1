"""Equal models give equal files; large weights beside them; all or nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import VerificationError
from kerasqnn.export import qonnx_export, run_reference, writing

X = np.random.default_rng(0).normal(0, 1, (9, 24)).astype(np.float32)


def _model(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((24,), name="x")
    x = layers.QuantInput("quantized_bits(6,1)", name="grid")(x)
    for name, units in (("first", 20), ("second", 16)):
        x = layers.QuantDense(
            units, kernel_quantizer="quantized_bits(4,0)", name=name,
            bias_quantizer="binary", activation="quantized_relu(4,1)",
        )(x)  # fmt: skip
    other = layers.QuantActivation("ternary", name="other")(x)
    return keras.Model(inputs, [x, other], name="model")


@pytest.fixture
def small_files(monkeypatch):
    """Files that hold nearly nothing."""
    monkeypatch.setattr(writing, "_LARGEST", 1000)


def test_equal_models_give_equal_files(tmp_path):
    model = _model()
    path = kerasqnn.export_qonnx(model, tmp_path / "a.onnx", check=False)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for other in (model, copy, _model()):
        again = kerasqnn.export_qonnx(other, tmp_path / "b.onnx", check=False)
        assert again.read_bytes() == path.read_bytes()
    changed = kerasqnn.export_qonnx(_model(1), tmp_path / "b.onnx", check=False)
    assert changed.read_bytes() != path.read_bytes()


_EXPORT = """
import sys, keras, kerasqnn
model = keras.models.load_model(sys.argv[1])
kerasqnn.export_qonnx(model, sys.argv[2], check=False)
"""


def test_equal_files_from_another_process(tmp_path):
    """Also where sets and dictionaries are ordered by other hashes."""
    model, path = _model(), tmp_path / "here.onnx"
    kerasqnn.export_qonnx(model, path, check=False)
    model.save(tmp_path / "model.keras")
    root = str(Path(kerasqnn.__file__).parents[1])
    search = os.pathsep.join([root, *filter(None, sys.path)])
    subprocess.run(
        [sys.executable, "-c", _EXPORT, "model.keras", "there.onnx"],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": search},
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "there.onnx").read_bytes() == path.read_bytes()


def test_weights_beside_the_file(small_files, tmp_path):
    model = _model()
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    (data,) = set(tmp_path.iterdir()) - {path}
    assert data.name.startswith("model.onnx.") and data.suffix == ".data"
    proto = onnx.load(path, load_external_data=False)
    entries = [e for t in proto.graph.initializer for e in t.external_data]
    assert {e.value for e in entries if e.key == "location"} == {data.name}
    assert path.stat().st_mode == data.stat().st_mode
    want = model.predict(X, verbose=0)
    for got in (kerasqnn.run_qonnx(path, X), run_reference(path, X)):
        for one, other in zip(got, want, strict=True):
            np.testing.assert_array_equal(one, other)
    onnx.checker.check_model(str(path))
    digest = hashlib.sha256(path.read_bytes() + data.read_bytes()).digest()
    kerasqnn.export_qonnx(model, path)
    assert hashlib.sha256(path.read_bytes() + data.read_bytes()).digest() == digest
    assert len(list(tmp_path.iterdir())) == 2


def test_old_weights_go_with_their_model(small_files, tmp_path, monkeypatch):
    path, foreign = tmp_path / "model.onnx", tmp_path / "other.data"
    foreign.write_bytes(b"not ours")
    kerasqnn.export_qonnx(_model(), path, check=False)
    (old,) = set(tmp_path.iterdir()) - {path, foreign}
    new = _model(1)
    kerasqnn.export_qonnx(new, path, check=False)
    assert not old.exists() and len(list(tmp_path.iterdir())) == 3
    want = new.predict(X, verbose=0)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, X)[0], want[0])
    monkeypatch.undo()
    kerasqnn.export_qonnx(new, path, check=False)
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx", "other.data"}


@pytest.mark.parametrize("failing", ["check", "move", "save"])
def test_nothing_changes_on_failure(failing, small_files, tmp_path, monkeypatch):
    """Neither the old file nor its weights, and nothing is left behind."""
    path = tmp_path / "model.onnx"
    kerasqnn.export_qonnx(_model(), path, check=False)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*_, **__):
        raise (VerificationError if failing == "check" else OSError)("no")

    if failing == "check":
        monkeypatch.setattr(qonnx_export, "check_predictions", fail)
    elif failing == "save":
        monkeypatch.setattr(writing.onnx, "save", fail)
    else:
        moved = writing.os.replace

        def fail_for_models(source, target):
            fail() if str(target).endswith(".onnx") else moved(source, target)

        monkeypatch.setattr(writing.os, "replace", fail_for_models)
    with pytest.raises((VerificationError, OSError), match="no"):
        kerasqnn.export_qonnx(_model(1), path)
    after = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert after == before
