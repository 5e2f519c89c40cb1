"""QuantBatchNormalization: statistics as Keras's, the formula in numpy."""

import keras
import numpy as np
import pytest

from kerasqnn.layers import QuantBatchNormalization
from kerasqnn.layers._normalization import INVERSES
from kerasqnn.quantizers import FixedPoint

SCALE = FixedPoint(6, 2)
OFFSET = FixedPoint(8, 3, rounding="FLOOR")
QUANTIZERS = {"scale_quantizer": SCALE, "offset_quantizer": OFFSET}
X = (np.rint(np.random.default_rng(0).normal(1, 4, (64, 3, 5))) / 4).astype("f4")


def filled(layer, x=X):
    """Build and set random parameters and statistics."""
    layer.build(x.shape)
    numbers = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(numbers.uniform(0.3, 2.0, weight.shape))
    return layer


def formula(layer, mean, variance):
    """Return scale and offset in float64 up to the quantizers."""
    scale = 1.0 / np.sqrt(np.asarray(variance, np.float64) + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma)
    if layer.scale_quantizer is not None:
        scale = layer.scale_quantizer.quantize(scale).astype(np.float64)
    beta = np.asarray(layer.beta, np.float64) if layer.center else 0.0
    offset = beta - np.asarray(mean, np.float64) * scale
    if layer.offset_quantizer is not None:
        offset = layer.offset_quantizer.quantize(offset)
    return scale, offset


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_inference_formula(axis, center, scale):
    """x * s + o from the moving statistics; every number is on a grid, so exact.

    That the float32 of the layer and the float64 here quantize to the same codes holds
    unless a number lies within their difference of a tie, which these do not.
    """
    layer = filled(
        QuantBatchNormalization(axis, center=center, scale=scale, **QUANTIZERS)
    )
    s, o = formula(layer, layer.moving_mean, layer.moving_variance)
    shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
    expected = X.astype(np.float64) * s.reshape(shape) + o.reshape(shape)
    np.testing.assert_array_equal(layer(X), expected)
    received = layer.inference_scale_and_offset()
    np.testing.assert_array_equal(received[0], s)
    np.testing.assert_array_equal(received[1], o)
    assert len(np.unique(s)) > 1 and np.all(s > 0)


@pytest.mark.parametrize("axis", [-1, 1])
def test_training_formula(axis):
    """In training the batch's statistics take the place of the moving ones."""
    layer = filled(QuantBatchNormalization(axis, **QUANTIZERS))
    axes = (0, 2) if axis == 1 else (0, 1)
    x = X.astype(np.float64)
    s, o = formula(layer, x.mean(axis=axes), x.var(axis=axes))
    shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
    expected = x * s.reshape(shape) + o.reshape(shape)
    np.testing.assert_array_equal(layer(X, training=True), expected)


@pytest.mark.parametrize("quantizers", [{k: QUANTIZERS[k]} for k in QUANTIZERS])
def test_one_quantizer_alone(quantizers):
    """The other factor stays float; the tolerance is the rounding of float32."""
    layer = filled(QuantBatchNormalization(**quantizers))
    s, o = formula(layer, layer.moving_mean, layer.moving_variance)
    np.testing.assert_allclose(layer(X), X * s + o, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.3}, {"axis": 1}, {"trainable": False}, {"epsilon": 0.5}],
    ids=str,
)
def test_statistics_are_keras_s(options):
    """After every training step, with and without a mask, bit for bit."""
    ours = filled(QuantBatchNormalization(**QUANTIZERS, **options))
    theirs = filled(keras.layers.BatchNormalization(**options))
    mask = np.random.default_rng(2).random((64, 3)) < 0.6
    for step, training in enumerate((True, True, False, True)):
        x = X * np.float32(1 + step)
        for layer in (ours, theirs):
            layer(x, training=training, mask=mask if step == 1 else None)
        for weight, other in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(weight, other)
    start = filled(QuantBatchNormalization(**options)).moving_mean
    moved = np.any(np.asarray(start) != np.asarray(ours.moving_mean))
    assert moved == ours.trainable


def test_frozen_layer_uses_its_moving_statistics():
    """`trainable=False` means inference, in training too."""
    layer = filled(QuantBatchNormalization(**QUANTIZERS, trainable=False))
    np.testing.assert_array_equal(layer(X, training=True), layer(X))


def test_training_learns():
    """Gradients pass both quantizers: gamma and beta approach what the data need."""
    layer = QuantBatchNormalization(
        scale_quantizer="quantized_bits(8,3)", offset_quantizer="quantized_bits(8,3)"
    )
    model = keras.Sequential([keras.Input((5,)), layer])
    x = X[:, 0]
    y = 3 * (x - x.mean(axis=0)) / x.std(axis=0) + 1
    model.compile(keras.optimizers.SGD(0.2), "mse")
    losses = model.fit(x, y, batch_size=64, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.02 * losses[0]


def test_noise_and_half_precision():
    """Noise acts on the output; statistics stay float32 under a mixed policy."""
    noisy = filled(QuantBatchNormalization(**QUANTIZERS, noise="additive(0.5)"))
    quiet = filled(QuantBatchNormalization(**QUANTIZERS))
    # The noise point's weights were filled as well.
    noisy.noise_point.level, noisy.noise_point.when = 0.5, "inference"
    difference = np.asarray(noisy(X)) - np.asarray(quiet(X))
    assert difference.std() == pytest.approx(0.5, rel=0.15)
    half = filled(QuantBatchNormalization(**QUANTIZERS, dtype="mixed_float16"))
    expected = np.asarray(quiet(X)).astype(np.float16)
    np.testing.assert_array_equal(half(X), expected)
    assert {w.dtype for w in half.weights} == {"float32"}


@pytest.mark.parametrize("inverse", INVERSES)
def test_quantizers_of_the_parameters(inverse):
    """Each of QKeras's four quantizers acts on its own number, before the formula.

    A layer that holds the quantized numbers, without these quantizers, gives the bits.
    """
    given = {
        "gamma_quantizer": FixedPoint(5, 2),
        "beta_quantizer": FixedPoint(4, 1),
        "mean_quantizer": FixedPoint(3, 1),
        "variance_quantizer": FixedPoint(4, 2, signed=False),
    }
    layer = filled(QuantBatchNormalization(inverse=inverse, **QUANTIZERS, **given))
    plain = filled(QuantBatchNormalization(inverse=inverse, **QUANTIZERS))
    numbers = ("gamma", "beta", "moving_mean", "moving_variance")
    for name, quantizer in zip(numbers, given.values(), strict=True):
        value = quantizer.quantize(getattr(plain, name))
        assert not np.array_equal(value, getattr(plain, name))
        getattr(plain, name).assign(value)
    np.testing.assert_array_equal(layer(X), plain(X))
    copy = QuantBatchNormalization.from_config(layer.get_config())
    assert copy.inverse == inverse and copy.mean_quantizer == given["mean_quantizer"]


def test_unknown_inverse_is_refused():
    with pytest.raises(ValueError, match="Unknown `inverse`.*Received: 'sqrt'"):
        QuantBatchNormalization(inverse="sqrt")
