"""Exported files have no findings for their consumer; large and damaged files."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from kerasqnn import check_qonnx, export_qonnx
from kerasqnn.qonnx.checker.registry import TARGETS

from ..export.consumers import convolutional, perceptron
from .models import model_of
from .test_checker import FOUND, quant


@pytest.fixture(scope="module", params=[perceptron, convolutional])
def model(request):
    return request.param()


@pytest.mark.parametrize("target", ["qonnx", "hls4ml", "finn"])
def test_exported_files_have_no_findings(model, target, tmp_path) -> None:
    path = export_qonnx(
        model, tmp_path / "model.onnx", target=target, batch_size=1, check=False
    )
    assert check_qonnx(path, target=target).findings == []


def test_exported_file_can_become_qcdq(model, tmp_path) -> None:
    path = export_qonnx(model, tmp_path / "model.onnx", check=False)
    assert check_qonnx(path, target="qcdq").findings == []


def long_model(count):
    """Quantizers in a row, all of one name."""
    constants, nodes, tensor = {}, [], "x"
    for i in range(count):
        nodes += [
            quant(tensor, f"q{i}", constants),
            helper.make_node("Relu", [f"q{i}"], [f"r{i}"], name="same"),
        ]
        tensor = f"r{i}"
    nodes.append(helper.make_node("Identity", [tensor], ["y"], name="last"))
    return model_of(nodes, constants, (1, 4))


def test_many_nodes_of_one_name(tmp_path) -> None:
    report = check_qonnx(long_model(1000), fix=tmp_path / "mended.onnx")
    assert report.findings == [] and len(report.mended) == 999


def damaged():
    """Each file of the table, its nodes robbed of inputs, outputs or attributes."""
    for name, model in FOUND.items():
        for i in range(len(model.graph.node)):
            for field in ("input", "output", "attribute", "name", "op_type"):
                copy = type(model).FromString(model.SerializeToString())
                copy.graph.node[i].ClearField(field)
                yield f"{name}, node {i} without {field}", copy


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_have_findings_or_are_refused(target, tmp_path) -> None:
    """Never another error than ValueError, whatever a node lacks."""
    picked = list(damaged())[:: 7 if target == "qcdq" else 2]
    for what, model in picked:
        try:
            check_qonnx(model, target=target)
        except ValueError as error:
            assert "Received" in str(error), what
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error


@pytest.mark.parametrize("target", TARGETS)
def test_text_as_a_scale(target) -> None:
    """It is passed over or refused, never an error of numpy's."""
    model = FOUND["int-quant"]
    copy = type(model).FromString(model.SerializeToString())
    text = helper.make_tensor("a_s", TensorProto.STRING, [1], [b"text"])
    kept = [text if t.name == "a_s" else t for t in model.graph.initializer]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    report = check_qonnx(copy, target=target)
    assert "parameter-not-a-number" in {f.rule for f in report.errors}
