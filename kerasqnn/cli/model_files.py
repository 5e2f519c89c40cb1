"""Keras models in files, whichever library wrote them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5", ".json")


def load_keras_model(path: Path, weights: Path | None = None) -> Any:
    """Load a `.keras` file of kerasqnn, Keras, QKeras or HGQ2, or an older QKeras one.

    Args:
        path: `.keras`; or `.h5`, or `.json` with `weights`, of QKeras 0.9 (Keras 2).
        weights: The `.h5` file with the weights of a `.json` architecture.

    Returns:
        The model, of kerasqnn or Keras layers.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the suffix is another one, or the file holds no Keras model.
        UnsupportedModelError: If a layer of QKeras or HGQ2 has no exact counterpart.
    """
    if path.suffix not in KERAS_SUFFIXES:
        raise ValueError(
            f"A Keras model must be a file with the suffix {', '.join(KERAS_SUFFIXES)}."
            f" Received: {str(path)!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    from .. import conversion

    library = _library_of(path) if path.suffix == ".keras" else "qkeras"
    if library == "hgq":
        return conversion.from_hgq2(path)
    if library == "qkeras":
        return conversion.from_qkeras(path, weights=weights)
    import keras

    return keras.models.load_model(path, compile=False)


def _library_of(path: Path) -> str:
    """Return the package of the layers in a `.keras` file that Keras does not know."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json").decode()
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} is no .keras file: {error}") from error
    for library in ("hgq", "qkeras"):
        if f'"module": "{library}.' in config or f'"{library}>' in config:
            return library
    return "keras"
