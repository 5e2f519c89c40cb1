"""QONNX operators in branches and loops, which qonnx's executor cannot run.

The expected numbers are computed by numpy.
"""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kerasqnn import QONNXSession
from kerasqnn.qonnx.operators import DOMAIN

from .models import model_of

QUANT = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
PARAMETERS = {"scale": 0.5, "zero": 0.0, "bits": 3.0}
CONSTANTS = {name: np.float32(value) for name, value in PARAMETERS.items()}
X = np.float32([[0.3, -9.0, 1.7], [0.25, 0.75, -0.6]])


def quant(x, y, scale="scale", domain=DOMAIN):
    return helper.make_node(
        "Quant", [x, scale, "zero", "bits"], [y], domain=domain, **QUANT
    )


def quantized(x, scale=0.5):
    return np.round(np.clip(np.float32(x) / scale, -4, 3)) * scale


def value(name, shape=(2, 3), dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def graph(nodes, inputs, outputs, constants=None):
    tensors = [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()]
    return helper.make_graph(nodes, "inner", inputs, outputs, tensors)


def branches(condition, optimization):
    """One branch quantizes with an outer scale, the other with one of its own."""
    other = {"other": np.float32(0.25)}
    node = helper.make_node(
        "If",
        [condition],
        ["y"],
        then_branch=graph([quant("x", "a")], [], [value("a")]),
        else_branch=graph([quant("x", "b", "other")], [], [value("b")], other),
    )
    sign = helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0)
    test = helper.make_node("Greater", ["m", "zero"], ["computed"])
    constants = CONSTANTS | {"yes": np.array(True), "no": np.array(False)}
    return QONNXSession(
        model_of([sign, test, node], constants, (2, 3)), optimization=optimization
    )


@pytest.mark.parametrize("optimization", ["all", "none"])
def test_if(optimization):
    """Taken by a constant, or by what the input says."""
    taken = branches("yes", optimization).run(X)
    np.testing.assert_array_equal(taken, quantized(X))
    taken = branches("no", optimization).run(X)
    np.testing.assert_array_equal(taken, quantized(X, 0.25))
    session = branches("computed", optimization)
    np.testing.assert_array_equal(session.run(X), quantized(X))
    np.testing.assert_array_equal(session.run(-abs(X)), quantized(-abs(X), 0.25))


@pytest.mark.parametrize("depth", [2, 5])
def test_branches_within_branches(depth):
    """Parameters of the outermost graph reach the innermost."""
    inner = graph([quant("x", "a0", domain="onnx.brevitas")], [], [value("a0")])
    for i in range(1, depth):
        other = graph([helper.make_node("Neg", ["x"], [f"n{i}"])], [], [value(f"n{i}")])
        node = helper.make_node(
            "If", ["yes"], [f"a{i}"], then_branch=inner, else_branch=other
        )
        inner = graph([node], [], [value(f"a{i}")])
    node = helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)
    model = model_of(
        [node], CONSTANTS | {"yes": np.array(True)}, (2, 3), domains={}
    )  # the domain is imported nowhere
    np.testing.assert_array_equal(QONNXSession(model).run(X), quantized(X))


def test_loop():
    """An accumulator that is quantized in each round."""
    body = graph(
        [
            helper.make_node("Add", ["sum", "x"], ["more"]),
            quant("more", "next"),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL),
         value("sum")],
        [value("on", (), TensorProto.BOOL), value("next")],
    )  # fmt: skip
    node = helper.make_node("Loop", ["count", "yes", "x"], ["y"], body=body)
    constants = CONSTANTS | {"count": np.array(3), "yes": np.array(True)}
    expected = X
    for _ in range(3):
        expected = quantized(expected + X)
    received = QONNXSession(model_of([node], constants, (2, 3))).run(X)
    np.testing.assert_array_equal(received, expected)


def test_scan():
    """Row by row, with a state, as recurrent layers are written."""
    body = graph(
        [
            helper.make_node("Add", ["state", "row"], ["sum"]),
            quant("sum", "after"),
            helper.make_node("Identity", ["after"], ["out"]),
        ],
        [value("state", (3,)), value("row", (3,))],
        [value("after", (3,)), value("out", (3,))],
    )
    node = helper.make_node(
        "Scan", ["start", "x"], ["last", "y"], body=body, num_scan_inputs=1
    )
    constants = CONSTANTS | {"start": np.zeros(3, np.float32)}
    state, expected = np.zeros(3, np.float32), []
    for row in X:
        state = quantized(state + row)
        expected.append(state)
    received = QONNXSession(model_of([node], constants, (2, 3))).run(X)
    np.testing.assert_array_equal(received, expected)


def test_old_opset():
    """Branches are converted too: Softmax flattened its input before opset 13."""
    soft = helper.make_node("Softmax", ["x"], ["s"], axis=0)
    branch = graph([soft, quant("s", "a")], [], [value("a")])
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch,
                            else_branch=branch)  # fmt: skip
    constants = CONSTANTS | {"yes": np.array(True), "scale": np.float32(0.125)}
    received = QONNXSession(model_of([node], constants, (2, 3), opset=11)).run(X)
    whole = np.exp(X) / np.exp(X).sum()
    np.testing.assert_array_equal(received, quantized(whole, 0.125))


def test_parameter_that_a_loop_computes():
    """It is not constant: a state of the loop."""
    body = graph(
        [
            quant("x", "q", "state"),
            helper.make_node("ReduceMax", ["q"], ["next"], keepdims=0),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL),
         value("state", ())],
        [value("on", (), TensorProto.BOOL), value("next", ())],
    )  # fmt: skip
    node = helper.make_node("Loop", ["count", "yes", "scale"], ["y"], body=body)
    constants = CONSTANTS | {"count": np.array(3), "yes": np.array(True)}
    with pytest.raises(ValueError, match="`scale` must be constant.*'state'"):
        QONNXSession(model_of([node], constants, (2, 3), output_shape=()))


def test_unknown_operator_in_a_branch():
    node = helper.make_node("GenericPartition", ["x"], ["a"], domain=DOMAIN)
    branch = graph([node], [], [value("a")])
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch,
                            else_branch=branch)  # fmt: skip
    with pytest.raises(ValueError, match="GenericPartition.*no translation"):
        QONNXSession(model_of([node], {"yes": np.array(True)}, (2, 3)))
