"""Steps, bounds and data types that are found in a graph hold for every value."""

import numpy as np
import pytest
from onnx import parser
from qonnx.core.datatype import DataType

from kerasqnn import QONNXSession
from kerasqnn.qonnx import infer_datatypes, infer_grids

HEAD = '<ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>'
QUANT = (
    "qonnx.custom_op.general.Quant<signed = {}, narrow = {}, rounding_mode = "
    '"ROUND">({}, {}, zero, {})'
)


def quant(x, scale="s", bits="b", signed=1, narrow=0):
    return QUANT.format(signed, narrow, x, scale, bits)


def model_of(body, parameters="", shape="N, 4"):
    return parser.parse_model(f"""{HEAD}
      small (float[{shape}] x) => (float[] y)
      <float zero = {{0.0}}, float s = {{0.25}}, float t = {{0.3}}, float one = {{1.0}},
       float b = {{4.0}}, float eight = {{8.0}} {parameters}> {{
        q = {quant("x")}
        {body}
      }}""")


PASSED_ON = "Identity Relu Neg Abs Sign Floor Ceil Round".split()
BODIES = {
    **{name: f"y = {name}(q)" for name in PASSED_ON},
    "unsigned": f"y = {quant('x', signed=0)}",
    "narrow": f"y = {quant('x', narrow=1)}",
    "eight bits of a coarse tensor": f"y = {quant('q', bits='eight')}",
    "Add": "y = Add(q, q)",
    "Sub": "y = Sub(q, q)",
    "Mul": "y = Mul(q, q)",
    "Div by a power of two": "y = Div(q, s)",
    "Clip": "l = Constant<value_float = -0.125>() y = Clip(q, l)",
    "Max": "l = Constant<value_float = 0.375>() y = Max(q, l)",
    "Min": "h = Constant<value_float = 0.75>() y = Min(h, q)",
    "Where": "c = Less(x, s) y = Where(c, q, eight)",
    "Cast": "c = Cast<to = 6>(q) y = Cast<to = 1>(c)",
    "Concat": f"r = {quant('x', 'one')} y = Concat<axis = 1>(q, r)",
    "Pad": "p = Constant<value_ints = [0, 1, 0, 1]>() y = Pad(q, p, s)",
    "MatMul": "w = Constant<value = float[4, 2] {1, -2, 3, 0.5, 0, 1, 1, 1}>()"
    " y = MatMul(q, w)",
    "Gemm": "w = Constant<value = float[2, 4] {1, -2, 3, 0.5, 0, 1, 1, 1}>()"
    " c = Constant<value = float[2] {0.125, -3}>() y = Gemm<transB = 1>(q, w, c)",
    "MatMul from the left": "w = Constant<value = float[1, 64] {"
    + ", ".join(["1"] * 64)
    + "}>() y = MatMul(w, q)",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_values_lie_on_their_grid(body):
    """All values of many random inputs, with the bounds reached up to a step."""
    model = model_of(body)
    grid = infer_grids(model)["y"]
    name = infer_datatypes(model)["y"]
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (64, 4)) * rng.choice([0.1, 1.0, 9.0], (64, 1))
    y = QONNXSession(model).run(x.astype(np.float32))
    assert np.all(y / grid.step == np.rint(y / grid.step))
    assert np.all((y >= grid.low) & (y <= grid.high))
    assert np.all(DataType[name].allowed(y))
    wide = "MatMul" in body or "Gemm" in body or body in (BODIES["Sub"], BODIES["Mul"])
    assert wide or (y.min() == grid.low and y.max() == grid.high)


CONVOLUTIONS = {
    "Conv": "y = Conv<pads = [1, 1, 1, 1], kernel_shape = [2, 2]>(q, w, c)",
    "ConvTranspose": "y = ConvTranspose<kernel_shape = [2, 2]>(q, w)",
    "MaxPool": "y = MaxPool<kernel_shape = [2, 2]>(q)",
    "GlobalMaxPool": "y = GlobalMaxPool(q)",
}


@pytest.mark.parametrize("body", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_images(body):
    """The bounds of convolutions hold, and are reached by some input."""
    parameters = """, float[1, 1, 2, 2] w = {1, -2, 3, 0.5}, float[1] c = {0.125}"""
    model = model_of(body, parameters, "N, 1, 4, 4")
    grid = infer_grids(model)["y"]
    rng = np.random.default_rng(0)
    x = rng.choice([-9.0, 0.25, 9.0], (200, 1, 4, 4)).astype(np.float32)
    x[0] = -9.0
    y = QONNXSession(model).run(x)
    assert np.all(y / grid.step == np.rint(y / grid.step))
    assert y.min() == grid.low and y.max() == grid.high


UNCERTAIN = {
    "an input": "y = Relu(x)",
    "a scale that is no power of two": f"y = {quant('x', 't')}",
    "an unknown operator": "y = Sigmoid(q)",
    "sums over 24 bits": "y = MatMul(q, w)",
    "a division": "y = Div(q, t)",
    "infinite values": "r = Round(x) y = Relu(r)",
    "sums of the uncertain": f"r = {quant('x', 't')} y = MatMul(r, w)",
    "a random tensor": "r = RandomNormal<shape = [4]>() y = Mul(q, r)",
}


@pytest.mark.parametrize("body", UNCERTAIN.values(), ids=UNCERTAIN)
def test_nothing_is_claimed_of_uncertain_tensors(body):
    model = model_of(body, ", float[4, 1] w = {1e6, 1, 1, 0.0009765625}")
    assert "y" not in infer_grids(model)
    assert "y" not in infer_datatypes(model)


@pytest.mark.parametrize(
    "scale, bits, signed, name",
    [
        ("one", "b", 1, "INT4"),
        ("one", "b", 0, "UINT4"),
        ("s", "b", 1, "FIXED<4,2>"),
        ("s", "b", 0, "FIXED<5,3>"),
        ("eight", "b", 0, "UINT7"),
        ("one", "one", 0, "UINT1"),
    ],
)
def test_datatypes_of_quantizers(scale, bits, signed, name):
    """The narrowest type: FIXED is signed, so that unsigned ones need a bit more."""
    model = model_of(f"y = {quant('x', scale, bits, signed)}")
    assert infer_datatypes(model)["y"] == name
    assert DataType[name].get_canonical_name() in (name, "BINARY")


def test_bipolar():
    body = "y = qonnx.custom_op.general.BipolarQuant(x, {})"
    assert infer_datatypes(model_of(body.format("one")))["y"] == "BIPOLAR"
    assert infer_datatypes(model_of(body.format("s")))["y"] == "FIXED<2,0>"


def test_constants_are_computed():
    """Quantizers of weights are part of the constants."""
    body = f"v = {quant('w', 's')} y = MatMul(q, v)"
    model = model_of(body, ", float[4, 1] w = {0.3, -0.3, 0.6, 9.0}")
    grids = infer_grids(model)
    assert (grids["v"].step, grids["v"].low, grids["v"].high) == (0.25, -0.25, 1.75)
    assert grids["y"].step == 0.0625
