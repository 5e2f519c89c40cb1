"""Each QONNX operator, attribute and corner: the numbers of qonnx's executor."""

import itertools
import warnings

import numpy as np
import pytest

from kerasqnn import QONNXSession
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.operators import GENERAL_DOMAINS, ROUNDING_MODES

from .models import operator_model

CORNERS = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38, 1e-38],
    np.float32,
)


def values(scale=1.0, columns=3):
    """Ties, both sides of ties, random numbers of all sizes, corners."""
    rng = np.random.default_rng(0)
    ties = (np.arange(-40, 41) / 2).astype(np.float32)
    near = np.concatenate([np.nextafter(ties, np.float32(s)) for s in (-99, 99)])
    random = rng.standard_normal(100) * np.exp2(rng.integers(-12, 14, 100))
    grid = np.concatenate([ties, near, random]) * scale
    x = np.concatenate([grid, CORNERS]).astype(np.float32)
    x = x[: len(x) // columns * columns].reshape(-1, columns)
    return np.concatenate([x, np.resize(CORNERS, (4, columns))])


def check(model, x, **options):
    with warnings.catch_warnings():  # qonnx computes with infinities
        warnings.simplefilter("ignore")
        expected = run_reference(model, x)
    received = QONNXSession(model, **options).run(x)
    assert received.dtype == np.float32
    np.testing.assert_array_equal(received, np.float32(expected))


SCALES = {
    "one": 1.0,
    "power of two": 0.125,
    "any": 0.3,
    "tiny": 1e-30,
    "smallest power": 2.0**-126,
    "channels": np.array([0.5, 0.7, 2.0], np.float32),
    "matrix": np.array([[0.25, 1.0, 4.0]], np.float32),
}


@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("signed, narrow", itertools.product((0, 1), (0, 1)))
def test_quant(mode, signed, narrow):
    """All rounding modes, signs, widths, kinds of scale and zero points."""
    for (name, scale), bits, zero in itertools.product(
        SCALES.items(), (1, 2, 4.0, 8, 2.5, 26), (0, 3, 0.5)
    ):
        if (name in ("matrix", "tiny") or bits in (2.5, 26)) and zero:
            continue
        x = values(np.max(scale) if name != "tiny" else 1.0)
        parameters = {"scale": scale, "zeropt": zero, "bitwidth": bits}
        attributes = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
        model = operator_model("Quant", x.shape, parameters, **attributes)
        check(model, x)


@pytest.mark.parametrize("op_type", ["Quant", "IntQuant"])
@pytest.mark.parametrize("domain", sorted(GENERAL_DOMAINS - {"finn", "qonnx"}))
def test_domains(op_type, domain):
    """Every name of the domain, lower-case modes, a shape for the parameters."""
    x = values()
    parameters = {
        "scale": np.full((1, 1), 0.5, np.float32),
        "zeropt": np.zeros((1,), np.float32),
        "bitwidth": 4,
    }
    attributes = {"signed": 1, "narrow": 0, "rounding_mode": "floor"}
    ours = operator_model(op_type, x.shape, parameters, domain=domain, **attributes)
    known = operator_model(op_type, x.shape, parameters, **attributes)
    received = QONNXSession(ours).run(x)
    np.testing.assert_array_equal(received, run_reference(known, x))


def test_integer_parameters():
    """numpy then computes in double precision, and so do we."""
    x = values(3)
    parameters = {
        "scale": np.array(3, np.int64),
        "zeropt": np.array(1, np.int64),
        "bitwidth": np.array(5, np.int64),
    }
    for signed in (0, 1):
        attributes = {"signed": signed, "narrow": 0, "rounding_mode": "ROUND"}
        check(operator_model("Quant", x.shape, parameters, **attributes), x)


@pytest.mark.parametrize("scale", SCALES)
def test_bipolar_quant(scale):
    """Plus the scale for zero and minus zero, minus for what is no number."""
    x = values()
    check(operator_model("BipolarQuant", x.shape, {"scale": SCALES[scale]}), x)


@pytest.mark.parametrize("mode", ROUNDING_MODES)
def test_trunc_1(mode):
    """Shifts without clamping, and does not undo the shift."""
    for scale, bits, zero in itertools.product(
        (1.0, 0.25, 0.3), ((8, 4), (5, 5), (3, 6)), (0, 2)
    ):
        x = values(scale)
        parameters = {"scale": scale, "zeropt": zero}
        parameters |= dict(zip(("in_bitwidth", "out_bitwidth"), bits, strict=True))
        check(operator_model("Trunc", x.shape, parameters, rounding_mode=mode), x)


@pytest.mark.parametrize("mode", ROUNDING_MODES)
@pytest.mark.parametrize("signed, narrow", itertools.product((0, 1), (0, 1)))
def test_trunc_2(mode, signed, narrow):
    """Clamps, and gives the scale of its output."""
    for scale, factor, zero in itertools.product((1.0, 0.25, 0.3), (1, 4, 3), (0, 2)):
        x = values(scale)
        parameters = {
            "scale": scale,
            "zeropt": zero,
            "in_bitwidth": 8,
            "out_scale": np.float32(scale) * np.float32(factor),
            "out_bitwidth": 4,
        }
        attributes = {"rounding_mode": mode, "signed": signed, "narrow": narrow}
        model = operator_model("Trunc", x.shape, parameters, version=2, **attributes)
        check(model, x)


def float_parameters(exponent, mantissa, bias=None, max_val=None, scale=1.0):
    bias = 2.0 ** (exponent - 1) - 1 if bias is None else bias
    return {
        "scale": scale,
        "exponent_bitwidth": exponent,
        "mantissa_bitwidth": mantissa,
        "exponent_bias": bias,
        "max_val": 1e6 if max_val is None else max_val,
    }


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL", "HALF_UP", "DOWN"])
@pytest.mark.parametrize(
    "parameters",
    [
        float_parameters(4, 3),
        float_parameters(5, 2, max_val=57344),
        float_parameters(2, 1, bias=1, scale=0.3),
        float_parameters(3, 0, max_val=10, scale=0.5),
        float_parameters(1, 3, bias=0),
        float_parameters(8, 7, max_val=3e38),
    ],
    ids=["e4m3", "e5m2", "e2m1", "e3m0", "e1m3", "bfloat16"],
)
def test_float_quant(parameters, mode):
    """Subnormals, every binade, overflow to the largest value, infinity or NaN."""
    powers = np.exp2(np.arange(-30, 30, dtype=np.float32))
    near = [np.nextafter(powers, np.float32(s)) for s in (0, np.inf)]
    x = np.concatenate([values(4.0).ravel(), powers, -powers, *near])
    x = x[: len(x) // 3 * 3].reshape(-1, 3)
    for saturation, inf, nan in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        attributes = {
            "rounding_mode": mode,
            "has_inf": inf,
            "has_nan": nan,
            "has_subnormal": 1,
            "saturation": saturation,
        }
        check(operator_model("FloatQuant", x.shape, parameters, **attributes), x)


BAD = {
    "rounding mode": ({}, {"rounding_mode": "NEAREST"}, "`rounding_mode` must be one"),
    "zero scale": ({"scale": 0.0}, {}, "`scale` must be positive"),
    "negative scale": ({"scale": -0.5}, {}, "`scale` must be positive"),
    "no number": ({"scale": np.float32(np.nan)}, {}, "`scale` must be finite"),
    "widths": ({"bitwidth": np.float32([2, 3])}, {}, "`bitwidth` must be one number"),
    "negative width": ({"bitwidth": -2.0}, {}, "`bitwidth` must be one number, not"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors(case):
    """Each names the node, what is allowed and what was received."""
    parameters, attributes, text = BAD[case]
    given = {"scale": 1.0, "zeropt": 0.0, "bitwidth": 4.0} | parameters
    named = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | attributes
    with pytest.raises(ValueError, match=text) as error:
        QONNXSession(operator_model("Quant", (2, 3), given, **named))
    assert "Quant node 'node'" in str(error.value) and "Received" in str(error.value)


def test_trunc_2_under_version_1():
    """qonnx would run it as version 1, and give something else."""
    parameters = {
        "scale": 1.0,
        "zeropt": 0.0,
        "in_bitwidth": 8,
        "out_scale": 4.0,
        "out_bitwidth": 4,
    }
    model = operator_model("Trunc", (2, 3), parameters, version=2)
    model.opset_import[1].version = 1
    with pytest.raises(ValueError, match="must have the inputs X, scale, zeropt, in_"):
        QONNXSession(model)


@pytest.mark.parametrize("name", ["scale", "zeropt"])
def test_parameters_with_more_axes(name):
    """Ones and zeros of a shape are not left out: they give the result its shape."""
    x = np.float32([[0.3, 1.7, -9.0]])
    given = {"scale": 1.0, "zeropt": 0.0, "bitwidth": 4.0}
    given[name] = np.full((2, 4, 3), given[name], np.float32)
    attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    model = operator_model("Quant", (1, 3), given, **attributes)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert QONNXSession(model).run(x).shape == (2, 4, 3)


@pytest.mark.parametrize("missing", ["signed", "narrow"])
def test_missing_attributes(missing):
    """qonnx demands them; a guess could be wrong."""
    given = {"scale": 1.0, "zeropt": 0.0, "bitwidth": 4.0}
    attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    del attributes[missing]
    with pytest.raises(ValueError, match=f"attributes signed, narrow.*: {missing}"):
        QONNXSession(operator_model("Quant", (2, 3), given, **attributes))
