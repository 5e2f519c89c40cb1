"""`deploy`: from a trained model to a board's project, or a reason why not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import keras

from .boards import Board, get_board
from .deployment import METADATA, MODEL_FILE, Deployment
from .emulation import find_compiler
from .lowering import check, prepare
from .project import Settings
from .pynq import write_overlay
from .vendor import prepare_scripts
from .writing import write_and_compile


def deploy(
    model: keras.Model,
    board: str | Board,
    output_dir: str | os.PathLike[str],
    *,
    io_type: str = "io_stream",
    reuse_factor: int | dict[str, int] = 1,
    strategy: str | None = None,
    clock_mhz: float | None = None,
    backend: str | None = None,
    overwrite: bool = False,
) -> Deployment:
    """Turn a model into an hls4ml project for a board, with its emulation compiled.

    Every type in the hardware is sized from the actual weights and ranges, so that it
    computes the model's numbers exactly; what hls4ml cannot reproduce is refused, by
    layer name, before anything is written. Noise points and a final softmax are left
    out, which `Deployment.notes` says.

    Args:
        model: A built Sequential or functional model whose inputs pass a `QuantInput`.
        board: `"pynq-z2"`, `"arty-a7-100t"`, an alias such as `"arty"`, or a `Board`.
        output_dir: The folder to make. It appears only when everything has succeeded.
        io_type: `"io_stream"` or `"io_parallel"`.
        reuse_factor: How often each multiplier is used a sample; one for all layers
            (taken to the nearest that a layer allows), or one a layer name.
        strategy: `"Latency"`, `"Resource"`, or None: chosen by the size of each layer.
        clock_mhz: Clock of the accelerator, MHz; None is the board's default.
        backend: `"Vitis"`, `"Vivado"` or `"VivadoAccelerator"`; None is the board's.
        overwrite: Replace an earlier deployment in `output_dir`.

    Returns:
        The deployment.

    Raises:
        ValueError: If an argument is unknown or out of range.
        UnsupportedModelError: If a layer cannot be reproduced bit for bit.
        FileExistsError: If `output_dir` exists and is not to be, or not safe to be,
            replaced.
        ToolNotFoundError: If g++ is missing.
        CompilationError: If hls4ml or g++ fails; with their output.
    """
    found = get_board(board)
    settings = Settings(
        found,
        found.backend if backend is None else backend,
        io_type,
        strategy,
        reuse_factor,
        found.clock_mhz if clock_mhz is None else float(clock_mhz),
    )
    hardware = prepare(model)
    check(hardware, settings.io_type, settings.backend)
    find_compiler()
    target = Path(output_dir).absolute()
    missing = [parent for parent in target.parents if not parent.exists()]
    _check_target(target, overwrite)
    working = Path(
        tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent)
    )
    try:
        metadata = write_and_compile(hardware, settings, working)
        model.save(working / MODEL_FILE)
        if settings.backend == "VivadoAccelerator":
            write_overlay(working, metadata, hardware)
        prepare_scripts(working, metadata)
        (working / METADATA).write_text(json.dumps(metadata, indent=2) + "\n")
        working.chmod(0o755)
        _move_into_place(working, target)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        for parent in missing:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    return Deployment(target, metadata)


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuse a folder that is not to be written, else make its parents."""
    received = f"Received: output_dir={str(target)!r}"
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        if not (target / METADATA).is_file():
            raise FileExistsError(
                "`output_dir` exists and is no kerasqnn deployment, so it is not "
                f"touched. Give another folder. {received}"
            )
        if not overwrite:
            raise FileExistsError(
                "`output_dir` holds an earlier deployment. Pass overwrite=True to "
                f"replace it. {received}"
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = tempfile.TemporaryFile(dir=target.parent)
    except OSError as error:
        raise PermissionError(
            f"Cannot write to {str(target.parent)!r}: {error.strerror or error}. "
            f"{received}"
        ) from error
    probe.close()


def _move_into_place(working: Path, target: Path) -> None:
    if not target.exists():
        working.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
    target.rename(old / "deployment")
    try:
        working.rename(target)
    except OSError:
        (old / "deployment").rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
