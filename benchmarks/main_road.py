"""The main road: training and inference, export, and running the exported file.

Every time is that of one call: a training or inference step of 64 samples, one export,
one run of a file. The contenders of a table take turns within one process. "CPU ms" is
the CPU time of the whole process (all threads), "wall ms" the time on the clock; both
are medians over the rounds, ratios are medians of the ratios within a round.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
from _timing import (
    Table,
    arguments,
    environment,
    measure,
    print_environment,
    write_json,
)

import kerasqnn
from kerasqnn import layers as qnn
from kerasqnn.export import QONNXSession
from kerasqnn.noise import Additive

WEIGHT, ACTIVATION = "quantized_bits(4,0,1,alpha=1)", "quantized_relu(4,2)"
SHAPES = {"MLP": (16,), "CNN": (32, 32, 3)}
DESCRIPTIONS = {
    "MLP": "MLP 16-64-32-32-5",
    "CNN": "CNN conv16-pool-conv32-pool-dense64-dense10 on 32x32x3",
}
CLASSES = {"MLP": 5, "CNN": 10}
BATCH = 64
KERAS, QKERAS = "Keras", "qkeras-v3"


# -- the models ------------------------------------------------------------------------


def network(kind: str, conv: Callable, dense: Callable, *first: Any) -> keras.Model:
    """One of the two networks; `conv(n, relu)` and `dense(n, relu)` return layers."""
    if kind == "MLP":
        hidden = [layer for n in (64, 32, 32) for layer in dense(n, True)]
    else:
        hidden = []
        for filters in (16, 32):
            hidden += [*conv(filters, True), keras.layers.MaxPooling2D()]
        hidden += [keras.layers.Flatten(), *dense(64, True)]
    model = keras.Sequential(
        [keras.Input(SHAPES[kind]), *first, *hidden, *dense(CLASSES[kind], False)]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def float_twin(kind: str) -> keras.Model:
    def activation(relu: bool) -> dict[str, Any]:
        return {"activation": "relu" if relu else None}

    return network(
        kind,
        lambda n, relu: [keras.layers.Conv2D(n, 3, padding="same", **activation(relu))],
        lambda n, relu: [keras.layers.Dense(n, **activation(relu))],
    )


def quantized(kind: str, noise: Any = None, *first: Any) -> keras.Model:
    """The kerasqnn network; with noise points if `noise` is given."""
    conv, dense = qnn.QuantConv2D, qnn.QuantDense
    extra = {"kernel_quantizer": WEIGHT, "bias_quantizer": WEIGHT}
    if noise is not None:
        conv, dense = qnn.NoisyQuantConv2D, qnn.NoisyQuantDense
        extra["noise"] = noise

    def activation(relu: bool) -> dict[str, Any]:
        return {"activation": ACTIVATION if relu else None}

    return network(
        kind,
        lambda n, relu: [conv(n, 3, padding="same", **activation(relu), **extra)],
        lambda n, relu: [dense(n, **activation(relu), **extra)],
        *first,
    )


def qkeras_network(kind: str) -> keras.Model:
    import qkeras

    def weights() -> dict[str, Any]:
        # alpha=None would become "auto_po2", another quantizer.
        return {
            name: qkeras.quantized_bits(4, 0, 1, alpha=1.0)
            for name in ("kernel_quantizer", "bias_quantizer")
        }

    def activation(relu: bool) -> list[Any]:
        return [qkeras.QActivation(qkeras.quantized_relu(4, 2))] if relu else []

    return network(
        kind,
        lambda n, relu: [
            qkeras.QConv2D(n, (3, 3), padding="same", **weights()),
            *activation(relu),
        ],
        lambda n, relu: [qkeras.QDense(n, **weights()), *activation(relu)],
    )


def contenders(kind: str) -> dict[str, keras.Model]:
    """All models of a kind, with the same weights."""
    models = {
        KERAS: float_twin(kind),
        "kerasqnn": quantized(kind),
        "kerasqnn, noise points off": quantized(kind, Additive(0.0, when="always")),
        "kerasqnn, noise points on": quantized(kind, Additive(0.1, when="always")),
    }
    try:
        models[QKERAS] = qkeras_network(kind)
    except ImportError as error:
        print(f"\n{QKERAS} is left out: {error}")
    for model in models.values():
        for own, given in zip(
            model.trainable_variables, models[KERAS].trainable_variables, strict=True
        ):
            own.assign(given)
    return models


def data(kind: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, *SHAPES[kind])).astype(np.float32)
    return x, rng.integers(0, CLASSES[kind], samples)


# -- the tables ------------------------------------------------------------------------


def steps(kind: str, quick: bool) -> list[Table]:
    """Training and inference steps, by the function of `fit` and `predict_on_batch`."""
    import tensorflow as tf

    models = contenders(kind)
    x, y = data(kind, BATCH)
    outputs = {name: model.predict(x, verbose=0) for name, model in models.items()}
    calls = {"MLP": 200, "CNN": 10}[kind] // (4 if quick else 1)
    rounds = 3 if quick else 5
    batches = tf.data.Dataset.from_tensors((x, y)).repeat()
    training, inference = {}, {}
    for name, model in models.items():
        model.fit(batches, steps_per_epoch=2, shuffle=False, verbose=0)
        training[name] = partial(model.train_function, iter(batches))
        inference[name] = partial(model.predict_on_batch, x)
    text = f"{DESCRIPTIONS[kind]}, batch {BATCH}"
    tables = [
        Table(
            f"{step} step: {text}",
            measure(functions, calls=calls, rounds=rounds),
            (KERAS, QKERAS),
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


def exportable(kind: str) -> keras.Model:
    """The network behind an input grid, without which a float input is not exact."""
    return quantized(kind, None, qnn.QuantInput("quantized_bits(8,3)"))


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
    import tensorflow as tf
    import tf2onnx

    path, twin = folder / f"{kind}.onnx", float_twin(kind)
    model = exportable(kind)
    kerasqnn.export_qonnx(model, path)
    proto, _ = tf2onnx.convert.from_function(
        tf.function(lambda x: twin(x)),
        input_signature=[tf.TensorSpec((None, *SHAPES[kind]), tf.float32)],
        opset=17,
    )
    float_session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = float_session.get_inputs()[0].name
    session = QONNXSession(path)
    x, _ = data(kind, samples)
    reference = qonnx_executor(path, x)
    functions = {
        "ONNX Runtime, float twin": lambda: float_session.run(None, {feed: x}),
        "QONNXSession.run": lambda: session.run(x),
        "run_qonnx": lambda: kerasqnn.run_qonnx(path, x),
        "qonnx executor": reference,
    }
    expected = model.predict(x, verbose=0)
    for name in ("QONNXSession.run", "run_qonnx", "qonnx executor"):
        if not np.array_equal(functions[name](), expected):
            raise SystemExit(f"{name} and model.predict differ: {kind}, {samples}")
    slow = kind == "CNN" and samples > 1
    calls = 1 if slow else 20
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
    print("# The main road\n")
    print(__doc__.partition("\n\n")[2])
    print_environment(described)
    tables: list[Table] = []

    def show(*made: Table) -> None:
        for table in made:
            print(table.to_markdown(), flush=True)
        tables.extend(made)

    keras.utils.set_random_seed(0)
    for kind in SHAPES:
        show(*steps(kind, options.quick))
    with tempfile.TemporaryDirectory() as folder:
        for kind in SHAPES:
            show(export(kind, options.quick, Path(folder)))
        for kind in SHAPES:
            for samples in (1, 1000):
                show(running(kind, samples, options.quick, Path(folder)))
    if options.json is not None:
        write_json(options.json, described, tables)


if __name__ == "__main__":
    main()
