"""Random HGQ2 models, and what `from_hgq2` makes of them.

HGQ2's wheel holds a folder `qkeras` that hides qkeras-v3, so it is not among the
packages of the tests. In an environment of its own (`pip install --no-deps hgq2
quantizers`, without that folder) `python -m tests.conversion.random_hgq2 300 0` prints
the table of docs/from_hgq2.md: of 300 models from seed 0.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import hgq.layers as h
import keras
import numpy as np
import tensorflow as tf
from hgq.config import QuantizerConfig

import kerasqnn
from kerasqnn.errors import UnsupportedModelError

ROUNDINGS = ["RND", "RND_CONV", "TRN", "TRN_ZERO", "RND_ZERO", "RND_INF", "S_RND"]


class Models:
    """Draws one model."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        keras.utils.set_random_seed(seed)

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def quantizer(self, place: str) -> QuantizerConfig:
        options: dict[str, Any] = {"round_mode": self.pick("RND", *ROUNDINGS)}
        overflows = ["SAT", "SAT_SYM", "WRAP"]
        rarely = place == "weight" and self.chance(0.9)
        options["overflow_mode"] = self.pick(*overflows[: 2 if rarely else 3])
        if self.chance(0.3):
            batch = place in ("datalane", "table")
            options |= self.pick(
                {"heterogeneous_axis": (), "homogeneous_axis": None},
                {"heterogeneous_axis": (-1,), "homogeneous_axis": None},
                {"homogeneous_axis": (0,)} if batch else {"homogeneous_axis": ()},
            )
        if self.chance(0.03):
            options |= self.pick({"scaler": 0.5}, {"affine": (0.25, 0.5)})
        return QuantizerConfig(self.pick("kif", "kbi"), place, **options)

    def lanes(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self.chance(0.6):
            given["iq_conf"] = self.quantizer("datalane")
        if self.chance(0.3):
            given |= {"enable_oq": True, "oq_conf": self.quantizer("datalane")}
        if self.chance(0.1):
            given["enable_iq"] = False
        return given

    def weights(self) -> dict[str, Any]:
        given = self.lanes()
        if self.chance(0.6):
            given["kq_conf"] = self.quantizer("weight")
        if self.chance(0.4):
            given["bq_conf"] = self.quantizer("bias")
        if self.chance(0.5):
            given["activation"] = self.pick("relu", "relu", "tanh", "sigmoid")
        return given

    def dense(self, x: Any) -> Any:
        units = int(self.rng.integers(2, 9))
        kind = self.rng.random()
        if kind < 0.6:
            x = h.QDense(units, use_bias=self.chance(0.8), **self.weights())(x)
        elif kind < 0.8:
            bias = self.pick("c", None)
            x = h.QEinsumDense("ab,bc->ac", units, bias_axes=bias, **self.weights())(x)
        else:
            layer = h.QEinsumDenseBatchnorm(
                "ab,bc->ac", units, bias_axes="c", **self.weights()
            )
            x = layer(x)
        return x

    def tail(self, x: Any) -> Any:
        for _ in range(self.rng.integers(1, 4)):
            y = self.dense(x)
            if self.chance(0.2):
                y = h.QBatchNormalization(
                    scale=self.chance(0.8), center=self.chance(0.8), **self.lanes()
                )(y)
            if self.chance(0.2):
                name = self.pick("tanh", "sigmoid", "relu", "silu")
                y = h.QUnaryFunctionLUT(name, oq_conf=self.quantizer("table"))(y)
            if self.chance(0.1):
                y = h.Quantizer(self.quantizer("datalane"))(y)
            if x.shape == y.shape and self.chance(0.5):
                merge = self.pick(h.QAdd, h.QSubtract, h.QMultiply, h.QMaximum)
                y = merge(**({} if self.chance(0.7) else {"enable_oq": True}))([x, y])
            if self.chance(0.1):
                y = h.QAdd(iq_confs=self.quantizer("datalane"))([y, y])
            if self.chance(0.03):
                y = h.QSoftmax()(y)
            x = y
        return x

    def image(self) -> tuple[Any, Any]:
        inputs = x = keras.Input((6, 6, self.pick(1, 2)))
        for _ in range(self.rng.integers(1, 3)):
            x = h.QConv2D(
                int(self.rng.integers(1, 4)),
                self.pick(1, 2, 3),
                padding=self.pick("same", "valid"),
                **self.weights(),
            )(x)
            if self.chance(0.3):
                x = h.QBatchNormalization(**self.lanes())(x)
            if self.chance(0.3) and x.shape[1] > 1:
                pool = self.pick(h.QMaxPooling2D, h.QAveragePooling2D)
                x = pool(2, **self.lanes())(x)
        if self.chance(0.3):
            x = self.pick(h.QGlobalAveragePooling2D, h.QGlobalMaxPooling2D)()(x)
        else:
            x = keras.layers.Flatten()(x)
        return inputs, self.tail(x)

    def sequence(self) -> tuple[Any, Any]:
        inputs = x = keras.Input((7, 2))
        padding = self.pick("same", "valid")
        x = h.QConv1D(3, 2, padding=padding, **self.weights())(x)
        x = self.pick(h.QGlobalAveragePooling1D, h.QGlobalMaxPooling1D)()(x)
        return inputs, self.tail(x)

    def vector(self) -> tuple[Any, Any]:
        inputs = keras.Input((int(self.rng.integers(2, 9)),))
        return inputs, self.tail(inputs)

    def model(self) -> keras.Model:
        kinds = (self.vector, self.vector, self.image, self.sequence)
        inputs, outputs = self.pick(*kinds)()
        model = keras.Model(inputs, outputs)
        self.fill(model)
        return model

    def fill(self, model: keras.Model) -> None:
        """Give every variable random values: widths of pruned elements too."""
        most = self.pick(4, 6, 9)
        for variable in model.variables:
            path, shape = variable.path, variable.shape
            name = path.rpartition("/")[2]
            if name == "k":
                ones = self.chance(0.7)
                value = np.ones(shape) if ones else self.rng.integers(0, 2, shape)
            elif name in ("i", "f", "b"):
                low = {"i": -2, "f": -1, "b": 0}[name]
                value = self.rng.uniform(low, most if name != "i" else 3, shape)
            elif "variance" in name:
                value = self.rng.uniform(0.2, 2.0, shape)
            elif name in ("ebops", "i_decay_speed") or "seed" in path:
                continue
            else:
                value = self.rng.normal(1.0 if "gamma" in name else 0.0, 0.7, shape)
            variable.assign(np.asarray(value).astype(variable.dtype))

    def batch(self, model: keras.Model) -> np.ndarray:
        shape = (16, *model.input_shape[1:])
        x = self.rng.normal(0, self.pick(0.3, 2.0, 9.0), shape)
        return (np.round(x * 32) / 32 if self.chance(0.3) else x).astype(np.float32)


def outcome(seed: int) -> tuple[str, str]:
    """Return what becomes of one model, live and by file, eagerly and traced."""
    drawn = Models(seed)
    try:
        model = drawn.model()
    except (AssertionError, ValueError, TypeError) as error:
        return "invalid", str(error)[:60]
    x = drawn.batch(model)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.keras"
        model.save(path)
        try:
            taken = [kerasqnn.from_hgq2(model), kerasqnn.from_hgq2(path)]
        except UnsupportedModelError as error:
            reason = re.sub(r"^Layer '\S+' (\(\S+\)): ", "", str(error))
            return "refused", re.sub(r"Received.*|'[a-z_]+\d*'", "", reason)
        taken[0].save(path)
        taken.append(keras.models.load_model(path))
    for trace in (False, True):
        calls = [tf.function(m) if trace else m for m in (model, *taken)]
        expected, *given = (np.asarray(call(x, training=False)) for call in calls)
        if not all(np.array_equal(expected, y) for y in given):
            return "different", f"seed {seed}"
    constant = len(np.unique(expected)) < 3
    return "identical", "of fewer than three values" if constant else ""


def main(count: int, first: int) -> None:
    """Print what became of some models."""
    found: Counter[tuple[str, str]] = Counter()
    for seed in range(first, first + count):
        found[outcome(seed)] += 1
        keras.backend.clear_session()
    kinds: Counter[str] = Counter()
    for (kind, _), number in found.items():
        kinds[kind] += number
    print(dict(kinds))  # noqa: T201
    for (kind, reason), number in found.most_common():
        print(f"| {kind} | {reason} | {number} |")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
