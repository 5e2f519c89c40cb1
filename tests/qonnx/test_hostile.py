"""Broken and hostile files: refused with a reason, never a crash or an endless run."""

import os
import time

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from kerasqnn import QONNXSession
from kerasqnn.qonnx import loading, run_reference
from kerasqnn.qonnx.loading import load_model
from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN
from kerasqnn.qonnx.validation import MOST_NODES

from .models import model_of, operator_model
from .test_files import mlp

LAST = CHANNELS_LAST_DOMAIN
QUANT = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
PARAMETERS = {"scale": 0.5, "zeropt": 0.0, "bitwidth": 4.0}
X = np.float32([[0.3, -9.0, 1.75]])


def small():
    return operator_model("Quant", (1, 3), PARAMETERS, **QUANT)


def node(op_type, inputs, outputs, **attributes):
    return helper.make_node(op_type, inputs, outputs, **attributes)


def value(name, shape=(1, 3)):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


# -- files -----------------------------------------------------------------------------


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file"):
        QONNXSession(tmp_path / "missing.onnx")
    with pytest.raises(FileNotFoundError, match="A folder is no ONNX file"):
        QONNXSession(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x08", b"\xff" * 99])
def test_no_model(data, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(data)
    with pytest.raises(ValueError, match=r"is no ONNX model|holds no ONNX graph"):
        QONNXSession(tmp_path / "bad.onnx")


def test_truncated(tmp_path):
    """Cut anywhere: refused, or what is left means the same."""
    data = small().SerializeToString()
    for length in range(len(data)):
        (tmp_path / "cut.onnx").write_bytes(data[:length])
        try:
            session = QONNXSession(tmp_path / "cut.onnx", optimization="none")
        except ValueError:
            continue
        assert session.run(X).tolist() == [[0.5, -4.0, 2.0]]


@pytest.mark.parametrize("text", [b"Quant", b"node", b"bitwidth", b"x", b"ROUND"])
def test_text(text, tmp_path):
    """Names that are no UTF-8, as protobuf lets pass."""
    data = small().SerializeToString()
    (tmp_path / "bad.onnx").write_bytes(data.replace(text, b"\xff" * len(text)))
    with pytest.raises(ValueError, match="UTF-8|no ONNX model"):
        QONNXSession(tmp_path / "bad.onnx")


def test_larger_than_a_file_can_be(tmp_path):
    """Refused by its size, before 3 GiB are read."""
    with open(tmp_path / "huge.onnx", "wb") as file:
        file.truncate(3 * 2**30)  # sparse: takes no room
    with pytest.raises(ValueError, match="must be smaller than 2 GiB"):
        QONNXSession(tmp_path / "huge.onnx")


# -- external data ---------------------------------------------------------------------


@pytest.fixture
def external(tmp_path):
    """A model whose tensors are in another file, and the folder of both."""
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(
        mlp(),
        folder / "m.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    return folder / "m.onnx"


def with_entry(path, key, text):
    """Change an entry of the external data of the first tensor."""
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = text
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("in_memory", [2**30, 0])
def test_external_data(external, monkeypatch, in_memory):
    """Read, or left in its file for ONNX Runtime to read."""
    monkeypatch.setattr(loading, "IN_MEMORY", in_memory)
    monkeypatch.setattr(loading, "_LARGE", 60)
    if not in_memory:  # only small ones are read, of which there may be 1 GiB
        monkeypatch.setattr(loading, "IN_MEMORY", 200)
    model = load_model(external)
    left = [i for i in model.graph.initializer if i.HasField("data_location") and
            i.data_location == TensorProto.EXTERNAL]  # fmt: skip
    assert len(left) == (0 if in_memory else 2)
    whole = onnx.load(external)
    x = np.random.default_rng(0).normal(0, 1, (4, 6)).astype(np.float32)
    expected = QONNXSession(whole).run(x)
    for optimization in ("all", "none"):
        session = QONNXSession(external, optimization=optimization)
        np.testing.assert_array_equal(session.run(x), expected)
        np.testing.assert_array_equal(session.tensors(x)["y"], expected)


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "", ".", "weights.bin/..",
     "\0", "*/_ORT_MEM_ADDR_/*", "..\\secret.bin", "inside/out.bin", "link.bin"],
)  # fmt: skip
def test_external_data_elsewhere(external, location):
    """Nothing outside of the model's folder is read, by links neither."""
    secret = external.parent.parent / "secret.bin"
    secret.write_bytes(bytes(10_000))
    (external.parent / "link.bin").symlink_to(secret)
    (external.parent / "inside").symlink_to(secret.parent)
    (external.parent / "inside" / "out.bin").write_bytes(bytes(10_000))
    with_entry(external, "location", location)
    with pytest.raises((ValueError, FileNotFoundError), match="external data"):
        QONNXSession(external)


@pytest.mark.parametrize(
    "key, text, expected",
    [
        ("offset", "-1", "`offset` of its external data must be a number"),
        ("offset", "9" * 30, "`offset` of its external data must be a number"),
        ("offset", "10000", "must lie within its file"),
        ("length", "7", "must have 120 bytes of external data"),
        ("length", "x", "`length` of its external data must be a number"),
        ("location", "missing.bin", "no such file of external data"),
    ],
)
def test_external_data_elsewhere_in_its_file(external, key, text, expected):
    with_entry(external, key, text)
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        QONNXSession(external)


def test_external_data_in_memory(external):
    """Relative to what? Neither the working folder nor an address is tried."""
    model = onnx.load(external, load_external_data=False)
    with pytest.raises(ValueError, match="must be given by the path of its file"):
        QONNXSession(model)


def test_claims_more_than_there_is(external, monkeypatch):
    """Many tensors that share what is in the file."""
    monkeypatch.setattr(loading, "IN_MEMORY", 2000)
    model = onnx.load(external, load_external_data=False)
    for i in range(100):
        model.graph.initializer.append(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"copy{i}"
    external.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="must not claim more external data than"):
        QONNXSession(external)


# -- graphs ----------------------------------------------------------------------------


def cyclic():
    nodes = [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]),
             node("Neg", ["b"], ["y"])]  # fmt: skip
    return model_of(nodes, {}, (1, 3))


def deep(levels):
    """Branches within branches."""
    graph = helper.make_graph([node("Relu", ["x"], ["r"])], "g", [], [value("r")])
    for level in range(levels):
        branches = {"then_branch": graph, "else_branch": graph}
        graph = helper.make_graph(
            [node("If", ["c"], [f"o{level}"], **branches)],
            "g",
            [],
            [value(f"o{level}")],
        ) if level < 1 else _wrap(graph, level)  # fmt: skip
    return model_of(
        [node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)],
        {"c": np.array(True)},
        (1, 3),
    )


def _wrap(graph, level):
    """A branch in one of two only, or the model would double at each level."""
    other = helper.make_graph([node("Neg", ["x"], [f"n{level}"])], "h", [],
                              [value(f"n{level}")])  # fmt: skip
    inner = node("If", ["c"], [f"o{level}"], then_branch=graph, else_branch=other)
    return helper.make_graph([inner], "g", [], [value(f"o{level}")])


def function(name, nodes, inputs=("a",), outputs=("b",)):
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, inputs, outputs, nodes, imports)


def calling(functions, first="f0", inputs=("x",)):
    model = model_of([node(first, inputs, ["y"], domain="f")], {}, (1, 3),
                     domains={"f": 1})  # fmt: skip
    model.functions.extend(functions)
    return model


def doubling(levels):
    """2^levels nodes in a file of some hundred bytes."""
    call = [
        function(f"f{i}", [node(f"f{i + 1}", ["a"], ["c"], domain="f"),
                           node(f"f{i + 1}", ["c"], ["b"], domain="f")])
        for i in range(levels)
    ]  # fmt: skip
    return calling([*call, function(f"f{levels}", [node("Relu", ["a"], ["b"])])])


def chain_of_functions(levels):
    call = [function(f"f{i}", [node(f"f{i + 1}", ["a"], ["b"], domain="f")])
            for i in range(levels)]  # fmt: skip
    return calling([*call, function(f"f{levels}", [node("Relu", ["a"], ["b"])])])


def with_tensor(**fields):
    model = small()
    for name, new in fields.items():
        tensor = model.graph.initializer[0]
        if isinstance(new, list):
            getattr(tensor, name).extend(new)
        else:
            setattr(tensor, name, new)
    return model


def with_attribute(*attributes):
    model = small()
    model.graph.node[0].attribute.extend(attributes)
    return model


def standard(op_type, inputs=("x",), constants=None, shape=(1, 3), **attributes):
    return model_of(
        [node(op_type, inputs, ["y"], **attributes)], constants or {}, shape
    )


def without_outputs():
    model = small()
    del model.graph.node[0].output[:]
    return model


def with_output(name):
    model = small()
    model.graph.node[0].output[0] = name
    return model


def with_version(domain, version):
    model = small()
    for entry in model.opset_import:
        if entry.domain == domain:
            entry.version = version
    return model


def with_long_name():
    model = small()
    model.opset_import[0].domain = "ai.onnx"
    model.opset_import[0].version = 2**40
    return model


def folded():
    """What does not depend on the input is computed when the session starts."""
    nodes = [node("Gather", ["c", "to"], ["t"]), node("Add", ["x", "t"], ["y"])]
    constants = {"c": np.ones((2, 2), np.float32), "to": np.array([7])}
    return model_of(nodes, constants, (2, 2))


def image(op_type, inputs=("x",), constants=None, **attributes):
    return standard(op_type, inputs, constants, (1, 1, 4, 4), **attributes)


KERNEL = {"w": np.ones((1, 1, 2, 2), np.float32)}
HALF = np.full((1, 2**16), 0.5, np.float32)
BAD = {
    "cycle": (cyclic, "must not depend on its own output"),
    "undefined": (lambda: standard("Relu", ["nowhere"]), "read defined.*'nowhere'"),
    "undefined output": (lambda: with_output("z"), "computed in it. Received: 'y'"),
    "output is input": (lambda: with_output("x"), "Tensors must have names.*'x'"),
    "no output": (without_outputs, "must have an output"),
    "twice": (
        lambda: model_of([node("Relu", ["x"], ["y"])] * 2, {}, (1, 3)),
        "names of their own. Received twice: 'y'",
    ),
    "deep": (lambda: deep(20), "at most 16 deep"),
    "recursion": (
        lambda: calling([function("f0", [node("f0", ["a"], ["b"], domain="f")])]),
        "must not call themselves",
    ),
    "mutual recursion": (
        lambda: calling(
            [
                function("f0", [node("f1", ["a"], ["b"], domain="f")]),
                function("f1", [node("f0", ["a"], ["b"], domain="f")]),
            ]
        ),  # fmt: skip
        "must not call themselves",
    ),
    "doubling": (lambda: doubling(60), "at most 100000 nodes"),
    "long calls": (lambda: chain_of_functions(500), "at most 64 deep"),
    "too many inputs": (
        lambda: calling(
            [function("f0", [node("Relu", ["a"], ["b"])])], inputs=("x", "x")
        ),  # fmt: skip
        "at most 1 inputs, as the function",
    ),
    "function twice": (
        lambda: calling([function("f0", [node("Relu", ["a"], ["b"])])] * 2),
        "Functions must have names of their own",
    ),
    "undefined in function": (
        lambda: calling([function("f0", [node("Relu", ["x"], ["b"])])]),
        "must read defined tensors",
    ),
    "negative size": (lambda: with_tensor(dims=[-1]), "sizes of at least 0"),
    "huge size": (lambda: with_tensor(dims=[2**62]), "at most 2.40 elements"),
    "huge product": (lambda: with_tensor(dims=[2**31, 2**31]), "at most 2.40 elem"),
    "less than it claims": (lambda: with_tensor(dims=[1000]), "4000 bytes.*: 4 bytes"),
    "axes": (lambda: with_tensor(dims=[1] * 100), "at most 64 axes"),
    "type": (lambda: with_tensor(data_type=77), "data type of ONNX.*77"),
    "no type": (lambda: with_tensor(data_type=0), "data type of ONNX"),
    "strings": (lambda: with_tensor(data_type=TensorProto.STRING), "strings in string"),
    "two kinds": (lambda: with_tensor(float_data=[1.0]), "must hold one kind of data"),
    "attribute twice": (
        lambda: with_attribute(helper.make_attribute("signed", 1)),
        "attributes must have names of their own",
    ),
    "wrong attribute": (
        lambda: with_attribute(AttributeProto(name="a", type=AttributeProto.INT, f=1)),
        "must have a value of its type",
    ),
    "no UTF-8": (
        lambda: with_attribute(helper.make_attribute("a", b"\xff\xfe")),
        "must be UTF-8",
    ),
    "reference": (
        lambda: with_attribute(AttributeProto(name="a", ref_attr_name="b", type=2)),
        "a reference outside of a function",
    ),
    "constant": (lambda: standard("Constant", []), "must have one attribute"),
    "no such operator": (lambda: standard("Nothing"), "ONNX has no such operator"),
    "few inputs": (lambda: standard("MatMul"), "must have 2 to 2 inputs. Received: 1"),
    "empty input": (lambda: standard("MatMul", ["x", ""]), "must have its first 2"),
    "no attribute": (lambda: standard("Cast"), "must have the attribute 'to'"),
    "attribute type": (
        lambda: standard("Cast", to="float"),
        "'to' must be of the type INT",
    ),
    "opset 0": (lambda: with_version("", 0), "domain '' must be 1 to"),
    "opset 999": (lambda: with_version("", 999), "domain '' must be 1 to"),
    "opset of ai.onnx": (with_long_name, "domain 'ai.onnx' must be 1 to"),
    "folded": (folded, "ONNX Runtime cannot run the model"),
    "channels last": (
        lambda: model_of(
            [node("Conv", ["x"], ["y"], domain=LAST, kernel_shape=[2, 2])],
            {},
            (1, 4, 4, 1),
            domains={LAST: 1},
        ),
        "must have 2 to 3 inputs",
    ),
    "no input": (
        lambda: model_of([node("Im2Col", [], ["y"], domain=DOMAIN)], {}, (1, 3)),
        "must have a first input and one output",
    ),
    "two outputs": (
        lambda: model_of(
            [node("DebugMarker", ["x"], ["y", "z"], domain=DOMAIN)], {}, (1, 3)
        ),
        "must have a first input and one output",
    ),
    "stride": (
        lambda: image("MaxPool", kernel_shape=[2, 2], strides=[0, 1]),
        "'strides' must be positive",
    ),
    "dilation": (
        lambda: image("Conv", ["x", "w"], KERNEL, dilations=[0, 0]),
        "'dilations' must be positive",
    ),
    "group": (lambda: image("Conv", ["x", "w"], KERNEL, group=0), "must be positive"),
    "pads": (
        lambda: image("MaxPool", kernel_shape=[2, 2], pads=[2**62] * 4),
        "'pads' must be less than",
    ),
    "outer product": (
        lambda: standard("Add", ["x", "c"], {"c": HALF.T}, (1, 2**16)),
        "at most 2.30 elements.*65536, 65536",
    ),
    "ConstantOfShape": (
        lambda: standard("ConstantOfShape", ["s"], {"s": np.array([2**20, 2**20])}),
        "at most 2.30 elements",
    ),
    "Expand": (
        lambda: standard("Expand", ["x", "s"], {"s": np.array([2**30, 3])}),
        "at most 2.30 elements",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_graphs(case):
    """Each is refused in seconds, before a library in C++ sees it."""
    build, text = BAD[case]
    model, start = build(), time.process_time()
    with pytest.raises(ValueError, match=text):
        QONNXSession(model)
    assert time.process_time() - start < 5


def test_any_order():
    """Nodes that are not in the order of computation are brought into it."""
    nodes = [node("Neg", ["b"], ["y"]), node("Abs", ["a"], ["b"]),
             node("Relu", ["x"], ["a"])]  # fmt: skip
    model = model_of(nodes, {}, (1, 3))
    assert QONNXSession(model).run(X).tolist() == (-np.maximum(X, 0)).tolist()
    assert [n.op_type for n in model.graph.node] == ["Neg", "Abs", "Relu"]


@pytest.mark.parametrize("levels", [3, 14])
def test_depth_that_is_allowed(levels):
    np.testing.assert_array_equal(QONNXSession(deep(levels)).run(X), np.maximum(X, 0))
    call = QONNXSession(chain_of_functions(60))
    np.testing.assert_array_equal(call.run(X), np.maximum(X, 0))


def test_a_million_nodes(tmp_path):
    """Refused by their number within seconds."""
    model = model_of([], {}, (1, 3))
    one = node("Relu", ["x"], ["y"]).SerializeToString()
    graph = (
        model.graph.SerializeToString() + (b"\x0a" + bytes([len(one)]) + one) * 10**6
    )
    header = ModelProto(ir_version=8, opset_import=model.opset_import)
    length, prefix = len(graph), b"\x3a"
    while length > 127:
        prefix += bytes([length % 128 + 128])
        length //= 128
    data = header.SerializeToString() + prefix + bytes([length]) + graph
    (tmp_path / "million.onnx").write_bytes(data)
    start = time.process_time()
    with pytest.raises(ValueError, match=f"at most {MOST_NODES} nodes.*1000000"):
        QONNXSession(tmp_path / "million.onnx")
    assert time.process_time() - start < 30


@pytest.mark.parametrize("name", ["bitwidth", "scale", "zeropt"])
@pytest.mark.parametrize(
    "bad", [np.nan, np.inf, -np.inf, -1.0, 1e30, "text", 1 + 2j, []], ids=str
)
def test_parameters(name, bad):
    """Where a number has no meaning, or has no bounds in float32."""
    array = np.asarray(bad)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if isinstance(bad, str):
        array = np.array([b"text"], object)
    given = PARAMETERS | {name: array}
    if (name, bad) in (("zeropt", -1.0), ("zeropt", 1e30), ("scale", 1e30)):
        QONNXSession(operator_model("Quant", (1, 3), given, **QUANT))
        return
    with pytest.raises(ValueError, match=f"Quant node 'node': `{name}` must be"):
        QONNXSession(operator_model("Quant", (1, 3), given, **QUANT))


@pytest.mark.parametrize(
    "name, bad", [("signed", 2), ("signed", "yes"), ("narrow", -1), ("narrow", 0.0)]
)
def test_attributes(name, bad):
    """qonnx allows 0 and 1."""
    with pytest.raises(ValueError, match=f"attribute `{name}` must be 0 or 1"):
        QONNXSession(operator_model("Quant", (1, 3), PARAMETERS, **QUANT | {name: bad}))


def test_repeated_parameters():
    """Large parameters of many nodes are not copied without end."""
    scale = np.full((1, 2**22), 0.3, np.float32)
    nodes = []
    for i in range(100):
        names = ["x" if not i else f"t{i}", "scale", "zeropt", "bitwidth"]
        after = [f"t{i + 1}" if i < 99 else "y"]
        nodes.append(node("Quant", names, after, domain="qonnx", **QUANT))
    rest = {k: np.float32(v) for k, v in PARAMETERS.items()} | {"scale": scale}
    model = model_of(nodes, rest, (1, 2**22), domains={"qonnx": 1})
    with pytest.raises(ValueError, match="constants of at most"):
        QONNXSession(model)


def test_names_are_no_paths():
    """A name is only a name; long ones are shortened in messages."""
    model = standard("Relu", ["/etc/passwd" + "x" * 10**6])
    with pytest.raises(ValueError, match="must read defined tensors") as error:
        QONNXSession(model)
    assert len(str(error.value)) < 400


def float_quant(**changed):
    names = ("scale", "exponent_bitwidth", "mantissa_bitwidth", "exponent_bias",
             "max_val")  # fmt: skip
    given = dict(zip(names, (1.0, 4.0, 3.0, 7.0, 448.0), strict=True)) | changed
    attributes = {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1}
    return operator_model(
        "FloatQuant", (1, 3), given, rounding_mode="ROUND", **attributes
    )


@pytest.mark.parametrize("bias", [1e9, 150.0, 130.0])
def test_float_quant_bias(bias):
    """Binades far below what float32 holds are not listed one by one."""
    model, x = float_quant(exponent_bias=bias), np.float32([[0, 1e-45, -3e-39]])
    np.testing.assert_array_equal(QONNXSession(model).run(x), run_reference(model, x))


@pytest.mark.parametrize("shape", [(), (1,), (0, 1, 2, 2), (2, 2), (4,)])
@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_weights_of_other_shapes(op_type, shape):
    """ONNX Runtime's own refusal, not an error of the inference before it."""
    w = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match="ONNX Runtime"):
        session = QONNXSession(standard(op_type, ["x", "w"], {"w": w}))
        session.run(X)


def test_popcount_of_a_number():
    model = operator_model(
        "XnorPopcountMatMul", (1, 3), {}, domain="qonnx.custom_op.general"
    )
    model.graph.node[0].input[:] = ["x", "w"]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "w"))
    with pytest.raises(ValueError, match="shape of its second input must be known"):
        QONNXSession(model)


@pytest.mark.parametrize("name", ["exponent_bias", "max_val"])
def test_float_quant_arrays(name):
    """One number in an array is a number; two are none."""
    one = np.float32([7.0 if name == "exponent_bias" else 4.0])
    model = float_quant(**{name: one})
    np.testing.assert_array_equal(QONNXSession(model).run(X), run_reference(model, X))
    with pytest.raises(ValueError, match=f"`{name}` must be one number"):
        QONNXSession(float_quant(**{name: np.repeat(one, 3)}))


def test_no_shape_reaches_outside(tmp_path):
    """A working folder with the file that a model in memory names is not read."""
    weights = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    model = standard("MatMul", ["x", "w"], {"w": np.ones((3, 3), np.float32)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    (tmp_path / "w.bin").write_bytes(weights.raw_data)
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(ValueError, match="must be given by the path"):
            QONNXSession(model)
    finally:
        os.chdir(before)
