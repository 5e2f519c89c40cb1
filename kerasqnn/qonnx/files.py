"""Models that are given as such or as files."""

from __future__ import annotations

import os
from pathlib import Path

from onnx import ModelProto


def as_model(model: str | os.PathLike[str] | ModelProto) -> ModelProto:
    """Return a model that is given as such, or by the path of its file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ONNX model.
    """
    from .session import _load

    return model if isinstance(model, ModelProto) else _load(Path(model))
