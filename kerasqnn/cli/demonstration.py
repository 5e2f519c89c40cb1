"""The commands `demo` and `boards`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(demo)
    app.command()(boards)


def demo(
    data: Annotated[str, typer.Option(help="digits or fashion-mnist.")] = "digits",
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(
        "kerasqnn-demo"
    ),
    noise: Annotated[
        float, typer.Option(help="Standard deviation of the training noise.")
    ] = 0.1,
    epochs: Annotated[
        int | None, typer.Option(help="Training epochs [default: the data set's].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
) -> None:
    """Train, walk noise, export QONNX, deploy to two boards, verify every bit."""
    from ..demo import run_demo

    run_demo(data, output, noise=noise, epochs=epochs, seed=seed)


def boards() -> None:
    """List the boards that a model can be deployed to."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from ..hardware import boards as known

    table = Table(box=SIMPLE)
    for title in ("Board", "Part", "LUT", "DSP", "Backend"):
        table.add_column(title, no_wrap=True)  # names to copy stay whole
    table.add_column("Aliases", overflow="fold")
    for board in known().values():
        table.add_row(
            board.name,
            board.part,
            str(board.resources["lut"]),
            str(board.resources["dsp"]),
            board.backend,
            ", ".join(board.aliases),
        )
    Console().print(table)
