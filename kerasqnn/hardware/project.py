"""Writing the hls4ml project: conversion, what hls4ml leaves broken, and an audit."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CompilationError, unknown_name
from .boards import Board
from .lowering import Lowering

PROJECT = "accelerator"
BACKENDS = ("Vitis", "Vivado", "VivadoAccelerator")
IO_TYPES = ("io_stream", "io_parallel")
STRATEGIES = ("Latency", "Resource")
# Above this many multiplications Vivado HLS does not unroll a layer completely.
_UNROLL_LIMIT = 4096


@dataclass(frozen=True)
class Settings:
    """How the project is built.

    Attributes:
        board: The board.
        backend: hls4ml backend.
        io_type: `"io_stream"` or `"io_parallel"`.
        strategy: `"Latency"`, `"Resource"` or None (chosen by the size of each layer).
        reuse_factor: One for all layers, or one a layer name.
        clock_mhz: Clock of the accelerator, MHz.
    """

    board: Board
    backend: str
    io_type: str
    strategy: str | None
    reuse_factor: int | dict[str, int]
    clock_mhz: float

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("backend", self.backend, BACKENDS),
            ("io_type", self.io_type, IO_TYPES),
            ("strategy", self.strategy, (*STRATEGIES, None)),
        ):
            if value not in allowed:
                raise ValueError(unknown_name(what, value, map(str, allowed)))
        factors = self.reuse_factor
        each: list[Any] = (
            list(factors.values()) if isinstance(factors, dict) else [factors]
        )
        for factor in each:
            if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
                raise ValueError(
                    "`reuse_factor` must be a positive integer, or a dictionary from "
                    f"layer name to one. Received: reuse_factor={factors!r}"
                )
        if not 1.0 <= float(self.clock_mhz) <= 1000.0:
            raise ValueError(
                "`clock_mhz` must be from 1 to 1000 MHz. "
                f"Received: clock_mhz={self.clock_mhz!r}"
            )
        if self.backend == "VivadoAccelerator" and self.board.name != "pynq-z2":
            raise ValueError(
                "backend='VivadoAccelerator' is for the Pynq-Z2. Allowed for "
                f"{self.board.title}: Vitis, Vivado. Received: {self.backend!r}"
            )


def convert(
    lowering: Lowering, settings: Settings, folder: Path, *, trace: bool = False
) -> Any:
    """Make hls4ml's ModelGraph, with every type sized from the actual values.

    Raises:
        CompilationError: If hls4ml fails, or leaves a type that it did not infer.
    """
    import hls4ml
    from hls4ml.model.graph import ModelGraph

    with quiet() as printed:
        config = hls4ml.utils.config.create_config(
            output_dir=str(folder),
            project_name=PROJECT,
            backend=settings.backend,
            clock_period=round(1000.0 / settings.clock_mhz, 6),
            io_type=settings.io_type,
            **_target(settings),
        )
        config["HLSConfig"] = _hls_config(lowering, settings, trace)
        try:
            graph = ModelGraph.from_layer_list(
                config, deepcopy(lowering.layers), lowering.inputs, lowering.outputs
            )
        except Exception as error:  # hls4ml raises bare Exceptions and assertions
            raise CompilationError(
                f"hls4ml cannot convert model {lowering.model.graph.name!r}: "
                f"{type(error).__name__}: {error}\n{printed.getvalue()}"
            ) from error
    _audit(graph, lowering)
    return graph


def _target(settings: Settings) -> dict[str, Any]:
    if settings.backend == "VivadoAccelerator":
        return {"board": settings.board.name}
    return {"part": settings.board.part}


def _hls_config(lowering: Lowering, settings: Settings, trace: bool) -> dict[str, Any]:
    per_layer: dict[str, dict[str, Any]] = {}
    unknown = _unknown_layers(lowering, settings)
    if unknown:
        weighted = [o.layer for o in lowering.model.chip if "kernel" in o.weights]
        raise ValueError(unknown_name("layer in `reuse_factor`", unknown[0], weighted))
    for layer in lowering.layers:
        name = layer["name"]
        types = {what: str(type_) for what, type_ in lowering.types[name].items()}
        entry: dict[str, Any] = {"Trace": trace, "Precision": types}
        if "weight_data" in layer:
            entry |= _unrolling(layer, lowering.origin_of[name], settings)
        elif "depthwise_data" in layer:  # hls4ml has no other strategy for all of them
            wanted = _wanted_reuse(lowering.origin_of[name], settings)
            entry |= {"ReuseFactor": wanted, "Strategy": "Latency"}
        per_layer[name] = entry
    model = {
        "Precision": "fixed<16,6>",
        "ReuseFactor": 1,
        "Strategy": "Latency",
        # All types are given. hls4ml's own inference loses saturation, among others.
        "BitExact": False,
    }
    return {"Model": model, "LayerName": per_layer}


def _unknown_layers(lowering: Lowering, settings: Settings) -> list[str]:
    if not isinstance(settings.reuse_factor, dict):
        return []
    known = {o.layer for o in lowering.model.chip if "kernel" in o.weights}
    return sorted(set(settings.reuse_factor) - known)


def _wanted_reuse(name: str, settings: Settings) -> int:
    given = settings.reuse_factor
    return given.get(name, 1) if isinstance(given, dict) else given


def _unrolling(layer: dict[str, Any], name: str, settings: Settings) -> dict[str, Any]:
    """Reuse factor and strategy of one dense layer or convolution."""
    *inputs, n_out = layer["weight_data"].shape
    n_in = int(layer["weight_data"].size // n_out)
    given, wanted = settings.reuse_factor, _wanted_reuse(name, settings)
    strategy = settings.strategy
    if strategy is None:
        small = n_in * n_out <= _UNROLL_LIMIT and wanted == 1
        strategy = "Latency" if small else "Resource"
    valid = valid_reuse_factors(n_in, n_out)
    if layer["class_name"] == "Conv2D" and settings.io_type == "io_parallel":
        # Beyond that, hls4ml's parallel convolution adds up wrongly.
        valid = [factor for factor in valid if factor <= n_in]
    if strategy == "Resource" and wanted not in valid:
        nearest = min(valid, key=lambda v: (abs(v - wanted), v))
        if isinstance(given, dict) and name in given:
            raise ValueError(
                f"Layer {name!r} with {n_in} inputs and {n_out} outputs cannot have "
                f"that reuse factor; the nearest is {nearest}. Allowed: "
                f"{', '.join(map(str, valid))}. Received: {wanted}"
            )
        wanted = nearest
    return {"ReuseFactor": wanted, "Strategy": strategy}


def valid_reuse_factors(n_in: int, n_out: int) -> list[int]:
    """Return the reuse factors that hls4ml's resource strategy takes for one layer."""
    import hls4ml

    backend = hls4ml.backends.get_backend("Vivado")
    return [int(v) for v in backend.get_valid_reuse_factors(n_in, n_out)]


def _audit(graph: Any, lowering: Lowering) -> None:
    """Every type must be the one asked for, or, in an added layer, its input's."""
    for node in graph.get_layers():
        wanted = lowering.types.get(node.name)
        if wanted is None:
            source = node.get_input_node()
            wanted = {"result": source.get_output_variable().type.precision}
        for what, type_ in wanted.items():
            attribute = node.attributes[f"{what}_t"]
            if _arguments(attribute.precision) != _arguments(type_):
                raise CompilationError(
                    f"hls4ml changed the type {what} of layer {node.name!r} from "
                    f"{type_} to {attribute.precision}. Please report it with the "
                    "model."
                )


def _arguments(type_: Any) -> str:
    return re.sub(r"^ap_|AP_|\s", "", str(type_))


def write(graph: Any, settings: Settings, folder: Path) -> None:
    """Write the project and mend what hls4ml's writers leave broken."""
    with quiet():
        graph.write()
    _forget_the_folder(folder)
    if settings.backend == "VivadoAccelerator":
        _mend_wrapper(folder, graph)
        _mend_block_design(folder, settings)


def _forget_the_folder(folder: Path) -> None:
    """Take out the absolute paths, which end with this folder's first name."""
    # The emulation is compiled by kerasqnn; the scripts would bake in such paths.
    for script in ("build_lib.sh", "build_lib_multigraph.sh"):
        (folder / script).unlink(missing_ok=True)
    config = folder / "hls4ml_config.yml"
    config.write_text(config.read_text().replace(str(folder), "."))


def _mend_wrapper(folder: Path, graph: Any) -> None:
    """The wrapper names the stream type `input_t` even where it is called otherwise."""
    (variable,) = graph.get_input_variables()
    wrapper = folder / "firmware" / f"{PROJECT}_axi.cpp"
    text = wrapper.read_text()
    wrapper.write_text(
        re.sub(r"\binput_t::size\b", f"{variable.type.name}::size", text)
    )


def _mend_block_design(folder: Path, settings: Settings) -> None:
    """Clock as asked for, and input and output widths not exchanged."""
    design = folder / "design.tcl"
    text = design.read_text()
    clock = f"{settings.clock_mhz:g}"
    preset = "[get_bd_cells processing_system7_0]\n"
    frequency = (
        "set_property -dict [list CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ "
        f"{{{clock}}}] {preset}"
    )
    first = text.index(preset) + len(preset)
    second = text.index(preset, first) + len(preset)
    text = text[:second] + frequency + text[second:]
    text = text.replace("FCLK_CLK0 (100 MHz)", f"FCLK_CLK0 ({clock} MHz)")
    text = text.replace("Freq {100}", f"Freq {{{clock}}}")
    design.write_text(text)
    script = folder / "project.tcl"
    text = script.read_text()
    exchanged = {"input": "output", "output": "input"}
    text = re.sub(
        r"set bit_width_hls_(input|output)",
        lambda m: f"set bit_width_hls_{exchanged[m.group(1)]}",
        text,
    )
    script.write_text(text)


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Keep hls4ml's prints and warnings off the user's screen, for error messages."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield printed
