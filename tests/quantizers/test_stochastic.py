"""Quantizers that draw: QKeras's values at inference, expectations in training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kerasqnn.layers import QuantDense
from kerasqnn.quantizers import (
    AutoTernary,
    Binary,
    FixedPoint,
    QuantizedLinear,
    StochasticBinary,
    StochasticRounding,
    StochasticTernary,
    Ternary,
    deserialize,
    get,
    serialize,
)

from .test_auto_scale import weights
from .test_qkeras import qkeras, ulp  # noqa: F401
from .values import same

MAKE = [
    lambda: StochasticRounding(FixedPoint(4, 1), seed=1),
    lambda: StochasticRounding(QuantizedLinear(4, scale=0.3), seed=1),
    lambda: StochasticRounding("QuantizedReLU(4, 1)", seed=1),
    lambda: StochasticBinary("auto", seed=1),
    lambda: StochasticBinary("auto_po2", seed=1, sigmoid="hard_sigmoid"),
    lambda: StochasticBinary(0.5, seed=1),
    lambda: StochasticTernary("auto_po2", seed=1, iterations=3),
]
ALL = (-99, 99)


@pytest.mark.parametrize("make", MAKE)
def test_inference(make):
    """Nothing is drawn: the bits of `fixed`, which are those of `inference`."""
    quantizer, x = make(), weights(0, (40, 6))
    expected = quantizer.inference.quantize(x)
    same(quantizer(x).numpy(), expected)
    same(quantizer(x, training=False).numpy(), expected)
    same(quantizer.fixed(x).quantize(x), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quantized_bits(4,1,use_stochastic_rounding=True)", FixedPoint(4, 1)),
        ("quantized_linear(4,use_stochastic_rounding=True)", QuantizedLinear(4)),
        ("stochastic_binary()", Binary(gradient="identity")),
        ("stochastic_binary(alpha=0.5)", Binary(0.5, gradient="identity")),
        ("stochastic_ternary(alpha='auto')", AutoTernary(mode="auto")),
        ("stochastic_ternary(threshold=0.5)", Ternary(threshold=0.5)),
    ],
)
def test_as_qkeras_at_inference(qkeras, text, expected):  # noqa: F811
    """By QKeras's names; its layers never ask its quantizers to draw."""
    theirs, ours = qkeras.get_quantizer(text), get(text)
    assert getattr(ours, "inference", ours) == expected
    assert getattr(get(theirs), "inference", get(theirs)) == expected
    x = weights(0, (40, 2))
    values = ours(x).numpy()
    base = np.tanh(x) if ours is expected else x
    slack = np.maximum(ulp(base, values), ulp(np.tanh(x), values))
    assert np.all(np.abs(np.asarray(theirs(tf.constant(x))) - values) <= slack)


@pytest.mark.parametrize("make", MAKE)
def test_draws(make):
    """Anew at every call, from the seed, on the grid, traced and compiled too."""
    x = weights(0, (40, 6))
    quantizer, again = make(), make()
    first, second = (quantizer(x, training=True).numpy() for _ in range(2))
    assert np.any(first != second)
    same(again(x, training=True).numpy(), first)
    same(again(x, training=True).numpy(), second)
    grid = quantizer.fixed(x)
    low, high = grid.code_min, grid.code_max
    codes = first / grid.step
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-6)
    assert low <= codes.min() and codes.max() <= high
    compiled = tf.function(make(), jit_compile=True, autograph=False)
    assert np.any(compiled(x, training=True) != compiled(x, training=True))


@pytest.mark.parametrize("make", MAKE[:3])
def test_stochastic_rounding_is_unbiased(make):
    """Each value goes to one of its neighbours, and to `x` in the mean."""
    quantizer = make()
    grid = quantizer.inference
    low, high = float(grid.min), float(grid.max)
    x = np.linspace(low, high, 9).astype(np.float32)
    drawn = quantizer(np.tile(x, (1500, 1)), training=True).numpy()
    assert np.all(np.abs(drawn - x) <= grid.step)
    # Six standard errors of a mean of 1500.
    assert np.all(np.abs(drawn.mean(axis=0) - x) < 6 * float(grid.step) / 2 / 38)
    codes = np.unique(drawn / grid.step).round(3)
    assert np.all(np.isin(codes, np.arange(grid.code_min, grid.code_max + 1)))


@pytest.mark.parametrize("hard", [False, True])
def test_probabilities(hard):
    """The means that the formulas give, within six standard errors."""
    name = "hard_sigmoid" if hard else "sigmoid"

    def mean_of(quantizer):
        drawn = ops.convert_to_numpy(quantizer(many, training=True))
        return drawn.reshape(count, 9, 2).mean(axis=0) / quantizer.inference.step(x)

    def sigmoid(z):
        return np.clip(z / 2 + 0.5, 0, 1) if hard else 1 / (1 + np.exp(-z))

    x, count = weights(0, (9, 2), size=0.3) * np.float32([1, 8]), 10000
    many = np.tile(x, (count, 1))  # of the same scale and deviation
    std = x.std(axis=0, keepdims=True) + 1e-7
    binary = StochasticBinary("auto", temperature=0.7, sigmoid=name, seed=0)
    np.testing.assert_allclose(
        mean_of(binary), 2 * sigmoid(0.7 * x / std) - 1, atol=6 / 100
    )
    ternary = StochasticTernary("auto_po2", temperature=1.1, sigmoid=name, seed=0)
    scale = ternary.inference.step(x)
    plus, minus = (sigmoid(1.1 * (x / std + s * scale / 2 / std)) for s in (1, -1))
    np.testing.assert_allclose(mean_of(ternary), plus + minus - 1, atol=6 / 100)
    drawn = ops.convert_to_numpy(ternary(many, training=True)) / scale
    not_zero = plus * minus + (1 - plus) * (1 - minus)  # two draws of their own
    received = np.square(drawn).reshape(count, 9, 2).mean(axis=0)
    np.testing.assert_allclose(received, not_zero, atol=6 / 200)


def test_a_channel_of_zeros_draws():
    """Its deviation is 1e-7, not 0: both signs of the smallest scale come out."""
    drawn = StochasticBinary("auto_po2", seed=0)(np.zeros((50, 1)), training=True)
    assert set(np.sign(ops.convert_to_numpy(drawn)).ravel()) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("make", "inside"),
    list(
        zip(MAKE, [(-99, 99), (-0.27, 0.27), (0, 1.875), *[(-99, 99)] * 4], strict=True)
    ),
)
def test_gradients(make, inside):
    """Straight through; where the quantizer's gradient ends, none."""
    x = tf.constant([[-4.0, -0.3, 0.2, 1.0, 5.0]])
    quantizer = make()
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = quantizer(x, training=True)
    expected = (inside[0] <= x.numpy()) & (x.numpy() <= inside[1])
    received = tape.gradient(y, x).numpy()
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("make", MAKE)
def test_round_trips(make, tmp_path):
    """Through the configuration, and inside a layer through a file."""
    keras.utils.set_random_seed(0)
    quantizer = make()
    back = deserialize(serialize(quantizer))
    assert type(back) is type(quantizer)
    assert (back.get_config(), back.inference) == (
        quantizer.get_config(),
        quantizer.inference,
    )
    model = keras.Sequential(
        [keras.Input((6,)), QuantDense(20, kernel_quantizer=quantizer)]
    )
    x = weights(1, (40, 6))
    same(back(x, training=True).numpy(), make()(x, training=True).numpy())
    with_draws = [np.asarray(model(x, training=True)) for _ in range(10)]
    assert np.any(with_draws[0] != with_draws[1:])
    expected = np.asarray(model(x))
    kernel = quantizer.inference.quantize(ops.convert_to_numpy(model.layers[0].kernel))
    np.testing.assert_allclose(expected, x @ kernel, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    same(np.asarray(loaded(x)), expected)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: StochasticRounding("binary"), "quantizer='binary'"),
        (lambda: StochasticBinary("best"), "'best'"),
        (lambda: StochasticBinary(-1.0), "alpha=-1.0"),
        (lambda: StochasticTernary("auto", temperature=0), "temperature=0"),
        (lambda: StochasticTernary("auto", sigmoid="tanh"), "'tanh'"),
        (
            lambda: get("quantized_linear(4,alpha='auto',use_stochastic_rounding=1)"),
            "use_stochastic_rounding=1",
        ),
        (lambda: get("stochastic_ternary('auto',0.5)"), "threshold=0.5"),
    ],
)
def test_refused(make, text):
    """Each error names the argument and what was received."""
    with pytest.raises(ValueError) as error:
        make()
    assert "Received" in str(error.value)
    assert text in str(error.value)
