"""The layers: training and inference steps, the first step, memory.

Every time is that of one step of 64 samples. In the tables of steps the contenders take
turns within one process. "CPU ms" is the CPU time of the whole process (all threads),
"wall ms" the time on the clock; both are medians over the rounds, ratios are medians of
the ratios within a round. First step and memory are those of a process of its own,
without the imports: building, tracing and one training step; the growth of the largest
resident size through 20 steps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _networks import (
    BATCH,
    DESCRIPTIONS,
    HGQ,
    KERAS,
    MAKERS,
    QKERAS,
    SHAPES,
    available,
    contenders,
    data,
)
from _timing import (
    Table,
    Timing,
    arguments,
    environment,
    measure,
    print_environment,
    write_json,
)

PEERS = (KERAS, QKERAS, HGQ)


def steps(kind: str, quick: bool) -> list[Table]:
    """Training and inference steps, by the function of `fit` and `predict_on_batch`."""
    import tensorflow as tf

    models = contenders(kind)
    x, y = data(kind, BATCH)
    outputs = {name: model.predict(x, verbose=0) for name, model in models.items()}
    calls = {"MLP": 200, "CNN": 10}[kind] // (4 if quick else 1)
    batches = tf.data.Dataset.from_tensors((x, y)).repeat()
    training, inference = {}, {}
    for name, model in models.items():
        model.fit(batches, steps_per_epoch=2, shuffle=False, verbose=0)
        training[name] = partial(model.train_function, iter(batches))
        inference[name] = partial(model.predict_on_batch, x)
    tables = [
        Table(
            f"{step} step: {DESCRIPTIONS[kind]}, batch {BATCH}",
            measure(functions, calls=calls, rounds=3 if quick else 5),
            PEERS,
        )
        for step, functions in (("Training", training), ("Inference", inference))
    ]
    if QKERAS in outputs:
        difference = np.max(np.abs(outputs["kerasqnn"] - outputs[QKERAS]))
        tables[0].notes.append(
            f"With equal weights the outputs of kerasqnn and {QKERAS} differ by at "
            f"most {difference:.2g}."
        )
    return tables


def first_step(name: str, kind: str) -> dict[str, float]:
    """Build and train a network in this process; return milliseconds and MiB."""
    x, y = data(kind, BATCH)
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])  # backend start-up
    before = _peak_memory()
    cpu, wall = time.process_time(), time.perf_counter()
    model = MAKERS[name](kind)
    model.train_on_batch(x, y)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    for _ in range(19):
        model.train_on_batch(x, y)
    memory = _peak_memory() - before
    return {"cpu": 1e3 * cpu, "wall": 1e3 * wall, "memory": memory}


def _peak_memory() -> float:
    # Not getrusage: a child begins with its parent's peak.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def first_steps(kind: str, quick: bool) -> Table:
    """First step and memory of each contender, in fresh processes by turns."""
    timings = {name: Timing() for name in available() if "points on" not in name}
    memory: dict[str, list[float]] = {name: [] for name in timings}
    for _ in range(1 if quick else 5):
        for name, timing in timings.items():
            got = _in_fresh_process(name, kind)
            timing.cpu.append(got["cpu"])
            timing.wall.append(got["wall"])
            memory[name].append(got["memory"])
    peer = median(memory[KERAS])
    notes = [
        f"Memory, {name}: {median(grown):.0f} MiB, {median(grown) / peer:.2f} x {KERAS}"
        for name, grown in memory.items()
    ]
    return Table(
        f"First step: {DESCRIPTIONS[kind]}, batch {BATCH}", timings, PEERS, notes
    )


def _in_fresh_process(name: str, kind: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--first-step", name, kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: Sequence[str]) -> None:
    if argv[:1] == ["--first-step"]:
        print(json.dumps(first_step(*argv[1:])))
        return
    options = arguments(__doc__.partition("\n")[0])
    described = environment()
    print("# The layers\n")
    print(__doc__.partition("\n\n")[2])
    print_environment(described)
    missing = [name for name in MAKERS if name not in available()]
    if missing:
        print(f"- Left out, because not installed: {', '.join(missing)}")
    tables: list[Table] = []
    keras.utils.set_random_seed(0)
    for kind in SHAPES:
        for table in (*steps(kind, options.quick), first_steps(kind, options.quick)):
            print(table.to_markdown(), flush=True)
            tables.append(table)
    if options.json is not None:
        write_json(options.json, described, tables)


if __name__ == "__main__":
    main(sys.argv[1:])
