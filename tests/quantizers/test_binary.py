"""Binary and Ternary: golden values, QONNX, gradients, refused arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from qonnx.custom_op.general.bipolar_quant import binary_quant

from kerasqnn.quantizers import Binary, Ternary

from . import exact
from .test_fixed_point import gradient
from .values import HUGE, TINY, ZEROS, around, corners, same

EDGE = around([0.33, 0.5, 1.0])
NUMBERS = np.concatenate([corners(0.11), EDGE, -EDGE, [np.inf, -np.inf]]).astype("f4")


def test_golden_binary():
    """Both zeros and denormals are not negative; alpha is the size."""
    x = np.concatenate([ZEROS, TINY, -TINY[:3], [-1e-30, -0.2, 3, -np.inf, np.inf]])
    signs = np.float32([1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, 1, -1, 1])
    same(Binary().quantize(x), signs)
    same(np.asarray(Binary()(np.float32(x))), signs)
    same(Binary(0.3).quantize(x), signs * np.float32(0.3))
    assert Binary(0.3).codes(x).tolist() == signs.tolist()
    assert Binary(0.3).codes(x).dtype == np.int64


def test_golden_ternary():
    """The threshold belongs to the outside, and alpha does not move it."""
    below = np.nextafter(np.float32(0.5), np.float32(0))
    x = np.float32([-np.inf, -0.5, -below, -0.0, 0, 1e-40, below, 0.5, 0.7, 1e38])
    codes = [-1, -1, 0, 0, 0, 0, 0, 1, 1, 1]
    same(Ternary(threshold=0.5).quantize(x), np.float32(codes))
    same(Ternary(3.0, threshold=0.5).quantize(x), np.float32(codes) * 3)
    assert Ternary(0.3, threshold=0.5).codes(x).tolist() == codes


@pytest.mark.parametrize("alpha", [1.0, 0.3, 4.0])
@pytest.mark.parametrize("threshold", [0.11, 0.33, 0.5])
def test_exact_formulas(alpha, threshold):
    """Both quantizers against rational arithmetic, in numpy, Keras and compiled."""
    numbers = [exact.single(v) for v in NUMBERS[:-2]]
    size, edge = float(exact.single(alpha)), exact.single(threshold)
    x = NUMBERS[:-2]
    signs = np.array([1 if v >= 0 else -1 for v in numbers])
    kept = np.where([abs(v) < edge for v in numbers], 0, signs)
    for q, codes in (
        (Binary(alpha), signs),
        (Ternary(alpha, threshold=threshold), kept),
    ):
        expected = (codes * size).astype(np.float32)
        same(q.quantize(x), expected)
        same(q.codes(x), codes)
        same(np.asarray(q(x)), expected)
        same(tf.function(q)(x).numpy(), expected)


@pytest.mark.parametrize("alpha", [1.0, 0.3, (0.25, 0.3, 1.0, 7.0)])
def test_qonnx_reference(alpha):
    """QONNX's own BipolarQuant; it has no ternary operator."""
    x = NUMBERS[(NUMBERS == 0) | (np.abs(NUMBERS) >= 2.0**-126)][:200].reshape(-1, 4)
    scale = np.float32(alpha)
    same(Binary(alpha).quantize(x), binary_quant(x, scale).astype(np.float32))


@pytest.mark.parametrize("kind", [Binary, Ternary])
def test_grid(kind):
    """Step, bounds and bits are exact."""
    q = kind(0.3)
    assert (q.code_min, q.code_max, q.bits) == (-1, 1, 1 if kind is Binary else 2)
    assert (float(q.min), float(q.max), float(q.step)) == (
        -np.float32(0.3),
        np.float32(0.3),
        np.float32(0.3),
    )
    assert not q.is_power_of_two
    assert kind(0.25).is_power_of_two and kind((0.5, 4.0)).is_power_of_two


@pytest.mark.parametrize("kind", [Binary, Ternary])
def test_one_alpha_a_channel(kind):
    """Along the last axis."""
    alphas = (0.25, 0.3, 7.0)
    x = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    q = kind(alphas)
    single = [kind(a) for a in alphas]
    columns = [s.quantize(x[..., i]) for i, s in enumerate(single)]
    same(q.quantize(x), np.stack(columns, axis=-1))
    same(np.asarray(q(x)), q.quantize(x))
    same(q.codes(x), kind().codes(x))
    same(q.step, np.float32(alphas))


@pytest.mark.parametrize("kind", [Binary, Ternary])
def test_gradients(kind):
    """`identity` is exact; `tanh` is 1 - tanh(x)^2 as Keras computes it."""
    x = np.linspace(-3, 3, 31).astype(np.float32)
    upstream = np.random.default_rng(0).normal(size=31).astype(np.float32)
    same(gradient(kind(2.0, gradient="identity"), x, upstream), upstream)
    received = gradient(kind(2.0), x, upstream)
    tanh = np.asarray(keras.ops.tanh(x))
    same(received, upstream * (np.float32(1) - tanh * tanh))
    # And mathematically, within the rounding of float32.
    expected = upstream / np.cosh(x.astype(np.float64)) ** 2
    np.testing.assert_allclose(received, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [Binary, Ternary])
def test_huge_numbers_and_nan(kind):
    """Huge numbers keep their sign."""
    same(kind().quantize(HUGE), np.sign(HUGE))
    assert kind()([2, -3]).dtype == "float32"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Binary(0), "alpha=0"),
        (lambda: Binary("auto"), "alpha='auto'"),
        (lambda: Binary(gradient="tank"), "Did you mean 'tanh'"),
        (lambda: Ternary(gradient=None), "`gradient`"),
        (lambda: Ternary(threshold=0), "threshold=0"),
        (lambda: Ternary(threshold=-0.5), "threshold=-0.5"),
        (lambda: Ternary(threshold=float("nan")), "threshold=nan"),
        (lambda: Ternary(threshold=1e-40), "threshold=1e-40"),
        (lambda: Ternary(threshold=(0.1, -0.2)), "threshold=(0.1, -0.2)"),
        (lambda: Ternary(threshold="auto"), "threshold='auto'"),
    ],
)
def test_refused_arguments(make, text):
    """Each error names the argument and what was received."""
    with pytest.raises(ValueError) as error:
        make()
    assert text in str(error.value)
    assert "Received" in str(error.value)
