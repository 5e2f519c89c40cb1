"""Sequences, and convolutions of groups, depthwise and dilated, on the chip."""

from __future__ import annotations

import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.hardware.lowering import lower, prepare

from ..models.zoo import INPUT, KERNEL, RELU, data, functional, outputs

DEPTHWISE = {
    "depthwise_quantizer": "quantized_bits(4,0,1)",
    "bias_quantizer": "quantized_bits(5,1)",
}
SEPARABLE = {**DEPTHWISE, "pointwise_quantizer": "quantized_bits(3,0,1)"}
CASES = {
    "sequence": lambda: functional(
        (12, 3), ql.QuantInput(INPUT),
        ql.QuantConv1D(4, 3, strides=2, padding="same", **KERNEL),
        ql.QuantBatchNormalization(
            scale_quantizer="quantized_bits(4,2)",
            offset_quantizer="quantized_bits(4,2)",
        ),
        ql.QuantActivation(RELU),
        lambda x: kl.Add()([x, ql.QuantConv1D(4, 1, activation=RELU, **KERNEL)(x)]),
        kl.MaxPooling1D(2),
        ql.QuantConv1D(
            3, 2, dilation_rate=2, padding="causal", activation=RELU, **KERNEL
        ),
        kl.GlobalMaxPooling1D(),
        ql.QuantDense(2, **KERNEL),
    ),
    "sequence out": lambda: functional(
        (10, 3), ql.QuantInput(INPUT),
        ql.QuantSeparableConv1D(4, 3, activation=RELU, **SEPARABLE),
        lambda x: kl.Concatenate()([x, ql.QuantDense(2, activation=RELU, **KERNEL)(x)]),
        kl.AveragePooling1D(2), ql.QuantActivation("quantized_bits(6,3)"),
    ),
    "depthwise": lambda: functional(
        (9, 8, 3), ql.QuantInput(INPUT),
        ql.QuantDepthwiseConv2D(
            3, strides=2, padding="same", activation=RELU, **DEPTHWISE
        ),
        ql.QuantDense(4, activation=RELU, **KERNEL),
        ql.QuantDepthwiseConv2D(
            (2, 1), depth_multiplier=2, activation=RELU, **DEPTHWISE
        ),
        ql.QuantDepthwiseConv2D((1, 2), activation=RELU, **DEPTHWISE),
        kl.Flatten(), ql.QuantDense(2, **KERNEL),
    ),
    "groups": lambda: functional(
        (8, 7, 4), ql.QuantInput(INPUT),
        ql.QuantConv2D(6, (2, 3), groups=2, activation=RELU, **KERNEL),
        ql.QuantConv2D(4, 2, dilation_rate=(2, 1), activation=RELU, **KERNEL),
        ql.QuantSeparableConv2D(4, 2, activation=RELU, **SEPARABLE),
        # Four rows, of which the stride leaves the last one out.
        ql.QuantConv2D(2, (3, 2), strides=2, **KERNEL),
    ),
}  # fmt: skip
SETTINGS = {
    "stream": {"io_type": "io_stream", "strategy": "Resource", "reuse_factor": 2},
    "parallel": {"io_type": "io_parallel"},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("case", CASES)
def test_emulation(case, settings, tmp_path):
    """Every bit and the shapes of `model.predict`."""
    model = CASES[case]()
    board = "pynq-z2" if (case, settings) == ("sequence", "stream") else "arty"
    deployment = kerasqnn.deploy(model, board, tmp_path / "d", **SETTINGS[settings])
    x = data(*model.input_shape[1:], samples=100)
    np.testing.assert_array_equal(deployment.emulate(x), outputs(model, x))
    assert len(np.unique(outputs(model, x))) >= 15
    kinds = {layer["class"] for layer in deployment.metadata["layers"]}
    assert ("DepthwiseConv2D" in kinds) == (case in ("depthwise", "groups"))


def test_strides():
    """Also where one output remains: a stream would hold another one after it."""
    layers = lower(prepare(CASES["groups"]()), "io_stream").layers
    assert layers[-1]["class_name"] == "Conv2D"
    assert (layers[-1]["in_height"], layers[-1]["out_height"]) == (4, 1)
    assert layers[-1]["stride_height"] == 2
    # A sequence has one row, whatever its stride along it.
    layers = lower(prepare(CASES["sequence"]()), "io_stream").layers
    first = next(layer for layer in layers if layer["class_name"] == "Conv2D")
    assert (first["stride_height"], first["stride_width"]) == (1, 2)
