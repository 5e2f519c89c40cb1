"""The session's rewrites save nodes and change no number."""

import itertools

import numpy as np
import pytest
from onnx import parser

from kerasqnn import QONNXSession
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.fusion import fuse
from kerasqnn.qonnx.preparation import prepare

HEAD = '<ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>'


def quant(name, scale, bits, signed=1, mode="ROUND"):
    return (
        f"qonnx.custom_op.general.Quant<signed = {signed}, narrow = 0, "
        f'rounding_mode = "{mode}">({name}, {scale}, zero, {bits})'
    )


SCALES = {"small": 2.0**-5, "quarter": 0.25, "one": 1.0, "big": 64.0, "third": 1 / 3,
          "tiny": 2.0**-100}  # fmt: skip
PARAMETERS = ", ".join(
    [f"float {n} = {{{v!r}}}" for n, v in SCALES.items()]
    + [f"float {n} = {{{v}}}" for n, v in (("zero", 0), ("two", 2), ("four", 4),
                                           ("eight", 8), ("wide", 20))]
)  # fmt: skip


def tensor(name, *shape, scale=0.25, codes=8, seed=0):
    rng = np.random.default_rng([seed, *name.encode()])
    numbers = rng.integers(-codes, codes, shape) * scale
    listed = ", ".join(repr(float(n)) for n in numbers.ravel())
    return f"float[{', '.join(map(str, shape))}] {name} = {{{listed}}}"


def model_of(body, *tensors, shape="N, 6", outputs="float[] y"):
    return parser.parse_model(
        f"{HEAD} small (float[{shape}] x) => ({outputs}) "
        f"<{', '.join([PARAMETERS, *tensors])}> {{ {body} }}"
    )


def inputs(*shape, seed=0, special=(np.inf, -np.inf, np.nan, -0.0)):
    """Numbers of all sizes, and special ones."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * np.exp2(rng.integers(-6, 7, shape))
    places = rng.random(shape) < 0.02
    x[places] = rng.choice(special, places.sum())
    return x.astype(np.float32)


def check(model, x):
    """The numbers of qonnx's executor, whatever is rewritten."""
    expected = QONNXSession(model, optimization="none").run_flat([x])
    for optimization, threads in itertools.product(("all", "basic"), (1, 2)):
        session = QONNXSession(model, optimization=optimization, threads=threads)
        for left, right in zip(session.run_flat([x]), expected, strict=True):
            np.testing.assert_array_equal(left, right)
    return expected[0]


def operators(model):
    return [node.op_type for node in fuse(prepare(model)).model.graph.node]


DENSE = f"""q = {quant("x", "{a}", "eight")}
  m = MatMul(q, w) n = Add(m, b) r = Relu(n)
  p = {quant("r", "{c}", "four", 0)} y = MatMul(p, v)"""
WEIGHTS = tensor("w", 6, 5), tensor("b", 5, scale=2.0**-6), tensor("v", 5, 3)


@pytest.mark.parametrize("a", SCALES)
@pytest.mark.parametrize("c", SCALES)
def test_dense(a, c):
    """All pairs of scales; with powers of two one clip and one rounding a layer."""
    body = DENSE.format(a=a, c=c)
    model = model_of(body, *WEIGHTS)
    x = inputs(40, 6)
    expected = check(model, x)
    fixed = model_of(body, *WEIGHTS, shape="40, 6", outputs="float[40, 3] y")
    np.testing.assert_array_equal(run_reference(fixed, x), expected)
    if "third" not in (a, c) and "tiny" not in (a, c):
        # A clip that cannot clip is left out, and then the ReLU before it stays.
        kept = ["Relu" if n == "Clip" else n for n in operators(model)]
        first = ["Relu", "Round"] if a == "one" else ["Mul", "Relu", "Round"]
        wide = [*first, "MatMul", "Add", "Relu", "Round", "MatMul"]
        # So is rounding integers.
        narrow = [*first, "MatMul", "Add", "Relu", "MatMul"]
        assert kept in (wide, narrow)


INEXACT = {
    "sums over 24 bits": (f"q = {quant('x', 'small', 'wide')} y = MatMul(q, v)", "v"),
    "a scale that is no power of two": (
        f"q = {quant('x', 'third', 'four')} y = MatMul(q, v)", "v"),
    "no quantizer before a product": ("y = MatMul(x, v)", "v"),
    "computed factors": (
        f"q = {quant('x', 'one', 'four')} t = Transpose(q) y = MatMul(q, t)", "v"),
}  # fmt: skip


@pytest.mark.parametrize("body, _", INEXACT.values(), ids=INEXACT)
def test_sums_that_may_round_keep_their_order(body, _):
    model = model_of(body, tensor("v", 6, 3, scale=0.3))
    assert not fuse(prepare(model)).exact_products
    check(model, inputs(40, 6))


BODIES = {
    "a residual of unlike scales": f"""q = {quant("x", "quarter", "eight")}
      m = MatMul(q, s) p = {quant("m", "one", "four")} a = Add(p, q)
      y = {quant("a", "small", "eight")}""",
    "a residual of like scales": f"""q = {quant("x", "quarter", "four")}
      m = MatMul(q, s) p = {quant("m", "quarter", "four")} a = Add(p, q)
      n = MatMul(a, s) y = {quant("n", "one", "four")}""",
    "two readers of a sum": f"""q = {quant("x", "quarter", "eight")}
      m = MatMul(q, s) p = {quant("m", "big", "four")}
      r = {quant("m", "small", "four")} y = Sub(p, r)""",
    "two quantizers in a row": f"""q = {quant("x", "quarter", "four")}
      p = {quant("q", "quarter", "eight")} y = {quant("p", "one", "eight")}""",
    "floors and ceilings": f"""q = {quant("x", "quarter", "eight", 1, "FLOOR")}
      m = MatMul(q, s) p = {quant("m", "big", "four", 1, "CEIL")}
      y = MatMul(p, s)""",
    "a bound below the bias": f"""q = {quant("x", "quarter", "four")}
      m = MatMul(q, s) l = Constant<value_float = -3.7>() c = Clip(m, l)
      y = {quant("c", "one", "four")}""",
    "a clip of some negative numbers": f"""q = {quant("x", "quarter", "four")}
      m = MatMul(q, s) r = Relu(m) y = {quant("r", "one", "four", 1)}""",
    "concatenated": f"""q = {quant("x", "quarter", "four")}
      p = {quant("x", "small", "four")} c = Concat<axis = 1>(q, p)
      k = Concat<axis = 0>(s, s) m = MatMul(c, k) y = {quant("m", "one", "eight")}""",
    "a constant on the left": f"""q = {quant("x", "quarter", "four")}
      m = Mul(big, q) a = Add(quarter, m) y = {quant("a", "big", "four")}""",
    "a softmax behind": f"""q = {quant("x", "quarter", "four")}
      m = MatMul(q, s) y = Softmax(m)""",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_graphs(body):
    check(model_of(body, tensor("s", 6, 6)), inputs(60, 6))


FAR = {
    "a factor below float32": "m = MatMul(q, huge) n = Mul(m, least) y = Mul(n, least)",
    "a factor of zero above float32":
        "m = Clip(q, zero, zero) n = Mul(m, most) y = Mul(n, most)",
    "a sum above float32": "m = MatMul(q, most_of) n = Mul(m, small) y = Add(n, n)",
    "a sum with a constant above float32":
        "m = MatMul(q, most_of) n = Mul(m, small) y = Add(n, large)",
}  # fmt: skip


@pytest.mark.parametrize("body", FAR.values(), ids=FAR)
def test_factors_at_the_ends_of_float32(body):
    """Numbers fit into float32, but not with the factors moved behind them."""
    numbers = {"least": 2.0**-90, "most": 2.0**100, "large": -(2.0**122)}
    ones = ", ".join([repr(-(2.0**122))] * 6)
    tensors = [f"float {name} = {{{n!r}}}" for name, n in numbers.items()]
    tensors += [
        f"float[6, 1] most_of = {{{ones}}}",
        tensor("huge", 6, 6, scale=2.0**60),
    ]
    model = model_of(f"p = {quant('x', 'one', 'four')} q = Abs(p) {body}", *tensors)
    check(model, inputs(60, 6))


def test_outputs_inside():
    """Outputs keep their names and numbers where factors are moved across them."""
    body = f"""q = {quant("x", "quarter", "eight")} m = MatMul(q, s) n = Relu(m)
      p = {quant("n", "big", "four", 0)} y = MatMul(p, s)"""
    outputs = "float[] q, float[] m, float[] n, float[] p, float[] y"
    model = model_of(body, tensor("s", 6, 6), outputs=outputs)
    assert QONNXSession(model).output_names == ["q", "m", "n", "p", "y"]
    check(model, inputs(60, 6))


def test_inner_tensors_are_those_of_the_file():
    body = DENSE.format(a="quarter", c="big")
    model, x = model_of(body, *WEIGHTS), inputs(20, 6)
    ours = QONNXSession(model).tensors(x)
    plain = QONNXSession(model, optimization="none").tensors(x)
    assert set(ours) == {"x", *"qmnrpy"}
    for name, expected in plain.items():
        np.testing.assert_array_equal(ours[name], expected)


POOLS = {
    "behind a quantizer": "t = Relu(m) {p} y = MaxPool<kernel_shape = [2, 2]>(p)",
    "with padding": "t = Relu(m) {p} y = MaxPool<kernel_shape = [3, 3], "
    "pads = [1, 1, 1, 1], strides = [2, 2]>(p)",
    "with ceilings": "t = Relu(m) {p} y = MaxPool<kernel_shape = [2, 2], "
    "strides = [3, 3], ceil_mode = 1>(p)",
    "of all": "t = Identity(m) {p} y = GlobalMaxPool(p)",
    "with another reader": "t = Relu(m) {p} o = MaxPool<kernel_shape = [1, 1]>(p) "
    "y = Add(o, p)",
    "of negated numbers": "t = Neg(m) {p} g = Mul(p, minus) "
    "y = MaxPool<kernel_shape = [2, 2]>(g)",
    "of padding alone": "t = Relu(m) {p} y = MaxPool<kernel_shape = [2, 2], "
    "dilations = [8, 8], pads = [1, 1, 1, 1]>(p)",
    "an average": "t = Relu(m) {p} y = AveragePool<kernel_shape = [2, 2]>(p)",
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("scale", ["one", "quarter", "big", "third"])
def test_images(pool, scale):
    tail = pool.format(p=f"p = {quant('t', scale, 'four')}")
    body = f"""q = {quant("x", "quarter", "four")}
      m = Conv<pads = [1, 1, 1, 1], kernel_shape = [3, 3]>(q, w, b) {tail}"""
    tensors = (tensor("w", 8, 2, 3, 3), tensor("b", 8, scale=0.125),
               "float minus = {-0.5}")  # fmt: skip
    model = model_of(body, *tensors, shape="N, 2, 7, 7")
    # Which numbers win against NaN in a pool, ONNX Runtime leaves open.
    x = inputs(6, 2, 7, 7, special=(np.inf, -np.inf, -0.0))
    check(model, x)
    fused = fuse(prepare(model))
    assert fused.exact_images == ("AveragePool" not in pool)


def test_pools_come_first():
    """There are fewer numbers to round behind them."""
    body = f"""q = {quant("x", "quarter", "four")} m = Conv(q, w) r = Relu(m)
      p = {quant("r", "quarter", "four", 0)} y = MaxPool<kernel_shape = [2, 2]>(p)"""
    model = model_of(body, tensor("w", 4, 1, 1, 1), shape="N, 1, 4, 4")
    tail = ["Conv", "MaxPool", "Clip", "Round", "Mul"]
    assert operators(model) == ["Mul", "Clip", "Round", *tail]
