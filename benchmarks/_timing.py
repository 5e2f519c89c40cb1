"""Interleaved timing of contenders, and tables of the results."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

# Behind the installed packages: benchmarks/qonnx.py is not the package qonnx.
sys.path.append(sys.path.pop(0))

import kerasqnn  # noqa: E402

_PACKAGES = (
    "keras tensorflow qkeras-v3 HGQ2 onnx onnxruntime qonnx tf2onnx numpy"
).split()


@dataclass
class Timing:
    """Milliseconds a call of one contender, one number a round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def ratio(self, peer: Timing) -> float:
        """Median over the rounds of CPU time over the peer's in the same round."""
        return statistics.median(
            own / other for own, other in zip(self.cpu, peer.cpu, strict=True)
        )


def measure(
    contenders: Mapping[str, Callable[[], Any]], *, calls: int, rounds: int
) -> dict[str, Timing]:
    """Time the contenders in turn, A B C A B C, so that drift hits all alike.

    Args:
        contenders: Name -> function of no arguments.
        calls: Calls a contender in one round.
        rounds: Rounds that count; one more runs before them to warm up.
    """
    timings = {name: Timing() for name in contenders}
    for turn in range(rounds + 1):
        for name, call in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                call()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if turn:
                timings[name].cpu.append(1e3 * cpu / calls)
                timings[name].wall.append(1e3 * wall / calls)
    return timings


@dataclass
class Table:
    """The timings of one group of contenders, with ratios against named peers."""

    title: str
    timings: dict[str, Timing]
    peers: Sequence[str]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything measured, as plain Python values."""
        rows = [
            {
                "name": name,
                "cpu_ms": statistics.median(timing.cpu),
                "wall_ms": statistics.median(timing.wall),
                "cpu_ms_rounds": timing.cpu,
                "wall_ms_rounds": timing.wall,
                "cpu_ratio": {
                    peer: timing.ratio(self.timings[peer])
                    for peer in self.peers
                    if peer in self.timings
                },
            }
            for name, timing in self.timings.items()
        ]
        return {"title": self.title, "rows": rows, "notes": self.notes}

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        content = self.to_dict()
        peers = [p for p in self.peers if p in self.timings]
        header = ["", "CPU ms", "wall ms", *(f"CPU x {peer}" for peer in peers)]
        rows = [
            [
                row["name"],
                _number(row["cpu_ms"]),
                _number(row["wall_ms"]),
                *(_number(row["cpu_ratio"][peer]) for peer in peers),
            ]
            for row in content["rows"]
        ]
        widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
        rule = ["-" * widths[0], *(f"{'-' * (w - 1)}:" for w in widths[1:])]
        lines = [
            "| "
            + " | ".join(_pad(cell, widths[i], i) for i, cell in enumerate(row))
            + " |"
            for row in [header, rule, *rows]
        ]
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([f"\n### {self.title}\n", *lines, *notes])


def environment() -> dict[str, Any]:
    """Return versions, processor and command of this run."""
    versions = {"kerasqnn": kerasqnn.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "python": platform.python_version(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "command": " ".join(["python", *sys.argv]),
    }


def print_environment(described: dict[str, Any]) -> None:
    """Print what `environment` returned, as a Markdown list."""
    versions = ", ".join(f"{k} {v}" for k, v in described["versions"].items())
    print(f"- Command: `{described['command']}`")
    print(f"- Versions: Python {described['python']}, {versions}")
    print(f"- Processor: {described['processor']}, {described['cpus']} CPUs usable")
    if described["load_average"] is not None:
        print(f"- Load average at the start: {described['load_average']:.2f}")


def arguments(description: str) -> argparse.Namespace:
    """Read the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers")
    return parser.parse_args()


def write_json(path: Path, described: dict[str, Any], tables: list[Table]) -> None:
    """Write environment and tables."""
    content = {"environment": described, "tables": [t.to_dict() for t in tables]}
    path.write_text(json.dumps(content, indent=2) + "\n")


def _number(value: float) -> str:
    """Three significant digits, trailing zeros kept, no exponent."""
    decimals = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:,.{max(0, decimals)}f}"


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.partition(":")[2].strip() for x in lines if "model name" in x)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
