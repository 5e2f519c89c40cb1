"""The overlay files of a Pynq-Z2 project: the driver and what it needs to know."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..models import Grid
from ..quantizers import FixedPoint
from .lowering import HardwareModel
from .lowering.types import type_of_grid

DRIVER = "kerasqnn_driver.py"
_TEMPLATE = Path(__file__).parent / "templates" / "pynq_driver.py"


def write_overlay(
    folder: Path, metadata: dict[str, Any], hardware: HardwareModel
) -> None:
    """Write the PYNQ driver and `overlay.json` into a project of one input and output.

    Args:
        folder: The project.
        metadata: The deployment's metadata.
        hardware: The model on the chip.
    """
    # hls4ml's own driver returns a buffer that the next call overwrites, among others.
    (folder / "axi_stream_driver.py").unlink(missing_ok=True)
    shutil.copyfile(_TEMPLATE, folder / DRIVER)
    (tensor_in,) = hardware.chip.inputs
    (tensor_out,) = hardware.graph.outputs
    quantizer = hardware.input_quantizers[tensor_in]
    grid = hardware.arithmetic.facts[tensor_out].grid
    if not isinstance(quantizer, FixedPoint) or grid is None:
        raise TypeError(f"The overlay needs fixed-point ends. Received: {quantizer!r}")
    words = {"dtype": "float32"}
    description = {
        "format": 1,
        "model": metadata["model"],
        "bitfile": "kerasqnn.bit",
        "dma": "hier_0/axi_dma_0",
        "clock_mhz": metadata["clock_mhz"],
        "inputs": [
            {
                "name": metadata["inputs"][0]["name"],
                "shape": metadata["inputs"][0]["shape"],
                **words,
                "type": _type(quantizer.signed, quantizer.bits, float(quantizer.step)),
                "quantizer": {
                    "step": float(quantizer.step),
                    "min": float(quantizer.min),
                    "max": float(quantizer.max),
                    "rounding": quantizer.rounding,
                    "overflow": quantizer.overflow,
                },
            }
        ],
        "outputs": [
            {
                "name": metadata["outputs"][0]["name"],
                "shape": metadata["outputs"][0]["shape"],
                **words,
                "type": _output_type(grid),
            }
        ],
    }
    (folder / "overlay.json").write_text(json.dumps(description, indent=2) + "\n")


def _type(signed: bool, width: int, step: float) -> dict[str, Any]:
    numerator, denominator = step.as_integer_ratio()
    fractional = denominator.bit_length() - numerator.bit_length()
    return {"signed": bool(signed), "width": width, "fractional": fractional}


def _output_type(grid: Grid) -> dict[str, Any]:
    type_ = type_of_grid(grid)
    return {
        "signed": type_.signed,
        "width": type_.width,
        "fractional": type_.fractional,
    }
