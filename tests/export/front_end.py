"""hls4ml's own ONNX front end, and g++ emulation of what it makes of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from kerasqnn.hardware.emulation import Emulator, compile_project
from kerasqnn.hardware.project import PROJECT, quiet

# Wide enough for inputs and for weights without a quantizer of their own.
_WIDE = "fixed<40,20>"


def emulate_onnx(
    proto: ModelProto, inputs: list[np.ndarray], folder: Path
) -> list[np.ndarray]:
    """Return the outputs of the emulated hardware, in the shapes of hls4ml."""
    import hls4ml

    with quiet():
        config: dict[str, Any] = hls4ml.utils.config_from_onnx_model(
            proto, granularity="name", backend="Vitis", default_precision=_WIDE
        )
        for value in proto.graph.input:
            config["LayerName"][value.name]["Precision"]["result"] = _WIDE
        graph = hls4ml.converters.convert_from_onnx_model(
            proto,
            output_dir=str(folder),
            project_name=PROJECT,
            backend="Vitis",
            io_type="io_parallel",
            hls_config=config,
        )
        graph.write()
    shapes = [
        [tuple(v.shape) for v in variables]
        for variables in (graph.get_input_variables(), graph.get_output_variables())
    ]
    sizes = [[int(np.prod(shape)) for shape in each] for each in shapes]
    return Emulator(compile_project(folder, *sizes), *shapes).run(inputs)
