"""NoisePoint: when it acts, seeds, changes without retracing, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasqnn.layers import NoisePoint, NoisyQuantDense
from kerasqnn.noise import Additive, Combined, Multiplicative

X = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)


def additive(when="always", seed=1, level=0.5):
    """Return an additive point."""
    return NoisePoint(Additive(level, when=when, seed=seed))


@pytest.mark.parametrize(
    ("when", "training", "inference"),
    [
        ("training", True, False),
        ("inference", False, True),
        ("always", True, True),
        ("never", False, False),
    ],
)
def test_when(when, training, inference):
    """Set by the source or afterwards; `training=None` is inference."""
    points = [additive("training"), additive("always")]
    points += [] if when == "never" else [additive(when)]
    for point in points[:2]:
        point.when = when
    for point in points:
        assert point.when == when
        assert np.any(np.asarray(point(X, training=True)) != X) == training
        assert np.any(np.asarray(point(X, training=False)) != X) == inference
        assert np.any(np.asarray(point(X)) != X) == inference


@pytest.mark.parametrize("compiled", [False, True])
def test_off_is_the_input_bit_by_bit(compiled):
    """NaN payloads, infinities, minus zero and denormals pass unchanged."""
    patterns = [0x7FC01234, 0xFF800000, 0x7F800000, 0x80000000, 1, 0x80000001, 0x3F80]
    x = np.array(patterns, np.uint32).view(np.float32)
    for change in ({"when": "never"}, {"when": "training"}, {"level": 0.0}):
        for source in (Additive, Multiplicative, Combined):
            point = NoisePoint(source(1.0, when="always"))
            for name, value in change.items():
                setattr(point, name, value)
            call = tf.function(point) if compiled else point
            np.testing.assert_array_equal(call(x).numpy().view(np.uint32), patterns)


def test_level_scales_the_same_draws():
    """Common random numbers: the seed says which, the level only how large."""
    noise = np.asarray(additive(level=1.0)(np.zeros_like(X)))
    for level in (0.25, 2.0, 1e10):
        y = np.asarray(additive(level=level)(np.zeros_like(X)))
        np.testing.assert_array_equal(y, np.float32(level) * noise)
    point = additive(level=1.0)
    point.level = 0.25
    y = np.asarray(point(np.zeros_like(X)))
    np.testing.assert_array_equal(y, np.float32(0.25) * noise)


def test_seeds():
    """The same seed gives the same sequence, another seed or call another draw."""
    one, same, other = additive(seed=1), additive(seed=1), additive(seed=2)
    first, second = np.asarray(one(X)), np.asarray(one(X))
    np.testing.assert_array_equal(same(X), first)
    np.testing.assert_array_equal(same(X), second)
    assert not np.any(first == second)
    assert not np.any(np.asarray(other(X)) == first)


def test_the_sequence_advances_while_the_point_is_off():
    """Which draw a forward pass gets does not depend on what was on before."""
    one, other = additive(), additive()
    one(X)
    other.when = "never"
    other(X)
    other.when = "always"
    np.testing.assert_array_equal(one(X), other(X))


def test_unseeded_points_follow_the_global_seed():
    """Two points of one model differ; a run with the same global seed repeats them."""
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        points = [additive(seed=None), additive(seed=None)]
        runs.append([np.asarray(p(X)) for p in points])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.any(runs[0][0] == runs[0][1])


class Traced(keras.layers.Layer):
    """Counts how often Python runs its call: once a trace."""

    count = 0

    def call(self, inputs):
        """Count."""
        self.count += 1
        return inputs


def traced_model(source="additive(0.5, seed=1)"):
    """Return a model with a counting layer and a noise point."""
    counter, point = Traced(), NoisePoint(source)
    model = keras.Sequential([keras.Input((4,)), counter, point])
    return model, counter, point


def test_predict_is_not_retraced():
    """Level and mode change a compiled model at once; a new batch size retraces."""
    model, counter, point = traced_model()
    np.testing.assert_array_equal(model.predict(X, verbose=0), X)
    traces = counter.count
    point.when = "always"
    noisy = model.predict(X, verbose=0)
    assert np.all(noisy != X)
    point.level = 5e-4
    small = model.predict(X, verbose=0)
    assert np.all(small != X) and np.abs(small - X).max() < 5e-3
    point.level = 0.0
    np.testing.assert_array_equal(model.predict(X, verbose=0), X)
    point.level = 0.5
    point.when = "never"
    np.testing.assert_array_equal(model.predict(X, verbose=0), X)
    assert counter.count == traces
    model.compile()
    model.predict(X, verbose=0)
    assert counter.count > traces  # what the count would show


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize("jit", [False, True])
def test_training_is_not_retraced(jit):
    """Between the steps of a compiled model, with and without XLA."""
    counter, point = Traced(), NoisePoint("multiplicative(0.5, seed=1)")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, point(counter(inputs)))
    model.compile(loss=lambda y, p: keras.ops.sum((p - y) ** 2), jit_compile=jit)
    losses = [float(model.train_on_batch(X, X)) for _ in range(2)]
    traces = counter.count
    assert losses[0] != losses[1] and min(losses) > 0
    point.level = 1e-3
    assert 0 < model.train_on_batch(X, X) < 1e-3 * min(losses)
    point.when = "inference"
    assert model.train_on_batch(X, X) == 0
    assert counter.count == traces


def test_a_function_sees_the_change():
    """The same for a plain tf.function."""
    point, traces = additive("training"), []

    @tf.function
    def function(x):
        traces.append(1)
        return point(x, training=True)

    assert np.any(function(X).numpy() != X)
    point.when = "never"
    np.testing.assert_array_equal(function(X).numpy(), X)
    assert len(traces) == 1


def test_state_is_saved_with_the_weights(tmp_path):
    """Level and mode come back from .keras files and from weight files."""
    model, _, point = traced_model()
    point.level, point.when = 0.125, "inference"
    model.save_weights(tmp_path / "w.weights.h5")
    other, _, restored = traced_model()
    other.load_weights(tmp_path / "w.weights.h5")
    assert (restored.level, restored.when) == (0.125, "inference")

    whole = keras.Sequential([keras.Input((4,)), additive(), NoisyQuantDense(2)])
    whole.layers[0].level, whole.layers[0].when = 0.125, "never"
    whole.layers[1].noise_point.level = 3.0
    whole.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert (loaded.layers[0].level, loaded.layers[0].when) == (0.125, "never")
    assert loaded.layers[1].noise_point.level == 3.0
    assert loaded.layers[0].noise == Additive(0.5, when="always", seed=1)


def test_weights():
    """Three non-trainable scalars, so that training leaves them alone."""
    point = additive()
    assert [w.name for w in point.weights] == [
        "level",
        "on_in_training",
        "on_in_inference",
    ]
    assert point.trainable_weights == []
    point.set_weights([np.float32(0.25), np.array(True), np.array(False)])
    assert (point.level, point.when) == (0.25, "training")
    assert point.count_params() == 3


def test_masks_and_shapes():
    """Any shape, and masks pass through."""
    point = additive()
    mask = np.ones((16, 4), bool)
    assert point.supports_masking
    assert point.compute_mask(X, mask) is mask
    for shape in ((), (3,), (2, 3, 4, 5, 6)):
        assert point(np.zeros(shape, np.float32)).shape == shape
    assert point.compute_output_shape((None, 3)) == (None, 3)
    half = NoisePoint("additive(1.0, when='always')", dtype="mixed_float16")
    assert half(X).dtype == "float16"
    assert half.level == 1.0


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: NoisePoint(None), TypeError, "noise=None"),
        (lambda: NoisePoint(0.5), TypeError, "Received: 0.5"),
        (lambda: NoisePoint("addtive(1)"), ValueError, "mean 'additive'"),
        (lambda: setattr(additive(), "level", -1.0), ValueError, "level=-1.0"),
        (lambda: setattr(additive(), "level", float("nan")), ValueError, "level=nan"),
        (lambda: setattr(additive(), "level", float("inf")), ValueError, "level=inf"),
        (lambda: setattr(additive(), "level", 1e39), ValueError, "level=1e\\+39"),
        (lambda: setattr(additive(), "level", None), ValueError, "level=None"),
        (lambda: setattr(additive(), "when", "alway"), ValueError, "mean 'always'"),
        (lambda: setattr(additive(), "when", None), ValueError, "Received: None"),
    ],
)
def test_refused(make, error, text):
    """Each error names the argument and what was received."""
    with pytest.raises(error, match=text):
        make()


def test_a_refused_level_changes_nothing():
    """The point keeps its level."""
    point = additive(level=0.25)
    with pytest.raises(ValueError, match="noise point 'noise_point"):
        point.level = -1
    assert point.level == 0.25
    point.level = np.float32(0.5)
    assert point.level == 0.5
