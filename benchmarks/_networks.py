"""The networks of the benchmarks, in Keras, kerasqnn, qkeras-v3 and HGQ2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import keras
import numpy as np

from kerasqnn import layers as qnn
from kerasqnn.noise import Additive

WEIGHT, ACTIVATION = "quantized_bits(4,0,1,alpha=1)", "quantized_relu(4,2)"
SHAPES = {"MLP": (16,), "CNN": (32, 32, 3)}
DESCRIPTIONS = {
    "MLP": "MLP 16-64-32-32-5",
    "CNN": "CNN conv16-pool-conv32-pool-dense64-dense10 on 32x32x3",
}
CLASSES = {"MLP": 5, "CNN": 10}
BATCH = 64
KERAS, QKERAS, HGQ = "Keras", "qkeras-v3", "HGQ2"


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


def hgq_network(kind: str) -> keras.Model:
    """Four-bit HGQ2 layers, whose bit widths are learned from there on."""
    from hgq.config import QuantizerConfigScope
    from hgq.layers import QConv2D, QDense

    def activation(relu: bool) -> dict[str, Any]:
        return {"activation": "relu" if relu else None}

    with (
        QuantizerConfigScope(place=("weight", "bias"), b0=3, i0=0),
        QuantizerConfigScope(place="datalane", i0=2, f0=2, overflow_mode="SAT"),
    ):
        return network(
            kind,
            lambda n, relu: [QConv2D(n, 3, padding="same", **activation(relu))],
            lambda n, relu: [QDense(n, **activation(relu))],
        )


MAKERS: dict[str, Callable[[str], keras.Model]] = {
    KERAS: float_twin,
    "kerasqnn": quantized,
    "kerasqnn, noise points off": partial(
        quantized, noise=Additive(0.0, when="always")
    ),
    "kerasqnn, noise points on": partial(quantized, noise=Additive(0.1, when="always")),
    QKERAS: qkeras_network,
    HGQ: hgq_network,
}
_PACKAGES = {QKERAS: "qkeras", HGQ: "hgq"}


def available() -> list[str]:
    """Names of the networks whose packages are installed."""
    return [n for n in MAKERS if n not in _PACKAGES or find_spec(_PACKAGES[n])]


def contenders(kind: str) -> dict[str, keras.Model]:
    """All models of a kind; all but HGQ2's with the same weights."""
    models = {name: MAKERS[name](kind) for name in available()}
    for name, model in models.items():
        if name == HGQ:
            continue  # it has variables of its own between the weights
        for own, given in zip(
            model.trainable_variables, models[KERAS].trainable_variables, strict=True
        ):
            own.assign(given)
    return models


def data(kind: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, *SHAPES[kind])).astype(np.float32)
    return x, rng.integers(0, CLASSES[kind], samples)
