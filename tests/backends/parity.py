"""Every layer with every quantizer on every backend; docs/parity.md comes from here.

    python -m tests.backends.parity

writes the table; it needs the extra `backends` (JAX and torch).
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "parity.md"
REFERENCE, *OTHERS = ("tensorflow", "jax", "torch")
WEIGHTS = {
    "FixedPoint": "quantized_bits(4,0,1)",
    "Binary": "binary",
    "Ternary": "ternary",
    "PowerOfTwo": "quantized_po2(4)",
    "auto_po2": "quantized_bits(4,0,1,alpha='auto_po2')",
    "auto": "quantized_bits(4,0,1,alpha='auto')",
    "LearnedStepSize": "LearnedStepSize(bits=4)",
    "LearnedBits": "LearnedBits()",
    "stochastic": "stochastic_ternary",
    "linear": "quantized_linear(4,0,1)",
    "Heterogeneous": "HeterogeneousFixedPoint(1, 2)",
    "Affine": "Affine(4, 0.125, 8)",
    "Heaviside": "Heaviside()",
    "AutoBinary": "binary(alpha='auto_po2')",
    "AutoTernary": "ternary(alpha='auto_po2')",
    "StochasticRounding": "quantized_bits(4,0,1,use_stochastic_rounding=True)",
    "LSQPlus": "LSQPlus(bits=4)",
    "Gradual": "Gradual('LearnedStepSize(4)')",
}
ACTIVATIONS = {
    "fixed": "quantized_bits(6,2)",
    "relu": "quantized_relu(4,2)",
    "leaky relu": "quantized_relu(4,2,negative_slope=0.25)",
    "tanh": "quantized_tanh(4)",
    "sigmoid": "quantized_sigmoid(4)",
    "hswish": "quantized_hswish(6,2)",
    "relu_po2": "quantized_relu_po2(4)",
    "PACT": "PACT(bits=4)",
    "sign": "binary",
    "affine": "Affine(4, 0.25, 4)",
    "heterogeneous": "HeterogeneousFixedPoint(2, 2)",
    "sigmoid relu": "quantized_relu(4,use_sigmoid=1)",
    "table": "TableFunction('tanh', input='FixedPoint(6, 2)', output='FixedPoint(5)')",
    "softmax": "QuantizedSoftmax(4)",
    "learned step": "LearnedStepSize(bits=4)",
    "learned offset": "LSQPlus(bits=4)",
    "learned bits": "LearnedBits(2, 1)",
}
WHY = """## Where bits differ, and why

- `auto`, `LearnedStepSize`, `LSQPlus` and `Gradual` (of a `LearnedStepSize`) have steps
  that are no powers of two here. The quantized weights have the same bits everywhere,
  but float32 does not hold the sums of their products, which each library adds up in an
  order of its own. With `power_of_two=True`, or `auto_po2`, the sums are exact.
- Averages over a number of values that is no power of two are rounded sums, too.
- The recurrent layers compute `sigmoid` and `tanh`, and the attention layers `softmax`,
  whose last bits differ from library to library. Where a quantizer follows, a value at
  a border may fall on the other side: then the difference is a step.
- On JAX the loop over time steps cannot assign variables: what starts from the first
  batch, or draws, is refused there for states and activations of a recurrent layer.
"""
# What a training step was run with; the layers' contract trains the rest on TensorFlow.
TRAINED = (
    *("FixedPoint", "LearnedStepSize", "LearnedBits", "LSQPlus"),
    *("relu", "PACT", "learned step", "learned offset", "learned bits"),
)


# -- on one backend --------------------------------------------------------------------


def pairs() -> list[tuple[str, str]]:
    """Names of the layers and quantizers that go together."""
    found = []
    for name, cls in _classes().items():
        for quantizer in WEIGHTS:
            if _arguments(cls):
                found.append((name, quantizer))
        for quantizer in ACTIVATIONS:
            if _activation_argument(cls):
                found.append((name, quantizer))
    return found


def _classes() -> dict[str, type]:
    from ..layers.cases import CASES

    classes = {case.cls for case in CASES.values()}
    names = {cls.__name__: cls for cls in classes if not cls.__name__.endswith("Cell")}
    return {n: cls for n, cls in sorted(names.items()) if n.startswith("Quant")}


def _arguments(cls: type) -> list[str]:
    return list(getattr(cls, "quantizer_arguments", ()))


def _activation_argument(cls: type) -> str | None:
    names = inspect.signature(cls).parameters
    possible = ("activation", "output_quantizer", "quantizer")
    return next((n for n in possible if n in names), None)


def run(name: str, quantizer: str) -> np.ndarray:
    """Build and call a layer on this backend, perhaps train it; return its output."""
    import keras

    from ..layers.cases import CASES

    cls = _classes()[name]
    case = CASES.get(f"{name}-plain", CASES.get(f"{name}-quantized"))
    assert case is not None
    if quantizer in WEIGHTS:
        own = dict.fromkeys(_arguments(cls), WEIGHTS[quantizer])
    else:
        own = {_activation_argument(cls): ACTIVATIONS[quantizer]}
    keras.utils.set_random_seed(0)
    layer = cls(**{**case.kwargs, **own})
    x = case.inputs()
    call = partial(layer, **x) if isinstance(x, dict) else partial(layer, x)
    call()  # builds the layer, and what the values start from
    _fill(layer)
    answer = np.array(keras.ops.convert_to_numpy(call()))
    if quantizer in TRAINED and layer.trainable_weights:
        _train(layer, x, answer.shape)
    return answer


def _train(layer: Any, x: Any, shape: tuple[int, ...]) -> None:
    import keras

    arrays = list(x.values()) if isinstance(x, dict) else x
    tensors = keras.tree.map_structure(
        lambda a: keras.Input(a.shape[1:], dtype=str(a.dtype)), arrays
    )
    if isinstance(x, dict):
        model = keras.Model(tensors, layer(**dict(zip(x, tensors, strict=True))))
    else:
        model = keras.Model(tensors, layer(tensors))
    model.compile("sgd", "mse", run_eagerly=True)
    if not np.isfinite(model.train_on_batch(arrays, np.zeros(shape, np.float32))):
        raise FloatingPointError("the loss of a training step is not finite")


def _fill(layer: Any) -> None:
    """Give the weights (not the states of quantizers) numbers on a grid."""
    from kerasqnn.layers._quantized import QuantizedLayer
    from kerasqnn.quantizers import StatefulQuantizer

    numbers = np.random.default_rng(0)
    states = {
        id(weight)
        for part in layer._flatten_layers()
        if isinstance(part, StatefulQuantizer)
        for weight in part.weights
    }
    for weight in layer.weights:
        if "float" in weight.dtype and weight.shape and id(weight) not in states:
            values = np.rint(numbers.normal(0, 8, weight.shape)) / 16
            weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    for part in layer._flatten_layers():
        if isinstance(part, QuantizedLayer):
            part.start_quantizers()


def run_all(file: Path, every: int) -> None:
    """Run every `every`-th pair; write the outputs, and what was refused."""
    outputs, refused = {}, {}
    for name, quantizer in pairs()[::every]:
        key = f"{name} {quantizer}"
        try:
            outputs[key] = run(name, quantizer)
        except (ValueError, TypeError) as error:
            lines = [line.strip() for line in str(error).splitlines()]
            said = next(x for x in lines if x and "encountered when" not in x)
            said = re.sub(r"\x1b\[\d*m", "", said)
            refused[key] = f"{type(error).__name__}: {said}"
    np.savez(file, refused=json.dumps(refused), **outputs)


# -- on all of them --------------------------------------------------------------------


def compare(backends: Sequence[str], every: int = 1) -> Iterator[tuple[str, str, str]]:
    """Run the pairs in a process a backend; give pair, backend and what came out.

    What came out is `=` for the bits of TensorFlow, the largest difference otherwise,
    or the error's text.
    """
    with tempfile.TemporaryDirectory() as folder:
        got = {b: _in_process(b, Path(folder), every) for b in (REFERENCE, *backends)}
    expected, refused = got[REFERENCE]
    for key in [*expected, *refused]:
        yield key, REFERENCE, refused.get(key, "=")
        for backend in backends:
            outputs, errors = got[backend]
            if key in errors or key in refused:
                yield key, backend, errors.get(key, "not refused")
            else:
                yield key, backend, _difference(outputs[key], expected[key])


def _in_process(backend: str, folder: Path, every: int) -> Any:
    file = folder / f"{backend}.npz"
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.backends.parity", str(file), str(every)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{backend}: {done.stderr[-2000:]}")
    with np.load(file) as outputs:
        arrays = {k: outputs[k] for k in outputs.files if k != "refused"}
        return arrays, json.loads(str(outputs["refused"]))


def _difference(own: np.ndarray, reference: np.ndarray) -> str:
    if np.array_equal(own, reference):
        return "="
    return f"{np.max(np.abs(own - reference)):.0e}"


def write_table() -> None:
    """Write docs/parity.md."""
    cells: dict[str, dict[str, list[str]]] = {}
    reasons: dict[str, None] = {}
    for key, _, result in compare(OTHERS):
        name, quantizer = key.split(" ", 1)
        if "Error" in result:
            reasons.setdefault(f"{name}, {quantizer}: {result}")
            result = "-"
        cells.setdefault(name, {}).setdefault(quantizer, []).append(result)
    columns = [*WEIGHTS, *ACTIVATIONS]
    lines = [
        "# Layers, quantizers, backends",
        "",
        "Made by `python -m tests.backends.parity`. Each layer was built with the",
        "quantizer of the column and called on TensorFlow, JAX and torch, with equal",
        f"weights and inputs, and trained for a step with {', '.join(TRAINED)}.",
        "A cell says how its output at",
        "inference on JAX and on torch compares with TensorFlow's: `=` the same bits,",
        "a number the largest difference, `-` refused (reasons below). Blank: the",
        "layer has no place for it. Every layer stands for its noisy twin too.",
        "",
    ]
    for title, group in (("weights", WEIGHTS), ("activations", ACTIVATIONS)):
        lines += [f"## Quantizers of {title}", ""]
        lines += [f"- {name}: `{text}`" for name, text in group.items()] + [""]
        header = ["layer", *(c for c in columns if c in group)]
        lines += ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
        for name, row in cells.items():
            texts = [_cell(row.get(c)) for c in header[1:]]
            if any(texts):
                lines.append("| " + " | ".join([name, *texts]) + " |")
        lines.append("")
    lines += WHY.splitlines() + [""]
    if reasons:
        lines += ["## Refused", "", *(f"- {reason}" for reason in reasons), ""]
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text("\n".join(lines))


def _cell(results: list[str] | None) -> str:
    if results is None:
        return ""
    own = results[1:]
    return own[0] if len(set(own)) == 1 else " ".join(own)


def read_table() -> dict[tuple[str, str], list[str]]:
    """Return what docs/parity.md says: a result for each of `OTHERS`, by pair."""
    cells: dict[tuple[str, str], list[str]] = {}
    header: list[str] = []
    for line in TABLE.read_text().splitlines():
        name, *row = [cell.strip() for cell in line.strip("|").split("|")]
        if name == "layer":
            header = row
        elif line.startswith("| Quant"):
            for quantizer, cell in zip(header, row, strict=True):
                if cell:
                    own = cell.split()
                    cells[name, quantizer] = own * (len(OTHERS) // len(own))
    return cells


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_all(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        write_table()
