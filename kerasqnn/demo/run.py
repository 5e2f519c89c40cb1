"""The steps of the demonstration."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from .. import data
from .._version import __version__
from ..errors import VerificationError, unknown_name
from ..export import export_qonnx, run_qonnx, run_reference
from ..hardware import deploy
from ..models import noise_points
from ..walking import walk_noise
from .networks import digits_mlp, fashion_mnist_cnn
from .report import write_report

_BOARDS = ("arty-a7-100t", "pynq-z2")
_MARK = ".kerasqnn-demo"


@dataclass(frozen=True)
class _Task:
    build: Callable[[float], keras.Model]
    epochs: int
    batch_size: int
    walked_samples: int


_TASKS = {
    "digits": _Task(digits_mlp, 60, 32, 450),
    "fashion-mnist": _Task(fashion_mnist_cnn, 4, 128, 1000),
}


def run_demo(
    dataset: str = "digits",
    output: str | Path = "kerasqnn-demo",
    *,
    noise: float = 0.1,
    epochs: int | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train, walk noise, export, deploy and verify; leave a folder with everything.

    Args:
        dataset: `"digits"` (bundled with scikit-learn) or `"fashion-mnist"`.
        output: Folder for the results; an earlier demonstration in it is replaced.
        noise: Standard deviation of the training noise.
        epochs: Training epochs; None is the data set's default.
        seed: Seed of everything.
        console: Where progress is printed.

    Returns:
        What `report.json` holds.

    Raises:
        ValueError: If the data set is unknown.
        FileExistsError: If `output` exists and holds something else.
        VerificationError: If any two evaluations of the model differ.
    """
    console = console or Console()
    if dataset not in _TASKS:
        raise ValueError(unknown_name("data set", dataset, _TASKS))
    task, started = _TASKS[dataset], time.perf_counter()
    target = _check_output(Path(output))
    keras.utils.set_random_seed(seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        (working / _MARK).touch()
        report = _Demo(dataset, task, working, console).run(
            noise, task.epochs if epochs is None else epochs, seed
        )
        report["seconds"]["total"] = round(time.perf_counter() - started, 1)
        write_report(working, report)
        working.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        working.rename(target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    console.print(
        f"\n[bold green]Done[/] in {report['seconds']['total']:.0f} s: open "
        f"[bold]{target / 'report.html'}[/]"
    )
    return report


def _check_output(path: Path) -> Path:
    target = path.absolute()
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"`output` is a file. Received: output={str(path)!r}")
    if target.is_dir() and any(target.iterdir()) and not (target / _MARK).exists():
        raise FileExistsError(
            "`output` exists and holds no earlier demonstration, so it is not touched. "
            f"Give another folder. Received: output={str(path)!r}"
        )
    return target


class _Demo:
    def __init__(
        self, dataset: str, task: _Task, folder: Path, console: Console
    ) -> None:
        self.name, self.task, self.folder, self.console = dataset, task, folder, console
        self.seconds: dict[str, float] = {}
        self._title, self._since = "", 0.0

    def _step(self, title: str) -> None:
        now = time.perf_counter()
        if self._title:
            self.seconds[self._title] = round(now - self._since, 1)
        self._title, self._since = title, now
        if title:
            self.console.rule(f"[bold]{title}", align="left")

    def run(self, noise: float, epochs: int, seed: int) -> dict[str, Any]:
        self._step("Data")
        loaded = data.load(self.name)
        self.console.print(
            f"{loaded.name}: {len(loaded.x_train)} training and {len(loaded.x_test)} "
            f"test samples of shape {loaded.x_train.shape[1:]}, from {loaded.source}"
        )
        self._step("Training")
        model = self._train(loaded, noise, epochs)
        accuracy = self._accuracies(model, loaded)
        self._step("Walking noise")
        walk = self._walk(model, loaded, seed)
        self._step("QONNX")
        qonnx = self._export(model, loaded)
        deployments = [self._deploy(model, board, loaded) for board in _BOARDS]
        self._step("")
        return {
            "kerasqnn": __version__,
            "data": {
                "name": loaded.name,
                "source": loaded.source,
                "train": len(loaded.x_train),
                "test": len(loaded.x_test),
            },
            "training": {"epochs": epochs, "noise": noise, "seed": seed},
            "accuracy": accuracy,
            "walking_noise": walk,
            "qonnx": qonnx,
            "deployments": deployments,
            "seconds": self.seconds,
        }

    def _train(self, loaded: data.Dataset, noise: float, epochs: int) -> keras.Model:
        model = self.task.build(noise)
        model.compile(
            keras.optimizers.Adam(2e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(
            loaded.x_train,
            loaded.y_train,
            batch_size=self.task.batch_size,
            epochs=epochs,
            verbose="auto" if epochs <= 10 else 0,
            callbacks=[_EpochBar(self.console, epochs)] if epochs > 10 else [],
        )
        model.save(self.folder / "model.keras")
        return model

    def _accuracies(self, model: keras.Model, loaded: data.Dataset) -> dict[str, float]:
        def measure() -> float:
            logits = model.predict(loaded.x_test, batch_size=1024, verbose=0)
            return float(np.mean(logits.argmax(axis=1) == loaded.y_test))

        points = noise_points(model)
        clean = measure()
        for point in points.values():
            point.when = "always"
        noisy = measure()
        for point in points.values():
            point.when = "training"
        self.console.print(
            f"Test accuracy {clean:.4f} without noise, {noisy:.4f} with the training "
            f"noise on at all {len(points)} points"
        )
        return {"clean": clean, "noisy": noisy}

    def _walk(
        self, model: keras.Model, loaded: data.Dataset, seed: int
    ) -> dict[str, Any]:
        count = self.task.walked_samples
        result = walk_noise(
            model, loaded.x_test[:count], loaded.y_test[:count], seed=seed
        )
        self.console.print(str(result), highlight=False, soft_wrap=True)
        result.to_csv(self.folder / "walking_noise.csv")
        for name, plot in (
            ("accuracy_against_noise", result.plot),
            ("midpoints", result.plot_midpoints),
        ):
            figure: Any = plot().figure
            figure.savefig(self.folder / f"{name}.png", dpi=120, bbox_inches="tight")
        return result.to_dict()

    def _export(self, model: keras.Model, loaded: data.Dataset) -> dict[str, Any]:
        path = export_qonnx(model, self.folder / f"{self.name}.onnx")
        expected = model.predict(loaded.x_test, batch_size=1024, verbose=0)
        result: dict[str, Any] = {"file": path.name, "numbers": int(expected.size)}
        for tool, run in (("onnxruntime", run_qonnx), ("qonnx", run_reference)):
            mismatches = int(np.sum(run(path, loaded.x_test) != expected))
            result[tool] = mismatches
            self.console.print(
                f"{path.name} in {tool}: {mismatches} of {expected.size} numbers "
                "differ from Keras"
            )
            if mismatches:
                raise VerificationError(f"{tool} and Keras differ: {result}")
        return result

    def _deploy(
        self, model: keras.Model, board: str, loaded: data.Dataset
    ) -> dict[str, Any]:
        self._step(f"Deployment to {board}")
        deployment = deploy(model, board, self.folder / board)
        for note in deployment.notes:
            self.console.print(note)
        verification = deployment.verify(loaded.x_test)
        self.console.print(
            f"Emulation of {board} ({deployment.metadata['part']}): {verification}"
        )
        if not verification:
            raise VerificationError(f"Emulation of {board}: {verification}")
        return {
            **{k: v for k, v in deployment.report().items() if k != "model"},
            "folder": board,
            "verification": verification.to_dict(),
        }


class _EpochBar(keras.callbacks.Callback):
    """One progress bar for the whole training, for many short epochs."""

    def __init__(self, console: Console, epochs: int) -> None:
        super().__init__()
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("epoch"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
        )
        self._job = self._bar.add_task("", total=epochs, figures="")

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar.start()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = "  ".join(f"{k} {v:.4f}" for k, v in (logs or {}).items())
        self._bar.update(self._job, advance=1, figures=figures)

    def on_train_end(self, logs: Any = None) -> None:
        self._bar.stop()
