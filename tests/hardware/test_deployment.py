"""A deployment on disk: opened, moved, replaced, damaged, and caught when wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasqnn
from kerasqnn.errors import CompilationError, ToolNotFoundError, UnsupportedModelError
from kerasqnn.hardware import Deployment
from kerasqnn.layers import NoisyQuantDense, QuantActivation, QuantDense, QuantInput
from kerasqnn.quantizers import FixedPoint

WEIGHTS = {
    "kernel_quantizer": "quantized_bits(4,1,1)",
    "bias_quantizer": "quantized_bits(6,1,1)",
}


def network(seed: int = 0) -> keras.Model:
    """Two quantized layers behind a grid, with random weights and a noise point."""
    model = keras.Sequential(
        [
            keras.Input((5,), name="pixels"),
            QuantInput("quantized_bits(6,1,1)", name="grid"),
            NoisyQuantDense(
                6, activation="quantized_relu(4,2)", name="hidden", **WEIGHTS
            ),
            QuantDense(4, name="logits", **WEIGHTS),
            QuantActivation("quantized_bits(6,3,1)", name="out"),
        ],
        name="network",
    )
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0.0, 0.8, weight.shape))
    return model


def samples(count: int = 50) -> np.ndarray:
    return np.random.default_rng(9).normal(0, 1.5, (count, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Deployment:
    """One deployment; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("with a space") / "my network"
    return kerasqnn.deploy(network(), "arty", folder)


@pytest.fixture
def copied(made, tmp_path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "copied"))


def test_it_gives_the_bits_of_the_model(made):
    x = samples()
    want = network().predict(x, verbose=0)
    got = made.emulate(x)
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(made.emulate(x[:1]), want[:1])
    np.testing.assert_array_equal(made.emulate(x.astype(np.float64)), want)
    np.testing.assert_array_equal(made.emulate(x.tolist()), want)
    np.testing.assert_array_equal(made.emulate(np.asfortranarray(x)), want)
    np.testing.assert_array_equal(made.emulate(x[::-1]), want[::-1])
    assert made.emulate(x[:0]).shape == (0, 4)
    verification = made.verify(x)
    assert verification and verification.reference == "keras"
    assert (verification.samples, verification.numbers) == (50, 200)
    assert verification.to_dict()["passed"] is True


def test_what_it_says_of_itself(made):
    assert made.board == "arty-a7-100t"
    assert repr(made).startswith("Deployment('network' on arty-a7-100t, Vitis")
    (note,) = made.notes
    assert "hidden/noise" in note
    report = made.report()
    types = {lay["name"]: lay["types"] for lay in report["layers"]}
    # The quantizer behind the layer is its output type.
    assert types["hidden"]["result"] == "ufixed<4,2,RND_CONV,SAT,0>"
    assert types["logits"]["result"] == "fixed<6,4,RND_CONV,SAT_SYM,0>"
    assert set(types) == {"in_pixels", "hidden", "logits"}


def test_synthesis_reads_the_numbers_of_the_emulation(made):
    """The emulation reads text files, synthesis header files."""
    weights = made.path / "firmware" / "weights"
    files = sorted(weights.glob("*.txt"))
    assert len(files) == 4
    for file in files:
        text = file.with_suffix(".h").read_text()
        header = text[text.rindex("{") + 1 : text.rindex("}")]
        numbers = [np.fromstring(t, sep=",") for t in (file.read_text(), header)]
        np.testing.assert_array_equal(*numbers)


def test_nothing_depends_on_where_it_was_made(made, copied, monkeypatch):
    """No absolute path is in it; it works in a new place and from any other."""
    for file in made.path.rglob("*"):
        if file.is_file() and file.suffix not in (".keras", ".so"):
            assert "partial-" not in file.read_text(errors="replace"), file
    moved = copied.rename(copied.parent / "moved")
    monkeypatch.chdir(moved.parent)
    deployment = Deployment.load("moved")
    monkeypatch.chdir("/")
    x = samples()
    np.testing.assert_array_equal(deployment.emulate(x), made.emulate(x))
    assert deployment.verify(x)


# -- wrong inputs ----------------------------------------------------------------------


def test_wrong_inputs(made):
    x = samples()
    for wrong in (x[:, :4], x[0], x[:, :, None], np.float32(1)):
        with pytest.raises(ValueError, match=r"'pixels' has the shape \(batch, 5\)"):
            made.emulate(wrong)
    for bad in (np.nan, np.inf):
        x[3, 2] = bad
        for run in (made.emulate, made.verify):
            with pytest.raises(
                ValueError, match=r"must be finite. Received: NaN or inf"
            ):
                run(x)
    with pytest.raises(ValueError, match=r"Nothing to verify. Received: 0 samples"):
        made.verify(samples(0))


# -- damage ----------------------------------------------------------------------------


def test_no_deployment(tmp_path):
    for path in (tmp_path, tmp_path / "no"):
        with pytest.raises(FileNotFoundError, match=r"kerasqnn\.json is missing"):
            Deployment.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"is damaged"),
        ("{", r"is damaged"),
        ("[]", r"is damaged"),
        ("{}", r"is damaged \('format'\)"),
        ('{"format": 99}', r"another format. Allowed: 1. Received: 99"),
        ('{"format": 1, "board": "arty-a7-100t"}', r"damaged: backend, .*missing"),
    ],
)
def test_damaged_description(content, message, tmp_path):
    (tmp_path / "kerasqnn.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        Deployment.load(tmp_path)


def test_damaged_library(copied):
    (library,) = copied.glob("firmware/emulation-*.so")
    library.write_bytes(b"\x7fELF and so on")
    with pytest.raises(ValueError, match=r"library is damaged.*Deploy again"):
        Deployment.load(copied).emulate(samples())
    library.unlink()
    with pytest.raises(FileNotFoundError, match=r"\.so', a part of the emulation, is"):
        Deployment.load(copied).emulate(samples())


def test_damaged_weights(copied):
    """The compiled reader would end the process, or write beyond its array."""
    file = copied / "firmware" / "weights" / "w2.txt"
    text = file.read_text()
    for damaged in (text + ", 1.0", text.rpartition(",")[0]):
        file.write_text(damaged)
        with pytest.raises(
            ValueError, match=r"w2\.txt' is damaged: it must hold 30 num"
        ):
            Deployment.load(copied).emulate(samples())
    file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"w2\.txt', a part of the emulation, is"
    ):
        Deployment.load(copied).emulate(samples())


# -- faults ----------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "layer"), [("w2", "hidden"), ("b3", "logits")])
def test_a_planted_fault_is_found_and_located(file, layer, copied):
    path = copied / "firmware" / "weights" / f"{file}.txt"
    numbers = [float(n) for n in path.read_text().split(",")]
    numbers[0] += -1.0 if numbers[0] > 0 else 1.0
    path.write_text(", ".join(map(str, numbers)))
    verification = Deployment.load(copied).verify(samples())
    assert not verification
    assert verification.first_layer == layer
    assert 0 < verification.mismatches <= verification.numbers
    assert 0 < verification.mismatching_samples <= 50
    assert verification.largest_difference > 0
    assert verification.first_samples
    assert f"first layer {layer}" in str(verification)


@pytest.mark.slow
def test_another_model_is_noticed(copied):
    """The model file that lies beside the project says what is right."""
    other = network()
    other.get_layer("logits").bias.assign(np.full(4, 1.5))
    other.save(copied / "model.keras")
    verification = Deployment.load(copied).verify(samples())
    assert not verification
    assert verification.first_layer == "logits"


# -- state -----------------------------------------------------------------------------


def test_two_deployments_do_not_share_state(made, tmp_path):
    """The same names and static arrays in two libraries of one process."""
    other = kerasqnn.deploy(network(seed=1), "arty", tmp_path / "other")
    x = samples()
    first, second = made.emulate(x), other.emulate(x)
    assert np.any(first != second)
    np.testing.assert_array_equal(second, network(seed=1).predict(x, verbose=0))
    for _ in range(2):
        np.testing.assert_array_equal(made.emulate(x), first)
        np.testing.assert_array_equal(other.emulate(x), second)


def test_overwriting(tmp_path):
    """Only when asked for; the old one is replaced, in this process too."""
    folder, x = tmp_path / "deployment", samples()
    first = kerasqnn.deploy(network(), "arty", folder)
    before = first.emulate(x)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"Pass overwrite=True to replace it"):
        kerasqnn.deploy(network(seed=1), "arty", folder)
    with pytest.raises(UnsupportedModelError):
        kerasqnn.deploy(keras.Sequential(), "arty", folder, overwrite=True)
    assert (folder / "notes.txt").is_file()
    second = kerasqnn.deploy(network(seed=1), "arty", folder, overwrite=True)
    assert not (folder / "notes.txt").exists()
    np.testing.assert_array_equal(
        second.emulate(x), network(seed=1).predict(x, verbose=0)
    )
    np.testing.assert_array_equal(first.emulate(x), before)
    assert list(tmp_path.iterdir()) == [folder]


def test_an_empty_folder_may_be_there(tmp_path, monkeypatch):
    """And a relative path is one from here, also later."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    deployment = kerasqnn.deploy(network(), "arty", "empty", io_type="io_parallel")
    monkeypatch.chdir("/")
    assert deployment.verify(samples())
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


# -- wide layers -----------------------------------------------------------------------


def test_wide_layers(tmp_path):
    """Beyond 24 bits Keras rounds: integers are the reference, and export refuses."""
    model = keras.Sequential(
        [
            keras.Input((5,)),
            QuantInput(FixedPoint(14, 0)),
            QuantDense(4, kernel_quantizer=FixedPoint(14, 0), name="broad"),
        ]
    )
    rng = np.random.default_rng(2)
    kernel = model.get_layer("broad").kernel
    kernel.assign(rng.uniform(-1, 1, kernel.shape))
    with pytest.raises(
        UnsupportedModelError, match=r"'broad' needs 2\d bits"
    ) as caught:
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    assert caught.value.layer == "broad"
    deployment = kerasqnn.deploy(model, "arty", tmp_path / "deployment")
    x = rng.uniform(-1, 1, (200, 5)).astype(np.float32)
    verification = deployment.verify(x)
    assert verification, str(verification)
    assert verification.reference == "exact integers"
    assert verification.wide_layers["broad"] > 24
    assert verification.float_rounding > 0
    assert re.search(r"Too wide .* 24 bits: broad \(2\d bits\)", str(verification))
    got = deployment.emulate(x)
    assert got.dtype == np.float64
    on_grid = FixedPoint(14, 0)
    exact = on_grid.codes(x) @ on_grid.codes(kernel.numpy())
    np.testing.assert_array_equal(got, exact * 2.0**-26)


# -- the vendor's tools ----------------------------------------------------------------


def test_missing_tool(made, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        ToolNotFoundError, match=r"arty-a7-100t needs vitis-run.*not on"
    ):
        made.build()


@pytest.mark.parametrize("status", [0, 1])
def test_a_tool_that_leaves_nothing(copied, monkeypatch, status):
    """Its exit status is not to be trusted; the end of its log is shown."""
    tool = copied / "tools" / "vitis-run"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\necho the tool says why\nexit {status}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    with pytest.raises(
        CompilationError, match=rf"(?s)status {status}.*the tool says why"
    ):
        Deployment.load(copied).build()


def test_metadata_is_plain_json(made):
    stored = json.loads((made.path / "kerasqnn.json").read_text())
    assert stored == made.metadata
