"""Writes the conformance vectors.

    python -m tests.qonnx.make_conformance OUT     # ONNX's layout of backend tests
    python -m tests.qonnx.make_conformance --json  # tests/qonnx/conformance.json anew

Each folder of `OUT` holds `model.onnx`, `test_data_set_0/input_0.pb` and `output_0.pb`;
`index.json` lists them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import numpy_helper

from .conformance_cases import Case, cases

JSON = Path(__file__).with_name("conformance.json")


def describe(case: Case) -> dict[str, Any]:
    """Return what `index.json` says of a case."""
    return {
        "name": case.name,
        "op_type": case.op_type,
        "domain": case.domain,
        "version": case.version,
        "attributes": dict(case.attributes),
    }


def write_folders(out: Path) -> int:
    """Write one folder a case; return their number."""
    index = []
    for case in cases():
        folder = out / case.name / "test_data_set_0"
        folder.mkdir(parents=True)
        (folder.parent / "model.onnx").write_bytes(case.model().SerializeToString())
        for name, array, file in (("x", case.x, "input_0"), ("y", case.y, "output_0")):
            data = numpy_helper.from_array(array, name).SerializeToString()
            (folder / f"{file}.pb").write_bytes(data)
        index.append(describe(case))
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    return len(index)


def as_json(vectors: Iterable[Case]) -> str:
    """Return all cases as text: tensors by number, numbers as float32 bits in hex."""
    tensors: dict[tuple[tuple[int, ...], str], int] = {}

    def number(array: np.ndarray) -> int:
        data = array.astype(">f4").tobytes().hex()
        return tensors.setdefault((array.shape, data), len(tensors))

    lines = []
    for case in vectors:
        entry = describe(case)
        entry["inputs"] = {"x": number(case.x)}
        entry["inputs"] |= {k: number(v) for k, v in case.parameters.items()}
        entry["output"] = number(case.y)
        lines.append(json.dumps(entry))
    texts = [json.dumps({"shape": s, "float32": d}) for s, d in tensors]
    return (
        '{"tensors": [\n' + ",\n".join(texts) + '\n],\n"cases": [\n'
        + ",\n".join(lines) + "\n]}\n"
    )  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", help="a new folder")
    parser.add_argument("--json", action="store_true", help=f"write {JSON.name} anew")
    options = parser.parse_args()
    if not options.json and not options.out:
        parser.error("give a folder, or --json")
    if options.json:
        JSON.write_text(as_json(cases()))
    if options.out:
        options.out.mkdir(parents=True)
        print(write_folders(options.out), "cases")


if __name__ == "__main__":
    main()
