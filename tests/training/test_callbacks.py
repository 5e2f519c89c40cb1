"""Callbacks: when quantization sets in, and what the bits cost."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasqnn import layers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.quantizers import FixedPoint, Gradual, get
from kerasqnn.training import EBOPsPenalty, QuantizationSchedule, ebops


def test_gradual():
    """A blend in training, exact at both ends; fully quantized in inference."""
    grid = FixedPoint(3, 1)
    x = np.random.default_rng(0).normal(0, 1, (50, 3)).astype(np.float32)
    x[:2] = 1e8, -1e8, 1e-8  # x + (q - x) is not q
    quantizer = Gradual(grid)
    quantizer.build(x.shape)
    quantized = grid.quantize(x)
    for strength in (1.0, 0.0, 0.25):
        quantizer.strength = strength
        np.testing.assert_array_equal(quantizer(x), quantized)
        received = np.asarray(quantizer(x, training=True))
        blend = {0.0: x, 1.0: quantized}.get(strength)
        if blend is None:
            blend = x + np.float32(0.25) * (quantized - x)
            np.testing.assert_allclose(received, blend, rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(received, blend)
    assert quantizer.fixed() == grid and quantizer.stages() == (grid,)
    copy = get(repr(quantizer))
    assert copy.quantizer == grid and repr(copy) == repr(quantizer)
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="`strength` must be from 0 to 1"):
            quantizer.strength = wrong
    with pytest.raises(TypeError, match="quantizer=None"):
        Gradual(None)


class _Watch(keras.callbacks.Callback):
    def __init__(self, read):
        super().__init__()
        self.read, self.seen = read, []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.read())


def _gradual_model():
    keras.utils.set_random_seed(0)
    kernel = "Gradual('quantized_bits(2,0,1)')"
    layer = layers.QuantDense(2, kernel_quantizer=kernel)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model, layer


def test_schedule():
    """0 before `start`, 1 from `until`, a line between, over several fits."""
    model, layer = _gradual_model()
    x = np.random.default_rng(0).normal(0, 1, (4, 3)).astype(np.float32)
    schedule = QuantizationSchedule(start=2, until=6)
    watch = _Watch(lambda: layer.kernel_quantizer.strength)
    for _ in range(2):
        model.fit(x, x[:, :2], batch_size=1, verbose=0, callbacks=[schedule, watch])
    assert watch.seen == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


@pytest.mark.parametrize("start", [0, 1])
def test_the_schedule_acts(start):
    """The loss of training is the float model's before, the quantized one's after."""
    model, layer = _gradual_model()
    x = np.random.default_rng(0).normal(0, 1, (4, 3)).astype(np.float32)
    y = x[:, :2]
    floating = keras.losses.mean_squared_error(y, x @ np.asarray(layer.kernel))
    quantized = model.evaluate(x, y, verbose=0)
    assert abs(float(np.mean(floating)) - quantized) > 0.02
    schedule = QuantizationSchedule(start)
    history = model.fit(
        x, y, epochs=2, batch_size=4, verbose=0, callbacks=[schedule],
        validation_data=(x, y),
    ).history  # fmt: skip
    first = quantized if start == 0 else float(np.mean(floating))
    np.testing.assert_allclose(history["loss"], [first, quantized], rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], [quantized] * 2, rtol=1e-5)


def test_refusals_of_the_schedule():
    """Steps out of order, and nothing to set in late."""
    with pytest.raises(ValueError, match="`until` must not be before"):
        QuantizationSchedule(3, 2)
    with pytest.raises(ValueError, match="`start` must be"):
        QuantizationSchedule(-1)
    model = keras.Sequential([keras.Input((3,)), layers.QuantDense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no quantizer that could set in late"):
        model.fit(
            np.ones((2, 3)), np.ones((2, 2)), verbose=0,
            callbacks=[QuantizationSchedule()],
        )  # fmt: skip


KERNEL = {"kernel_quantizer": "quantized_bits(4,0,1)"}


def test_ebops_by_hand():
    """Products of the bits, signs not counted, over all positions; padding is free."""
    inputs = keras.Input((4, 5, 2))
    x = layers.QuantInput("quantized_bits(6,2,1)")(inputs)  # 5 bits
    relu = "quantized_relu(7,2)"
    x = layers.QuantConv2D(3, 3, padding="same", activation=relu, **KERNEL, name="a")(x)
    x = keras.layers.MaxPooling2D((2, 1))(x)  # (2, 5, 3)
    x = layers.QuantDepthwiseConv2D(
        2, depthwise_quantizer="binary", activation=relu, name="b"
    )(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, layers.QuantDense(2, **KERNEL, name="c")(x))
    inside = (2 + 3 * 2 + 2) * (2 + 3 * 3 + 2)  # rows times columns of the windows
    expected = {
        "a": inside * 2 * 3 * 5 * 3,
        "b": 4 * (1 * 4) * 3 * 7 * 1,
        "c": 12 * 2 * 7 * 3,
    }
    assert ebops(model) == expected


def test_ebops_of_what_is_in_the_model():
    """Its own calls of a layer alone; causal padding is free; no nested models."""
    conv = layers.QuantConv1D(3, 2, padding="causal", **KERNEL, name="a")
    inputs = keras.Input((4, 2))
    x = layers.QuantInput("quantized_bits(6,2,1)")(inputs)
    model = keras.Model(inputs, conv(x))
    conv(layers.QuantInput("quantized_bits(8,2,1)")(inputs))  # of no model
    assert ebops(model) == {"a": (1 + 3 * 2) * 2 * 3 * 5 * 3}
    with pytest.raises(UnsupportedModelError, match="nested"):
        ebops(keras.Sequential([keras.Input((4, 2)), model]))


def test_ebops_of_learned_bits():
    """Each weight counts its own bits, each channel of an input its own."""
    kernel = "LearnedBits(2, granularity='element')"
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.QuantInput("LearnedBits(3, 1, granularity='channel')"),
            layers.QuantDense(2, kernel_quantizer=kernel),
        ]
    )
    model.layers[0].quantizer.fraction.assign([1, 4])
    model.layers[1].kernel.assign([[0.1, 0.25], [0.9, -3.0]])
    assert list(ebops(model).values()) == [2 * (0 + 1) + 5 * (3 + 4)]


def _learned_model():
    keras.utils.set_random_seed(0)
    weights = {"kernel_quantizer": "LearnedBits(6, granularity='element')"}
    relu = "LearnedBits(5, 2, signed=False)"
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.QuantInput("LearnedBits(6, 2)"),
            layers.QuantDense(16, activation=relu, **weights),
            layers.QuantDense(2, **weights),
        ]
    )
    model.compile(keras.optimizers.Adam(0.03), "mse")
    return model


def test_the_penalty_saves_bits():
    """With beta the EBOPs fall far, and the loss stays low; without, neither."""
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (256, 6)).astype(np.float32)
    y = x[:, :2] - x[:, 2:4]
    results = {}
    for beta in (0.0, 3e-4):
        model = _learned_model()
        first = sum(ebops(model).values())
        penalty = EBOPsPenalty(lambda epoch, beta=beta: beta)
        history = model.fit(
            x, y, epochs=24, batch_size=32, verbose=0, callbacks=[penalty]
        ).history
        assert history["ebops"][-1] == sum(ebops(model).values())
        results[beta] = history["ebops"][-1] / first, model.evaluate(x, y, verbose=0)
        assert model.losses == []
    (free, _), (saved, loss) = results.values()
    assert saved < 0.5 < 0.8 < free
    assert loss < 0.1 * np.mean(np.square(y))


def test_the_penalty_is_beta_times_ebops():
    """In the loss, with a gradient for the widths of weights and of activations."""
    model = _learned_model()
    penalty = EBOPsPenalty(2.0)
    penalty.set_model(model)
    penalty.on_epoch_begin(0)
    widths = [w for w in model.trainable_weights if w.name in ("fraction", "integer")]
    with tf.GradientTape() as tape:
        (loss,) = model.losses
    assert float(loss) == 2.0 * sum(ebops(model).values())
    gradients = tape.gradient(loss, [w.value for w in widths])
    assert len(widths) == 6 and all(np.all(np.asarray(g) >= 0) for g in gradients)
    assert all(np.any(np.asarray(g) > 0) for g in gradients)
    penalty.on_train_end()
    assert model.losses == []
    rising = EBOPsPenalty(lambda epoch: 1.0 + epoch)
    rising.set_model(model)
    rising.on_epoch_begin(2)
    assert float(model.losses[0]) == 3.0 * sum(ebops(model).values())
    rising.on_train_end()


def test_the_penalty_comes_and_goes():
    """In the loss of one `fit` alone, though the step was traced before."""
    model = _learned_model()
    model.optimizer.learning_rate = 0.0
    x = np.random.default_rng(0).normal(0, 1, (32, 6)).astype(np.float32)
    losses = [
        model.fit(x, x[:, :2], verbose=0, callbacks=c).history["loss"][0]
        for c in ([], [EBOPsPenalty(1.0)], [])
    ]
    cost = sum(ebops(model).values())
    np.testing.assert_allclose(losses[1] - losses[0], cost, rtol=1e-5)
    assert losses[2] == losses[0]


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ([layers.QuantDense(2, **KERNEL, name="bad")], "its input"),
        ([layers.QuantInput("binary"), layers.QuantDense(2, name="bad")], "its kernel"),
        (
            [
                layers.QuantDense(3, activation="binary", name="bad"),
                layers.QuantDense(2, **KERNEL),
            ],
            "its input",
        ),
    ],
)
def test_refusals_of_ebops(stack, name):
    """A missing quantizer, by the layer's name; a negative beta; nothing learned."""
    model = keras.Sequential([keras.Input((3,)), *stack])
    with pytest.raises(UnsupportedModelError, match=f"'bad' cannot.*{name}"):
        ebops(model)
    with pytest.raises(ValueError, match="no LearnedBits"):
        EBOPsPenalty(1.0).set_model(model)
    with pytest.raises(ValueError, match="`beta` must be at least 0"):
        EBOPsPenalty(-1.0).on_epoch_begin(0)
