"""Feeds `QONNXSession` with changed models: a ValueError or a result, nothing else.

    python -m tests.fuzz.fuzz_qonnx --minutes 10

The models run in a process of their own, so that a crash, an endless run or too much
memory is seen; the file that caused it is kept in `--found`.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

MEMORY = 12 * 2**30
SECONDS = 20.0


def seeds() -> list[bytes]:
    """Return valid models, serialized."""
    from ..qonnx.fuzz_seeds import models

    return [model.SerializeToString() for model in models()]


def case(number: int, models: list[bytes]) -> bytes:
    """Return the changed model of a number, always the same."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    from .mutations import mutate_bytes, mutate_model

    rng = random.Random(number)
    data, other = rng.choice(models), rng.choice(models)
    if rng.random() < 0.25:
        return mutate_bytes(data, other, rng)
    try:
        return mutate_model(ModelProto.FromString(data), rng).SerializeToString()
    except (DecodeError, ValueError):  # text that cannot be written
        return mutate_bytes(data, other, rng)


def run_case(path: Path) -> None:
    """Load and run a file; pass over the errors that are allowed."""
    from kerasqnn import QONNXSession

    try:
        session = QONNXSession(path, threads=1)
        feeds = {i.name: _input(i) for i in session._session.get_inputs()}
        session.run(feeds)
    except (ValueError, FileNotFoundError):
        pass


def _input(given: object) -> np.ndarray:
    shape = [2 if not isinstance(d, int) else d for d in given.shape]
    dtype = {"double": np.float64, "int64": np.int64, "bool": np.bool_}.get(
        given.type[7:-1], np.float32
    )
    if np.prod([float(d) for d in shape]) > 2**20:
        raise ValueError("too large to try")
    return np.random.default_rng(0).normal(0, 4, shape).astype(dtype)


def child(first: int, count: int, folder: Path) -> int:
    """Run cases; the file that is being run lies in the folder."""
    warnings.simplefilter("ignore")
    import kerasqnn  # noqa: F401

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    models, path, failed = seeds(), folder / "case.onnx", False
    for number in range(first, first + count):
        path.write_bytes(case(number, models))
        start = time.perf_counter()
        (folder / "number").write_text(str(number))
        error = ""
        try:
            run_case(path)
        except Exception:  # whatever it is, it is no ValueError
            error = traceback.format_exc()
        if time.perf_counter() - start > SECONDS:
            error += f"{time.perf_counter() - start:.0f} s"
        if error:
            failed = True
            print(f"case {number}: {error[-2000:]}", file=sys.stderr)
            path.rename(folder / f"{number}.onnx")
    (folder / "number").write_text(str(first + count))
    return int(failed)


def fuzz(first: int, seconds: float, found: Path, count: int = 2000) -> int:
    """Run cases until the time is over, on past each that fails.

    Returns:
        The number of processes in which cases failed.
    """
    found.mkdir(parents=True, exist_ok=True)
    failed, number, end = 0, first, time.monotonic() + seconds
    while time.monotonic() < end:
        command = [sys.executable, "-X", "faulthandler", "-m", __spec__.name, "--child"]
        command += [str(number), "--count", str(count), "--found", str(found)]
        (found / "number").write_text(str(number))
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate(timeout=_patience(end))
            ended = False
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
            ended = time.monotonic() >= end
        reached = int((found / "number").read_text() or number)
        if process.returncode == 1:
            failed += 1
            print(errors)
        elif process.returncode and not ended:
            failed += 1
            (found / "case.onnx").rename(found / f"{reached}.onnx")
            print(f"case {reached}: exit {process.returncode}\n{errors[-3000:]}")
            reached += 1
        number = max(reached, number + 1)
    print(f"cases {first} to {number}, {failed} processes failed")
    return failed


def _patience(end: float) -> float:
    return max(end - time.monotonic(), 1) + SECONDS


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--count", type=int, default=2000, help="cases a process")
    parser.add_argument("--found", type=Path, default=Path("fuzz_found"))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        return child(options.child, options.count, options.found)
    return int(fuzz(options.first, 60 * options.minutes, options.found) > 0)


if __name__ == "__main__":
    sys.exit(main())
