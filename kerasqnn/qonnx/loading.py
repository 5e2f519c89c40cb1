"""Loads ONNX files, and their external data from nowhere but their own folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, external_data_helper

from .structure import describe_tensor, tensors_of
from .tensor_data import byte_count, check_tensor, is_external

#: Up to so many bytes of external data are read into the model; beyond, large tensors
#: stay in their files and ONNX Runtime reads them there.
IN_MEMORY = 2**30
_LARGE = 2**20
_LARGEST_FILE = 2**31 - 1


def load_model(path: str | os.PathLike[str]) -> ModelProto:
    """Load an `.onnx` file.

    External data is read if it lies in the folder of the file or below, links
    followed. If there is more than 1 GiB of it, tensors of at least 1 MiB are left in
    their files: start ONNX Runtime with `folder` then.

    Args:
        path: The file.

    Returns:
        The model; its graph is not checked yet.

    Raises:
        FileNotFoundError: If there is no such file, or none with its external data.
        ValueError: If it is no ONNX model, or a tensor does not hold what it claims to.
    """
    file = Path(path)
    if not file.is_file():
        kind = "A folder is no ONNX file" if file.is_dir() else "No such file"
        raise FileNotFoundError(f"{kind}. Received: {str(path)!r}")
    if file.stat().st_size > _LARGEST_FILE:
        raise ValueError(
            f"{str(path)!r} must be smaller than 2 GiB: larger models keep their "
            f"tensors in external data. Received: {file.stat().st_size} bytes"
        )
    try:
        model = onnx.load_model(file, format="protobuf", load_external_data=False)
    except Exception as error:  # protobuf raises several types of its own
        raise ValueError(f"{str(path)!r} is no ONNX model: {error}") from error
    if not model.graph.node and not model.graph.output:
        raise ValueError(f"{str(path)!r} holds no ONNX graph.")
    _load_external_data(model, file.parent)
    return model


def _load_external_data(model: ModelProto, folder: Path) -> None:
    tensors = [t for t in tensors_of(model) if is_external(t)]
    files: dict[Path, int] = {}
    sizes = [_check_external(tensor, folder, files) for tensor in tensors]
    stay_from = _LARGE if sum(sizes) > IN_MEMORY else sum(sizes) + 1
    read = sum(size for size in sizes if size < stay_from)
    if stay_from == _LARGE and (read > IN_MEMORY or sum(sizes) > sum(files.values())):
        raise ValueError(
            "Tensors must not claim more external data than there is, nor small ones "
            f"more than {IN_MEMORY} bytes. Received: {sum(sizes)} bytes, {read} in "
            f"small tensors, in files of {sum(files.values())} bytes"
        )
    for tensor, size in zip(tensors, sizes, strict=True):
        if size >= stay_from:
            continue
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:  # onnx's checks raise types of their own
            raise ValueError(
                f"{describe_tensor(tensor)}: its external data cannot be read: {error}"
            ) from error
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _check_external(tensor: TensorProto, folder: Path, files: dict[Path, int]) -> int:
    """Return the number of bytes of external data; its file's size goes to `files`."""
    what = describe_tensor(tensor)
    check_tensor(tensor, what)
    entries = {e.key: e.value for e in tensor.external_data}
    size = byte_count(tensor, what)
    offset = _number(what, entries, "offset", 0)
    length = _number(what, entries, "length", size)
    if length != size:
        raise ValueError(
            f"{what} must have {size} bytes of external data, as its shape says. "
            f"Received: length={length}"
        )
    file = _inside(what, folder, entries.get("location", ""))
    available = files.setdefault(file, file.stat().st_size)
    if offset + size > available:
        raise ValueError(
            f"{what} must lie within its file of external data. Received: "
            f"offset={offset}, length={size}; {file.name} has {available} bytes"
        )
    if "length" not in entries:
        tensor.external_data.add(key="length", value=str(size))
    return size


def _inside(what: str, folder: Path, location: str) -> Path:
    """Return the file of external data, which lies in the folder or below."""
    bad = ValueError(
        f"{what}: its external data must lie in the folder of the model or below. "
        f"Received: location={location!r}"
    )
    if not location or "\0" in location or Path(location).is_absolute():
        raise bad
    if {"..", ""} & set(location.replace("\\", "/").split("/")):
        raise bad
    file = (folder / location).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise bad
    if not file.is_file():
        raise FileNotFoundError(
            f"{what}: no such file of external data. Received: location={location!r}"
        )
    return file


def _number(what: str, entries: Mapping[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(
            f"{what}: `{key}` of its external data must be a number of bytes, not "
            f"negative. Received: {key}={text!r}"
        )
    return int(text)
