"""`check_qonnx`: each rule finds its file and leaves a good one alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kerasqnn import QONNXSession, check_qonnx
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.checker.registry import TARGETS, rules
from kerasqnn.qonnx.checker.rules.hls4ml import SUPPORTED
from kerasqnn.qonnx.checker.rules.structure import CHANNELS_LAST, GENERAL
from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN

from .models import model_of

WEIGHTS = (np.arange(12).reshape(4, 3) % 7 - 3).astype(np.float32) / 4
KERNEL = (np.arange(54).reshape(2, 3, 3, 3) % 7 - 3).astype(np.float32) / 4
WINDOW = {"dilations": [1, 1], "strides": [1, 1], "pads": [0] * 4, "group": 1}


def quant(x, y, constants, scale=0.25, bits=4, zero=0, op_type="Quant", **attributes):
    """A quantizer whose parameters go to `constants`; None leaves an attribute out."""
    values = {"s": scale, "z": zero, "b": bits}
    for key, value in values.items():
        is_array = isinstance(value, np.ndarray)
        constants[f"{y}_{key}"] = value if is_array else np.float32(value)
    given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | attributes
    given = {k: v for k, v in given.items() if v is not None}
    inputs = [x, *(f"{y}_{key}" for key in values)]
    return helper.make_node(op_type, inputs, [y], name=f"{y}_q", domain=DOMAIN, **given)


def dense(activation=None, weights=None):
    """Quantizers of activations and weights, and a product: all consumers take it."""
    constants = {"w": WEIGHTS}
    nodes = [
        quant("x", "a", constants, **(activation or {})),
        quant("w", "v", constants, **(weights or {})),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="product"),
    ]
    model = model_of(nodes, constants, (1, 4), output_shape=(1, 3))
    return shaped(model, a=(1, 4), v=(4, 3))


def shaped(model, **shapes):
    """The same, with the shapes of tensors within."""
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    return model


def pooling(op_type="MaxPool", size=(4, 4), output=(2, 2), **attributes):
    """A channels-last pooling; None leaves an attribute out."""
    axes = len(size)
    given = {"kernel_shape": [2] * axes, "strides": [2] * axes, "pads": [0] * 2 * axes}
    given = {k: v for k, v in (given | attributes).items() if v is not None}
    node = helper.make_node(
        op_type, ["x"], ["y"], name="p", domain=CHANNELS_LAST_DOMAIN, **given
    )
    return model_of([node], {}, (1, *size, 3), output_shape=(1, *output, 3),
                    domains={CHANNELS_LAST_DOMAIN: 1})  # fmt: skip


def without_shapes():
    model = dense()
    del model.graph.value_info[:]
    return model


def edited(edit, **arguments):
    """The same, after an edit of its graph."""
    model = dense(**arguments)
    edit(model)
    return model


def convolution(domain="", scale=0.25, **attributes):
    constants = {"w": KERNEL}
    given = {k: v for k, v in (WINDOW | {"kernel_shape": [3, 3]} | attributes).items()
             if v is not None}  # fmt: skip
    nodes = [
        quant("x", "a", constants),
        quant("w", "v", constants, scale),
        helper.make_node("Conv", ["a", "v"], ["y"], name="c", domain=domain, **given),
    ]
    domains = {DOMAIN: 1, CHANNELS_LAST_DOMAIN: 1}
    model = model_of(nodes, constants, (1, 3, 5, 5), output_shape=(1, 2, 3, 3),
                     domains=domains)  # fmt: skip
    return shaped(model, a=(1, 3, 5, 5), v=KERNEL.shape)


def single(op_type, shape=(1, 4), output_shape=None, **attributes):
    node = helper.make_node(op_type, ["x"], ["y"], name="n", **attributes)
    return model_of([node], {}, shape, output_shape=output_shape)


def trunc(inputs, version):
    values = {"s": 0.25, "z": 0, "i": 8, "t": 4, "o": 4}
    names = [n for n in values if inputs == 6 or n != "t"]
    node = helper.make_node("Trunc", ["x", *names], ["y"], name="t", domain=DOMAIN,
                            rounding_mode="FLOOR")  # fmt: skip
    constants = {name: np.float32(values[name]) for name in names}
    return model_of([node], constants, (1, 4), domains={DOMAIN: version})


def bipolar(scale):
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], name="b", domain=DOMAIN)
    return model_of([node], {"s": np.float32(scale)}, (1, 4))


def relu(**attributes):
    constants = {}
    nodes = [helper.make_node("Relu", ["x"], ["r"], name="r"),
             quant("r", "y", constants, **attributes)]  # fmt: skip
    return model_of(nodes, constants, (1, 4))


def gemm(bias=True, **attributes):
    constants = {"w": WEIGHTS.T.copy(), "bias": np.float32([0.5, -0.25, 1])}
    inputs = ["a", "v", "bias"] if bias else ["a", "v"]
    nodes = [
        quant("x", "a", constants),
        quant("w", "v", constants),
        helper.make_node("Gemm", inputs, ["y"], name="g", transB=1, **attributes),
    ]
    model = model_of(nodes, constants, (1, 4), output_shape=(1, 3))
    return shaped(model, a=(1, 4), v=(3, 4))


def shared():
    constants = {"w": np.eye(4, dtype=np.float32)}
    nodes = [
        quant("x", "a", constants),
        quant("w", "v", constants),
        helper.make_node("MatMul", ["a", "v"], ["h"], name="m1"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="m2"),
    ]
    return model_of(nodes, constants, (1, 4))


def left():
    constants = {"w": WEIGHTS.T.copy()}
    nodes = [quant("w", "v", constants),
             helper.make_node("MatMul", ["v", "x"], ["y"], name="m")]  # fmt: skip
    return model_of(nodes, constants, (1, 4, 2), output_shape=(1, 3, 2))


def put(field, value, node=0):
    return lambda model: setattr(model.graph.node[node], field, value)


def change_input(name, place=1, node=0):
    def edit(model):
        model.graph.node[node].input[place] = name

    return edit


def reverse(model):
    nodes = list(model.graph.node)[::-1]
    copies = [type(n).FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def add_relu(source, name, output="dead"):
    def edit(model):
        node = helper.make_node("Relu", [source], [output], name=name)
        model.graph.node.append(node)

    return edit


def list_weight(model):
    value = helper.make_tensor_value_info("w", TensorProto.FLOAT, (4, 3))
    model.graph.input.append(value)


def imports(**versions):
    def edit(model):
        del model.opset_import[:]
        names = {"standard": "", "qonnx": DOMAIN}
        for name, version in versions.items():
            model.opset_import.append(helper.make_opsetid(names[name], version))

    return edit


def constant_node(model):
    tensor = numpy_helper.from_array(np.float32(0.25), "k")
    node = helper.make_node("Constant", [], ["k"], name="k", value=tensor)
    nodes = [node, *model.graph.node]
    nodes[1].input[1] = "k"
    copies = [type(n).FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def size_of_input(axis, shape=True):
    def edit(model):
        kind = model.graph.input[0].type.tensor_type
        if shape:
            kind.shape.dim[axis].dim_param = "N"
        else:
            kind.ClearField("shape")

    return edit


def break_tensor(model):
    model.graph.initializer[0].raw_data = b"\0"


#: A file that the rule finds, for one of its targets.
FOUND = {
    "unreadable-tensor": edited(break_tensor),
    "broken-node": edited(lambda m: m.graph.node[2].input.pop()),
    "undefined-tensor": edited(change_input("nothing", 0)),
    "duplicate-tensor": edited(add_relu("x", "r", "a")),
    "cyclic-graph": edited(change_input("y", 0)),
    "nodes-not-sorted": edited(reverse),
    "unreachable-node": edited(add_relu("a", "r")),
    "duplicate-node-name": edited(put("name", "v_q")),
    "missing-node-name": edited(put("name", "", 2)),
    "initializer-as-input": edited(list_weight),
    "missing-import": edited(imports(standard=13)),
    "missing-standard-import": edited(imports(qonnx=1)),
    "opset-too-old": edited(imports(standard=6, qonnx=1)),
    "unknown-operator": single("Nonsense"),
    "missing-shape": edited(size_of_input(0, shape=False)),
    "symbolic-batch": edited(size_of_input(0)),
    "symbolic-dimension": edited(size_of_input(1)),
    "old-domain": edited(put("domain", "onnx.brevitas")),
    "unresolved-domain": edited(put("domain", "qonnx")),
    "int-quant": edited(put("op_type", "IntQuant")),
    "input-count": edited(lambda m: m.graph.node[0].input.pop()),
    "trunc-version": trunc(6, 1),
    "trunc-inputs": trunc(5, 2),
    "missing-attribute": dense({"signed": None}),
    "missing-rounding-mode": dense({"rounding_mode": None}),
    "unknown-attribute": dense({"rounding": "FLOOR"}),
    "attribute-type": dense({"signed": 1.0}),
    "rounding-mode-unknown": dense({"rounding_mode": "ROUND_TO_ZERO"}),
    "rounding-mode-case": dense({"rounding_mode": "round"}),
    "rounding-mode-half-even": dense({"rounding_mode": "HALF_EVEN"}),
    "parameter-type": dense({"zero": np.array(0, np.int64)}),
    "parameter-not-a-number": dense({"scale": np.array([True])}),
    "parameter-not-constant": edited(change_input("x")),
    "bitwidth-per-channel": dense({"bits": np.float32([4, 4, 4, 4])}),
    "bitwidth-not-scalar": dense({"bits": np.float32([4])}),
    "bitwidth-invalid": dense({"bits": -1}),
    "bitwidth-fractional": dense({"bits": 3.5}),
    "bitwidth-inexact": dense({"bits": 26}),
    "scale-not-positive": dense({"scale": np.float32([1, 0, -1, np.nan])}),
    "zero-point-not-finite": dense({"zero": np.inf}),
    "hls4ml-constant-node": edited(constant_node),
    "hls4ml-gemm": gemm(),
    "hls4ml-operator": single("Clip"),
    "hls4ml-channels-first": convolution(),
    "hls4ml-conv-attributes": convolution(strides=None, pads=None),
    "hls4ml-rounding-mode": dense({"rounding_mode": "CEIL"}),
    "hls4ml-unsigned-narrow": dense({"signed": 0, "narrow": 1}),
    "hls4ml-one-bit": dense({"bits": 1}),
    "hls4ml-zero-point": dense({"zero": 1}),
    "hls4ml-weight-zero-point": dense(weights={"zero": 1, "scale": 0.3}),
    "hls4ml-matmul-scales": dense(weights={"scale": np.float32([[0.5, 0.25, 1]])}),
    "hls4ml-activation-scale": dense({"scale": np.full((1, 4), 0.25, np.float32)}),
    "hls4ml-shared-parameter": edited(change_input("a_s", 1, 1)),
    "hls4ml-matmul-left": left(),
    "hls4ml-global-pool": single("GlobalMaxPool", (1, 3, 4, 4), (1, 3, 1, 1)),
    "hls4ml-alpha": single("Elu"),
    "finn-zero-point": dense({"zero": 1}),
    "finn-activation-bits": dense({"bits": 9}),
    "finn-relu-signed": relu(),
    "finn-unsigned": dense({"signed": 0}),
    "finn-rounding-mode": dense({"rounding_mode": "FLOOR"}),
    "finn-bipolar-scale": bipolar(0.5),
    "finn-scales": dense({"scale": np.full((1, 2), 0.25, np.float32)}),
    "shared-weight-quantizer": shared(),
    "finn-weight-reader": edited(put("op_type", "Sum", 2)),
    "finn-channels-last": convolution(CHANNELS_LAST_DOMAIN),
    "finn-matmul-left": left(),
    "weights-off-grid": dense(weights={"scale": 0.3}),
    "hls4ml-name": edited(put("name", "/fc/product", 2)),
    "hls4ml-pool-attributes": pooling(strides=None, pads=None, size=(3, 3)),
    "hls4ml-pool-sequence": pooling(size=(4,), output=(2,)),
    "hls4ml-pool-ceil": pooling(size=(5, 5), output=(3, 3), ceil_mode=1),
    "hls4ml-dilation": convolution(dilations=[2, 2]),
    "hls4ml-tensor-shape": without_shapes(),
    "qcdq-refused": dense({"bits": 9}),
}  # fmt: skip


def found(model, target, **options):
    return {f.rule for f in check_qonnx(model, target=target, **options).findings}


@pytest.mark.parametrize("entry", list(rules()), ids=lambda entry: entry.id)
def test_rule(entry) -> None:
    """Each rule finds its file for all of its targets, and no other target's."""
    model = FOUND[entry.id]
    before = model.SerializeToString(deterministic=True)
    for target in TARGETS:
        assert (entry.id in found(model, target)) == (target in entry.severity)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("target", TARGETS)
def test_good_file(target: str) -> None:
    """What all consumers take has no findings."""
    report = check_qonnx(dense(), target=target)
    assert report.findings == [] and report.ok and report.to_dict() == []
    assert str(report) == f"Nothing found for {target}."


def test_tables_are_those_of_the_packages() -> None:
    """The operators that the rules know are those of qonnx and hls4ml."""
    import hls4ml.converters  # noqa: F401  (registers the handlers)
    import qonnx.custom_op.channels_last as last
    import qonnx.custom_op.general as general
    from hls4ml.converters.onnx_to_hls import get_supported_onnx_layers

    assert {name.split("_v")[0] for name in general.__all__} == GENERAL
    assert {name.split("_v")[0] for name in last.__all__} == CHANNELS_LAST
    assert {*get_supported_onnx_layers(), "Dropout", "Identity"} == SUPPORTED


#: Files whose mends keep the numbers, with the target for which they are made.
MENDED = {
    "int-quant": "qonnx", "old-domain": "qonnx", "missing-import": "qonnx",
    "missing-rounding-mode": "hls4ml", "rounding-mode-case": "hls4ml",
    "rounding-mode-half-even": "hls4ml", "parameter-type": "qonnx",
    "bitwidth-not-scalar": "qonnx", "initializer-as-input": "qonnx",
    "duplicate-node-name": "hls4ml", "missing-node-name": "hls4ml",
    "hls4ml-gemm": "hls4ml", "shared-weight-quantizer": "finn",
    "hls4ml-shared-parameter": "hls4ml", "hls4ml-constant-node": "hls4ml",
    "hls4ml-conv-attributes": "hls4ml", "hls4ml-alpha": "hls4ml",
    "hls4ml-name": "hls4ml", "hls4ml-pool-attributes": "hls4ml",
    "hls4ml-tensor-shape": "hls4ml",
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_mend(name: str, tmp_path) -> None:
    """A mend removes what was found and keeps the bits in qonnx and ONNX Runtime."""
    model, path = FOUND[name], tmp_path / "mended.onnx"
    report = check_qonnx(model, target=MENDED[name], fix=path)
    assert name not in {f.rule for f in report.findings}
    assert any(line.startswith(f"{name}:") for line in report.mended)
    assert found(str(path), MENDED[name]) == {f.rule for f in report.findings}
    assert [p.name for p in tmp_path.iterdir()] == ["mended.onnx"]
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    expected = QONNXSession(model).run(x)
    np.testing.assert_array_equal(QONNXSession(str(path)).run(x), expected)
    np.testing.assert_array_equal(run_reference(str(path), x), expected)


def test_mends_of_files_that_do_not_run(tmp_path) -> None:
    """Sorting, the domain that qonnx lacks, and the version of Trunc."""
    path, x = tmp_path / "mended.onnx", np.float32([[0.3, -1, 7.7, 2]])
    for name in ("nodes-not-sorted", "unresolved-domain"):
        assert check_qonnx(FOUND[name], fix=path).findings == []
        np.testing.assert_array_equal(run_reference(str(path), x),
                                      run_reference(dense(), x))  # fmt: skip
    assert check_qonnx(trunc(6, 1), fix=path).findings == []
    np.testing.assert_array_equal(run_reference(str(path), x),
                                  run_reference(trunc(6, 2), x))  # fmt: skip
    assert not np.array_equal(run_reference(trunc(6, 1), x),
                              run_reference(trunc(6, 2), x))  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [
        gemm(alpha=0.5),
        dense({"scale": np.array(0.3, np.float64)}),
        dense({"zero": np.array(1, np.int64)}),
        convolution(pads=None, auto_pad="SAME_UPPER"),
    ],
)
def test_no_mend_that_changes_numbers(model, tmp_path) -> None:
    target = "hls4ml" if len(model.graph.input[0].type.tensor_type.shape.dim) == 4 \
        or model.graph.node[-1].op_type == "Gemm" else "qonnx"  # fmt: skip
    report = check_qonnx(model, target=target, fix=tmp_path / "mended.onnx")
    assert report.findings and report.mended == []


def test_report_and_arguments(tmp_path) -> None:
    """The report is data first; bad arguments and files are named."""
    report = check_qonnx(dense({"zero": 1}), target="hls4ml")
    (finding,) = report.errors
    assert finding.severity == "silent" and finding.node == "a_q"
    assert not report.ok and list(report.to_dataframe()["rule"]) == [finding.rule]
    assert "hls4ml ignores it" in str(report) and "Way out" in str(report)
    refused = check_qonnx(FOUND["qcdq-refused"], target="qcdq")
    assert refused.errors[0].received in str(refused)
    assert max(map(len, str(refused).splitlines()[:4])) < 120
    with pytest.raises(ValueError, match="Did you mean 'hls4ml'"):
        check_qonnx(dense(), target="hls4mll")
    with pytest.raises(FileNotFoundError, match="Received: fix="):
        check_qonnx(dense(), fix=tmp_path / "none" / "mended.onnx")
    with pytest.raises(FileNotFoundError):
        check_qonnx(tmp_path / "none.onnx")
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    with pytest.raises(ValueError, match="no ONNX"):
        check_qonnx(path)


def test_many_findings_are_counted():
    """Printed are a few of a rule and their number; the data holds each."""
    nodes = [helper.make_node("Celu", [f"t{i}"], [f"t{i + 1}"]) for i in range(30)]
    model = model_of(nodes, {}, (1, 3), output="t30")
    model.graph.input[0].name = "t0"
    report = check_qonnx(model, target="hls4ml")
    refused = [f for f in report.findings if f.rule == "hls4ml-operator"]
    assert len(refused) == 30
    assert str(report).count("hls4ml-operator") == 5 + 1 + 1
    assert "and 25 more" in str(report)
