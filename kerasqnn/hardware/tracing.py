"""Finding the first layer whose numbers are wrong."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..models import evaluate_exactly
from .lowering import HardwareModel, Lowering, lower
from .project import Settings, convert, quiet


def first_wrong_layer(
    hardware: HardwareModel,
    settings: Settings,
    weights: Path,
    inputs: Sequence[np.ndarray],
) -> str:
    """Return the first layer whose emulated numbers differ from the exact ones.

    The project is compiled once more with hls4ml's tracing, with the weights of the
    deployed one.

    Args:
        hardware: The model, divided between host and chip.
        settings: How the project was built.
        weights: The folder of the project's weight files.
        inputs: One array an input.

    Returns:
        Name of a Keras layer, or `"the output words"` where all layers are right.
    """
    exact = evaluate_exactly(hardware.graph, hardware.arithmetic, inputs)
    lowering = lower(hardware, settings.io_type)
    with tempfile.TemporaryDirectory() as folder:
        traced = _trace(lowering, settings, Path(folder), weights, inputs)
    for name, tensor in lowering.tensor_of.items():
        if name in traced and hardware.chip.producer(tensor).kind != "input":
            got = traced[name].reshape(len(inputs[0]), -1)
            if not np.array_equal(got, exact[tensor].reshape(len(got), -1)):
                return lowering.origin_of[name]
    return "the output words"


def _trace(
    lowering: Lowering,
    settings: Settings,
    folder: Path,
    weights: Path,
    inputs: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
    """Emulate with hls4ml's tracing; returns the numbers by hls4ml layer."""
    model = lowering.model
    on_grid = [
        np.ascontiguousarray(model.input_quantizers[t].quantize(x), np.float64)
        for t, x in zip(model.chip.inputs, inputs, strict=True)
    ]
    # The bare IP: the float wrapper has no layers of its own.
    if settings.backend == "VivadoAccelerator":
        settings = replace(settings, backend="Vivado")
    graph = convert(lowering, settings, folder, trace=True)
    with quiet():
        graph.config.trace_output = True
        graph.write()
        for file in weights.glob("*.txt"):
            shutil.copy(file, folder / "firmware" / "weights")
        graph.write = lambda: None  # `trace` would write the weights once more
        _, values = graph.trace(on_grid if len(on_grid) > 1 else on_grid[0])
    return {k: np.asarray(v, np.float64) for k, v in values.items()}
