"""Models that are given as such or as files."""

from __future__ import annotations

import os

from onnx import ModelProto

from .loading import load_model
from .structure import tensors_of
from .tensor_data import is_external


def as_model(model: str | os.PathLike[str] | ModelProto) -> ModelProto:
    """Return a model that is given as such, or by the path of its file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ONNX model, or the model has external data, of
            which only a file says where it is.
    """
    if not isinstance(model, ModelProto):
        return load_model(model)
    refuse_external(model)
    return model


def refuse_external(model: ModelProto) -> None:
    """Refuse external data relative to no folder: it may be anywhere, or an address.

    Raises:
        ValueError: If there is some.
    """
    if any(is_external(tensor) for tensor in tensors_of(model)):
        raise ValueError(
            "A model with external data must be given by the path of its file. "
            "Received: a model in memory"
        )
