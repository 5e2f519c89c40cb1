"""The command line: `kerasqnn`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Keras 3 quantized and noisy networks, from training to a verified FPGA.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option(help="Print the version and exit.")] = False,
) -> None:
    if version:
        from ._version import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
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
    # Only the program that a user started is quietened, never an importing one.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from .demo import run_demo

    run_demo(data, output, noise=noise, epochs=epochs, seed=seed)


@app.command()
def boards() -> None:
    """List the boards that a model can be deployed to."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from .hardware import boards as known

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


def main() -> None:
    """Run the command line; a refusal is one message, not a traceback."""
    from .errors import KerasQNNError

    try:
        app()
    except (KerasQNNError, ValueError, OSError, ImportError) as error:
        if os.environ.get("KERASQNN_TRACEBACK"):
            raise
        typer.secho(f"kerasqnn: {error}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
