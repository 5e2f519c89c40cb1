"""The command line and the demonstration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from kerasqnn.demo import run_demo


def _kerasqnn(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kerasqnn.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_demo_leaves_everything_it_promises(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    done = _kerasqnn("demo", "--epochs", "12", "--output", str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in (
        "model.keras",
        "digits.onnx",
        "accuracy_against_noise.png",
        "midpoints.png",
        "walking_noise.csv",
        "report.html",
        "arty-a7-100t/build_prj.tcl",
        "arty-a7-100t/README.md",
        "pynq-z2/design.tcl",
        "pynq-z2/kerasqnn_driver.py",
        "pynq-z2/overlay.json",
    ):
        assert (folder / name).stat().st_size > 0, name
    report = json.loads((folder / "report.json").read_text())
    assert report["qonnx"]["onnxruntime"] == report["qonnx"]["qonnx"] == 0
    assert [d["board"] for d in report["deployments"]] == ["arty-a7-100t", "pynq-z2"]
    for deployment in report["deployments"]:
        assert deployment["verification"]["mismatches"] == 0
        assert deployment["verification"]["samples"] == report["data"]["test"] == 450
    assert report["accuracy"]["clean"] > 0.8
    points = report["walking_noise"]["curves"]
    assert [p["kind"] for p in points] == ["input", "dense", "activation", "logits"]
    assert not list(tmp_path.glob(".results*")), "temporary folders are left"


def test_demo_replaces_only_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not touched"):
        run_demo("digits", tmp_path, console=Console(quiet=True))
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    with pytest.raises(ValueError, match="fashion-mnist"):
        run_demo("fashion-mist", tmp_path / "new", console=Console(quiet=True))
    assert not (tmp_path / "new").exists()


def test_refusal_is_one_message(tmp_path: Path) -> None:
    done = _kerasqnn("demo", "--data", "digit", cwd=tmp_path)
    assert done.returncode == 1
    assert "Did you mean 'digits'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_boards_and_version_and_help(tmp_path: Path) -> None:
    boards = _kerasqnn("boards", cwd=tmp_path)
    assert boards.returncode == 0 and "xc7a100tcsg324-1" in boards.stdout
    assert "xc7z020clg400-1" in boards.stdout
    assert _kerasqnn("--version", cwd=tmp_path).stdout.strip() == "0.1.0"
    assert "demo" in _kerasqnn("--help", cwd=tmp_path).stdout
