"""A deployed model: its project folder, its emulation, its proof."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .. import quantizers
from ..models import evaluate, evaluate_exactly
from ..models.noise_control import noise_switched_off
from . import vendor
from .boards import Board
from .emulation import Emulator, check_files
from .lowering import HardwareModel, prepare
from .project import Settings
from .tracing import first_wrong_layer
from .verification import Verification, compare
from .writing import FORMAT, KEYS

METADATA = "kerasqnn.json"
MODEL_FILE = "model.keras"
_BATCH = 1024
_TRACED_SAMPLES = 8


class Deployment:
    """A model as an FPGA project on disk, with its compiled emulation.

    Made by `kerasqnn.deploy`; opened again by `Deployment.load(folder)`, also after the
    folder was moved.

    Attributes:
        path: The project folder.
        metadata: What `kerasqnn.json` in it says.
    """

    def __init__(self, path: Path, metadata: dict[str, Any]) -> None:
        self.path = path
        self.metadata = metadata
        self._emulator: Emulator | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Deployment:
        """Open a deployment folder.

        Raises:
            FileNotFoundError: If the folder holds no deployment.
            ValueError: If its description is damaged or of a newer format.
        """
        folder = Path(path).resolve()
        file = folder / METADATA
        if not file.is_file():
            raise FileNotFoundError(
                f"No deployment there: {METADATA} is missing. Received: {str(path)!r}"
            )
        try:
            metadata = json.loads(file.read_text())
            version = metadata["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{str(file)!r} is damaged ({error}). Deploy again."
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"{str(file)!r} has another format. Allowed: {FORMAT}. "
                f"Received: {version!r}"
            )
        missing = sorted(KEYS - set(metadata))
        if missing:
            raise ValueError(
                f"{str(file)!r} is damaged: {', '.join(missing)} missing. Deploy again."
            )
        return cls(folder, metadata)

    @property
    def board(self) -> str:
        """Name of the board."""
        return str(self.metadata["board"])

    @property
    def notes(self) -> list[str]:
        """What was left out of the hardware, in sentences."""
        return list(self.metadata["notes"])

    def __repr__(self) -> str:
        m = self.metadata
        return (
            f"Deployment({m['model']!r} on {m['board']}, {m['backend']}, "
            f"{m['io_type']}, {str(self.path)!r})"
        )

    # -- running -----------------------------------------------------------------------

    def emulate(self, x: Any) -> Any:
        """Run the hardware's arithmetic, compiled from the project's own C++.

        The host quantizes the inputs, as a driver on the board does; everything after
        that is the hardware's.

        Args:
            x: Float array with the batch axis first, or a list for several inputs.

        Returns:
            float32 array with the shape of `model.predict` (float64 where an output
            needs more than 24 bits), or a list for several outputs.

        Raises:
            ValueError: If number or shapes of the inputs do not fit, or a number is not
                finite.
        """
        inputs = self._inputs(x)
        outputs = self._run(inputs)
        arrays = [
            o if spec["bits"] > 24 else o.astype(np.float32)
            for o, spec in zip(outputs, self.metadata["outputs"], strict=True)
        ]
        return arrays[0] if len(arrays) == 1 else arrays

    def _inputs(self, x: Any) -> list[np.ndarray]:
        specs = self.metadata["inputs"]
        given = list(x) if isinstance(x, (list, tuple)) and len(specs) > 1 else [x]
        if len(given) != len(specs):
            raise ValueError(
                f"The model has {len(specs)} inputs. Received: {len(given)} arrays"
            )
        arrays = []
        for spec, value in zip(specs, given, strict=True):
            array = np.asarray(value, np.float32)
            if array.shape[1:] != tuple(spec["shape"]) or not array.ndim:
                raise ValueError(
                    f"Input {spec['name']!r} has the shape (batch, "
                    f"{', '.join(map(str, spec['shape']))}). "
                    f"Received: an array of shape {array.shape}"
                )
            if not np.all(np.isfinite(array)):
                raise ValueError(
                    f"Input {spec['name']!r} must be finite. Received: NaN or infinity"
                )
            arrays.append(array)
        if len({len(a) for a in arrays}) > 1:
            raise ValueError(
                "All inputs must have the same number of samples. "
                f"Received: {[len(a) for a in arrays]}"
            )
        return arrays

    def _run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if self._emulator is None:
            self._emulator = self._load_emulator()
        on_grid = []
        for spec, array in zip(self.metadata["inputs"], inputs, strict=True):
            quantizer = quantizers.get(spec["quantizer"])
            on_grid.append(array if quantizer is None else quantizer.quantize(array))
        return self._emulator.run(on_grid)

    def _load_emulator(self) -> Emulator:
        shapes = {
            key: [tuple(s["shape"]) for s in self.metadata[key]]
            for key in ("inputs", "outputs")
        }
        library = self.path / self.metadata["library"]
        weights = {self.path / k: n for k, n in self.metadata["weights"].items()}
        check_files(library, weights)
        return Emulator(library, shapes["inputs"], shapes["outputs"])

    # -- proof -------------------------------------------------------------------------

    @cached_property
    def model(self) -> keras.Model:
        """The Keras model that was deployed."""
        return keras.models.load_model(self.path / MODEL_FILE, compile=False)

    @cached_property
    def _hardware(self) -> HardwareModel:
        return prepare(self.model)

    def verify(self, x: Any) -> Verification:
        """Compare the emulation with the model, bit for bit.

        Where the sums of some layer need more than float32's 24 bits in the worst case,
        Keras itself rounds; the reference is then an exact integer evaluation of the
        model, and what Keras rounds is counted apart.

        Args:
            x: As in `emulate`.

        Returns:
            The counts; true in a condition when nothing differs.

        Raises:
            ValueError: As `emulate`.
        """
        inputs = self._inputs(x)
        if not len(inputs[0]):
            raise ValueError("Nothing to verify. Received: 0 samples")
        received = self._run(inputs)
        hardware = self._hardware
        facts = [hardware.arithmetic.facts[t] for t in hardware.graph.outputs]
        faithful = all(f.faithful for f in facts)
        in_keras = self._keras(inputs)
        expected = in_keras if faithful else self._exact(inputs)
        mismatches, wrong, largest = compare(expected, received)
        first = [int(i) for i in np.flatnonzero(wrong)[:10]]
        return Verification(
            samples=len(inputs[0]),
            numbers=int(sum(o.size for o in received)),
            mismatches=mismatches,
            mismatching_samples=int(wrong.sum()),
            first_samples=tuple(first),
            largest_difference=largest,
            first_layer=self._first_wrong_layer(inputs, first) if first else None,
            reference="keras" if faithful else "exact integers",
            wide_layers={} if faithful else hardware.arithmetic.wide_operations,
            float_rounding=0 if faithful else compare(expected, in_keras)[0],
        )

    def _keras(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        if not self._hardware.is_cut:
            given = inputs if len(inputs) > 1 else inputs[0]
            with noise_switched_off(self.model):
                outputs = self.model.predict(given, batch_size=_BATCH, verbose=0)
            return [np.asarray(o) for o in keras.tree.flatten(outputs)]
        graph = self._hardware.graph
        parts = []
        for start in range(0, len(inputs[0]), _BATCH):
            batch = [
                keras.ops.convert_to_tensor(a[start : start + _BATCH]) for a in inputs
            ]
            values = evaluate(
                graph.operations, dict(zip(graph.inputs, batch, strict=True))
            )
            parts.append([keras.ops.convert_to_numpy(values[t]) for t in graph.outputs])
        return [np.concatenate(p) for p in zip(*parts, strict=True)]

    def _exact(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        graph, arithmetic = self._hardware.graph, self._hardware.arithmetic
        parts = []
        for start in range(0, len(inputs[0]), _BATCH):
            batch = [a[start : start + _BATCH] for a in inputs]
            values = evaluate_exactly(graph, arithmetic, batch)
            parts.append([values[t] for t in graph.outputs])
        return [np.concatenate(p) for p in zip(*parts, strict=True)]

    def _first_wrong_layer(self, inputs: list[np.ndarray], samples: list[int]) -> str:
        chosen = [a[samples[:_TRACED_SAMPLES]] for a in inputs]
        weights = self.path / "firmware" / "weights"
        return first_wrong_layer(self._hardware, self.settings, weights, chosen)

    @property
    def settings(self) -> Settings:
        """The settings that the project was made with."""
        m = self.metadata
        clock = m["clock_mhz"]
        return Settings(
            Board(m["board"], m["board"], (), m["part"], m["backend"], clock, {}),
            m["backend"],
            m["io_type"],
            m["strategy"],
            m["reuse_factor"],
            clock,
        )

    # -- the rest ----------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """Return what is known of the hardware, layer by layer, as plain values."""
        m = self.metadata
        keys = ("model", "board", "part", "backend", "io_type", "clock_mhz", "notes",
                "inputs", "outputs", "layers", "versions")  # fmt: skip
        return {k: m[k] for k in keys}

    def build(self) -> Path:
        """Synthesise the project with the vendor's tool.

        Returns:
            The project folder; the logs of the tools, `build_*.log`, are in it, and for
            the Pynq-Z2 `kerasqnn.bit` and `kerasqnn.hwh`.

        Raises:
            ToolNotFoundError: If the tool is not on PATH; names it and its versions.
            CompilationError: If a tool fails or does not leave what it must.
        """
        vendor.build(self.path, self.metadata["backend"], self.board)
        return self.path
