"""The summary's numbers: by hand, and those of qonnx on the exported file."""

from __future__ import annotations

import math

import keras
import numpy as np
import onnx
import pytest
from keras import layers as kl
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.inference_cost import inference_cost

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export.qonnx_export import build_qonnx
from kerasqnn.models import read_model
from kerasqnn.quantizers import Ternary

from ..chain.random_models import random_case
from .zoo import INPUT, KERNEL, RELU, functional


def qonnx_cost(proto: onnx.ModelProto, **options: bool) -> dict[str, float]:
    """Return qonnx's totals for one sample."""
    for value in proto.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return inference_cost(ModelWrapper(proto), **options)["total_cost"]


def keeps_types(model: keras.Model) -> bool:
    """Whether qonnx tracks the type of everything.

    An `alpha` is a `Mul` behind a `Quant`, a ternary value a sum of two nodes; qonnx
    takes what comes out for floats.
    """
    graph = read_model(model)
    used = [o.attributes.get("quantizer") for o in graph]
    used += [w.quantizer for o in graph for w in o.weights.values()]
    return all(
        np.all(getattr(q, "alpha", 1.0) == 1.0) and not isinstance(q, Ternary)
        for q in used
    )


def test_equal_to_qonnx():
    """Bit operations and multiplications of every random model that is exported."""
    compared = 0
    for seed in range(24):
        model = random_case(seed).model
        try:
            proto = build_qonnx(model)
        except UnsupportedModelError:
            continue
        # From types that are annotated qonnx counts fewer than from those it infers.
        del proto.graph.quantization_annotation[:]
        totals = kerasqnn.summary(model).totals
        all_macs = qonnx_cost(proto, discount_sparsity=False)["total_macs"]
        assert totals["MACs"] == all_macs
        if not keeps_types(model):
            continue
        bops = qonnx_cost(proto)["total_bops"]
        assert totals["QONNX BOPs"] == pytest.approx(bops, rel=1e-12)
        compared += bops > 0
    assert compared >= 8


def model_by_hand() -> keras.Model:
    """A grouped convolution, a shared layer, a nested model, noise, floats."""
    inner = keras.Sequential(
        [keras.Input((36,)), ql.QuantBatchNormalization(
            scale_quantizer="quantized_bits(6,2)", noise="multiplicative(0.5)",
            name="norm")], name="inner")  # fmt: skip
    inputs = keras.Input((8, 8, 2))
    x = ql.QuantInput("quantized_bits(8,0,keep_negative=0)", name="q")(inputs)
    conv = ql.NoisyQuantConv2D(
        4, 3, groups=2, activation=RELU, noise="additive(0.1)", name="conv", **KERNEL
    )
    x = kl.Flatten(name="flat")(kl.MaxPooling2D(2, name="pool")(conv(x)))
    shared = ql.QuantDense(36, activation="quantized_bits(5,2)", name="twice", **KERNEL)
    x = kl.Dropout(0.2, name="dropout")(inner(shared(shared(x))))
    model = keras.Model(inputs, kl.Dense(3, name="float")(x))
    conv.kernel.assign(np.full((3, 3, 1, 4), 0.75))  # 6/8: two bits from one to one
    shared.kernel.assign(np.where(np.arange(36 * 36) % 4, 0.125, 0).reshape(36, 36))
    return model  # fmt: skip


def test_by_hand():
    """Every column of every row."""
    table = kerasqnn.summary(model_by_hand())
    rows = {r["name"]: r for r in table.to_dict()}
    assert list(rows) == [
        "q", "conv", "pool", "flat", "twice", "inner/norm", "dropout", "float"
    ]  # fmt: skip
    macs = 36 * 9 * 4
    bops = macs * (8 * 4 + 8 + 4 + math.log2(9))
    assert rows["conv"] == {
        "name": "conv", "type": "NoisyQuantConv2D", "output shape": "(None, 6, 6, 4)",
        "weight bits": 4, "activation bits": 5,
        # 9 * 255 * 6 and a bias of 0: 13770 of 2^-11
        "accumulator bits": 14, "parameters": 40, "memory KiB": (36 * 4 + 4 * 5) / 8192,
        "MACs": macs, "BOPs": bops, "QONNX BOPs": macs * 32.0, "EBOPs": macs * 2 * 8,
        "sparsity": 0.0, "noise": "additive 0.1 (training)",
    }  # fmt: skip
    shared, calls = rows["twice"], 36 * 36
    inputs = 5 + 5  # a layer of 5 bits before each call
    assert shared["MACs"] == 2 * calls
    assert shared["QONNX BOPs"] == inputs * calls * 0.75 * 4
    assert shared["EBOPs"] == inputs * calls * 0.75
    logs = 2 * (4 + math.log2(36)) + inputs
    assert shared["BOPs"] == pytest.approx(calls * (0.75 * inputs * 4 + logs))
    assert shared["memory KiB"] == (calls * 4 + 36 * 5) / 8192
    assert shared["sparsity"] == 0.25
    assert rows["pool"]["activation bits"] == rows["flat"]["activation bits"] == 5
    norm = rows["inner/norm"]
    assert norm["weight bits"] == 6
    assert norm["memory KiB"] == 36 * (6 + 32) / 8192
    assert norm["noise"] == "multiplicative 0.5 (training)"
    assert norm["activation bits"] is norm["MACs"] is None
    assert rows["dropout"]["output shape"] == "(None, 36)"
    plain = rows["float"]
    assert (plain["weight bits"], plain["QONNX BOPs"]) == (32, 32 * 32 * 108)
    assert plain["EBOPs"] is None
    assert table.totals["parameters"] == 40 + calls + 36 + 4 * 36 + 3 * 36 + 3
    assert table.totals["MACs"] == macs + 2 * calls + 108
    assert table.totals["sparsity"] == calls / 4 / (36 + calls + 108)


def test_it_prints_and_shows():
    """As text, as HTML without anything unescaped, as a data frame."""
    model = functional(
        (4,), ql.QuantInput(INPUT), ql.QuantDense(2, name="a<b", **KERNEL)
    )
    table = kerasqnn.summary(model)
    lines = str(table).splitlines()
    assert lines[2].split()[:2] == ["name", "type"]
    assert lines[-1].startswith("total")
    assert any(line.startswith("a<b") for line in lines)
    assert "<td>a&lt;b</td>" in table._repr_html_()
    frame = table.to_dataframe()
    assert frame["MACs"].sum() == table.totals["MACs"] == 8
    assert list(frame["name"])[-1] == "a<b"


@pytest.mark.parametrize(
    ("layer", "shape", "macs", "fan_in"),
    [
        (ql.QuantConv1D(4, 3, padding="causal"), (8, 2), 8 * 3 * 2 * 4, 6),
        (ql.QuantConv3D(2, 2), (3, 3, 3, 2), 8 * 8 * 2 * 2, 16),
        (ql.QuantDepthwiseConv2D(3, depth_multiplier=2), (5, 5, 3), 9 * 9 * 6, 9),
        (ql.QuantConv2DTranspose(2, 3, strides=2), (4, 4, 3), 16 * 9 * 2 * 3, 27),
        (ql.QuantDense(5), (7, 4), 7 * 4 * 5, 4),
    ],
)
def test_other_layers(layer, shape, macs, fan_in):
    """Kinds of convolution that are not exported are counted all the same."""
    model = functional(shape, layer)
    for weight in layer.weights:
        weight.assign(np.ones(weight.shape))
    row = kerasqnn.summary(model).to_dict()[0]
    assert row["MACs"] == macs
    assert row["BOPs"] == pytest.approx(macs * (32 * 32 + 64 + math.log2(fan_in)))


def test_accumulators_are_those_of_the_reference():
    """Also of a model that ends in floating point, which the reference refuses."""
    steps = [ql.QuantInput(INPUT), ql.QuantDense(3, name="d", **KERNEL)]
    model = functional((4,), *steps)
    expected = kerasqnn.integer_reference(model, np.zeros((1, 4))).accumulator_bits["d"]
    ends = functional((4,), *model.layers[1:], kl.Softmax())
    rows = kerasqnn.summary(ends).to_dict()
    model.set_weights(ends.get_weights())
    expected = kerasqnn.integer_reference(model, np.zeros((1, 4))).accumulator_bits["d"]
    assert [r["accumulator bits"] for r in rows] == [None, expected, None]
