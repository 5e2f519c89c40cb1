"""QONNX as quantized operators with clipping: same numbers in stock ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kerasqnn import QONNXSession, convert_qonnx
from kerasqnn.errors import UnsupportedModelError

from .format_models import QUANTIZED_FAMILIES, Builder, inputs


def check(model, x, path):
    """Stock ONNX Runtime at its default gives the numbers of the QONNX model."""
    converted = convert_qonnx(model, "qop", path=path)
    onnx.checker.check_model(converted, full_check=True)
    session = onnxruntime.InferenceSession(path)
    (y,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(y, QONNXSession(model).run(x))
    return [node.op_type for node in converted.graph.node]


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("family", QUANTIZED_FAMILIES)
def test_families(tmp_path, family, opset):
    """No product is left in floating point, and no number differs."""
    for seed in range(4):
        model = QUANTIZED_FAMILIES[family](seed, opset, channelwise=bool(seed % 2))
        kinds = check(model, inputs(model), tmp_path / "qop.onnx")
        assert not {"MatMul", "Gemm", "Conv", "Relu"} & set(kinds)
        assert {"QLinearConv", "QLinearMatMul"} & set(kinds)


def test_numbers_before_and_behind_flatten(tmp_path):
    """Both are read: the nodes that give the numbers have names of their own."""
    builder = Builder(0)
    x = builder.quant("x", 0.5, 8, 1, 0)
    flat = builder.node("Flatten", [x], axis=1)
    model = builder.model(builder.node("Add", [x, flat]), ["n", 3], ["n", 3])
    check(model, np.arange(6, dtype=np.float32).reshape(2, 3), tmp_path / "qop.onnx")


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shift", range(-12, 3, 3))
def test_all_products_of_codes(tmp_path, shift, has_bias):
    """Rounding and saturation on every product of two codes of 8 bits."""
    builder = Builder(0)
    codes = np.arange(-128, 128, dtype=np.float32)
    x = builder.quant("x", 0.5, 8, 1, 0)
    w = builder.quant(builder.constant("w", codes[None] * 2), 2.0, 8, 1, 0)
    h = builder.node("MatMul", [x, w])
    if has_bias:
        h = builder.node("Add", [h, builder.constant("b", codes * 3)])
    y = builder.quant(h, 2.0**-shift, 6, 1, 1)
    model = builder.model(y, ["n", 1], ["n", 256])
    check(model, codes[:, None] / 2, tmp_path / "qop.onnx")


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("op_type", ["MatMul", "Conv"])
def test_sums_of_largest_codes(tmp_path, op_type, signed):
    """Sums of pairs above 16 bits, which uint8 by int8 saturates on some processors."""
    builder = Builder(0)
    x = builder.quant("x", 1.0, 8, signed, 0)
    shape = (64, 8) if op_type == "MatMul" else (8, 64, 1, 1)
    values = np.sign(builder.rng.normal(0, 1, shape)) * 127
    values[..., :2] = values[:2] = 127
    w = builder.quant(builder.constant("w", np.float32(values)), 1.0, 8, 1, 0)
    y = builder.quant(builder.node(op_type, [x, w]), 2.0**14, 8, 1, 0)
    if op_type == "MatMul":
        model = builder.model(y, ["n", 64], ["n", 8])
        x = builder.rng.integers(-128, 256, (256, 64))
    else:
        model = builder.model(y, ["n", 64, 2, 2], ["n", 8, 2, 2])
        x = builder.rng.integers(-128, 256, (64, 64, 2, 2))
    x[:8] = 255
    check(model, np.float32(x), tmp_path / "qop.onnx")


def test_asymmetric_codes(tmp_path):
    """Zero points of inputs and outputs; Relu as a Clip at the zero point."""
    builder = Builder(0)
    x = builder.quant("x", 0.5, 5, 1, 0)
    h = builder.quant(x, 0.5, 8, 0, 0, zeropt=7.0)
    h = builder.node("Relu", [builder.node("MatMul", [h, builder.weight((6, 4), 1)])])
    y = builder.quant(h, 0.25, 6, 1, 0, zeropt=4.0)
    model = builder.model(y, ["n", 6], ["n", 4])
    check(model, inputs(model), tmp_path / "qop.onnx")


@pytest.mark.parametrize(
    "bits, signed, zeropt",
    [(8, 0, 0), (8, 0, 255), (8, 0, 100), (8, 1, -128), (8, 1, 20), (4, 0, [3, 5, 7])],
)
@pytest.mark.parametrize("has_bias", [False, True])
def test_asymmetric_weights(tmp_path, bits, signed, zeropt, has_bias):
    """Unsigned weights, and weights with a zero point, one a channel too."""
    b = Builder(0)
    values = np.float32(b.rng.normal(0, 60, (6, 3)))
    w = b.quant(b.constant("w", values), 1.0, bits, signed, 0, zeropt=zeropt)
    h = b.node("MatMul", [b.quant("x", 0.5, 5, 1, 0), w])
    if has_bias:
        h = b.node("Add", [b.constant("b", np.float32([3, -40, 0.5])), h])
    model = b.model(b.quant(h, 4.0, 8, 1, 0), ["n", 6], ["n", 3])
    check(model, inputs(model), tmp_path / "qop.onnx")


def test_constants_that_are_no_weights(tmp_path):
    """Transposed, with a scale a channel; wide; read by a product and a sum."""
    b = Builder(0)
    x = b.quant("x", 0.5, 5, 1, 0)
    w = b.weight((6, 6), 1)
    scale = np.exp2(np.arange(-3, 3, dtype="f4"))[:, None]
    other = b.quant(b.constant("v", scale * np.ones((6, 6), "f4")), scale, 4, 1, 0)
    wide = b.bias(6)
    h = b.quant(b.node("MatMul", [x, w]), 0.5, 8, 1, 0)
    total = b.node("Sum", [h, wide, b.node("Transpose", [other]), w])
    model = b.model(b.quant(total, 0.25, 8, 1, 0), [6, 6], [6, 6])
    check(model, inputs(model, 6), tmp_path / "qop.onnx")


def test_second_bias_is_refused():
    """Two could cancel, and float32 round in between."""
    b = Builder(0)
    h = b.node("MatMul", [b.quant("x", 0.5, 5, 1, 0), b.weight((6, 4), 1)])
    for i, number in enumerate((2.0**30, -(2.0**30))):
        h = b.node("Add", [h, b.constant(f"b{i}", np.float32(number))])
    model = b.model(b.quant(h), ["n", 6], ["n", 4])
    with pytest.raises(UnsupportedModelError, match="one bias"):
        convert_qonnx(model, "qop")


def test_bias_is_int32():
    """The bias is stored at x_scale * w_scale."""
    converted = convert_qonnx(QUANTIZED_FAMILIES["mlp"](0), "qop")
    types = {
        i.name: numpy_helper.to_array(i).dtype for i in converted.graph.initializer
    }
    (node, *_) = [n for n in converted.graph.node if n.op_type == "QLinearConv"]
    assert types[node.input[8]] == np.int32
    assert types[node.input[3]] == np.uint8


def dense(*, x=True, w=True, y=True, relu=True, **given):
    """A dense layer of which parts may lack a quantizer."""
    b = Builder(0)
    h = b.quant("x", given.get("x_scale", 0.5), given.get("bits", 6), 1, 0,
                mode=given.get("mode", "ROUND")) if x else "x"  # fmt: skip
    weight = b.weight((6, 4), given.get("axis", 1))
    h = b.node(
        "MatMul", [h, weight if w else b.constant("v", np.eye(6, 4, dtype="f4"))]
    )
    if "bias" in given:
        h = b.node("Add", [h, b.constant("b", np.float32(given["bias"]))])
    h = b.node(given.get("between", "Relu"), [h])
    if y:
        h = b.quant(h, given.get("y_scale", 0.5), 6, 1, 0,
                    zeropt=given.get("zeropt", 0.0))  # fmt: skip
    return b.model(h, ["n", 6], ["n", 4])


@pytest.mark.parametrize(
    "given, message",
    [
        ({"x": False}, "weights-only.*Received: 'x'|'x', which is not.*'weights-only'"),
        ({"w": False}, "Received: 'v'.*'high-precision output'"),
        ({"y": False}, "several readers or an output.*'high-precision output'"),
        ({"between": "Sigmoid"}, "Received: Sigmoid.*'high-precision output'"),
        ({"bits": 9}, "bitwidth=9.*'arbitrary precision'"),
        ({"axis": 0}, "scales along axis -2.*'arbitrary precision'"),
        ({"y_scale": [0.5, 0.25, 0.5, 1]}, "4 scales.*'arbitrary precision'"),
        ({"mode": "FLOOR"}, "rounding_mode=FLOOR.*'rounding variants'"),
        ({"x_scale": 0.3}, "powers of two.*'high-precision output'.*exact=False"),
        ({"bias": 0.001}, "bias must be integers.*'high-precision output'"),
        ({"bias": 2.0**20}, "sums up to.*'high-precision output'"),
        ({"zeropt": 3.0}, "ties.*zeropt=3"),
    ],
)
def test_refused(tmp_path, given, message):
    """The message says what was received and the row of the table."""
    with pytest.raises(UnsupportedModelError, match=message):
        convert_qonnx(dense(**given), "qop", path=tmp_path / "no.onnx")
    assert not list(tmp_path.iterdir())


def test_without_proof():
    """exact=False writes scales that float32 rounds; at most a step differs."""
    model = dense(x_scale=0.3, y_scale=0.7)
    x = inputs(model, 512)
    converted = convert_qonnx(model, "qop", exact=False)
    steps = (QONNXSession(converted).run(x) - QONNXSession(model).run(x)) / 0.7
    assert np.max(np.abs(np.rint(steps))) <= 1
