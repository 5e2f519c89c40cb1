"""The commands for QONNX files: from Keras, to Keras, run, check, convert, cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .model_files import KERAS_SUFFIXES, load_keras_model

_Model = Annotated[
    Path, typer.Argument(help="Keras model: .keras, or QKeras's .h5 or .json.")
]
_File = Annotated[Path, typer.Argument(help="QONNX or QCDQ file.")]
_Output = Annotated[Path, typer.Argument(help="File to write.")]
_Weights = Annotated[
    Path | None, typer.Option(help=".h5 file with the weights of a .json model.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (export, run, check, convert, cost, view):
        app.command()(command)
    app.command("import")(import_)


def export(
    model: _Model,
    output: _Output,
    target: Annotated[
        str, typer.Option(help="Consumer: qonnx, hls4ml, finn, qcdq or qop.")
    ] = "qonnx",
    layout: Annotated[
        str | None,
        typer.Option(
            help="Images: channels_last or channels_first [default: the target's]."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Fixed batch [default: symbolic].")
    ] = None,
    exact: Annotated[
        bool, typer.Option(help="Refuse what may round differently elsewhere.")
    ] = True,
    check: Annotated[
        bool, typer.Option(help="Compare the file with the model.")
    ] = True,
    weights: _Weights = None,
) -> None:
    """Write a Keras, QKeras or HGQ2 model as QONNX.

    Examples:

    - `kerasqnn export model.keras model.onnx`
    - `kerasqnn export model.keras model.onnx --target finn --batch-size 1`
    - `kerasqnn export qkeras.json model.onnx --weights qkeras.h5`
    """
    from ..export import export_qonnx

    written = export_qonnx(
        load_keras_model(model, weights),
        output,
        target=target,
        layout=layout,
        batch_size=batch_size,
        exact=exact,
        check=check,
    )
    typer.echo(f"{written}: written ({written.stat().st_size:,} bytes)")


def run(
    file: _File,
    x: Annotated[Path, typer.Argument(help=".npy, or .npz with an array an input.")],
    output: Annotated[
        Path | None, typer.Option(help=".npy, or .npz for several outputs.")
    ] = None,
    reference: Annotated[
        bool, typer.Option(help="Run qonnx's executor as well and compare.")
    ] = False,
) -> None:
    """Run a QONNX file in ONNX Runtime on arrays from a file.

    Examples:

    - `kerasqnn run model.onnx x.npy --output y.npy`
    - `kerasqnn run model.onnx x.npy --reference`
    """
    import numpy as np

    from ..qonnx import QONNXSession, run_reference

    session = QONNXSession(file)
    inputs = _arrays(x)
    given = [inputs] if isinstance(inputs, np.ndarray) else inputs
    results = session.run(given)
    arrays = results if isinstance(results, list) else [results]
    named = dict(zip(session.output_names, arrays, strict=True))
    for name, array in named.items():
        typer.echo(
            f"{name}: {array.dtype} {array.shape}, "
            f"from {array.min():g} to {array.max():g}"
        )
    if reference:
        other = run_reference(file, given if isinstance(given, dict) else given[0])
        others = other if isinstance(other, list) else [other]
        pairs = list(zip(arrays, others, strict=True))
        different = sum(int(np.sum(a != b)) for a, b in pairs)
        total = sum(a.size for a in arrays)
        typer.echo(f"qonnx's executor: {different} of {total} numbers differ")
        if different:
            raise typer.Exit(1)
    if output is not None:
        _save(output, named)
        typer.echo(f"{output}: written")


def check(
    file: _File,
    target: Annotated[
        str, typer.Option(help="Consumer whose rules apply: qonnx, hls4ml, finn, qcdq.")
    ] = "qonnx",
    fix: Annotated[
        Path | None, typer.Option(help="Write a file with all safe mends.")
    ] = None,
) -> None:
    """Say what a consumer would refuse, or silently compute otherwise.

    The exit status is 1 if there is such a finding (after the mends, with `--fix`).

    Examples:

    - `kerasqnn check model.onnx`
    - `kerasqnn check model.onnx --target hls4ml --fix mended.onnx`
    """
    from ..qonnx import check_qonnx

    report = check_qonnx(file, target=target, **({} if fix is None else {"fix": fix}))
    typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)


def convert(
    file: _File,
    output: _Output,
    to: Annotated[str, typer.Option(help="Format: qonnx, qcdq or qop.")] = "qcdq",
    opset: Annotated[
        int | None, typer.Option(help="Standard opset [default: the file's].")
    ] = None,
    exact: Annotated[
        bool, typer.Option(help="Refuse what stock ONNX Runtime may round otherwise.")
    ] = True,
) -> None:
    """Write a quantized ONNX file in another format, with the same numbers.

    Examples:

    - `kerasqnn convert model.onnx model-qcdq.onnx --to qcdq`
    - `kerasqnn convert brevitas-qcdq.onnx model.onnx --to qonnx`
    """
    from ..qonnx import convert_qonnx

    convert_qonnx(file, to, path=output, opset=opset, exact=exact)
    typer.echo(f"{output}: written ({output.stat().st_size:,} bytes)")


def import_(
    file: _File,
    output: Annotated[Path, typer.Argument(help=".keras file to write.")],
) -> None:
    """Make a trainable Keras model with the same bits of a QONNX file.

    Examples:

    - `kerasqnn import brevitas.onnx model.keras`
    """
    if output.suffix != ".keras":
        raise ValueError(
            f"The model must be written to a .keras file. Received: {str(output)!r}"
        )
    from ..qonnx.importing import import_qonnx

    model = import_qonnx(file)
    temporary = output.with_name(f".{output.stem}.{_unique()}.keras")
    try:
        model.save(temporary)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    typer.echo(
        f"{output}: {len(model.layers)} layers, {model.count_params():,} weights"
    )


def cost(
    file: Annotated[Path, typer.Argument(help="QONNX file or Keras model.")],
    weights: _Weights = None,
) -> None:
    """Show bit operations, multiplications and memory.

    Of a Keras model all columns of `kerasqnn.summary`; of a QONNX file the totals of
    `qonnx.util.inference_cost` for one sample.

    Examples:

    - `kerasqnn cost model.onnx`
    - `kerasqnn cost model.keras`
    """
    if file.suffix in KERAS_SUFFIXES:
        from ..models import summary

        typer.echo(str(summary(load_keras_model(file, weights))))
        return
    from ..qonnx import inference_cost

    for name, value in inference_cost(file).items():
        typer.echo(f"{name:28}{value:>16,.10g}")


def view(file: _File) -> None:
    """Open a file in netron, which must be installed: `pip install netron`.

    Examples:

    - `kerasqnn view model.onnx`
    """
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {str(file)!r}.")
    try:
        import netron
    except ImportError as error:
        raise ImportError(
            "netron is not installed. Install it with: pip install netron"
        ) from error
    netron.start(str(file))


def _arrays(path: Path) -> Any:
    """Load one array, or a dictionary of arrays by name."""
    import numpy as np

    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"Inputs must be a .npy or .npz file. Received: {str(path)!r}")
    loaded = np.load(path, allow_pickle=False)
    return dict(loaded) if path.suffix == ".npz" else loaded


def _save(path: Path, arrays: dict[str, Any]) -> None:
    """Write the results by way of a temporary file."""
    import numpy as np

    if path.suffix not in (".npy", ".npz") or (
        path.suffix == ".npy" and len(arrays) > 1
    ):
        raise ValueError(
            "Results must go to a .npy file, or a .npz file for several outputs. "
            f"Received: {str(path)!r} for {len(arrays)} outputs"
        )
    temporary = path.with_name(f".{path.stem}.{_unique()}{path.suffix}")
    try:
        if path.suffix == ".npz":
            np.savez(temporary, **arrays)
        else:
            np.save(temporary, next(iter(arrays.values())))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _unique() -> str:
    import uuid

    return uuid.uuid4().hex[:8]
