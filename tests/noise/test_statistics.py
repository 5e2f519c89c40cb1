"""What is drawn: mean, variance, independence, the gradient's draw.

Statistics are compared in units of their standard errors. With the fixed seeds nothing
is left to chance; one seed in two million would exceed five standard errors.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kerasqnn.layers import NoisePoint
from kerasqnn.noise import Additive, Combined, Multiplicative
from kerasqnn.noise.sources import DrawnSeed

LIMIT = 5.0
SAMPLES = 40_000
X = np.array([-3.0, -0.5, 0.0, 0.25, 1.0, 8.0], np.float32)
SOURCES = [
    Additive(0.7, when="always", seed=1),
    Multiplicative(0.7, when="always", seed=2),
    Combined(1.5, 0.4, "additive_first", when="always", seed=3),
    Combined(1.5, 0.4, "multiplicative_first", when="always", seed=4),
    Combined(0.8, 1.0, when="always", seed=5),
    Combined(0.8, 0.0, when="always", seed=6),
]


def variance(source):
    """Return Var[y | x] for the numbers of X, from the definition."""
    x = X.astype(np.float64)
    if isinstance(source, Additive):
        return np.full(x.shape, source.stddev**2)
    if isinstance(source, Multiplicative):
        return (x * source.stddev) ** 2
    add = (source.amplitude * source.ratio) ** 2
    mul = (source.amplitude * (1 - source.ratio)) ** 2
    if source.order == "additive_first":  # (x + a) m
        return x**2 * mul + add * (1 + mul)
    return x**2 * mul + add


def draw(source, samples=SAMPLES):
    """Return a batch in which every row of X got its noise."""
    x = np.broadcast_to(X, (samples, len(X)))
    return np.asarray(NoisePoint(source)(x), np.float64)


def mean_error(source):
    """Return the largest deviation of E[y | x] from x, in standard errors."""
    y = draw(source)
    deviation, error = np.abs(y.mean(axis=0) - X), y.std(axis=0) / SAMPLES**0.5
    exact = error == 0
    assert np.all(deviation[exact] == 0)
    return np.max(deviation[~exact] / error[~exact])


def variance_error(source):
    """Return the largest deviation of Var[y | x], in standard errors."""
    centred = (draw(source) - X) ** 2
    deviation = np.abs(centred.mean(axis=0) - variance(source))
    error = centred.std(axis=0) / SAMPLES**0.5
    exact = error == 0
    assert np.all(deviation[exact] == 0)
    return np.max(deviation[~exact] / error[~exact])


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_mean_is_the_input(source):
    """E[y | x] = x."""
    assert mean_error(source) < LIMIT


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_variance(source):
    """Var[y | x] is the formula's."""
    assert variance_error(source) < LIMIT


@pytest.mark.parametrize("shift", [-1.0, 0.05, -0.05])
def test_a_wrong_mean_is_caught(monkeypatch, shift):
    """A factor of mean 0 (the usual slip), 1.05 or 0.95 is beyond the limit."""

    def apply(self, x, level, seed):
        factor = keras.random.normal(ops.shape(x), seed=seed, dtype=x.dtype)
        return x * (1.0 + shift + ops.cast(level, x.dtype) * factor)

    monkeypatch.setattr(Multiplicative, "apply", apply)
    assert mean_error(SOURCES[1]) > 2 * LIMIT


@pytest.mark.parametrize("error", [0.95, 1.05])
def test_a_wrong_variance_is_caught(error):
    """Five percent of the level are beyond the limit."""
    wrong = Additive(0.7 * error, when="always", seed=1)
    centred = (draw(wrong) - X) ** 2
    deviation = np.abs(centred.mean(axis=0) - variance(SOURCES[0]))
    assert np.max(deviation / (centred.std(axis=0) / SAMPLES**0.5)) > LIMIT


def test_the_orders_of_combined_differ():
    """At x = 0 only the first order multiplies the additive noise."""
    first, second = (draw(s)[:, X == 0].var() for s in SOURCES[2:4])
    add, mul = 0.6**2, 0.9**2
    assert first == pytest.approx(add * (1 + mul), rel=0.05)  # 7 standard errors
    assert second == pytest.approx(add, rel=0.05)


def correlations(columns):
    """Return the largest correlation of two columns, in standard errors."""
    matrix = np.corrcoef(columns, rowvar=False)
    return np.max(np.abs(matrix - np.eye(len(matrix)))) * len(columns) ** 0.5


@pytest.mark.parametrize("source", SOURCES[:4], ids=repr)
def test_draws_are_independent(source):
    """Across elements, neighbouring samples, calls, and the points of one model."""
    x = np.ones((20_000, 3), np.float32)
    point = NoisePoint(source)
    other = NoisePoint(type(source).from_config({**source.get_config(), "seed": 9}))
    first, second = np.asarray(point(x)), np.asarray(point(x))
    lagged = [first[:-1], first[1:], second[:-1], np.asarray(other(x))[:-1]]
    columns = np.concatenate(lagged, axis=1)
    assert correlations(columns) < LIMIT
    assert correlations(np.concatenate([first, first[:, :1]], axis=1)) > LIMIT
    assert len(np.unique(first)) > 0.99 * first.size


def test_every_sample_of_an_image_batch_has_its_own():
    """No broadcasting along the batch, the space or the channels."""
    x = np.zeros((6, 5, 4, 3), np.float32)
    y = np.asarray(NoisePoint(SOURCES[0])(x))
    for axis in range(4):
        assert np.all(np.ptp(y, axis=axis) > 0)


def apply(source, x, seed=(5, 6)):
    """Return the noisy numbers for a seed that is already drawn."""
    drawn = DrawnSeed(ops.convert_to_tensor(seed, "uint32"))
    return np.asarray(source.apply(ops.convert_to_tensor(x), source.level, drawn))


def test_the_two_draws_of_combined_are_independent():
    """Two draws from one seed would be the same numbers."""
    source = Combined(1.0, 0.5, "multiplicative_first")
    zeros = np.zeros(SAMPLES, np.float32)
    added = apply(source, zeros)
    factor = apply(source, zeros + 1) - added
    assert correlations(np.stack([added, factor], axis=1)) < LIMIT
    assert factor.mean() == pytest.approx(1.0, abs=LIMIT * 0.5 / SAMPLES**0.5)


def test_formulas_share_their_draws():
    """All orders and kinds from the same two draws of one seed."""
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    drawn = DrawnSeed(ops.convert_to_tensor((5, 6), "uint32"))
    a, b = np.asarray(keras.random.normal((2, 1000), seed=drawn))
    one = np.float32(1)
    added, factor = np.float32(0.5) * a, one + np.float32(1.5) * b
    first, second = (
        Combined(2.0, 0.25, order)
        for order in ("additive_first", "multiplicative_first")
    )
    # float32 sums and products in the order of the formula
    np.testing.assert_allclose(apply(first, x), (x + added) * factor, rtol=1e-6)
    np.testing.assert_allclose(
        apply(second, x), x * factor + added, rtol=1e-5, atol=1e-6
    )
    e = np.asarray(keras.random.normal((1000,), seed=drawn))
    np.testing.assert_array_equal(apply(Additive(2.0), x), x + np.float32(2) * e)
    expected = x * (one + np.float32(2) * e)
    np.testing.assert_array_equal(apply(Multiplicative(2.0), x), expected)


def value_and_gradient(source, x):
    """Return the output of a point, and its gradient with respect to the input."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = NoisePoint(source)(x)
    return y.numpy(), tape.gradient(y, x).numpy()


def test_gradients():
    """1 for additive noise; the forward pass's own factor for multiplicative."""
    x = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    y, gradient = value_and_gradient(SOURCES[0], x)
    assert np.all(gradient == 1) and np.all(y != x)
    y, factor = value_and_gradient(SOURCES[1], x)
    np.testing.assert_array_equal(x * factor, y)
    assert factor.std() == pytest.approx(0.7, rel=0.1)
    # (x + a) m and x m + a: what is left after x m is the additive noise.
    for source in SOURCES[2:4]:
        y, factor = value_and_gradient(source, x)
        rest = y.astype(np.float64) - x.astype(np.float64) * factor
        if source.order == "additive_first":
            rest /= factor
        assert rest.std() == pytest.approx(0.6, rel=0.1)
        columns = np.stack([rest, factor, x], axis=1)
        assert correlations(columns) < LIMIT
