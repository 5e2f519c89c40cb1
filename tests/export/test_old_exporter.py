"""Every feature that qonnx's own Keras exporter got wrong: exact, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import kerasqnn
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import build_qonnx, run_reference

from .old_exporter import ROWS, Row, table

DOCS = Path(__file__).parents[2] / "docs" / "qonnx.md"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.feature)
def test_feature(row: Row, tmp_path: Path) -> None:
    """The file gives QKeras's own predictions, or there is none."""
    theirs, path = row.model(), tmp_path / "model.onnx"
    if row.refused:
        with pytest.raises(UnsupportedModelError, match=row.refused):
            kerasqnn.export_qonnx(theirs, path)
        assert not path.exists()
        return
    kerasqnn.export_qonnx(theirs, path, check=False)
    x = row.inputs()
    want = theirs.predict(x, verbose=0)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), want)
    np.testing.assert_array_equal(run_reference(path, x), want)
    assert len(np.unique(want)) > 2
    assert onnx.load(path) == build_qonnx(kerasqnn.from_qkeras(theirs))


def test_table_in_the_docs() -> None:
    assert table() in DOCS.read_text(), "python -m tests.export.old_exporter prints it"
