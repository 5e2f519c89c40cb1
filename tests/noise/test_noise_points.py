"""noise_points: names, order, nested and shared layers; switching off."""

import keras
import numpy as np
import pytest

import kerasqnn
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.layers import NoisePoint, NoisyQuantConv2D, NoisyQuantDense, QuantDense
from kerasqnn.models import noise_points
from kerasqnn.models.noise_control import noise_switched_off

X = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype(np.float32)


def nested_model():
    """Return a model with points alone, inside layers, and inside a nested model."""
    inner = keras.Sequential(
        [keras.Input((12,)), NoisyQuantDense(5, name="a"), NoisePoint("additive(0)")],
        name="inner",
    )
    inputs = keras.Input((6, 6, 1))
    x = NoisePoint("multiplicative(0.5)", name="first")(inputs)
    x = NoisyQuantConv2D(3, 3, strides=2, activation="relu", name="conv")(x)
    x = keras.layers.Flatten()(x)
    shared = QuantDense(12, noise="additive(1.0)", name="shared")
    x = inner(shared(shared(x)))
    return keras.Model(inputs, NoisyQuantDense(2, name="logits")(x)), shared, inner


def test_names_and_order():
    """In network order, by the names of layers and of the models around them."""
    model, shared, inner = nested_model()
    points = noise_points(model)
    assert list(points) == [
        "first",
        "conv/noise",
        "shared/noise",
        "shared/noise_1",
        "inner/a/noise",
        f"inner/{inner.layers[-1].name}",
        "logits/noise",
    ]
    assert points["shared/noise"] is points["shared/noise_1"] is shared.noise_point
    assert points["conv/noise"] is model.get_layer("conv").noise_point
    assert points["first"] is model.get_layer("first")
    assert all(isinstance(p, NoisePoint) for p in points.values())
    assert kerasqnn.noise_points is noise_points


def test_each_point_acts_on_the_model():
    """One at a time; the others do nothing."""
    model, _, _ = nested_model()
    points = noise_points(model)
    for point in points.values():
        point.when = "never"
    clean = model.predict(X, verbose=0)
    for point in points.values():
        point.level, point.when = 1.0, "inference"
        assert np.all(model.predict(X, verbose=0) != clean)
        point.when = "never"
        np.testing.assert_array_equal(model.predict(X, verbose=0), clean)


def test_points_of_a_copy_are_others():
    """A clone has its own; the same names."""
    model, _, _ = nested_model()
    clone = keras.models.clone_model(model)
    for name, point in noise_points(clone).items():
        assert point is not noise_points(model)[name]


def test_models_without_points():
    """Nothing to find, and what cannot be read is refused."""
    assert noise_points(keras.Sequential([keras.Input((3,)), QuantDense(2)])) == {}
    with pytest.raises(UnsupportedModelError, match="input shape"):
        noise_points(keras.Sequential([NoisyQuantDense(2)]))
    with pytest.raises(TypeError, match=r"keras\.Model"):
        noise_points(NoisyQuantDense(2))


def test_switched_off_for_a_block():
    """Every mode comes back, after an error too; levels stay."""
    model, _, _ = nested_model()
    points = noise_points(model)
    modes = ["always", "training", "inference", "inference", "never", "always", "never"]
    for point, mode in zip(points.values(), modes, strict=True):
        point.level, point.when = 0.5, mode
    with noise_switched_off(model):
        assert {p.when for p in points.values()} == {"never"}
        clean = model.predict(X, verbose=0)
    assert [p.when for p in points.values()] == modes
    assert np.any(model.predict(X, verbose=0) != clean)
    with pytest.raises(KeyError), noise_switched_off(model):
        raise KeyError
    assert [p.when for p in points.values()] == modes
    assert {p.level for p in points.values()} == {0.5}
