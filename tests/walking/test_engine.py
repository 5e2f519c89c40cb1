"""walk_noise on real networks: points, levels, seeds, refusals."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import kerasqnn
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.models import read_model
from kerasqnn.walking import walk_noise, walk_points


@pytest.fixture(scope="module")
def trained() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    keras.utils.set_random_seed(1)
    digits = kerasqnn.data.load_digits()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(24, activation="relu", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(10, activation="softmax", name="classes"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits.x_train, digits.y_train, epochs=15, verbose=0)
    return model, digits.x_test[:300], digits.y_test[:300]


def test_points_of_a_convolutional_network() -> None:
    layers = kerasqnn.layers
    pixels = keras.Input((8, 8, 1))
    x = layers.QuantInput("quantized_bits(4,0)", name="grid")(pixels)
    x = layers.NoisyQuantConv2D(2, 3, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = skip = layers.QuantActivation("quantized_relu(3,1)", name="act")(x)
    x = keras.layers.Add(name="sum")([x, skip])
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.Flatten(name="flat")(x)
    x = keras.layers.Dense(3, activation="softmax", name="out")(x)
    graph = read_model(keras.Model(pixels, x)).without_noise()
    assert [(p.name, p.kind) for p in walk_points(graph)] == [
        ("grid", "input"),
        ("conv", "conv2d"),
        ("norm", "batch_normalization"),
        ("act", "activation"),
        ("sum", "add"),
        ("pool", "pooling"),
        ("out", "logits"),
    ]


def test_plain_keras_model(trained) -> None:
    model, x, y = trained
    before = [w.copy() for w in model.get_weights()]
    result = walk_noise(model, x, y, progress=False, draws=2)
    kinds = [c.kind for c in result.curves]
    assert kinds == ["input", "dense", "activation", "batch_normalization", "logits"]
    predicted = model.predict(x, verbose=0).argmax(axis=1)
    assert result.clean_accuracy == np.mean(predicted == y)
    for curve in result.curves:
        assert curve.midpoint.censored == "no"
        assert curve.midpoint.low < curve.midpoint.mu < curve.midpoint.high
        # The search must have put levels on both sides of the transition.
        half = (result.clean_accuracy + 0.1) / 2
        assert curve.accuracy[0] > half > curve.accuracy[-1]
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_noise_at_the_input_is_noise_on_the_data(trained) -> None:
    """Against an independent computation: noise added to x by numpy."""
    model, x, y = trained
    level = 0.3
    first = walk_points(read_model(model))[0].name
    levels = [level, 2 * level]
    result = walk_noise(
        model, x, y, levels=levels, points=[first], draws=20, progress=False
    )
    rng = np.random.default_rng(0)
    noisy = [
        np.mean(
            model.predict(x + level * rng.normal(size=x.shape), verbose=0).argmax(1)
            == y
        )
        for _ in range(20)
    ]
    # 20 draws of 300 samples: five standard errors of the difference of two means.
    error = np.sqrt(2 * np.var(noisy, ddof=1) / 20)
    assert abs(result.curves[0].accuracy[0] - np.mean(noisy)) < 5 * error


def test_same_seed_same_numbers_other_seed_other(trained) -> None:
    model, x, y = trained
    levels = [0.1, 1.0, 3.0]
    runs = [
        walk_noise(model, x, y, levels=levels, seed=s, batch_size=b, progress=False)
        for s, b in ((3, 1024), (3, 1024), (4, 1024))
    ]
    same, again, other = ([c.correct for c in r.curves] for r in runs)
    assert all(np.array_equal(a, b) for a, b in zip(same, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(same, other, strict=True))


def test_multiplicative_and_combined_differ_from_additive(trained) -> None:
    model, x, y = trained
    name = walk_points(read_model(model))[1].name
    accuracies = {
        str(noise): walk_noise(
            model, x, y, noise=noise, levels=[0.5, 2.0], points=[name], progress=False
        )
        .curves[0]
        .accuracy.tolist()
        for noise in (
            "additive",
            "multiplicative",
            kerasqnn.noise.Combined(1.0, 0.25, "multiplicative_first"),
        )
    }
    assert len({tuple(a) for a in accuracies.values()}) == 3


def test_noise_points_of_the_model_count_as_off() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            kerasqnn.layers.NoisyQuantDense(
                3, noise=kerasqnn.noise.Additive(5.0, when="always"), name="logits"
            ),
        ]
    )
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    (point,) = kerasqnn.noise_points(model).values()
    point.when = "never"
    y = model.predict(x, verbose=0).argmax(axis=1)
    point.when = "always"
    result = walk_noise(model, x, y, levels=[1e-6, 1e-5], progress=False)
    assert result.clean_accuracy == 1.0
    assert all((c.accuracy == 1.0).all() for c in result.curves)
    assert point.when == "always"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((10, 5))}, "shape"),
        ({"y": np.zeros(9)}, "one label a sample"),
        ({"y": np.full(10, 10)}, "from 0 to 9"),
        ({"y": np.full(10, -1)}, "from 0 to 9"),
        ({"x": np.zeros((0, 64)), "y": np.zeros(0)}, "at least one sample"),
        ({"x": np.full((10, 64), np.nan)}, "finite"),
        ({"noise": "aditive"}, "additive"),
        ({"levels": [1.0]}, "two different"),
        ({"levels": [-1.0, 1.0]}, "positive"),
        ({"points": ["hiden"]}, "hidden"),
        ({"draws": 0}, "at least 1"),
    ],
)
def test_bad_arguments(trained, change, message) -> None:
    arguments = {"x": np.zeros((10, 64)), "y": np.zeros(10), "progress": False}
    arguments |= change
    with pytest.raises(ValueError, match=message):
        walk_noise(trained[0], **arguments)


def test_only_classifiers() -> None:
    regression = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    with pytest.raises(UnsupportedModelError, match="one output a class"):
        walk_noise(regression, np.zeros((3, 4)), np.zeros(3))
