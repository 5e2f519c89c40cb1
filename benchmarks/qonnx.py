"""QONNX: export, opening the exported file and running it.

Every time is that of one call: one export, one session, one run of a file, on one
thread (`run_qonnx` and export: as many as there are). The contenders of a table take
turns within one process. "CPU ms" is the CPU time of the whole process (all threads),
"wall ms" the time on the clock; both are medians over the rounds, ratios are medians of
the ratios within a round.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
from _networks import DESCRIPTIONS, SHAPES, data, float_twin, quantized
from _timing import (
    Table,
    arguments,
    environment,
    measure,
    print_environment,
    write_json,
)

import kerasqnn
from kerasqnn.export import QONNXSession
from kerasqnn.layers import QuantInput

# -- the tables ------------------------------------------------------------------------


def exportable(kind: str) -> keras.Model:
    """The network behind an input grid, without which a float input is not exact."""
    return quantized(kind, None, QuantInput("quantized_bits(8,3)"))


def export(kind: str, quick: bool, folder: Path) -> Table:
    """Writing the file, against tf2onnx on the float twin."""
    import tensorflow as tf
    import tf2onnx

    model, twin = exportable(kind), float_twin(kind)
    specification = [tf.TensorSpec((None, *SHAPES[kind]), tf.float32)]

    def peer() -> None:
        tf2onnx.convert.from_function(
            tf.function(lambda x: twin(x)),
            input_signature=specification,
            opset=17,
            output_path=str(folder / "twin.onnx"),
        )

    def export_qonnx(check: bool) -> Callable[[], Any]:
        return lambda: kerasqnn.export_qonnx(model, folder / "q.onnx", check=check)

    functions = {
        "tf2onnx, float twin": peer,
        "export_qonnx": export_qonnx(True),
        "export_qonnx, check=False": export_qonnx(False),
    }
    return Table(
        f"Export: {DESCRIPTIONS[kind]}",
        measure(functions, calls=1, rounds=3 if quick else 5),
        ["tf2onnx, float twin"],
    )


def running(kind: str, samples: int, quick: bool, folder: Path) -> Table:
    """Running the file, against qonnx's executor and the float twin's file."""
    path = folder / f"{kind}.onnx"
    model = exportable(kind)
    kerasqnn.export_qonnx(model, path)
    twin = float_session(float_file(kind))
    feed = twin.get_inputs()[0].name
    session = QONNXSession(path, threads=1)
    x, _ = data(kind, samples)
    reference = qonnx_executor(path, x)
    functions = {
        "ONNX Runtime, float twin": lambda: twin.run(None, {feed: x}),
        "QONNXSession.run": lambda: session.run(x),
        "run_qonnx": lambda: kerasqnn.run_qonnx(path, x),
        "qonnx executor": reference,
    }
    expected = model.predict(x, verbose=0)
    for name in ("QONNXSession.run", "run_qonnx", "qonnx executor"):
        if not np.array_equal(functions[name](), expected):
            raise SystemExit(f"{name} and model.predict differ: {kind}, {samples}")
    slow = kind == "CNN" and samples > 1
    calls = 1 if slow else 50
    table = Table(
        f"Running the file: {DESCRIPTIONS[kind]}, batch {samples:,}",
        measure(functions, calls=calls, rounds=3 if quick or slow else 5),
        ["ONNX Runtime, float twin", "qonnx executor"],
    )
    table.notes.append(
        "All but the float twin gave the bits of `model.predict`. The qonnx executor "
        "keeps its loaded model; `run_qonnx` its session."
    )
    return table


def opening(kind: str, quick: bool, folder: Path) -> Table:
    """Opening the file, rewrites and proofs included, against the float twin's."""
    path = folder / f"{kind}.onnx"
    kerasqnn.export_qonnx(exportable(kind), path)
    twin = float_file(kind)
    functions = {
        "ONNX Runtime, float twin": lambda: float_session(twin),
        "QONNXSession": lambda: QONNXSession(path),
    }
    return Table(
        f"Opening the file: {DESCRIPTIONS[kind]}",
        measure(functions, calls=1, rounds=3 if quick else 5),
        ["ONNX Runtime, float twin"],
    )


def float_file(kind: str) -> bytes:
    """The float twin as tf2onnx writes it."""
    import tensorflow as tf
    import tf2onnx

    twin = float_twin(kind)
    proto, _ = tf2onnx.convert.from_function(
        tf.function(lambda x: twin(x)),
        input_signature=[tf.TensorSpec((None, *SHAPES[kind]), tf.float32)],
        opset=17,
    )
    return proto.SerializeToString()


def float_session(file: bytes) -> onnxruntime.InferenceSession:
    """Stock ONNX Runtime at its defaults, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        file, options, providers=["CPUExecutionProvider"]
    )


def qonnx_executor(path: Path, x: np.ndarray) -> Callable[[], Any]:
    """The reference executor with everything loaded and prepared beforehand."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(str(path))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = len(x)
    model = model.transform(InferShapes())
    source, target = model.graph.input[0].name, model.graph.output[0].name
    return lambda: execute_onnx(model, {source: x})[target]


def main() -> None:
    options = arguments(__doc__.partition("\n")[0])
    described = environment()
    print("# QONNX\n")
    print(__doc__.partition("\n\n")[2])
    print_environment(described)
    tables: list[Table] = []

    def show(*made: Table) -> None:
        for table in made:
            print(table.to_markdown(), flush=True)
        tables.extend(made)

    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        for kind in SHAPES:
            show(export(kind, options.quick, Path(folder)))
        for kind in SHAPES:
            show(opening(kind, options.quick, Path(folder)))
        for kind in SHAPES:
            for samples in (1, 1000):
                show(running(kind, samples, options.quick, Path(folder)))
    if options.json is not None:
        write_json(options.json, described, tables)


if __name__ == "__main__":
    main()
