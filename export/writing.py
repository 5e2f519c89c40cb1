"""Writes ONNX files: whole or not at all, large weights in a file beside them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

# Protocol buffers end at 2 GiB; what is not weights gets the rest.
_LARGEST = 2**31 - 2**24
# Smaller tensors stay in the file: shape inference reads some of them.
_SMALL = 2**10


@contextmanager
def replacing(path: Path, model: ModelProto) -> Iterator[Path | None]:
    """Write a model; it takes the place of `path` when the block ends without error.

    Where the model would not fit into one file, its weights go to another one in the
    same folder. That one is named by its content, so that an old model keeps its own
    weights until it is replaced.

    Args:
        path: The `.onnx` file.
        model: The model; where it does not fit, its weights are taken out of it.

    Yields:
        The folder with the weights that have been taken out, None if there are none.

    Raises:
        OSError: If a file cannot be written; nothing has changed then.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        weights = _take_weights(model, path.name, folder)
        onnx.save(model, folder / path.name)
        yield None if weights is None else folder
        _take_place(path, folder / path.name, weights)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_place(path: Path, model: Path, weights: Path | None) -> None:
    old = _weights_of(path)
    new = None if weights is None else path.with_name(weights.name)
    try:
        if weights is not None and new is not None:
            _move(weights, new)
        _move(model, path)
    except OSError:
        old, new = new, old
        raise
    finally:
        if old is not None and old != new:
            old.unlink(missing_ok=True)


def _take_weights(model: ModelProto, name: str, folder: Path) -> Path | None:
    """Move large tensors out of a model that does not fit into one file."""
    if model.ByteSize() <= _LARGEST:
        return None
    digest, offset, moved = hashlib.sha256(), 0, []
    with open(folder / "weights", "wb") as file:
        for tensor in model.graph.initializer:
            size = len(tensor.raw_data)
            if size < _SMALL:
                continue
            file.write(tensor.raw_data)
            digest.update(tensor.raw_data)
            tensor.ClearField("raw_data")
            moved.append((tensor, offset, size))
            offset += size
    location = _location(name, digest.hexdigest())
    for tensor, start, size in moved:
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", start), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
    return (folder / "weights").rename(folder / location)


def _location(name: str, digest: str) -> str:
    return f"{name}.{digest[:16]}.data"


def _weights_of(path: Path) -> Path | None:
    """Return the file of weights that an earlier export has written beside a file."""
    if not path.is_file():
        return None
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # noqa: BLE001  (protobuf's own; whatever it was is replaced)
        return None
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            prefix, _, rest = entry.value.rpartition(f"{path.name}.")
            if entry.key == "location" and not prefix and rest.endswith(".data"):
                digest = rest.removesuffix(".data")
                if entry.value == _location(path.name, digest):
                    return path.with_name(entry.value)
    return None


def _move(source: Path, target: Path) -> None:
    os.chmod(source, 0o666 & ~_umask())
    os.replace(source, target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
