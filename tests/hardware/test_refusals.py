"""Models that cannot be deployed: refused by the name of the layer, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.layers import (
    QuantActivation,
    QuantBatchNormalization,
    QuantConv2D,
    QuantDense,
    QuantInput,
    QuantReciprocalAveragePooling2D,
)
from kerasqnn.quantizers import Binary, FixedPoint

KERNEL = "quantized_bits(4,0,1)"
BIAS = "quantized_bits(6,1,1)"
BOARD = "arty-a7-100t"


def small(*layers: Any, shape: tuple[int, ...] = (4,)) -> keras.Model:
    """A quantized input, the layers, and a quantized dense layer."""
    return keras.Sequential(
        [
            keras.Input(shape, name="pixels"),
            QuantInput("quantized_bits(6,1,1)", name="grid"),
            *layers,
            QuantDense(3, kernel_quantizer=KERNEL, bias_quantizer=BIAS, name="logits"),
        ]
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The folder to deploy to; nothing may be beside it afterwards."""
    return tmp_path / "deployment"


def graph(build: Callable[[Any], Any], shape: tuple[int, ...] = (4,)) -> keras.Model:
    x = keras.Input(shape, name="pixels")
    return keras.Model(x, build(QuantInput("quantized_bits(6,1,1)", name="grid")(x)))


def dense(units: int = 4, **options: Any) -> QuantDense:
    options.setdefault("kernel_quantizer", KERNEL)
    return QuantDense(units, bias_quantizer=BIAS, **options)


def image(*layers: Any, shape: tuple[int, ...] = (6, 6, 2)) -> keras.Model:
    return small(*layers, kl.Flatten(), shape=shape)


def conv(size: Any, **options: Any) -> QuantConv2D:
    return QuantConv2D(
        2, size, kernel_quantizer=KERNEL, use_bias=False, name="conv", **options
    )


MODELS: dict[str, tuple[Callable[[], keras.Model], str, str]] = {
    "bare input": (
        lambda: keras.Sequential([keras.Input((4,)), dense(name="first")]),
        "first",
        r"reads the input .* without a quantizer.*Put one QuantInput right after",
    ),
    "softmax inside": (
        lambda: small(kl.Softmax(name="middle")), "middle",
        r"Only a final one can be cut",
    ),
    "function": (
        lambda: small(kl.Activation("tanh", name="curve")), "curve",
        r"it computes tanh in floating point, which has no bit-exact hardware",
    ),
    "layer": (
        lambda: small(kl.LayerNormalization(name="other")), "other",
        r"it is of class LayerNormalization, which Keras runs.* no bit-exact hardware",
    ),
    "bounded": (
        lambda: small(kl.ReLU(6.0, name="six")), "six", r"has no bit-exact hardware",
    ),
    "half": (
        lambda: small(QuantDense(3, dtype="mixed_float16", name="half")), "half",
        r"it computes with float16, not with float32",
    ),
    "half input": (
        lambda: keras.Sequential(
            [keras.Input((4,)), QuantInput(BIAS, dtype="mixed_float16", name="grid"),
             dense()]
        ),
        "grid", r"it computes with float16, not with float32",
    ),
    "function of an input": (
        lambda: keras.Sequential(
            [keras.Input((4,)), QuantInput("quantized_tanh(4)", name="curve"), dense()]
        ),
        "curve",
        r"it starts with a ClippedLinear, where the host only rounds the input",
    ),
    "weights' widths": (
        lambda: small(QuantActivation("LearnedBits(4)", name="bits")), "bits",
        r"it has a LearnedBits without `integer`, which is for weights",
    ),
    "weights' widths of an input": (
        lambda: keras.Sequential(
            [keras.Input((4,)), QuantInput("LearnedBits(4)", name="bits"), dense()]
        ),
        "bits", r"it has a LearnedBits without `integer`, which is for weights",
    ),
    "computed scale": (
        lambda: small(
            QuantActivation("quantized_bits(4,0,alpha='auto')", name="auto")), "auto",
        r"\(AutoFixedPoint\) whose scale is computed from the values of every call",
    ),
    "reciprocal": (
        lambda: image(
            QuantReciprocalAveragePooling2D(2, average_quantizer=KERNEL, name="mean")),
        "mean", r"pooling by a reciprocal is not lowered",
    ),
    "no grid": (
        lambda: small(QuantActivation(FixedPoint(4, scale=0.3), name="odd")), "odd",
        r"no power-of-two grid. Quantize its input and weights with power-of-two",
    ),
    "rounding": (
        lambda: small(QuantActivation(FixedPoint(3, rounding="CEIL"), name="up")), "up",
        r"ap_fixed cannot round with 'CEIL'. Allowed: ROUND, FLOOR",
    ),
    "bits": (
        lambda: small(
            dense(kernel_quantizer=FixedPoint(24), name="one"),
            dense(kernel_quantizer=FixedPoint(24), name="two"),
        ),
        "two",
        r"its sums need \d+ bits, more than the 53",
    ),
    "input rank": (
        lambda: graph(lambda x: dense()(kl.Flatten()(x)), (2, 2, 3, 4)), "grid",
        r"inputs must have a fixed shape of one axis, \(steps, channels\) or \(heig",
    ),
    "reshaped rank": (
        lambda: image(kl.Reshape((2, 3, 6, 2), name="volume")), "volume",
        r"tensors must have a shape of one axis, .*Received: target \(2, 3, 6, 2\)",
    ),
    "rows of a stream": (
        lambda: image(conv((1, 2), strides=(2, 1))), "conv",
        r"forgets the row stride.*Use io_type='io_parallel'",
    ),
    "average": (
        lambda: image(kl.AveragePooling2D(3, name="ninth")), "ninth",
        r"averages 9 values",
    ),
    "padded pool": (
        lambda: image(kl.MaxPooling2D(4, padding="same", name="pool")), "pool",
        r"its padding counts as zeros.*Put a ReLU before it",
    ),
    "stride of a stream": (
        lambda: image(kl.MaxPooling2D(3, strides=1, name="pool")), "pool",
        r"only with `strides` equal to `pool_size`. Use io_type='io_parallel'",
    ),
    "axis": (
        lambda: image(QuantBatchNormalization(
            axis=1, scale_quantizer=KERNEL, offset_quantizer=BIAS, name="norm")),
        "norm",
        r"along the last axis|no power-of-two grid",
    ),
    "concatenation": (
        lambda: graph(
            lambda x: dense()(kl.Flatten()(kl.Concatenate(1, name="stack")([x, x]))),
            (2, 2, 1),
        ),
        "stack",
        r"only concatenation along the last axis",
    ),
    "broadcast": (
        lambda: graph(
            lambda x: dense()(kl.Flatten()(kl.Add(name="sum")([x, conv((3, 3))(x)]))),
            (3, 3, 2),
        ),
        "sum",
        r"must have one shape|no power-of-two grid",
    ),
    "words of a stream": (
        lambda: image(kl.Reshape((3, 2, 2), name="words"), shape=(2, 2, 3)),
        "words",
        r"cannot go from 3 to 2 numbers. Use io_type='io_parallel'",
    ),
    "input as output": (
        lambda: graph(lambda x: [x, dense()(x)]), "pixels",
        r"an output of the model is its quantized input",
    ),
    "one output twice": (
        lambda: graph(lambda x: (lambda y: [y, kl.Softmax()(y)])(dense(name="y")(x))),
        "y",
        r"two outputs of the model are one tensor in hardware",
    ),
    "readers": (
        lambda: graph(
            lambda x: [dense(2, name=f"reader_{i}")(x) for i in range(8)]
        ),
        "pixels",
        r"its output has 8 readers, and hls4ml copies a stream to at most 7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_models(case, target):
    make, layer, message = MODELS[case]
    model = make()
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    with pytest.raises(UnsupportedModelError, match=message or None) as caught:
        kerasqnn.deploy(model, BOARD, target)
    assert caught.value.layer == layer
    assert repr(layer) in str(caught.value)
    assert not list(target.parent.iterdir())


def test_a_model_without_weights(target):
    with pytest.raises(UnsupportedModelError, match=r"nothing to put on the chip"):
        kerasqnn.deploy(graph(lambda x: kl.ReLU()(x)), BOARD, target)


PYNQ: dict[str, tuple[Callable[[], keras.Model], str, str]] = {
    "outputs": (
        lambda: graph(lambda x: [dense(2, name="a")(x), dense(2, name="b")(x)]), "b",
        r"takes one output; use backend='Vitis'.*2 outputs, of the layers 'a', 'b'",
    ),
    "words": (
        lambda: small(dense(kernel_quantizer=FixedPoint(20)),), "logits",
        r"output of layer 'logits' needs \d+ bits, more than the 24",
    ),
    "driver": (
        lambda: keras.Sequential(
            [keras.Input((4,)), QuantInput(Binary(), name="signs"), dense()]
        ),
        "signs",
        r"the PYNQ driver quantizes to fixed point.*backend='Vitis'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PYNQ)
def test_models_for_the_float_wrapper(case, target):
    make, layer, message = PYNQ[case]
    model = make()
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        kerasqnn.deploy(model, "pynq", target)
    assert caught.value.layer == layer
    assert not list(target.parent.iterdir())
