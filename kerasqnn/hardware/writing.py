"""Writing a project and compiling it; what `kerasqnn.json` says."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from .emulation import compile_project, count_numbers
from .lowering import HardwareModel, Lowering, lower
from .project import Settings, convert, write

FORMAT = 1
# What `kerasqnn.json` must hold.
KEYS = {
    "format", "model", "board", "part", "backend", "io_type", "strategy",
    "reuse_factor", "clock_mhz", "notes", "inputs", "outputs", "layers", "versions",
    "library", "weights",
}  # fmt: skip


def write_and_compile(
    hardware: HardwareModel, settings: Settings, folder: Path
) -> dict[str, Any]:
    """Write the hls4ml project into `folder`, compile it, and return its metadata."""
    lowering = lower(hardware, settings.io_type)
    graph = convert(lowering, settings, folder)
    write(graph, settings, folder)
    metadata = describe(hardware, settings, graph, lowering)
    sizes = {
        key: [int(np.prod(s["shape"])) for s in metadata[key]]
        for key in ("inputs", "outputs")
    }
    library = compile_project(folder, sizes["inputs"], sizes["outputs"])
    metadata["library"] = str(library.relative_to(folder))
    metadata["weights"] = {
        str(file.relative_to(folder)): count_numbers(file)
        for file in sorted((folder / "firmware" / "weights").glob("*.txt"))
    }
    return metadata


def describe(
    hardware: HardwareModel, settings: Settings, graph: Any, lowering: Lowering
) -> dict[str, Any]:
    """Return the metadata of a deployment, all but the library's name."""

    def tensor(name: str, grid_of: str) -> dict[str, Any]:
        grid = hardware.arithmetic.facts[grid_of].grid
        shape = hardware.graph.tensors[name].shape[1:]
        return {
            "name": name,
            "shape": [int(d or 0) for d in shape],
            "bits": 0 if grid is None else grid.bits,
            "step": None if grid is None else grid.step,
        }

    inputs = []
    for name in hardware.chip.inputs:
        quantizer = hardware.input_quantizers[name]
        quantized = hardware.graph.consumers(name)[0].output
        inputs.append({**tensor(name, quantized), "quantizer": repr(quantizer)})
    return {
        "format": FORMAT,
        "model": hardware.graph.name,
        "board": settings.board.name,
        "part": settings.board.part,
        "backend": settings.backend,
        "io_type": settings.io_type,
        "strategy": settings.strategy,
        "reuse_factor": settings.reuse_factor,
        "clock_mhz": settings.clock_mhz,
        "notes": list(hardware.notes),
        "inputs": inputs,
        "outputs": [tensor(t, t) for t in hardware.graph.outputs],
        "layers": [_describe_node(node, lowering) for node in graph.get_layers()],
        "versions": {
            "kerasqnn": __version__,
            **{p: version(p) for p in ("hls4ml", "keras", "numpy")},
        },
    }


def _describe_node(node: Any, lowering: Lowering) -> dict[str, Any]:
    types = {
        name.removesuffix("_t"): str(attribute.precision)
        for name, attribute in node.attributes.items()
        if hasattr(attribute, "precision") and name != "index_t"
    }
    return {
        "name": node.name,
        "class": node.class_name,
        "tensor": lowering.tensor_of.get(node.name),
        "types": types,
        "reuse_factor": int(node.get_attr("reuse_factor", 1) or 1),
        "strategy": str(node.get_attr("strategy", "latency")),
    }
