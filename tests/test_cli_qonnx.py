"""The commands for QONNX files, as a user types them."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import kerasqnn
from kerasqnn.cli import app, main
from kerasqnn.qonnx import inference_cost


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small model, its inputs and its predictions in files."""
    folder = tmp_path_factory.mktemp("files")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            kerasqnn.layers.QuantInput("quantized_bits(6,2,1)"),
            kerasqnn.layers.QuantDense(
                5, kernel_quantizer="quantized_bits(4,0,1)", use_bias=False
            ),
            kerasqnn.layers.QuantActivation("quantized_relu(4,2)"),
            kerasqnn.layers.QuantDense(
                3, kernel_quantizer="quantized_bits(4,0,1)", use_bias=False
            ),
        ]
    )
    model.save(folder / "model.keras")
    kerasqnn.export_qonnx(model, folder / "model.onnx")
    x = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "expected.npy", model.predict(x, verbose=0))
    return folder


def run(*arguments, status=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_export_and_run(files, tmp_path):
    """The bits of the model, in a file, by way of the command line alone."""
    exported, results = tmp_path / "exported.onnx", tmp_path / "y.npy"
    assert "written" in run("export", files / "model.keras", exported)
    printed = run("run", exported, files / "x.npy", "--output", results, "--reference")
    assert "float32 (7, 3)" in printed
    assert "qonnx's executor: 0 of 21 numbers differ" in printed
    np.testing.assert_array_equal(np.load(results), np.load(files / "expected.npy"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["exported.onnx", "y.npy"]


def test_named_inputs_and_outputs(files, tmp_path):
    """.npz files hold an array an input and an output."""
    session = kerasqnn.QONNXSession(files / "model.onnx")
    np.savez(tmp_path / "x.npz", **{session.input_names[0]: np.load(files / "x.npy")})
    run("run", files / "model.onnx", tmp_path / "x.npz",
        "--output", tmp_path / "y.npz")  # fmt: skip
    with np.load(tmp_path / "y.npz") as results:
        y = results[session.output_names[0]]
    np.testing.assert_array_equal(y, np.load(files / "expected.npy"))


def test_options_of_export(files, tmp_path):
    target = tmp_path / "finn.onnx"
    run("export", files / "model.keras", target, "--target", "finn",
        "--batch-size", 1)  # fmt: skip
    graph = onnx.load(target).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_qkeras_file(tmp_path):
    """A file of qkeras-v3 goes to QONNX in one command."""
    import qkeras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            qkeras.QActivation("quantized_bits(6,2,1)"),
            qkeras.QDense(
                2,
                kernel_quantizer="quantized_bits(4,0,1,alpha=1)",
                bias_quantizer="quantized_bits(4,0,1,alpha=1)",
            ),
        ]
    )
    model.save(tmp_path / "qkeras.keras")
    run("export", tmp_path / "qkeras.keras", tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        kerasqnn.run_qonnx(tmp_path / "model.onnx", x), model.predict(x, verbose=0)
    )


OLDER = Path(__file__).parent / "conversion" / "files"


def test_older_qkeras_files(tmp_path):
    """A file of QKeras 0.9 and Keras 2; its predictions were recorded there."""
    exported = tmp_path / "model.onnx"
    run("export", OLDER / "dense.h5", exported, "--no-exact")
    with np.load(OLDER / "dense.npz") as recorded:
        x, expected = recorded["x"], recorded["y0"]
    # Its float biases leave sums to float32's rounding, in another order each.
    np.testing.assert_allclose(kerasqnn.run_qonnx(exported, x), expected, rtol=1e-6)


def test_weights_of_an_architecture(tmp_path):
    """A .json file goes with its .h5 weights; it is refused by layer, not suffix."""
    arguments = ["export", OLDER / "convolution.json", tmp_path / "model.onnx",
                 "--weights", OLDER / "convolution_weights.h5"]  # fmt: skip
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert "'q_conv2d_transpose'" in str(result.exception)


def test_convert(files, tmp_path):
    """To QCDQ and back is the same graph; what cannot be said is refused."""
    run("convert", files / "model.onnx", tmp_path / "qcdq.onnx", "--to", "qcdq")
    operators = {n.op_type for n in onnx.load(tmp_path / "qcdq.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    run("convert", tmp_path / "qcdq.onnx", tmp_path / "back.onnx", "--to", "qonnx")
    back, original = onnx.load(tmp_path / "back.onnx"), onnx.load(files / "model.onnx")
    assert [n.op_type for n in back.graph.node] == [
        n.op_type for n in original.graph.node
    ]


def test_import(files, tmp_path):
    run("import", files / "model.onnx", tmp_path / "imported.keras")
    model = keras.models.load_model(tmp_path / "imported.keras")
    np.testing.assert_array_equal(
        model.predict(np.load(files / "x.npy"), verbose=0),
        np.load(files / "expected.npy"),
    )
    assert [p.name for p in tmp_path.iterdir()] == ["imported.keras"]


def test_check(files, tmp_path):
    """A finding is printed with its mend, and gives the exit status 1."""
    run("check", files / "model.onnx")
    model = onnx.load(files / "model.onnx")
    del model.functions[:]
    for node in model.graph.node:
        if node.op_type == "Quant":
            node.op_type = "IntQuant"
    onnx.save(model, tmp_path / "old.onnx")
    assert "IntQuant" in run("check", tmp_path / "old.onnx", "--target", "finn",
                             status=1)  # fmt: skip
    run("check", tmp_path / "old.onnx", "--target", "finn",
        "--fix", tmp_path / "mended.onnx")  # fmt: skip
    operators = {n.op_type for n in onnx.load(tmp_path / "mended.onnx").graph.node}
    assert "Quant" in operators and "IntQuant" not in operators


def test_cost(files):
    """The numbers of qonnx for a file, those of the summary for a model."""
    costs = inference_cost(files / "model.onnx")
    assert costs["MACs"] == 6 * 5 + 5 * 3
    lines = run("cost", files / "model.onnx").splitlines()
    printed = dict(re.split(r"\s{2,}", line.strip()) for line in lines)
    assert {n: float(v.replace(",", "")) for n, v in printed.items()} == pytest.approx(
        costs
    )
    summary = run("cost", files / "model.keras")
    assert "QONNX BOPs" in summary and f"{costs['BOPs']:,.0f}" in summary


BAD = {
    "no model": (("export", "{f}/none.keras", "{t}/a.onnx"), "no file"),
    "another suffix": (("export", "{f}/x.npy", "{t}/a.onnx"), ".keras"),
    "an unknown target": (
        ("export", "{f}/model.keras", "{t}/a.onnx", "--target", "tpu"), "finn"),
    "no inputs": (("run", "{f}/model.onnx", "{f}/none.npy"), "none.npy"),
    "inputs as text": (("run", "{f}/model.onnx", "{f}/x.csv"), ".npz"),
    "results as text": (
        ("run", "{f}/model.onnx", "{f}/x.npy", "--output", "{t}/y.csv"), ".npz"),
    "an unknown format": (
        ("convert", "{f}/model.onnx", "{t}/a.onnx", "--to", "tflite"), "qcdq"),
    "a model to import into .h5": (("import", "{f}/model.onnx", "{t}/a.h5"), ".keras"),
    "no .keras file": (("cost", "{t}/text.keras"), "no .keras file"),
    "no ONNX file": (("cost", "{f}/x.npy"), "no ONNX model"),
    "nothing to view": (("view", "{f}/none.onnx"), "no file"),
}  # fmt: skip


@pytest.mark.parametrize("arguments, text", BAD.values(), ids=BAD)
def test_refusals(arguments, text, files, tmp_path, monkeypatch, capsys):
    """One line that says what is allowed; nothing is left behind."""
    (tmp_path / "text.keras").write_text("not a zip file")
    filled = [a.format(f=files, t=tmp_path) for a in arguments]
    monkeypatch.setattr("sys.argv", ["kerasqnn", *filled])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("kerasqnn: ") and text in error
    assert [p.name for p in tmp_path.iterdir()] == ["text.keras"]


def test_view_names_what_to_install(files, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "netron", None)
    monkeypatch.setattr("sys.argv", ["kerasqnn", "view", str(files / "model.onnx")])
    with pytest.raises(SystemExit):
        main()
    assert "pip install netron" in capsys.readouterr().err


@pytest.mark.parametrize("command", "export run check convert import cost view".split())
def test_help_shows_examples(command):
    assert f"kerasqnn {command} " in run(command, "--help").split("Examples")[1]
