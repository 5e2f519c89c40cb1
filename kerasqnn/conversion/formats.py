"""Reading model files: `.keras` (Keras 3), `.h5` and JSON with weights (Keras 2).

Files are parsed, never executed: JSON by `json`, weights by `h5py`, and a `.keras`
archive in memory, so that no name in it is ever used as a path of the file system.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import UnsupportedModelError
from .architecture import WeightsOf, describe
from .description import ModelDescription

Weights = Mapping[str, np.ndarray]


def read_file(path: Any, weights: Any = None) -> ModelDescription:
    """Return the description of the model in a file.

    Args:
        path: A `.keras` file, a whole-model `.h5` file, or a `.json` architecture.
        weights: The `.h5` file with the weights of a `.json` architecture.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the file is of another kind, or broken, or `weights` is missing
            or superfluous.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    is_architecture = path.suffix == ".json"
    if is_architecture != (weights is not None):
        raise ValueError(
            "`weights` names the .h5 file that goes with a .json architecture, and "
            f"only with one. Received: path={str(path)!r}, weights={weights!r}"
        )
    try:
        if is_architecture:
            return _read_json(path, Path(weights))
        if zipfile.is_zipfile(path):
            return _read_archive(path)
        if h5py.is_hdf5(path):
            return _read_h5(path)
    except UnsupportedModelError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"The file {str(path)!r} is not a Keras model: {type(error).__name__}: "
            f"{error}"
        ) from error
    raise ValueError(
        "A model file must be a .keras archive, an .h5 file, or a .json architecture. "
        f"Received: path={str(path)!r}"
    )


def _read_archive(path: Path) -> ModelDescription:
    with zipfile.ZipFile(path) as archive:
        architecture = json.loads(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(weights)) as file:
        return describe(architecture, _archive_weights(file))


def _archive_weights(file: Any) -> WeightsOf:
    """Return how to find weights in Keras 3's layout.

    Each layer is a group under `layers` of its model, whose `vars` carry its name.
    """

    def weights_of(*path: str) -> Weights:
        found: dict[str, np.ndarray] = {}
        group = file
        for name in path:
            group = _layer_group(group, name)
            if group is None:
                return found

        def collect(path: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                parts = [p for p in path.split("/") if p not in ("vars", "cell")]
                found["/".join(parts)] = _array(item)

        group.visititems(collect)
        return found

    return weights_of


def _layer_group(model: Any, name: str) -> Any:
    """Return the group of a layer in that of its model, or None."""
    for group in model.get("layers", {}).values():
        if "vars" in group and str(group["vars"].attrs.get("name")) == name:
            return group
    return None


def _read_h5(path: Path) -> ModelDescription:
    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise ValueError(
                "the .h5 file holds weights only; give the .json architecture as the "
                "model and this file as `weights`"
            )
        architecture = json.loads(file.attrs["model_config"])
        return describe(
            architecture,
            _legacy_weights(file["model_weights"]),
            is_keras2=_is_keras2(file.attrs.get("keras_version")),
        )


def _read_json(path: Path, weights: Path) -> ModelDescription:
    if not weights.is_file():
        raise FileNotFoundError(f"There is no file {str(weights)!r}.")
    architecture = json.loads(path.read_text(encoding="utf-8"))
    with h5py.File(weights) as file:
        if "layers" in file:  # Keras 3's model.to_json() and save_weights()
            return describe(architecture, _archive_weights(file))
        group = file.get("model_weights", file)
        if "layer_names" not in group.attrs:
            raise ValueError(f"{str(weights)!r} holds no weights")
        version = architecture.get("keras_version", group.attrs.get("keras_version"))
        return describe(
            architecture, _legacy_weights(group), is_keras2=_is_keras2(version)
        )


def _is_keras2(version: Any) -> bool:
    """Whether a file that has Keras 2's layout of weights was written by Keras 2."""
    return not _text(version).startswith("3")


def _legacy_weights(group: Any) -> WeightsOf:
    """Return how to find weights in Keras 2's layout: a list of names a layer.

    A model in place of a layer has one list of the weights of all its layers, whose
    names begin with those of some of the models that they are in, and theirs.
    """

    def weights_of(name: str, *inner: str) -> Weights:
        if name not in group:
            return {}
        paths = [_text(p) for p in group[name].attrs["weight_names"]]
        if inner:
            paths = _paths_within(paths, (name, *inner))
        return {_short(p): _array(group[name][p], group.file) for p in paths}

    return weights_of


def _paths_within(paths: list[str], names: tuple[str, ...]) -> list[str]:
    """Return the paths of a layer's weights among those of the model around it."""
    *models, layer = names
    for skipped in range(len(models) + 1):
        prefix = "/".join([*models[skipped:], layer, ""])
        found = [p for p in paths if p.startswith(prefix)]
        if found:
            return found
    return []


def _array(dataset: Any, file: Any = None) -> np.ndarray:
    """Return the numbers of a dataset that lie in the file itself."""
    inside = file is None or dataset.file == file
    if not inside or dataset.external is not None or dataset.is_virtual:
        raise ValueError(f"the weight {dataset.name!r} lies in another file")
    return np.asarray(dataset[()])


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _short(path: str) -> str:
    """Return `kernel` for `dense/kernel:0`, and `forward/kernel` within a wrapper."""
    *folders, name = path.partition(":")[0].split("/")
    parts = [f for f in folders if f.startswith(("forward_", "backward_"))]
    side = [p.partition("_")[0] + "_layer" for p in parts[:1]]
    return "/".join([*side, name])
