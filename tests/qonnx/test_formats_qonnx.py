"""QCDQ as QONNX: the way back, and files as other tools write them."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kerasqnn import QONNXSession, convert_qonnx
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.operators import attributes_of

from .format_models import FAMILIES, QUANTIZED_FAMILIES, Builder, inputs
from .models import model_of


def contents(model):
    """Nodes and parameters with their names; minus zero is zero."""
    nodes = [
        (n.op_type, n.domain, n.name, *n.input, *n.output, sorted(attributes_of(n)),
         str(sorted(attributes_of(n).items())))
        for n in model.graph.node
    ]  # fmt: skip
    arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    return nodes, {
        name: (a.dtype, a.shape, (a + 0).tobytes()) for name, a in arrays.items()
    }


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("opset, most", [(13, 8), (21, 16)])
@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip(family, opset, most, exact):
    """There and back: the same nodes, parameters and names."""
    for seed in range(4):
        model = FAMILIES[family](seed, opset, most=most, channelwise=bool(seed % 2))
        there = convert_qonnx(model, "qcdq", exact=exact)
        back = convert_qonnx(there, "qonnx")
        assert contents(back) == contents(model)
        x = inputs(model, 8)[2:]
        np.testing.assert_array_equal(run_reference(back, x), run_reference(model, x))


@pytest.mark.parametrize(
    "bits, signed, zeropt", [(8, 0, 255), (4, 0, 3), (8, 1, -128), (3, 0, [3, 5, 7])]
)
def test_weights_with_zero_points(bits, signed, zeropt):
    """Constants may have any zero point, one a channel too: there and back."""
    b = Builder(0)
    w = b.constant("w", np.float32(b.rng.normal(0, 2**bits / 4, (6, 3))))
    w = b.quant(w, [[0.3, 0.1, 0.2]], bits, signed, 0, zeropt=zeropt)
    model = b.model(b.node("MatMul", ["x", w]), ["n", 6], ["n", 3])
    x = inputs(model)[2:]
    there = convert_qonnx(model, "qcdq")
    for converted in (there, convert_qonnx(there, "qonnx")):
        np.testing.assert_array_equal(QONNXSession(converted).run(x),
                                      QONNXSession(model).run(x))  # fmt: skip


def test_unsigned_narrow_survives():
    """qonnx's converter reads 0..254 as 8 bits, not narrow."""
    model = chain_model(dtype=np.uint8, clip=(0, 254))
    (node,) = convert_qonnx(model, "qonnx").graph.node
    assert (attributes_of(node)["narrow"], attributes_of(node)["signed"]) == (1, 0)
    x = np.float32([[300, -1, 254.5]])
    assert QONNXSession(convert_qonnx(model, "qonnx")).run(x).tolist() == [
        [254, 0, 254]
    ]


def chain_model(scale=1.0, zero=0, dtype=np.int8, clip=None, axis=None, opset=13,
                columns=3):  # fmt: skip
    """QuantizeLinear, Clip and DequantizeLinear from x to y."""
    scale = np.float32(scale)
    constants = {"s": scale, "z": np.full(scale.shape, zero, dtype)}
    attributes = {} if axis is None else {"axis": axis}
    codes, nodes = "q", []
    nodes.append(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"],
                                  **attributes))  # fmt: skip
    if clip is not None:
        constants |= {"low": np.array(clip[0], dtype), "high": np.array(clip[1], dtype)}
        nodes.append(helper.make_node("Clip", ["q", "low", "high"], ["c"]))
        codes = "c"
    nodes.append(helper.make_node("DequantizeLinear", [codes, "s", "z"], ["y"],
                                  **attributes))  # fmt: skip
    return model_of(nodes, constants, ("n", columns), domains={}, opset=opset)


CHAINS = {
    "int8": {},
    "uint8": {"dtype": np.uint8},
    "int16": {"dtype": np.int16, "opset": 21},
    "any scale": {"scale": 0.3, "clip": (-8, 7)},
    "channels": {"scale": [0.3, 0.25, 7], "axis": 1, "clip": (-7, 7)},
    "from the last": {"scale": [0.3, 0.25, 7], "axis": -1},
    "one channel": {"scale": [0.3], "axis": 1},
    "ternary": {"clip": (-1, 1)},
    "one bit": {"dtype": np.uint8, "clip": (0, 1)},
    "positive int8": {"clip": (0, 127)},
    "no width": {"clip": (-3, 6), "scale": 0.3},
    "no width above": {"dtype": np.uint8, "clip": (0, 5)},
    "zero point": {"zero": 3, "scale": 0.3},
    "asymmetric": {"zero": 128, "dtype": np.uint8, "scale": 0.3},
    "asymmetric narrow": {"zero": 100, "dtype": np.uint8, "clip": (90, 200)},
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name):
    """All chains give their numbers, near ties too, and no integers are left."""
    model = chain_model(**CHAINS[name])
    ties = np.arange(-140, 300)[:, None] / 2 * np.float32(CHAINS[name].get("scale", 1))
    x = np.broadcast_to(ties, (len(ties), 3)).astype(np.float32)
    x = np.concatenate([x, np.nextafter(x, np.float32(1e9)), x * 1e6])
    converted = convert_qonnx(model, "qonnx")
    assert {n.op_type for n in converted.graph.node} <= {"Quant", "Clip"}
    np.testing.assert_array_equal(QONNXSession(converted).run(x),
                                  QONNXSession(model).run(x))  # fmt: skip


def brevitas_like(quantized_where_read, opset=13):
    """A convolution as Brevitas writes it: axis 0, Clip below 8 bits, int32 bias."""
    rng = np.random.default_rng(0)
    scale = np.float32([0.1, 0.2, 0.3, 0.07])
    codes = rng.integers(-8, 8, (4, 2, 3, 3)).astype(np.int8)
    constants = {
        "xs": np.float32(0.11), "xz": np.int8(0), "low": np.int8(-8),
        "high": np.int8(7), "ws": scale, "wz": np.zeros(4, np.int8),
        "b": rng.integers(-999, 999, 4).astype(np.int32),
        "bs": scale * np.float32(0.11),
        "w": np.float32(rng.normal(0, 1, codes.shape)) if quantized_where_read
             else codes,
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
    ]
    source = "w"
    if quantized_where_read:
        source = "wq"
        nodes.append(
            helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=0)
        )
    nodes += [
        helper.make_node("Clip", [source, "low", "high"], ["wc"]),
        helper.make_node("DequantizeLinear", ["wc", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["y"], kernel_shape=[3, 3]),
    ]
    return model_of(nodes, constants, ("n", 2, 5, 5), domains={}, opset=opset,
                    output_shape=("n", 4, 3, 3))  # fmt: skip


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("quantized_where_read", [False, True])
def test_as_brevitas_writes(quantized_where_read, opset):
    """Scales a channel, 4 bits, a bias of int32; weights as codes or numbers."""
    model = brevitas_like(quantized_where_read, opset)
    x = inputs(model)
    converted = convert_qonnx(model, "qonnx")
    assert [n.op_type for n in converted.graph.node] == ["Quant"] * 3 + ["Conv"]
    bits = {
        i.name: numpy_helper.to_array(i).item()
        for i in converted.graph.initializer
        if i.name.endswith("bitwidth")
    }
    assert bits == {"xd_bitwidth": 8, "wd_bitwidth": 4, "bd_bitwidth": 32}
    np.testing.assert_array_equal(QONNXSession(converted).run(x),
                                  QONNXSession(model).run(x))  # fmt: skip


def test_int4_codes():
    """Weights of type int4 (opset 21) are 4 bits."""
    codes = np.random.default_rng(0).integers(-8, 8, (3, 5))
    weight = helper.make_tensor("w", TensorProto.INT4, codes.shape, codes.ravel())
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    model = model_of(nodes, {"s": np.float32(0.3)}, ("n", 3), domains={}, opset=21,
                     output_shape=("n", 5))  # fmt: skip
    model.ir_version = 10
    model.graph.initializer.append(weight)
    x = inputs(model)[2:]
    converted = convert_qonnx(model, "qonnx")
    (node,) = [n for n in converted.graph.node if n.op_type == "Quant"]
    values = {i.name: numpy_helper.to_array(i) for i in converted.graph.initializer}
    assert values[node.input[3]] == 4
    np.testing.assert_array_equal(QONNXSession(converted).run(x),
                                  QONNXSession(model).run(x))  # fmt: skip


def changed(model, change):
    change(model)
    return model


def other_scale(model):
    model.graph.initializer.append(numpy_helper.from_array(np.float32(2), "t"))
    model.graph.node[-1].input[1] = "t"


def second_reader(model):
    model.graph.node.append(helper.make_node("Cast", ["q"], ["k"], to=1))
    model.graph.output.append(helper.make_empty_tensor_value_info("k"))


def integer_input(model):
    del model.graph.node[0]
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    model.graph.node[0].input[0] = "x"


@pytest.mark.parametrize(
    "change, message",
    [
        (other_scale, "must be those of the QuantizeLinear"),
        (second_reader, "read by a DequantizeLinear only"),
        (integer_input, "codes must be constant.*Received: an input"),
        (
            lambda m: m.graph.initializer[0].CopyFrom(
                numpy_helper.from_array(np.float32(np.nan), "s")
            ),
            "positive and finite",
        ),
    ],
)
def test_refused(tmp_path, change, message):
    """What is no chain is named; nothing is written."""
    model = changed(chain_model(), change)
    with pytest.raises(UnsupportedModelError, match=message):
        convert_qonnx(model, "qonnx", path=tmp_path / "no.onnx")
    assert not list(tmp_path.iterdir())


def test_stays_qonnx():
    """A QONNX model stays what it is."""
    model = FAMILIES["mlp"](0)
    assert contents(convert_qonnx(model, "qonnx")) == contents(model)
    onnx.checker.check_model(convert_qonnx(model, "qonnx"))


def test_bare_qcdq_is_made_exact(tmp_path):
    """QCDQ as QCDQ: stock ONNX Runtime then gives what the file says."""
    model = FAMILIES["mlp"](0)
    x, path = inputs(model), tmp_path / "exact.onnx"
    bare = convert_qonnx(model, "qcdq", exact=False)
    convert_qonnx(bare, "qcdq", path=path)
    (y,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    np.testing.assert_array_equal(y, QONNXSession(bare).run(x))


def test_integer_operators_are_refused():
    """What computes with integers has no counterpart; to run it needs none."""
    model = convert_qonnx(QUANTIZED_FAMILIES["mlp"](0), "qop")
    with pytest.raises(UnsupportedModelError, match="computes with integers.*QLinear"):
        convert_qonnx(model, "qonnx")


def test_wide_constants():
    """Codes that float32 does not give back are refused, others kept."""
    for code, scale, is_exact in [(2**31 - 1, 0.1, False), (2**20 + 1, 0.1, True)]:
        constants = {"b": np.int32([code, 5, -7]), "s": np.float32(scale)}
        nodes = [
            helper.make_node("DequantizeLinear", ["b", "s"], ["d"]),
            helper.make_node("Add", ["x", "d"], ["y"]),
        ]
        model = model_of(nodes, constants, ("n", 3), domains={})
        x = np.zeros((1, 3), np.float32)
        converted = convert_qonnx(model, "qonnx")
        np.testing.assert_array_equal(QONNXSession(converted).run(x),
                                      QONNXSession(model).run(x))  # fmt: skip
        if is_exact:
            there = convert_qonnx(converted, "qcdq")
            assert numpy_helper.to_array(there.graph.initializer[0]).tolist() == [
                code, 5, -7]  # fmt: skip
        else:
            with pytest.raises(UnsupportedModelError, match="codes times the scale"):
                convert_qonnx(converted, "qcdq")


def test_quantizers_in_branches_are_refused():
    """Subgraphs are not rewritten, so that none is left half converted."""
    inner = chain_model().graph
    branch = helper.make_graph(
        inner.node, "branch", [], [helper.make_empty_tensor_value_info("y")],
        inner.initializer,
    )  # fmt: skip
    nodes = [helper.make_node("If", ["c"], ["out"], then_branch=branch,
                              else_branch=branch)]  # fmt: skip
    model = model_of(nodes, {"c": np.bool_(True)}, ("n", 3), output="out", domains={})
    with pytest.raises(ValueError, match="QuantizeLinear node 'q': .*subgraphs"):
        convert_qonnx(model, "qonnx")
