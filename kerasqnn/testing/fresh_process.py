"""A second Python process that knows saved models only by what they need to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

_LOADER = """
import importlib, json, sys, traceback
for name in sys.argv[1:]:
    importlib.import_module(name)
import keras
import numpy as np
for line in sys.stdin:
    try:
        folder = line.strip()
        model = keras.saving.load_model(folder + "/model.keras")
        with np.load(folder + "/inputs.npz") as file:
            inputs = [file[name] for name in file.files]
        y = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
        np.save(folder + "/output.npy", y)
        answer = {}
    except Exception:
        answer = {"error": traceback.format_exc()}
    print("answer", json.dumps(answer), flush=True)
"""


class FreshProcess:
    """A process where nothing but `kerasqnn` and the named modules is imported.

    It shows whether a saved model loads without the code that built it. One process
    serves any number of models; it ends with the `with` block, or with `close`.

    Args:
        *modules: Names of further modules to import, those that register the layers.
            They must be importable from the working folder or the search path.

    Example:

    >>> import keras, numpy as np
    >>> from kerasqnn.testing import FreshProcess
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> x = np.ones((3, 2), np.float32)
    >>> with FreshProcess() as process:
    ...     bool(np.all(process.predict(model, [x]) == model.predict(x, verbose=0)))
    True
    """

    def __init__(self, *modules: str) -> None:
        import kerasqnn

        root = str(Path(kerasqnn.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOADER, "kerasqnn", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "KERAS_BACKEND": keras.backend.backend(),
            },
        )

    def predict(self, model: keras.Model, inputs: list[np.ndarray]) -> np.ndarray:
        """Save a model and return what its copy in the process predicts.

        Args:
            model: A model with one output.
            inputs: One array an input.

        Raises:
            AssertionError: If the model does not load or run there, with the reason.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("The process has no pipes.")
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder, "model.keras"))
            named: dict[str, Any] = {f"input_{i:03}": x for i, x in enumerate(inputs)}
            np.savez(Path(folder, "inputs.npz"), **named)
            print(folder, file=self._process.stdin, flush=True)  # noqa: T201
            line = "-"
            while line and not line.startswith("answer "):
                line = self._process.stdout.readline()
            if not line:
                raise AssertionError(
                    "The process that loads saved models has ended. Can the modules "
                    "be imported there?"
                )
            answer = json.loads(line.removeprefix("answer "))
            if "error" in answer:
                raise AssertionError(
                    f"The saved model does not load or run:\n{answer['error']}"
                )
            return np.load(Path(folder, "output.npy"))

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
