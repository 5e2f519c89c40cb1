"""Recurrent layers: Keras's without quantizers, QKeras's bits with them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import UnsupportedModelError

KINDS = ("SimpleRNN", "LSTM", "GRU")
GATED = [
    (kind, {"implementation": implementation, **options})
    for implementation in (1, 2)
    for kind, options in (
        ("LSTM", {}),
        ("GRU", {"reset_after": True}),
        ("GRU", {"reset_after": False}),
    )
]
QUANTIZERS = {
    "kernel_quantizer": "quantized_bits(5,1,1,alpha=1.0)",
    "recurrent_quantizer": "quantized_bits(4,0,1,alpha=1.0)",
    "bias_quantizer": "quantized_bits(6,1,1,alpha=1.0)",
    "state_quantizer": "quantized_bits(6,0,1,alpha=1.0)",
}
X = np.random.default_rng(0).normal(size=(4, 4, 3)).astype(np.float32)
MASK = np.random.default_rng(1).random((4, 4)) < 0.6


def _fill(*same):
    """Give layers with the same weights the same random ones."""
    for layer in same:
        layer.build(X.shape)
    numbers = np.random.default_rng(2)
    values = [numbers.normal(0, 0.7, w.shape) for w in same[0].weights]
    for layer in same:
        layer.set_weights(values)


def _with_gradients(layer, **options):
    """Return outputs and states; gradients for the input and what is trainable."""
    x = tf.convert_to_tensor(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        results = layer(x, **options)
        loss = tf.add_n([tf.reduce_sum(r * r) for r in results])
    weights = [w.value for w in layer.trainable_weights]
    return results, tape.gradient(loss, [x, *weights])


def _both(layer, x=X, **options):
    """Return what a layer computes in eager mode and traced."""
    inputs = keras.Input(x.shape[1:], batch_size=len(x))
    model = keras.Model(inputs, layer(inputs, **options))
    return np.asarray(layer(x, **options)), model.predict(x, verbose=0)


OPTIONS = [
    {"return_sequences": True, "go_backwards": True},
    {"unroll": True, "use_bias": False},
    {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 5, "return_sequences": True},
    {"dropout": 0.4, "seed": 5, "activation": "relu"},
    {"stateful": True, "zero_output_for_mask": True, "return_sequences": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    ("kind", "own"), [("SimpleRNN", {}), *GATED[:3], *GATED[4:]], ids=str
)
def test_without_quantizers(kind, own, options):
    """Keras's outputs, states and gradients, in training and inference, masked or not.

    A quantizer that changes nothing makes the layer take its own path, where the same
    has to come out; but a gradient's parts are added in another order there than in
    TensorFlow's fused implementations.
    """
    if own.get("implementation") == 1 and "recurrent_dropout" not in options:
        own = {**own, "use_cudnn": False}  # Keras fails with dropout otherwise
    wide = "quantized_bits(24,3,1,alpha=1.0)"
    theirs = getattr(keras.layers, kind)(4, return_state=True, **options, **own)
    plain, ours = (
        getattr(layers, f"Quant{kind}")(
            4, return_state=True, kernel_quantizer=q, **options, **own
        )
        for q in (None, wide)
    )
    _fill(theirs, plain, ours)
    kernel = ours.cell.kernel_quantizer.quantize(ours.cell.kernel)
    for layer in (theirs, plain, ours):
        layer.cell.kernel.assign(kernel)
    for mask in (None, MASK):
        expected = theirs(X, mask=mask)
        for layer in (plain, ours):
            for mine, other in zip(layer(X, mask=mask), expected, strict=True):
                np.testing.assert_array_equal(mine, other, strict=True)
    (expected, slopes), *others = (
        _with_gradients(layer, training=True, mask=MASK)
        for layer in (theirs, plain, ours)
    )
    for received, gradients in others:
        for mine, other in zip(received, expected, strict=True):
            np.testing.assert_array_equal(mine, other, strict=True)
        for mine, other in zip(gradients, slopes, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "own"), [("SimpleRNN", {}), *GATED], ids=str)
@pytest.mark.parametrize("activations", ["functions", "quantizers"])
def test_bits_of_qkeras(kind, own, activations):
    """With quantized weights and states, in eager mode and traced.

    Traced, qkeras-v3's simple layer with a float `tanh` differs from itself in eager
    mode in the last bit, as TensorFlow fuses its weights' quantization into the loop.
    """
    qkeras = pytest.importorskip("qkeras")
    if own == {"implementation": 2, "reset_after": False}:
        pytest.skip("qkeras-v3 splits two gates into three here")
    quantized = activations == "quantizers"
    options = {"activation": "quantized_bits(7,0,1,alpha=1.0)" if quantized else "tanh"}
    if kind != "SimpleRNN":
        gate = "quantized_relu(6,0)" if quantized else "sigmoid"
        options["recurrent_activation"] = gate
    options |= {"return_sequences": True, **own, **QUANTIZERS}
    ours = getattr(layers, f"Quant{kind}")(4, **options)
    theirs = getattr(qkeras, f"Q{kind}")(4, **options)
    _fill(ours, theirs)
    np.testing.assert_array_equal(ours(X), theirs(X), strict=True)
    if quantized:
        for received, expected in zip(_both(ours), _both(theirs), strict=True):
            np.testing.assert_array_equal(received, expected, strict=True)
    masked = ours(X, mask=MASK), theirs(X, mask=MASK)
    np.testing.assert_array_equal(*masked)
    plain = getattr(layers, f"Quant{kind}")(4, **options | dict.fromkeys(QUANTIZERS))
    _fill(plain)
    assert np.any(np.asarray(plain(X)) != np.asarray(ours(X)))


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_quantizer_acts(kind, name):
    """Weights as if they had been quantized before; a state's on what a step reads."""
    layer = getattr(layers, f"Quant{kind}")(4, **{name: QUANTIZERS[name]})
    plain = getattr(keras.layers, kind)(4, use_cudnn=False) if kind != KINDS[0] else (
        keras.layers.SimpleRNN(4)
    )  # fmt: skip
    _fill(layer, plain)
    before = np.asarray(plain(X))
    start = [np.full((4, 4), 0.3, np.float32) for _ in layer.cell.get_initial_state(4)]
    quantizer = getattr(layer, name)
    if name == "state_quantizer":
        received = layer(X[:, :1], initial_state=start)
        quantized = [quantizer.quantize(s) for s in start]
        expected = plain(X[:, :1], initial_state=quantized)
        assert np.any(np.asarray(plain(X[:, :1], initial_state=start)) != received)
    else:
        weight = name.replace("_quantizer", "").replace("recurrent", "recurrent_kernel")
        variable = getattr(plain.cell, weight)
        variable.assign(quantizer.quantize(variable))
        received, expected = layer(X), plain(X)
        assert np.any(np.asarray(received) != before)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_quantized_once_a_call(kind, monkeypatch):
    """Not at every time step; a cell on its own does it in every call."""
    layer = getattr(layers, f"Quant{kind}")(4, **QUANTIZERS)
    _fill(layer)
    calls = []
    method = type(layer.cell)._weights_of_step
    monkeypatch.setattr(
        type(layer.cell),
        "_weights_of_step",
        lambda cell: calls.append(cell) or method(cell),
    )
    expected = np.asarray(layer(X))
    assert len(calls) == 1
    around = keras.layers.RNN(layer.cell, unroll=True)
    np.testing.assert_array_equal(around(X), expected)
    assert len(calls) == 1 + X.shape[1]
    layer.cell.kernel.assign(-np.asarray(layer.cell.kernel))
    assert np.any(np.asarray(layer(X)) != expected)


@pytest.mark.parametrize("kind", KINDS)
def test_bidirectional_and_bare_cells(kind, tmp_path):
    """Both compute with the quantizers, and come back from a file."""
    cell = getattr(layers, f"Quant{kind}Cell")(3, activation="tanh", **QUANTIZERS)
    config = cell.get_config()
    assert type(cell).from_config(config).get_config() == config
    inner = getattr(layers, f"Quant{kind}")(4, return_sequences=True, **QUANTIZERS)
    outer = keras.layers.Bidirectional(inner)
    model = keras.Sequential(
        [keras.Input(X.shape[1:]), outer, keras.layers.RNN(cell), keras.layers.Dense(1)]
    )
    for layer in (outer.forward_layer, outer.backward_layer):
        assert layer.kernel_quantizer == inner.kernel_quantizer
        received = layer(X)
        plain = getattr(keras.layers, kind)(
            4, return_sequences=True, go_backwards=layer.go_backwards
        )
        plain.build(X.shape)
        plain.set_weights(layer.get_weights())
        assert np.any(np.asarray(received) != np.asarray(plain(X)))
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict(X, verbose=0)
    np.testing.assert_array_equal(copy.predict(X, verbose=0), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_noise(kind):
    """It acts on the outputs alone, anew at every number, and not on the states."""
    options = {"return_sequences": True, "return_state": True, **QUANTIZERS}
    quiet = getattr(layers, f"Quant{kind}")(64, **options)
    noisy = getattr(layers, f"NoisyQuant{kind}")(64, **options, noise="additive(0.5)")
    for layer in (quiet, noisy):
        layer.build(X.shape)
    noisy.cell.set_weights(quiet.cell.get_weights())
    noisy.noise_point.when = "always"
    for training in (False, True):
        outputs, states = (layer(X, training=training) for layer in (noisy, quiet))
        difference = np.asarray(outputs[0]) - np.asarray(states[0])
        assert difference.std() == pytest.approx(0.5, rel=0.1)
        assert len(np.unique(difference[0, :, 0])) == X.shape[1]
        for mine, other in zip(outputs[1:], states[1:], strict=True):
            np.testing.assert_array_equal(mine, other)
    noisy.return_state = False
    assert np.all(np.asarray(noisy(X)) != np.asarray(states[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_export_is_refused_by_name(kind, tmp_path):
    """A layer without a handler would lose its quantizers."""
    layer = getattr(layers, f"Quant{kind}")(4, name="recurrent", **QUANTIZERS)
    for outer in (layer, keras.layers.Bidirectional(layer, name="recurrent")):
        model = keras.Sequential([keras.Input(X.shape[1:]), outer])
        (operation,) = kerasqnn.read_model(model).of_kind("layer")
        assert operation.layer == "recurrent"
        with pytest.raises(UnsupportedModelError, match="recurrent"):
            kerasqnn.export_qonnx(model, tmp_path / "model.onnx")


def test_configuration_of_own_arguments():
    """What Keras's configuration leaves out comes back."""
    for use_cudnn in (False, "auto"):
        layer = layers.QuantLSTM(3, use_cudnn=use_cudnn)
        assert type(layer).from_config(layer.get_config()).use_cudnn == use_cudnn


def test_refused_arguments():
    """CuDNN reads the float weights; a cell cannot draw noise in a loop."""
    with pytest.raises(ValueError, match="cuDNN.*use_cudnn=True"):
        layers.QuantLSTM(3, use_cudnn=True, kernel_quantizer="binary")
    with pytest.raises(ValueError, match="use_cudnn='never'"):
        layers.QuantGRU(3, use_cudnn="never")
    with pytest.raises(ValueError, match="noise"):
        layers.QuantGRUCell(3, noise="additive(0.5)")
    with pytest.raises(ValueError, match="units"):
        layers.QuantSimpleRNN(0)
