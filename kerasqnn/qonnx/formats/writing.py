"""Writes a file as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx
from onnx import ModelProto


def write_atomically(model: ModelProto, path: Path) -> None:
    """Write a model; a file of that name is replaced when all is written."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}") as folder:
        temporary = Path(folder) / path.name
        onnx.save(model, temporary)
        os.replace(temporary, path)
