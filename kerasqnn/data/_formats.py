"""Readers of the file formats that the data sets come in; each checks what it reads."""

from __future__ import annotations

import gzip
import math
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UINT8 = 0x08
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_FILES = tuple(f"data_batch_{i}" for i in range(1, 6)) + ("test_batch",)
_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")

# What NumPy, zipfile and pickle raise for a file that is cut off or damaged.
_BROKEN_ARCHIVE = (
    EOFError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
_BROKEN_PICKLE = (
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OverflowError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)

UInt8Array = npt.NDArray[np.uint8]


class RawArrays(NamedTuple):
    """Samples and labels as a file holds them, before scaling."""

    x_train: UInt8Array
    y_train: UInt8Array
    x_test: UInt8Array
    y_test: UInt8Array


def read_idx(path: Path, ndim: int) -> UInt8Array:
    """Read one idx file of unsigned bytes, plain or gzip-compressed.

    The format: two zero bytes, a type code (0x08 is unsigned byte), the number of
    dimensions, each dimension as a big-endian 32-bit integer, then the values.

    Args:
        path: The file.
        ndim: The number of dimensions it must have: 1 for labels, 3 for images.

    Returns:
        A uint8 array with `ndim` dimensions.

    Raises:
        ValueError: If the file is not a whole idx file of that kind.
        FileNotFoundError: If there is no such file.
    """
    content = path.read_bytes()
    if content[:2] == _GZIP_MAGIC:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise _corrupt(path, f"the gzip stream is broken ({error})") from error
    header = 4 + 4 * ndim
    if len(content) < header:
        raise _corrupt(
            path, f"an idx{ndim} header has {header} bytes, the file {len(content)}"
        )
    if content[:2] != b"\0\0":
        raise _corrupt(path, f"the idx magic begins 0x0000, not 0x{content[:2].hex()}")
    if content[2] != _IDX_UINT8:
        raise _corrupt(
            path,
            f"the values must be unsigned bytes (0x08), not type 0x{content[2]:02x}",
        )
    if content[3] != ndim:
        raise _corrupt(path, f"it must have {ndim} dimensions, not {content[3]}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", ndim, offset=4))
    expected, received = math.prod(shape), len(content) - header
    if expected != received:
        raise _corrupt(
            path, f"shape {shape} takes {expected} bytes of values, it has {received}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_idx_folder(folder: Path) -> RawArrays:
    """Read the four idx files of MNIST or of a set in its form.

    Raises:
        FileNotFoundError: If one of the four is missing; the message names it.
        ValueError: If one is corrupt.
    """
    paths = []
    for name in _IDX_FILES:
        found = [p for p in (folder / name, folder / f"{name}.gz") if p.is_file()]
        if not found:
            raise FileNotFoundError(f"{folder} has no {name} or {name}.gz")
        paths.append(found[0])
    return RawArrays(*(read_idx(p, 3 if "images" in p.name else 1) for p in paths))


def read_npz(path: Path) -> RawArrays:
    """Read an `.npz` file with `x_train`, `y_train`, `x_test` and `y_test`.

    Raises:
        ValueError: If the file is broken, lacks an array or holds pickled objects.
        FileNotFoundError: If there is no such file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in _NPZ_KEYS if key not in archive]
            if missing:
                raise ValueError(f"it has no array {', '.join(missing)}")
            arrays = [archive[key] for key in _NPZ_KEYS]
    except (FileNotFoundError, PermissionError):
        raise
    except _BROKEN_ARCHIVE as error:
        raise _corrupt(path, str(error)) from error
    for key, array in zip(_NPZ_KEYS, arrays, strict=True):
        if key.startswith("x") and array.dtype != np.uint8:
            raise _corrupt(path, f"{key} must hold uint8, not {array.dtype}")
        if array.dtype.kind not in "iu":
            raise _corrupt(path, f"{key} must hold integers, not {array.dtype}")
    return RawArrays(*arrays)


def read_cifar_folder(folder: Path) -> RawArrays:
    """Read the six pickled batches of the Python version of CIFAR-10.

    Returns:
        Images `(n, 32, 32, 3)` uint8, channels last, and labels `(n,)`.

    Raises:
        FileNotFoundError: If one of the six is missing; the message names it.
        ValueError: If one is corrupt, or refers to anything but NumPy arrays.
    """
    for name in _CIFAR_FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}")
    batches = [_read_cifar_batch(folder / name) for name in _CIFAR_FILES]
    *train, test = batches
    return RawArrays(
        np.concatenate([x for x, _ in train]),
        np.concatenate([y for _, y in train]),
        *test,
    )


def _read_cifar_batch(path: Path) -> tuple[UInt8Array, UInt8Array]:
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="bytes").load()
        x = np.asarray(batch[b"data"])
        y = np.asarray(batch[b"labels"])
    except _BROKEN_PICKLE as error:
        raise _corrupt(path, f"it is not a CIFAR-10 batch ({error!r})") from error
    if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != math.prod(_CIFAR_SHAPE):
        raise _corrupt(path, f"data must be (n, 3072) uint8, not {x.shape} {x.dtype}")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise _corrupt(path, f"labels must be ({len(x)},) integers, not {y.shape}")
    return x.reshape(-1, *_CIFAR_SHAPE).transpose(0, 2, 3, 1), y


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles containers, numbers, strings and NumPy arrays; runs nothing else."""

    _ALLOWED = {
        ("_codecs", "encode"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed here")
        # NumPy 2 keeps numpy.core as an alias that warns.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _corrupt(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is corrupt or of another format: {why}")
