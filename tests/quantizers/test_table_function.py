"""Tables of smooth functions: values, gradients, round trips, refusals."""

import keras
import numpy as np
import pytest

from kerasqnn import quantizers
from kerasqnn.quantizers import FixedPoint, TableFunction, get
from kerasqnn.quantizers.quantizer import without_denormals

from .test_fixed_point import gradient
from .values import around, same


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


REFERENCE = {
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "exp": (np.exp, np.exp),
    "silu": (
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    ),
    "softplus": (lambda x: np.logaddexp(0, x), sigmoid),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(x)),
        lambda x: np.where(x > 0, 1, np.exp(x)),
    ),
}
GRIDS = [
    (FixedPoint(8, 3), FixedPoint(8, 0)),
    (FixedPoint(10, 2, rounding="FLOOR"), FixedPoint(12, 3, overflow="SAT_SYM")),
    (FixedPoint(5, 5, signed=False), FixedPoint(4, 1, signed=False, alpha=0.3)),
]


@pytest.mark.parametrize("grids", GRIDS, ids=str)
@pytest.mark.parametrize("function", REFERENCE)
def test_values_and_gradients(function, grids):
    """Those of the function in float64, at every input code and around."""
    inputs, outputs = grids
    f, derivative = REFERENCE[function]
    quantizer = TableFunction(function, input=inputs, output=outputs)
    codes = np.arange(inputs.code_min, inputs.code_max + 1) * inputs.step
    x = np.concatenate([around(codes), around(codes + inputs.step / 2)])
    x = without_denormals(np.concatenate([x, np.float32([1e6, -1e6, 0.0, -0.0])]))
    at = inputs.quantize(x).astype(np.float64)
    same(quantizer.quantize(x), outputs.quantize(f(at)))
    same(np.asarray(quantizer(keras.ops.convert_to_tensor(x))), quantizer.quantize(x))
    inside = (x >= inputs.min) & (x <= inputs.max)
    slopes = np.where(inside, derivative(at), 0.0).astype(np.float32)
    np.testing.assert_allclose(
        gradient(quantizer, x, np.ones_like(x)), slopes, rtol=1e-6, atol=1e-12
    )


def test_huge_inputs_do_not_overflow():
    quantizer = TableFunction(
        "softplus", input=FixedPoint(3, 32), output="FixedPoint(4)"
    )
    assert quantizer.quantize([-1e9, 1e9]).tolist() == [0.0, 0.875]


def test_round_trips():
    quantizer = TableFunction(
        "exp", input="quantized_bits(6,2)", output="FixedPoint(5,1)"
    )
    assert get(repr(quantizer)) == quantizer
    assert quantizer.input == FixedPoint(6, 2)
    assert quantizers.deserialize(quantizers.serialize(quantizer)) == quantizer
    assert quantizer != TableFunction(
        "exp", input="FixedPoint(6,3)", output="FixedPoint(5,1)"
    )
    assert (
        get("TableFunction('exp', input='FixedPoint(6,2)', output='FixedPoint(5,1)')")
        == quantizer
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gelu", "FixedPoint(4)", "FixedPoint(4)"), "`function`.*'gelu'"),
        (("tanh", "FixedPoint(13)", "FixedPoint(4)"), "`input` .* at most 12 bits"),
        (("tanh", "FixedPoint(4,scale=0.3)", "FixedPoint(4)"), "power-of-two step"),
        (("tanh", "FixedPoint(4,alpha=2)", "FixedPoint(4)"), "no `alpha`"),
        (("tanh", "binary()", "FixedPoint(4)"), "`input` must be a FixedPoint.*binary"),
        (("tanh", "FixedPoint(4)", None), "`output` must be a FixedPoint.*None"),
        (("tanh", "FixedPoint(4)", "FixedPoint(4,scale=(1,2))"), "`output`.*one step"),
    ],
)  # fmt: skip
def test_refusals(arguments, message):
    function, inputs, outputs = arguments
    with pytest.raises(ValueError, match=message) as error:
        TableFunction(function, input=inputs, output=outputs)
    assert "Received: " in str(error.value)
