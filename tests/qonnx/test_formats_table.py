"""The table of formats: each cell is what `convert_qonnx` does."""

from pathlib import Path

import pytest

from kerasqnn import convert_qonnx
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.qonnx.formats.table import FORMATS, ROWS

from .format_models import Builder

DOCUMENT = Path(__file__).parents[2] / "docs" / "qonnx.md"
TITLES = {
    "QONNX": "qonnx",
    "QCDQ": "qcdq",
    "quantized operators with clipping": "qop",
    "QDQ": "qdq",
    "integer operators": "integer",
    "quantized operators": "quantized",
}


def test_document():
    """The table in the documentation is the one of which errors speak."""
    lines = DOCUMENT.read_text().split("## Formats")[1].splitlines()
    table = [[c.strip() for c in line.strip("|").split("|")] for line in lines
             if line.startswith("|")][: len(FORMATS) + 2]  # fmt: skip
    assert tuple(table[0][1:]) == ROWS
    cells = {
        TITLES[name.split(" (")[0]]: dict(zip(ROWS, row, strict=True))
        for name, *row in table[2:]
    }
    assert cells == {
        name: {row: "yes" if cell else "no" for row, cell in rows.items()}
        for name, rows in FORMATS.items()
    }


def model_for(row):
    """A dense layer that needs what the row is about."""
    b = Builder(0)
    h = "x"
    if row != "weights-only":
        bits = {"arbitrary precision": 17, "below 8 bits": 3}.get(row, 8)
        mode = "FLOOR" if row == "rounding variants" else "ROUND"
        h = b.quant("x", 0.5, bits, 1, 0, mode=mode)
    h = b.node("MatMul", [h, b.weight((6, 4), 1)])
    if row != "high-precision output":
        h = b.quant(h, 0.5, 4, 1, 0)
    return b.model(h, ["n", 6], ["n", 4])


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("to", ["qonnx", "qcdq", "qop"])
def test_cell(to, row):
    """A yes is converted, a no is refused with the name of the row."""
    model = model_for(row)
    if row == "no operator duplication":
        kinds = {node.op_type for node in convert_qonnx(model, to).graph.node}
        assert ("MatMul" in kinds) == FORMATS[to][row]
    elif FORMATS[to][row]:
        convert_qonnx(model, to)
    else:
        with pytest.raises(UnsupportedModelError, match=f"has no '{row}'"):
            convert_qonnx(model, to)
