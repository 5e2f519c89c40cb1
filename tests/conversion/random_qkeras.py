"""Random qkeras-v3 models, and what `from_qkeras` makes of them.

`python -m tests.conversion.random_qkeras 2000 0 2` prints the table of
docs/from_qkeras.md: of 2,000 models from seed 0, in two processes.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import qkeras
import tensorflow as tf

import kerasqnn
from kerasqnn.errors import UnsupportedModelError

from .random_quantizers import activation_quantizer, small_quantizer, weight_quantizer

IDENTICAL, REFUSED, DIFFERENT, INVALID = "identical", "refused", "different", "invalid"
# QKeras's own bits differ between `predict` and eager calls, and ours are the latter.
EAGER = "identical in eager calls"


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Attributes:
        seed: Its seed.
        kind: `identical`, `identical in eager calls`, `refused`, `different`, or
            `invalid` where qkeras itself cannot build, run, save or load it.
        reason: Why it was refused, without names and numbers.
        classes: Names of its layer classes.
    """

    seed: int
    kind: str
    reason: str
    classes: tuple[str, ...]


class _Models:
    """Draws one model."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    # -- parts -------------------------------------------------------------------------

    def weights(self, *names: str) -> dict[str, Any]:
        """Quantizers and options of a layer with weights."""
        arguments = {f"{n}_quantizer": weight_quantizer(self.rng) for n in names}
        arguments["bias_quantizer"] = small_quantizer(self.rng)
        arguments["use_bias"] = self.chance(0.8)
        if self.chance(0.5):
            arguments["activation"] = activation_quantizer(self.rng)
        if self.chance(0.1):
            arguments["bias_regularizer"] = self.pick("l1", keras.regularizers.L2(0.1))
        if self.chance(0.1):
            arguments["bias_constraint"] = "non_neg"
        return arguments

    def activation(self, x: Any) -> Any:
        kind = self.rng.random()
        if kind < 0.8:
            return qkeras.QActivation(activation_quantizer(self.rng))(x)
        if kind < 0.9:
            return keras.layers.Activation(self.pick("relu", "tanh", "sigmoid"))(x)
        return self.pick(keras.layers.ReLU(), keras.layers.LeakyReLU())(x)

    def normalization(self, x: Any) -> Any:
        if self.chance(0.4):
            return keras.layers.BatchNormalization(center=self.chance(0.8))(x)
        if self.chance(0.4):
            return qkeras.QBatchNormalization()(x)
        given = {
            f"{name}_quantizer": self.pick(None, small_quantizer(self.rng))
            for name in ("beta", "gamma", "mean", "variance", "inverse")
        }
        if given["inverse_quantizer"] is not None:
            given |= {"gamma_quantizer": None, "variance_quantizer": None}
        return qkeras.QBatchNormalization(
            scale=self.chance(0.8), center=self.chance(0.8), epsilon=1e-2, **given
        )(x)

    def folding(self) -> dict[str, Any]:
        return {
            "ema_freeze_delay": self.pick(None, -1, 3),
            "folding_mode": self.pick("ema_stats_folding", "batch_stats_folding"),
            "epsilon": self.pick(1e-3, 1e-2),
            "momentum": self.pick(0.99, 0.9),
        }

    # -- models ------------------------------------------------------------------------

    def dense(self) -> Any:
        inputs = x = keras.Input((self.pick(4, 7, 16),))
        for _ in range(self.rng.integers(1, 4)):
            units = int(self.rng.integers(2, 9))
            if self.chance(0.2):
                x = qkeras.QDenseBatchnorm(
                    units, **self.weights("kernel"), **self.folding()
                )(x)
            else:
                y = qkeras.QDense(units, **self.weights("kernel"))(x)
                x = keras.layers.Add()([y, y]) if self.chance(0.05) else y
            if self.chance(0.3):
                x = self.normalization(x)
            if self.chance(0.5):
                x = self.activation(x)
        return inputs, x

    def image(self) -> Any:
        inputs = x = keras.Input((8, 8, self.pick(1, 3)))
        if self.chance(0.2):
            x = qkeras.QActivation("quantized_bits(6,0,1)")(x)
        for _ in range(self.rng.integers(1, 3)):
            x = self.convolution(x)
            if self.chance(0.3):
                x = self.normalization(x)
            if self.chance(0.4):
                x = self.activation(x)
        x = self.pooling(x)
        if len(x.shape) > 2:
            x = keras.layers.Flatten()(x)
        return inputs, qkeras.QDense(3, **self.weights("kernel"))(x)

    def convolution(self, x: Any) -> Any:
        size = {
            "kernel_size": self.pick(1, 2, 3),
            "padding": self.pick("valid", "same"),
        }
        options: dict[str, Any] = {**size}
        if self.chance(0.3):
            options["strides"] = 2
        elif self.chance(0.2):
            options["dilation_rate"] = 2
        filters = 2 * int(self.rng.integers(1, 4))
        kind = self.rng.random()
        if kind < 0.4:
            if self.chance(0.05):
                options["mask"] = np.ones((size["kernel_size"],) * 2, np.float32)
            return qkeras.QConv2D(filters, **options, **self.weights("kernel"))(x)
        if kind < 0.55:
            return qkeras.QConv2DBatchnorm(
                filters, **options, **self.weights("kernel"), **self.folding()
            )(x)
        if kind < 0.7:
            options.pop("dilation_rate", None)
            if self.chance(0.4):
                return qkeras.QDepthwiseConv2DBatchnorm(
                    **options, **self.weights("depthwise"), **self.folding()
                )(x)
            return qkeras.QDepthwiseConv2D(
                depth_multiplier=self.pick(1, 2),
                **options,
                **self.weights("depthwise"),
            )(x)
        if kind < 0.85:
            return qkeras.QSeparableConv2D(
                filters, **options, **self.weights("depthwise", "pointwise")
            )(x)
        options.pop("dilation_rate", None)
        return qkeras.QConv2DTranspose(filters, **options, **self.weights("kernel"))(x)

    def pooling(self, x: Any) -> Any:
        if min(x.shape[1:3]) < 2:
            return x
        quantizer = self.pick(None, small_quantizer(self.rng))
        activation = self.pick(None, activation_quantizer(self.rng))
        given = {"average_quantizer": quantizer, "activation": activation}
        return self.pick(
            keras.layers.MaxPooling2D(2),
            keras.layers.AveragePooling2D(2),
            qkeras.QAveragePooling2D(self.pick((1, 2), (2, 2)), **given),
            qkeras.QGlobalAveragePooling2D(**given),
        )(x)

    def sequence(self) -> Any:
        inputs = x = keras.Input((6, self.pick(2, 3)))
        if self.chance(0.6):
            options = {"kernel_size": 2, "strides": self.pick(1, 2)}
            if self.chance(0.7):
                options["padding"] = self.pick("valid", "same")
                x = qkeras.QConv1D(4, **options, **self.weights("kernel"))(x)
            else:
                x = qkeras.QSeparableConv1D(
                    4, **options, **self.weights("depthwise", "pointwise")
                )(x)
            if self.chance(0.4):
                x = self.activation(x)
        if self.chance(0.3):
            x = keras.layers.GlobalAveragePooling1D()(x)
        else:
            x = self.recurrent(x)
        return inputs, qkeras.QDense(3, **self.weights("kernel"))(x)

    def recurrent(self, x: Any) -> Any:
        given = self.weights("kernel", "recurrent")
        given["state_quantizer"] = self.pick(None, "quantized_bits(6,1,1)")
        cls = self.pick(qkeras.QSimpleRNN, qkeras.QLSTM, qkeras.QGRU)
        if cls is not qkeras.QSimpleRNN and self.chance(0.5):
            given["recurrent_activation"] = self.pick(
                "hard_sigmoid",
                "sigmoid",
                "quantized_sigmoid(6)",
                "quantized_bits(6,0,1)",
            )
        if cls is not qkeras.QSimpleRNN:
            given["implementation"] = self.pick(1, 2)
        if cls is qkeras.QGRU:  # qkeras-v3 1.2.1 fails in the other combination
            given["reset_after"] = given["implementation"] == 2 or self.chance(0.5)
        layer = cls(3, **given)
        if self.chance(0.2):
            merge = self.pick("concat", "sum", "ave", "mul")
            return qkeras.QBidirectional(layer, merge_mode=merge)(x)
        return layer(x)

    def model(self) -> keras.Model:
        kind = self.rng.choice(["dense", "image", "sequence"], p=[0.4, 0.4, 0.2])
        inputs, outputs = getattr(self, kind)()
        model = keras.Model(inputs, outputs)
        for variable in model.weights:
            variable.assign(self.values(variable))
        return model

    def values(self, variable: Any) -> Any:
        shape, name = tuple(variable.shape), variable.path
        if variable.dtype.startswith("int"):
            return np.asarray(self.rng.integers(-1, 9), variable.dtype)
        if "variance" in name:
            return self.rng.uniform(0.05, 3.0, shape).astype(np.float32)
        values = self.rng.normal(0, self.pick(0.1, 0.5, 1.5), shape)
        return (values + (1.0 if "gamma" in name else 0.0)).astype(np.float32)

    def data(self, model: keras.Model) -> Any:
        shape = (4, *model.input_shape[1:])
        values = self.rng.normal(0, 1.5, shape)
        if self.chance(0.6):
            values = np.round(values * 16) / 16
        return values.astype(np.float32)


def run(seed: int, folder: Path) -> Outcome:
    """Draw the model of a seed, take it over, and compare on random inputs.

    Every other model goes through a `.keras` file; then the reference is what qkeras
    loads from it.
    """
    models = _Models(seed)
    keras.utils.set_random_seed(seed % 2**31)
    classes: tuple[str, ...] = ()
    try:
        reference = models.model()
        classes = tuple(sorted({type(layer).__name__ for layer in reference.layers}))
        x = models.data(reference)
        source: Any = reference
        if seed % 2:
            source = folder / "model.keras"
            reference.save(source)
            reference = keras.models.load_model(source)
        expected = predictions(reference, x)
    except Exception as error:  # noqa: BLE001  (qkeras raises what it likes)
        return Outcome(seed, INVALID, f"{type(error).__name__}: {error}", classes)
    try:
        model = kerasqnn.from_qkeras(source)
    except UnsupportedModelError as error:
        return Outcome(seed, REFUSED, shortened(error), classes)
    actual = predictions(model, x)
    if np.array_equal(actual, expected, equal_nan=True):
        return Outcome(seed, IDENTICAL, "", classes)
    eager = [
        keras.ops.convert_to_numpy(m(x, training=False)) for m in (model, reference)
    ]
    same = np.array_equal(*eager, equal_nan=True)
    return Outcome(seed, EAGER if same else DIFFERENT, "", classes)


def predictions(model: keras.Model, x: Any) -> np.ndarray:
    """Return what a model gives in a traced function, as in `predict`.

    QKeras's own bits may differ in eager calls: TensorFlow multiplies by the inverse of
    a constant divisor in a traced function, and computes `1 / sqrt` otherwise.
    """
    outputs = tf.function(model, autograph=False)(x, training=False)
    return keras.ops.convert_to_numpy(outputs)


def shortened(error: UnsupportedModelError) -> str:
    """Return the message of an error without layer names, values and hints."""
    text = re.sub(r"^Layer '[^']*' ", "", str(error))
    text = re.split(r"Received:|Allowed:|\. ", text)[0]
    text = re.sub(r"\(\w+\): |\bLayer '[^']*' |^\w+: ", "", text)
    text = re.sub(r"(\w+_)?(quantizer|activation): ", "", text)
    text = re.sub(r"\((\w+)=('?[^'()]*'?)\)", r"(\1)", text)
    return text.strip().rstrip(".")[:110]


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as Markdown."""
    kinds = Counter(o.kind for o in outcomes)
    lines = ["| models | number |", "|---|---:|"]
    for kind in (IDENTICAL, EAGER, REFUSED, DIFFERENT, INVALID):
        lines.append(f"| {kind} | {kinds[kind]} |")
    lines += ["", "| layer | identical | refused |", "|---|---:|---:|"]
    by_class = Counter((c, o.kind) for o in outcomes for c in o.classes)
    for name in sorted({c for c, _ in by_class}):
        if name != "InputLayer":
            counts = by_class[name, IDENTICAL], by_class[name, REFUSED]
            lines.append(f"| `{name}` | {counts[0]} | {counts[1]} |")
    lines += ["", "| refused, first reason met | number |", "|---|---:|"]
    reasons = Counter(o.reason for o in outcomes if o.kind == REFUSED)
    lines += [f"| {reason} | {n} |" for reason, n in reasons.most_common()]
    return "\n".join(lines)


def run_many(count: int = 100, first: int = 0, workers: int = 1) -> list[Outcome]:
    """Return the outcomes of `count` models that qkeras can compute, and the others."""
    outcomes: list[Outcome] = []
    valid = 0
    chunks = (range(n, n + 20) for n in itertools.count(first, 20))
    with contextlib.ExitStack() as stack:
        step = map(run_chunk, chunks)
        if workers > 1:
            pool = multiprocessing.get_context("spawn").Pool(workers)
            chunks = itertools.islice(chunks, count // 10)  # a pool reads them all
            step = stack.enter_context(pool).imap(run_chunk, chunks)
        for outcome in itertools.chain.from_iterable(step):
            outcomes.append(outcome)
            valid += outcome.kind != INVALID
            if valid == count:
                break
    return outcomes


def run_chunk(seeds: Iterable[int]) -> list[Outcome]:
    """Return the outcomes of some seeds."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [run(seed, Path(folder)) for seed in seeds]
    keras.utils.clear_session(free_memory=True)
    return outcomes


def main() -> None:
    """Print the table of as many models as the command line says."""
    outcomes = run_many(*(int(argument) for argument in sys.argv[1:]))
    print(table(outcomes))
    for kind in (DIFFERENT, INVALID):
        for outcome in (o for o in outcomes if o.kind == kind):
            print(outcome.seed, kind, outcome.reason[:300], file=sys.stderr)


if __name__ == "__main__":
    main()
