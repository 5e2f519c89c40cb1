"""Where the files of a data set are looked for, and in which order."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ._formats import RawArrays, read_npz

DEBIAN_FOLDER = Path("/usr/share/datasets")
ENVIRONMENT_VARIABLE = "KERASQNN_DATA"


@dataclass(frozen=True)
class Files:
    """What the files of one data set are called, and how they are read.

    Attributes:
        name: Name of the data set, of its `.npz` file and its `keras.datasets` module.
        folders: The folders that may hold its files inside a collection such as the
            Keras cache, the usual one first.
        read_folder: Reads such a folder; FileNotFoundError if a file is missing.
        debian: The Debian package that has it, if one does.
    """

    name: str
    folders: tuple[str, ...]
    read_folder: Callable[[Path], RawArrays]
    debian: str | None = None


def find(
    files: Files, path: str | os.PathLike[str] | None, download: bool
) -> tuple[RawArrays, str]:
    """Read a data set from the first place that has it.

    The order: `path` (and then nothing else), the environment variable KERASQNN_DATA,
    the Keras cache, the Debian package, a download by Keras into its cache.

    Args:
        files: What to look for.
        path: A folder or an `.npz` file, or None to search.
        download: Whether the last resort may be tried.

    Returns:
        The arrays, and where they were found.

    Raises:
        FileNotFoundError: If no place has it; the message lists what was tried.
        ValueError: If a file was found but is corrupt.
    """
    if path is not None:
        places = [("path", Path(path).expanduser(), True)]
    else:
        places = _places(files)
    tried = []
    for place, location, owned in places:
        try:
            arrays, found = _read(location, files, owned)
        except FileNotFoundError as error:
            tried.append(f"{place}: {error}")
        else:
            return arrays, f"{place} ({found})"
    if path is not None:
        raise _not_found(files, tried)
    if not os.environ.get(ENVIRONMENT_VARIABLE):
        tried.insert(0, f"{ENVIRONMENT_VARIABLE}: not set")
    if not download:
        raise _not_found(files, [*tried, "download: not allowed (download=False)"])
    try:
        return _download(files), f"download (keras.datasets.{files.name})"
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        raise _not_found(files, [*tried, f"download: {error}"]) from error


def _places(files: Files) -> list[tuple[str, Path, bool]]:
    """List name, location, and whether that location is this data set's own.

    What is not its own is a collection, in which only names tell the sets apart: the
    files of every set in MNIST's form are called the same.
    """
    places = []
    if variable := os.environ.get(ENVIRONMENT_VARIABLE):
        location = Path(variable).expanduser()
        if not location.exists():
            raise FileNotFoundError(
                f"{ENVIRONMENT_VARIABLE} must name a folder or an .npz file that "
                f"exists. Received: {ENVIRONMENT_VARIABLE}={variable}"
            )
        owned = location.stem in (files.name, *files.folders)
        places.append((ENVIRONMENT_VARIABLE, location, owned))
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    places.append(("Keras cache", home / "datasets", False))
    if files.debian:
        places.append((f"Debian package {files.debian}", DEBIAN_FOLDER, False))
    return places


def _read(location: Path, files: Files, owned: bool) -> tuple[RawArrays, Path]:
    if not location.exists():
        raise FileNotFoundError(f"{location} does not exist")
    if location.is_file():
        if location.suffix != ".npz":
            raise ValueError(
                "A data set is read from a folder or an .npz file. "
                f"Received: {location}"
            )
        if not owned:
            raise FileNotFoundError(f"{location} is not named {files.name}.npz")
        return read_npz(location), location
    archive = location / f"{files.name}.npz"
    if archive.is_file():
        return read_npz(archive), archive
    folders = [location / name for name in files.folders if (location / name).is_dir()]
    if owned:
        folders.append(location)
    if not folders:
        raise FileNotFoundError(
            f"{location} has no {archive.name} and no folder {files.folders[0]}"
        )
    return files.read_folder(folders[0]), folders[0]


def _download(files: Files) -> RawArrays:
    import keras

    module = getattr(keras.datasets, files.name)
    (x_train, y_train), (x_test, y_test) = module.load_data()
    return RawArrays(x_train, y_train, x_test, y_test)


def _not_found(files: Files, tried: list[str]) -> FileNotFoundError:
    ways = [
        f'run `python -c "import keras; keras.datasets.{files.name}.load_data()"` '
        "where there is a network, and copy ~/.keras/datasets from there",
        f"give path=... or set {ENVIRONMENT_VARIABLE} to a folder that holds it",
    ]
    if files.debian:
        ways.insert(0, f"on Debian or Ubuntu, `sudo apt-get install {files.debian}`")
    return FileNotFoundError(
        f"The data set {files.name!r} was not found. Tried:\n"
        + "".join(f"  {line}\n" for line in tried)
        + "To get it:\n"
        + "\n".join(f"  {way}" for way in ways)
    )
