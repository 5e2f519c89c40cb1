"""One Python process that only imports kerasqnn, for all tests of saved models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kerasqnn

_LOADER = """
import kerasqnn
import json, sys, traceback
import keras
import numpy as np
for line in sys.stdin:
    try:
        folder = line.strip()
        model = keras.saving.load_model(folder + "/model.keras")
        x = np.load(folder + "/x.npy")
        np.save(folder + "/y.npy", model.predict(x, verbose=0))
        answer = {"classes": [type(l).__module__ for l in model.layers]}
    except Exception:
        answer = {"error": traceback.format_exc()}
    print("answer", json.dumps(answer), flush=True)
"""


class FreshProcess:
    """Loads saved models where nothing but `import kerasqnn` has run."""

    def __init__(self) -> None:
        root = str(Path(kerasqnn.__file__).parents[1])
        path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOADER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def predict(self, model, x: np.ndarray, folder: Path) -> np.ndarray:
        """Save a model, and return what its copy in the other process predicts."""
        folder.mkdir(exist_ok=True)
        model.save(folder / "model.keras")
        np.save(folder / "x.npy", x)
        print(folder, file=self._process.stdin, flush=True)
        line = ""
        while not line.startswith("answer "):
            line = self._process.stdout.readline()
            assert line, "the process ended"
        answer = json.loads(line.removeprefix("answer "))
        assert "error" not in answer, answer["error"]
        return np.load(folder / "y.npy")

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def fresh_process():
    """The process; started once, ended with the tests."""
    process = FreshProcess()
    yield process
    process.close()
