"""The command line: `kerasqnn`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from . import demonstration, qonnx

app = typer.Typer(
    help="Keras 3 quantized and noisy networks, from training to a verified FPGA.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
demonstration.register(app)
qonnx.register(app)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option(help="Print the version and exit.")] = False,
) -> None:
    if version:
        from .._version import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a refusal is one message, not a traceback."""
    # Only the program that a user started is quietened, never an importing one.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from ..errors import KerasQNNError

    try:
        app()
    except (KerasQNNError, ValueError, OSError, ImportError) as error:
        if os.environ.get("KERASQNN_TRACEBACK"):
            raise
        typer.secho(f"kerasqnn: {error}", fg="red", err=True)
        sys.exit(1)
