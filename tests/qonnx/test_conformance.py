"""The conformance vectors: `QONNXSession`, qonnx's executor and the file agree."""

import json
import warnings

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from kerasqnn import QONNXSession
from kerasqnn.qonnx import run_reference

from .conformance_cases import cases
from .make_conformance import JSON, as_json, write_folders

CASES = list(cases())


def test_names():
    """One folder a case."""
    assert len({case.name for case in CASES}) == len(CASES) > 300


@pytest.mark.parametrize("op_type", sorted({case.op_type for case in CASES}))
def test_executors(op_type):
    """Equal numbers; a minus zero may come out as zero."""
    for case in (c for c in CASES if c.op_type == op_type):
        with warnings.catch_warnings():  # qonnx computes with infinities
            warnings.simplefilter("ignore")
            reference = np.float32(run_reference(case.model(), case.x))
        np.testing.assert_array_equal(reference, case.y, case.name)
        received = QONNXSession(case.model(), optimization="basic").run(case.x)
        np.testing.assert_array_equal(received, case.y, case.name)


def test_json():
    """The file holds these cases, bit for bit, in less than 300 kB."""
    text = JSON.read_text()
    assert text == as_json(CASES)
    assert len(text) < 300_000
    read = json.loads(text)
    entry, case = read["cases"][7], CASES[7]
    tensor = read["tensors"][entry["output"]]
    y = np.frombuffer(bytes.fromhex(tensor["float32"]), ">f4").reshape(tensor["shape"])
    np.testing.assert_array_equal(y, case.y)


def test_folders(tmp_path):
    """ONNX's layout of backend tests."""
    assert write_folders(tmp_path) == len(CASES)
    entry = json.loads((tmp_path / "index.json").read_text())[-1]
    folder = tmp_path / entry["name"]
    x, y = (
        numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / name))
        for name in ("input_0.pb", "output_0.pb")
    )
    np.testing.assert_array_equal(QONNXSession(folder / "model.onnx").run(x), y)
