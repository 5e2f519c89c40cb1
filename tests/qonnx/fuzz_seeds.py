"""Valid models of all kinds, from which the fuzz target starts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, TensorProto, helper

from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN

from .models import model_of, operator_model
from .test_files import cnn, mlp
from .test_hostile import chain_of_functions, deep

_QUANT = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}


def models() -> Iterator[ModelProto]:
    """Yield the models."""
    yield from (mlp(), cnn(), mlp(opset=9), deep(2), chain_of_functions(2), loop())
    base = {"scale": 0.25, "zeropt": 0.0}
    yield operator_model("Quant", ("N", 3), {**base, "bitwidth": 4.0}, **_QUANT)
    yield operator_model("BipolarQuant", (2, 3), {"scale": 0.5})
    widths = {"in_bitwidth": 8.0, "out_bitwidth": 4.0}
    yield operator_model("Trunc", (2, 3), base | widths, rounding_mode="FLOOR")
    yield operator_model(
        "Trunc",
        (2, 3),
        {**base, **widths, "out_scale": 1.0},
        version=2,
        rounding_mode="FLOOR",
    )
    names = ("scale", "exponent_bitwidth", "mantissa_bitwidth", "exponent_bias")
    given = dict(zip(names, (1.0, 4.0, 3.0, 7.0), strict=True)) | {"max_val": 448.0}
    attributes = {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1}
    yield operator_model("FloatQuant", (2, 3), given, rounding_mode="ROUND",
                         **attributes)  # fmt: skip
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        domain=CHANNELS_LAST_DOMAIN,
        kernel_shape=[2, 2],
        strides=[1, 1],
        pads=[0, 0, 0, 0],
        dilations=[1, 1],
        group=1,
    )
    yield model_of(
        [node],
        {"w": np.ones((2, 2, 2, 2), np.float32)},
        (1, 4, 4, 2),
        output_shape=(1, 3, 3, 2),
        domains={CHANNELS_LAST_DOMAIN: 1},
    )
    thresholds = np.sort(np.random.default_rng(0).normal(0, 1, (2, 3)), axis=1)
    for op_type, constants, attributes in (
        ("MultiThreshold", {"t": np.float32(thresholds)}, {"data_layout": "NCHW"}),
        ("QuantAvgPool2d", {}, {"kernel": 2, "stride": 1, "ibits": 8, "obits": 4}),
        ("Im2Col", {}, {"kernel_size": [2, 2], "stride": [1, 1]}),
    ):
        node = helper.make_node(op_type, ["x", *constants], ["y"], domain="qonnx",
                                **attributes)  # fmt: skip
        model = model_of([node], constants, (1, 2, 4, 4), domains={"qonnx": 1})
        model.graph.output[0].type.tensor_type.ClearField("shape")
        yield model


def loop() -> ModelProto:
    """Adds the input three times."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["sum", "x"], ["more"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, (2, 3)),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, (2, 3)),
        ],
    )
    node = helper.make_node("Loop", ["count", "true", "x"], ["y"], body=body)
    constants = {"count": np.array(3), "true": np.array(True)}
    return model_of([node], constants, (2, 3))
