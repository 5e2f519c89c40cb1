"""QONNX files as other tools write them, run by `QONNXSession` as by qonnx."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from kerasqnn import QONNXSession
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN
from kerasqnn.qonnx.runtime import OPTIMIZATIONS

from .models import model_of

RNG = np.random.default_rng(0)


def quant(x, y, constants, scale, bits=4, signed=1, **attributes):
    """A Quant node; its parameters go to `constants`."""
    given = {"scale": np.float32(scale), "zeropt": np.float32(0)}
    given["bitwidth"] = np.float32(bits)
    constants |= {f"{y}_{name}": value for name, value in given.items()}
    named = {"signed": signed, "narrow": 0, "rounding_mode": "ROUND"} | attributes
    inputs = [x, *(f"{y}_{name}" for name in given)]
    return helper.make_node("Quant", inputs, [y], name=y, domain=DOMAIN, **named)


def mlp(batch=1, scale=0.3, opset=13):
    """Scales that are no powers of two, so that float32 rounds the sums."""
    constants = {
        "w1": RNG.normal(0, 1, (6, 5)).astype(np.float32),
        "b1": RNG.normal(0, 1, 5).astype(np.float32),
        "w2": RNG.normal(0, 1, (5, 3)).astype(np.float32),
    }
    nodes = [
        quant("x", "qx", constants, scale),
        quant("w1", "qw1", constants, np.full((1, 5), scale)),
        helper.make_node("MatMul", ["qx", "qw1"], ["h"]),
        helper.make_node("Add", ["h", "b1"], ["hb"]),
        helper.make_node("Relu", ["hb"], ["r"]),
        quant("r", "qr", constants, scale, signed=0),
        quant("w2", "qw2", constants, scale),
        helper.make_node("MatMul", ["qr", "qw2"], ["y"]),
    ]
    return model_of(nodes, constants, (batch, 6), output_shape=(batch, 3), opset=opset)


def cnn(batch=2):
    """Convolution, pooling, a reshape that names the batch."""
    constants = {
        "w": RNG.normal(0, 1, (4, 2, 3, 3)).astype(np.float32),
        "shape": np.array([batch, -1], np.int64),
        "v": RNG.normal(0, 1, (36, 3)).astype(np.float32),
    }
    window = {"strides": [1, 1], "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = [
        quant("x", "qx", constants, 0.3),
        quant("w", "qw", constants, 0.2),
        helper.make_node(
            "Conv", ["qx", "qw"], ["c"], dilations=[1, 1], group=1, **window
        ),
        helper.make_node("Relu", ["c"], ["r"]),
        quant("r", "qr", constants, 0.7, signed=0),
        helper.make_node("MaxPool", ["qr"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["p", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    return model_of(nodes, constants, (batch, 2, 6, 6), output_shape=(batch, 3))


def inputs(model, count):
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return RNG.normal(0, 1, (count, *shape[1:])).astype(np.float32)


def by_parts(model, x, batch):
    """qonnx runs the batch that the file fixes."""
    parts = [run_reference(model, x[i : i + batch]) for i in range(0, len(x), batch)]
    return np.concatenate(parts)


@pytest.mark.parametrize("optimization", OPTIMIZATIONS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("build, batch", [(mlp, 1), (cnn, 2)])
def test_inexact_sums(build, batch, optimization, threads):
    """Sums that float32 rounds: equal at every level and number of threads."""
    model = build(batch)
    x = inputs(model, batch)
    session = QONNXSession(model, optimization=optimization, threads=threads)
    np.testing.assert_array_equal(session.run(x), run_reference(model, x))


def grid(model):
    """The model with power-of-two scales and weights: sums are exact."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith("scale"):
            values = np.full(tensor.dims, 0.25, np.float32)
            tensor.raw_data = values.tobytes()
        elif tensor.data_type == TensorProto.FLOAT and tensor.dims:
            values = np.frombuffer(tensor.raw_data, np.float32)
            tensor.raw_data = (np.round(values * 4) / 4).tobytes()
    return model


@pytest.mark.parametrize("build, batch", [(mlp, 1), (mlp, 3), (cnn, 1), (cnn, 2)])
def test_any_batch(build, batch):
    """Any number of samples at once, whatever the file fixes."""
    model = grid(build(batch))
    session = QONNXSession(model)
    assert not session._loops
    x = inputs(model, 6)
    expected = by_parts(model, x, batch)
    np.testing.assert_array_equal(session.run(x), expected)
    np.testing.assert_array_equal(session.run(x[:1]), expected[:1])
    assert session.run(x[:0]).shape == (0, 3)


def test_mixing_samples():
    """A model that computes across its batch runs batch by batch."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    model = model_of(nodes, {}, (2, 3))
    session, x = QONNXSession(model), inputs(model, 5)
    received = session.run(x)
    np.testing.assert_array_equal(received[:4], by_parts(model, x[:4], 2))
    np.testing.assert_array_equal(received[4], np.zeros(3))
    assert session.run(x[:0]).shape == (0, 3)


@pytest.mark.parametrize("target", [[-1, 4], [1, 16], [4, 4]])
def test_reshape_across_samples(target):
    """Rows that are no samples are not taken for a batch."""
    constants = {"shape": np.array(target, np.int64)}
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("Softmax", ["r"], ["s"], axis=-1),
        helper.make_node("Reshape", ["s", "back"], ["y"]),
    ]
    constants["back"] = np.array([1, 4, 4], np.int64)
    model = model_of(nodes, constants, (1, 4, 4))
    x = inputs(model, 3)
    received = QONNXSession(model).run(x)
    np.testing.assert_array_equal(received, by_parts(model, x, 1))


def test_a_row_a_sample():
    """Constants with a row for each sample keep the batch of the file."""
    for op_type, shape, given, result in [
        ("Add", (2, 3), (2, 3), (2, 3)),
        ("MatMul", (2, 3, 4), (2, 1, 3), (2, 1, 4)),
        ("Concat", (2, 3), (2, 3), (2, 6)),
    ]:
        axis = {"axis": 1} if op_type == "Concat" else {}
        node = helper.make_node(op_type, ["x", "c"], ["y"], **axis)
        constants = {"c": RNG.normal(0, 1, shape).astype(np.float32)}
        model = model_of([node], constants, given, output_shape=result)
        session, x = QONNXSession(model), inputs(model, 4)
        assert session._loops
        np.testing.assert_array_equal(session.run(x), by_parts(model, x, 2))
        assert session.run(x[:1]).shape == (1, *result[1:])


def test_no_batch():
    """A vector is no batch of numbers: other lengths are refused, not cut up."""
    constants = {"c": np.ones((6, 6), np.float32)}
    node = helper.make_node("MatMul", ["x", "c"], ["y"])
    session = QONNXSession(model_of([node], constants, (6,)))
    assert session.run(np.ones(6)).shape == (6,)
    with pytest.raises(ValueError, match=r"has the shape \(6,\).*\(12,\)"):
        session.run(np.ones(12))


def test_branches():
    """A branch reads the input although the node does not name it."""
    branch = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=1)],
        "branch",
        [],
        [helper.make_tensor_value_info("s", TensorProto.FLOAT, None)],
    )
    node = helper.make_node(
        "If", ["c"], ["sum"], then_branch=branch, else_branch=branch
    )
    add = helper.make_node("Add", ["x", "sum"], ["y"])
    model = model_of([node, add], {"c": np.array(True)}, (2, 3))
    session, x = QONNXSession(model), inputs(model, 4)
    expected = [part + part.sum() for part in x.reshape(2, 2, 3)]
    np.testing.assert_allclose(session.run(x), np.concatenate(expected), rtol=1e-6)


def test_quantized_bias():
    """Computed constants, as quantized biases are, do not keep the batch fixed."""
    constants = {"b": RNG.normal(0, 1, 3).astype(np.float32)}
    nodes = [
        quant("b", "qb", constants, 0.25),
        helper.make_node("Add", ["x", "qb"], ["y"]),
    ]
    model = model_of(nodes, constants, (1, 3))
    session, x = QONNXSession(model), inputs(model, 5)
    assert not session._loops
    np.testing.assert_array_equal(session.run(x), by_parts(model, x, 1))


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 17])
def test_opsets(opset):
    """Opsets before 13 are converted."""
    for _ in range(5):
        model = mlp(opset=opset)
        x = inputs(model, 1)
        expected = run_reference(model, x)
        np.testing.assert_array_equal(QONNXSession(model).run(x), expected)


def test_static_inputs_and_missing_imports():
    """Parameters that are listed as inputs too; no import of QONNX's domain."""
    model = mlp()
    x = inputs(model, 1)
    expected = run_reference(model, x)
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(
            tensor.name, tensor.data_type, tensor.dims
        )
        model.graph.input.append(value)
    kept = [i for i in model.opset_import if not i.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    session = QONNXSession(model)
    assert session.input_names == ["x"]
    np.testing.assert_array_equal(session.run(x), expected)


@pytest.mark.parametrize("op_type", ["Conv", "MaxPool"])
def test_channels_last(op_type):
    """Convolution and pooling of qonnx's channels-last domain."""
    attributes = {"strides": [2, 2], "kernel_shape": [2, 2], "pads": [0, 0, 0, 0]}
    constants, names = {}, ["x"]
    if op_type == "Conv":
        constants = {"w": RNG.normal(0, 1, (2, 2, 2, 2)).astype(np.float32)}
        names, attributes = ["x", "w"], attributes | {"dilations": [1, 1], "group": 1}
    node = helper.make_node(
        op_type, names, ["y"], domain=CHANNELS_LAST_DOMAIN, **attributes
    )
    model = model_of(
        [node],
        constants,
        (1, 6, 6, 2),
        output_shape=(1, 3, 3, 2),
        domains={CHANNELS_LAST_DOMAIN: 1},
    )
    x = inputs(model, 1)
    received, expected = QONNXSession(model).run(x), run_reference(model, x)
    np.testing.assert_array_equal(received, expected)


def test_tensors():
    """Any tensor inside, by its name in the file."""
    model = mlp()
    session, x = QONNXSession(model), inputs(model, 4)
    values = session.tensors(x)
    assert set(values) == {"x", "qx", "qw1", "h", "hb", "r", "qr", "qw2", "y"}
    np.testing.assert_array_equal(values["y"], session.run(x))
    np.testing.assert_array_equal(values["r"], np.maximum(values["hb"], 0))
    assert list(session.tensors(x, ["qr"])) == ["qr"]
    with pytest.raises(ValueError, match=r"names of tensors.*Received: 'nothing'"):
        session.tensors(x, ["nothing"])


def test_computed_parameters():
    """A scale that depends on the input cannot be folded."""
    constants = {}
    node = quant("x", "y", constants, 1.0)
    node.input[1] = "computed"
    scale = helper.make_node("ReduceMax", ["x"], ["computed"])
    model = model_of([scale, node], constants, (1, 3))
    with pytest.raises(ValueError, match="`scale` must be constant.*'computed'"):
        QONNXSession(model)


def test_unknown_operator():
    """Named, with what is known."""
    node = helper.make_node("GenericPartition", ["x"], ["y"], domain=DOMAIN)
    model = model_of([node], {}, (1, 3))
    with pytest.raises(ValueError, match="GenericPartition.*Allowed: Quant"):
        QONNXSession(model)


def test_options():
    with pytest.raises(ValueError, match="`optimization` must be one of all, ext"):
        QONNXSession(mlp(), optimization="fast")
