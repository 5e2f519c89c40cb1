"""Running the vendor's tools, and telling the owner of a board how to."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CompilationError, ToolNotFoundError
from .project import PROJECT

_HLS_2020 = "Vivado HLS 2019.2 to 2020.1"
_IP = f"{PROJECT}_prj/solution1/impl/**/*.zip"
_BLOCK_DESIGN = f"{PROJECT}_vivado_accelerator"


@dataclass(frozen=True)
class Step:
    """One command of the vendor's tools.

    Attributes:
        command: The command and its arguments, run in the project folder.
        versions: The tool's name and versions, for people.
        makes: Glob of what must exist afterwards.
    """

    command: tuple[str, ...]
    versions: str
    makes: str


_HLS_OPTIONS = "csim=0 cosim=0 validation=0 export=1"
_HLS = Step(("vivado_hls", "-f", "build_prj.tcl", _HLS_OPTIONS), _HLS_2020, _IP)

STEPS: dict[str, tuple[Step, ...]] = {
    "Vitis": (
        Step(
            ("vitis-run", "--mode", "hls", "--tcl", "build_prj.tcl"),
            "Vitis 2023.1 or later",
            _IP,
        ),
    ),
    "Vivado": (_HLS,),
    "VivadoAccelerator": (
        _HLS,
        Step(
            ("vivado", "-mode", "batch", "-source", "design.tcl"),
            "Vivado 2020.1, with the TUL Pynq-Z2 board files",
            f"{_BLOCK_DESIGN}/**/design_1_wrapper.bit",
        ),
    ),
}

_VITIS_OPTIONS = """\
array set opt {
    reset      0
    csim       0
    synth      1
    cosim      0
    validation 0
    export     1
    vsynth     0
    fifo_opt   0
}
"""


def prepare_scripts(folder: Path, metadata: dict[str, Any]) -> None:
    """Make the project's scripts do what `build` and the README promise."""
    if metadata["backend"] == "Vitis":
        # This script takes no arguments; its options are in a file.
        (folder / "build_opt.tcl").write_text(_VITIS_OPTIONS)
    (folder / "README.md").write_text(readme(metadata))


def build(folder: Path, backend: str, board: str) -> None:
    """Run the tools one after another, stopping at the first that leaves nothing.

    Raises:
        ToolNotFoundError: If a tool is not on PATH, before any is run.
        CompilationError: If a tool fails or does not leave its artefact.
    """
    for step in STEPS[backend]:
        if shutil.which(step.command[0]) is None:
            raise ToolNotFoundError(
                f"Building for {board} needs {step.command[0]} from {step.versions}, "
                "which is not on PATH. Install it, source its settings64.sh and run "
                f"again; the project is complete in {str(folder)!r}."
            )
    for step in STEPS[backend]:
        tool = step.command[0]
        log = folder / f"build_{tool.replace('-', '_')}.log"
        with log.open("w") as file:
            done = subprocess.run(
                step.command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        # The tools' exit statuses are not reliable; what they must make is.
        if done.returncode or not any(folder.glob(step.makes)):
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise CompilationError(
                f"{tool} ended with status {done.returncode}; {step.makes} must exist "
                f"then. The end of {str(log)!r}:\n{tail}"
            )
    if backend == "VivadoAccelerator":
        collect_overlay(folder)


def collect_overlay(folder: Path) -> None:
    """Copy bitstream and hardware description to the names that the driver loads."""
    for pattern, name in (
        (f"{_BLOCK_DESIGN}/**/design_1_wrapper.bit", "kerasqnn.bit"),
        (f"{_BLOCK_DESIGN}/**/design_1.hwh", "kerasqnn.hwh"),
    ):
        found = sorted(folder.glob(pattern))
        if not found:
            raise CompilationError(f"Vivado left no {pattern} in {str(folder)!r}.")
        shutil.copyfile(found[0], folder / name)


def readme(metadata: dict[str, Any]) -> str:
    """Return the project's README: what it is and how to build it."""
    steps = "\n".join(
        " ".join(f'"{p}"' if " " in p else p for p in step.command)
        + f"   # {step.versions}"
        for step in STEPS[metadata["backend"]]
    )
    notes = "\n".join(f"- {note}" for note in metadata["notes"]) or "- None."
    text = f"""\
# {metadata["model"]} on {metadata["board"]}

hls4ml project made by kerasqnn {metadata["versions"]["kerasqnn"]} for
{metadata["part"]} at {metadata["clock_mhz"]:g} MHz ({metadata["backend"]},
{metadata["io_type"]}). `kerasqnn.json` describes it, `model.keras` is the model.

Left out of the hardware:

{notes}

## Check

```python
import kerasqnn
deployment = kerasqnn.Deployment.load(".")
print(deployment.verify(x))   # x: your test inputs
```

## Build

With the vendor's tools on PATH, `deployment.build()` or, in this folder:

```
{steps}
```
"""
    if metadata["backend"] == "VivadoAccelerator":
        text += f"""\

Then copy to one folder on the board, and `import kerasqnn_driver` there:

| file | from |
|---|---|
| `kerasqnn.bit` | `design_1_wrapper.bit` under `{_BLOCK_DESIGN}/` |
| `kerasqnn.hwh` | `design_1.hwh` under `{_BLOCK_DESIGN}/` |
| `kerasqnn_driver.py`, `overlay.json` | this folder |

```python
from kerasqnn_driver import KerasqnnOverlay
with KerasqnnOverlay() as overlay:
    y = overlay.predict(x)
```
"""
    else:
        text += f"""\

The IP is then under `{PROJECT}_prj/solution1/impl/`. Block design, clocking and
firmware around it are up to you.
"""
    return text
