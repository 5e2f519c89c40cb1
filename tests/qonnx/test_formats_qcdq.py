"""QONNX as QCDQ: the numbers of stock ONNX Runtime at its default, and refusals."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import kerasqnn
from kerasqnn import QONNXSession, convert_qonnx
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN

from .format_models import FAMILIES, Builder, inputs
from .models import model_of, operator_model


def run_stock(path, x):
    """Run a file with ONNX Runtime's default settings."""
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("opset, most", [(13, 8), (21, 16)])
@pytest.mark.parametrize("family", FAMILIES)
def test_stock_session(tmp_path, family, opset, most):
    """Stock ONNX Runtime at its default gives the numbers of the QONNX model."""
    path = tmp_path / "qcdq.onnx"
    for seed in range(4):
        model = FAMILIES[family](seed, opset, most=most, channelwise=bool(seed % 2))
        x = inputs(model)
        convert_qonnx(model, "qcdq", path=path)
        onnx.checker.check_model(str(path), full_check=True)
        np.testing.assert_array_equal(run_stock(path, x), QONNXSession(model).run(x))


def test_bare_form_is_rewritten(tmp_path):
    """Without `Max`, ONNX Runtime rounds otherwise: that is what `exact` is for."""
    model = FAMILIES["mlp"](0)
    x, path = inputs(model), tmp_path / "bare.onnx"
    bare = convert_qonnx(model, "qcdq", path=path, exact=False)
    expected = QONNXSession(model).run(x)
    assert not [n for n in bare.graph.node if n.op_type == "Max"]
    np.testing.assert_array_equal(QONNXSession(bare).run(x), expected)
    assert np.any(run_stock(path, x) != expected)


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("narrow", [0, 1])
def test_all_widths_and_scales(tmp_path, bits, signed, narrow):
    """Any scale: ties of all codes and their neighbours, infinities, huge numbers."""
    scales = np.float32([0.25, 0.3, 1 / 3, 1e-30, 1e30])
    codes = np.random.default_rng(bits).integers(-(2**bits), 2**bits, 400) + 0.5
    with np.errstate(over="ignore"):
        x = (np.append(codes, [np.inf, -np.inf, 0])[:, None] * scales).astype("f4")
    x = np.concatenate([x, np.nextafter(x, np.float32(9)), -x, x[::-1]])
    builder = Builder(0)
    y = builder.quant("x", scales, bits, signed, narrow)
    model = builder.model(y, ["n", 5], ["n", 5], 13 if bits <= 8 else 21)
    path = tmp_path / "qcdq.onnx"
    converted = convert_qonnx(model, "qcdq", path=path)
    kinds = [node.op_type for node in converted.graph.node]
    assert ("Clip" in kinds) == (bits not in (8, 16) or bool(narrow))
    np.testing.assert_array_equal(run_stock(path, x), QONNXSession(model).run(x))


def test_constants_are_codes():
    """Weights are stored as 8 bits and keep their name, biases as int32."""
    converted = convert_qonnx(FAMILIES["mlp"](0), "qcdq")
    types = {
        i.name: numpy_helper.to_array(i).dtype for i in converted.graph.initializer
    }
    assert types["w1"] == np.int8
    assert types["b3"] == np.int32
    assert [i.domain for i in converted.opset_import] == [""]


@pytest.mark.parametrize("signed", [0, 1])
def test_int4(tmp_path, signed):
    """Codes of exactly 4 bits as int4 and uint4, without Clip, there and back."""
    builder = Builder(0)
    x = builder.quant("x", 0.3, 4, signed, 0)
    w = builder.constant("w", np.float32(builder.rng.normal(0, 1, (6, 64)).round(0)))
    w = builder.quant(w, np.ones((1, 64)), 4, 1, 0)
    y = builder.quant(builder.node("MatMul", [x, w]), 0.3, 4, signed, 1)
    model = builder.model(y, ["n", 6], ["n", 64], 21)
    x, path = inputs(model, 512)[2:], tmp_path / "int4.onnx"
    converted = convert_qonnx(model, "qcdq", path=path, int4=True)
    assert [n.op_type for n in converted.graph.node].count("Clip") == 1
    np.testing.assert_array_equal(run_stock(path, x), QONNXSession(model).run(x))
    back = convert_qonnx(path, "qonnx")
    np.testing.assert_array_equal(QONNXSession(back).run(x), QONNXSession(model).run(x))
    with pytest.raises(ValueError, match="`int4` needs.*opset 13"):
        convert_qonnx(FAMILIES["mlp"](0), "qcdq", int4=True)


def test_shared_weight():
    """One weight read with two scales: two sets of codes, and the float where read."""
    builder = Builder(0)
    w = builder.constant("w", np.float32([[0.5, -0.25], [1.0, 0.75]]))
    names = [builder.quant(w, s, 4, 1, 0) for s in (0.25, 0.5)]
    products = [builder.node("MatMul", ["x", n]) for n in [*names, w]]
    y = builder.node("Sum", products)
    model = builder.model(y, ["n", 2], ["n", 2])
    x = inputs(model)[2:]
    converted = convert_qonnx(model, "qcdq")
    np.testing.assert_array_equal(QONNXSession(converted).run(x),
                                  QONNXSession(model).run(x))  # fmt: skip


def test_channels_last():
    """Convolutions in qonnx's channels-last domain become standard ones."""
    builder = Builder(0)
    h = builder.quant("x", signed=1)
    w = builder.weight((2, 3, 3, 2), 0)
    node = onnx.helper.make_node(
        "Conv", [h, w], ["y"], domain=CHANNELS_LAST_DOMAIN, kernel_shape=[3, 3],
        pads=[1] * 4, strides=[1, 1], dilations=[1, 1], group=1,
    )  # fmt: skip
    model = model_of([*builder.nodes, node], builder.constants, ("n", 5, 5, 2),
                     domains={DOMAIN: 1, CHANNELS_LAST_DOMAIN: 1})  # fmt: skip
    x = inputs(model)[2:]
    converted = convert_qonnx(model, "qcdq")
    assert {n.domain for n in converted.graph.node} == {""}
    np.testing.assert_array_equal(QONNXSession(converted).run(x),
                                  QONNXSession(model).run(x))  # fmt: skip


def quant_model(opset=13, **given):
    parameters = {"scale": 0.25, "zeropt": 0, "bitwidth": 4}
    attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    for name, value in given.items():
        (parameters if name in parameters else attributes)[name] = value
    model = operator_model("Quant", ("n", 3), parameters, **attributes)
    model.opset_import[0].version = opset
    return model


@pytest.mark.parametrize(
    "given, row, received",
    [
        ({"bitwidth": 1}, "arbitrary precision", "bitwidth=1, signed"),
        ({"bitwidth": 1, "signed": 0}, "arbitrary precision", "bitwidth=1"),
        ({"bitwidth": 2.5}, "arbitrary precision", "bitwidth=2.5"),
        ({"bitwidth": 9}, "arbitrary precision", "bitwidth=9"),
        ({"bitwidth": 17, "opset": 21}, "arbitrary precision", "bitwidth=17"),
        ({"zeropt": 0.5}, "arbitrary precision", "zeropt=0.5"),
        ({"zeropt": 300}, "arbitrary precision", "zeropt=300"),
        ({"rounding_mode": "FLOOR"}, "rounding variants", "rounding_mode=FLOOR"),
        ({"scale": np.array(0.3)}, "arbitrary precision", "float64"),
        ({"scale": np.eye(3, dtype="f4") + 1}, "arbitrary precision", "(3, 3)"),
    ],
)
def test_refused_parameters(tmp_path, given, row, received):
    """The message names the node, the row of the table, and what was received."""
    path = tmp_path / "no.onnx"
    with pytest.raises(UnsupportedModelError) as caught:
        convert_qonnx(quant_model(**given), "qcdq", path=path)
    for part in ("Quant node 'node'", repr(row), f"Received: {received}"):
        assert part.split(": ")[-1] in str(caught.value)
    assert caught.value.layer == "node"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "op_type, parameters, row",
    [
        ("BipolarQuant", {"scale": 1}, "arbitrary precision"),
        (
            "Trunc",
            {"scale": 1, "zeropt": 0, "in_bitwidth": 8, "out_bitwidth": 4},
            "rounding variants",
        ),
        (
            "FloatQuant",
            {
                "scale": 1,
                "exponent_bitwidth": 4,
                "mantissa_bitwidth": 3,
                "exponent_bias": 7,
                "max_val": 480,
            },
            "arbitrary precision",
        ),
    ],
)
def test_refused_operators(op_type, parameters, row):
    """One bit, shifts and floating point have no QCDQ form."""
    attributes = {
        "Trunc": {"rounding_mode": "FLOOR"},
        "FloatQuant": {"has_inf": 0, "has_nan": 0, "has_subnormal": 1,
                       "saturation": 1, "rounding_mode": "ROUND"},
    }.get(op_type, {})  # fmt: skip
    model = operator_model(op_type, ("n", 3), parameters, **attributes)
    with pytest.raises(UnsupportedModelError, match=f"{op_type} node 'node'.*'{row}'"):
        convert_qonnx(model, "qcdq")


def test_zero_points(tmp_path):
    """Exact where all numbers of the input agree; else refused, or a step apart."""
    model = quant_model(zeropt=3)
    with pytest.raises(UnsupportedModelError, match="ties.*zeropt=3.*exact=False"):
        convert_qonnx(model, "qcdq")
    near = convert_qonnx(model, "qcdq", exact=False)
    x = np.float32([[0.5, 0.49999997, 0.3]]) * np.float32(0.25)
    steps = (QONNXSession(near).run(x) - QONNXSession(model).run(x)) / 0.25
    assert steps.tolist() == [[-1, -1, 0]]

    path = tmp_path / "zero.onnx"
    for bits, zero, same in [(3, 3, True), (6, 2, True), (6, 3, False)]:
        builder = Builder(0)
        h = builder.quant("x", 2.0**-2 if bits == 3 else 2.0**-3, bits, 1, 0)
        y = builder.quant(h, 2.0**-2, 5, 0, 0, zeropt=zero)
        model = builder.model(y, ["n", 6], ["n", 6])
        if not same:
            with pytest.raises(UnsupportedModelError, match="ties"):
                convert_qonnx(model, "qcdq")
            continue
        x = inputs(model)
        convert_qonnx(model, "qcdq", path=path)
        np.testing.assert_array_equal(run_stock(path, x), QONNXSession(model).run(x))


def test_arguments(tmp_path):
    """Unknown formats, opsets and folders are named; the input may be a file."""
    model = quant_model()
    onnx.save(model, tmp_path / "model.onnx")
    converted = convert_qonnx(tmp_path / "model.onnx", "qcdq", opset=21)
    assert converted.opset_import[0].version == 21
    assert converted == convert_qonnx(model, "qcdq", opset=21)
    with pytest.raises(ValueError, match="qcdq.*Received: 'qdcq'"):
        convert_qonnx(model, "qdcq")
    with pytest.raises(ValueError, match="`opset` must be.*Received: opset=12"):
        convert_qonnx(model, "qcdq", opset=12)
    with pytest.raises(FileNotFoundError, match="folder"):
        convert_qonnx(model, "qcdq", path=tmp_path / "none" / "x.onnx")
    assert "convert_qonnx" in dir(kerasqnn)
