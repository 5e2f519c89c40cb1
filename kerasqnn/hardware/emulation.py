"""Compiling the project's C++ with g++ and running it: the hardware's bits."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import CompilationError, ToolNotFoundError
from .project import PROJECT

# One translation unit, so that the large headers are read once. The weights are read
# from text files beside the library, wherever that is, so that the folder can be moved.
_SOURCE = """\
// Emulation of the accelerator for a whole batch. Written by kerasqnn.
#include <cstddef>
#include <dlfcn.h>
#include <string>

static std::string weights_directory() {{
    Dl_info info;
    dladdr(reinterpret_cast<void *>(&weights_directory), &info);
    const std::string library(info.dli_fname);
    return library.substr(0, library.rfind('/')) + "/weights";
}}
#define WEIGHTS_DIR weights_directory()

#include "firmware/{project}.cpp"
{wrapper}#include "{project}_bridge.cpp"

extern "C" void kerasqnn_emulate(std::size_t samples, {parameters}) {{
    for (std::size_t i = 0; i < samples; i++) {{
        {project}_double({arguments});
    }}
}}
"""
_FLAGS = ("-O2", "-fPIC", "-shared", "-std=c++14", "-fno-gnu-unique", "-w")
_COMPILE_TIMEOUT_S = 1800


def find_compiler() -> str:
    """Return the path of g++.

    Raises:
        ToolNotFoundError: If it is not installed.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise ToolNotFoundError(
            "The emulation needs the C++ compiler g++, which is not on PATH. Install "
            "it, for instance with `apt-get install g++`."
        )
    return compiler


def compile_project(
    folder: Path, sizes_in: Sequence[int], sizes_out: Sequence[int]
) -> Path:
    """Compile the emulation library of a written project.

    Args:
        folder: The project.
        sizes_in: Numbers a sample of each input.
        sizes_out: Numbers a sample of each output.

    Returns:
        The library, under `firmware/`.

    Raises:
        ToolNotFoundError: If g++ is missing.
        CompilationError: With g++'s messages, if it fails.
    """
    compiler = find_compiler()
    source = folder / "emulation.cpp"
    source.write_text(_source(folder, sizes_in, sizes_out))
    # The name holds the time stamp of the build: the dynamic loader returns an old
    # library for a name that it knows.
    stamp = hashlib.sha256(f"{folder}{source.stat().st_mtime_ns}".encode()).hexdigest()
    library = folder / "firmware" / f"emulation-{stamp[:12]}.so"
    command = [compiler, *_FLAGS, "-Ifirmware/ap_types", "-I.", "-Ifirmware",
               source.name, "-o", str(library.relative_to(folder))]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CompilationError(
            f"g++ took longer than {_COMPILE_TIMEOUT_S} s. Use a higher reuse_factor "
            "or smaller layers."
        ) from None
    if done.returncode or not library.is_file():
        message = "\n".join(done.stderr.strip().splitlines()[:40])
        raise CompilationError(
            f"g++ failed with exit status {done.returncode}:\n{message}\n"
            f"Command: {' '.join(command)}"
        )
    return library


def _source(folder: Path, sizes_in: Sequence[int], sizes_out: Sequence[int]) -> str:
    names = [f"in{i}" for i in range(len(sizes_in))]
    outputs = [f"out{i}" for i in range(len(sizes_out))]
    sizes = [*sizes_in, *sizes_out]
    arguments = [f"{n} + i * {s}" for n, s in zip(names + outputs, sizes, strict=True)]
    wrapped = (folder / "firmware" / f"{PROJECT}_axi.cpp").is_file()
    return _SOURCE.format(
        project=PROJECT,
        wrapper=f'#include "firmware/{PROJECT}_axi.cpp"\n' if wrapped else "",
        parameters=", ".join(f"double *{n}" for n in names + outputs),
        arguments=", ".join(arguments),
    )


def count_numbers(file: Path) -> int:
    """Return how many numbers a weight file holds."""
    return len(file.read_text().split(","))


def check_files(library: Path, weights: Mapping[Path, int]) -> None:
    """Check that all parts of an emulation are there.

    The compiled reader of the weights ends the process where a file is missing, and
    writes beyond its array where one holds too many numbers.

    Args:
        library: The library.
        weights: How many numbers each weight file must hold.

    Raises:
        FileNotFoundError: If one is missing.
        ValueError: If one is damaged.
    """
    for file in (library, *weights):
        if not file.is_file():
            raise FileNotFoundError(
                f"{str(file)!r}, a part of the emulation, is missing. Deploy again."
            )
    for file, count in weights.items():
        if count_numbers(file) != count:
            raise ValueError(
                f"{str(file)!r} is damaged: it must hold {count} numbers. "
                f"Received: {count_numbers(file)}. Deploy again."
            )


class Emulator:
    """A compiled emulation library.

    Args:
        library: The library.
        shapes_in: Shape a sample of each input.
        shapes_out: Shape a sample of each output.

    Raises:
        ValueError: If the file is no such library.
    """

    def __init__(
        self,
        library: Path,
        shapes_in: Sequence[tuple[int, ...]],
        shapes_out: Sequence[tuple[int, ...]],
    ) -> None:
        try:
            self._function = ctypes.CDLL(str(library)).kerasqnn_emulate
        except (OSError, AttributeError) as error:
            raise ValueError(
                f"The emulation library is damaged ({error}). Deploy again."
            ) from error
        self._function.restype = None
        pointer = np.ctypeslib.ndpointer(np.float64, flags="C_CONTIGUOUS")
        count = len(shapes_in) + len(shapes_out)
        self._function.argtypes = [ctypes.c_size_t, *[pointer] * count]
        self._shapes_out = tuple(shapes_out)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the hardware's arithmetic on quantized inputs.

        Args:
            inputs: One array an input, batch first, already on the input's grid.

        Returns:
            One float64 array an output, exact.
        """
        samples = len(inputs[0])
        arrays = [np.ascontiguousarray(x, np.float64) for x in inputs]
        outputs = [np.zeros((samples, *s), np.float64) for s in self._shapes_out]
        if samples:
            self._function(samples, *arrays, *outputs)
        return outputs
