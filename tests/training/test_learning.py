"""Models with learned quantizers: training, files, the chain to the hardware."""

import keras
import numpy as np
import pytest

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import run_reference
from kerasqnn.quantizers import LearnedStepSize


def _data(count=512):
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (count, 6)).astype(np.float32)
    hidden = np.maximum(x @ random.normal(0, 1, (6, 5)), 0)
    return x, (hidden @ random.normal(0, 1, (5, 2))).astype(np.float32)


def _mlp(weights, hidden, inputs=None):
    keras.utils.set_random_seed(0)
    bias = None if weights is None else "quantized_bits(8,2,1)"
    quantizers = {"kernel_quantizer": weights, "bias_quantizer": bias}
    first = [] if inputs is None else [layers.QuantInput(inputs)]
    return keras.Sequential(
        [
            keras.Input((6,)),
            *first,
            layers.QuantDense(32, activation=hidden, **quantizers),
            layers.QuantDense(2, **quantizers),
        ]
    )


def _fit(model, epochs=30):
    model.compile(keras.optimizers.Adam(0.01), "mse")
    history = model.fit(*_data(), epochs=epochs, batch_size=64, verbose=0)
    return history.history["loss"][-1]


KINDS = {
    "lsq": (
        "LearnedStepSize(4, per_channel=True)",
        "LearnedStepSize(4, signed=False)",
        "LearnedStepSize(8)",
    ),
    "pact": ("LearnedStepSize(4)", "PACT(4, alpha=3.0)", "LearnedStepSize(8)"),
    "power of two": (
        "LearnedStepSize(4, power_of_two=True)",
        "PACT(5, alpha=6.0, power_of_two=True)",
        "LearnedStepSize(8, power_of_two=True)",
    ),
    "bits": (
        "LearnedBits(4, granularity='element')",
        "LearnedBits(2, 3, signed=False)",
        "LearnedBits(5, 2)",
    ),
    "gradual": (
        "Gradual('LearnedStepSize(5, power_of_two=True)')",
        "Gradual('quantized_relu(6,3)')",
        "quantized_bits(8,2,1)",
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    """A trained model, and how it was made."""
    model = _mlp(*KINDS[request.param])
    loss = _fit(model)
    return request.param, model, loss


@pytest.fixture(scope="module")
def floating():
    """The loss of the float model, trained as the others."""
    return _fit(_mlp(None, "relu"))


def test_training(trained, floating):
    """A few bits come near the float model, far below where training begins."""
    kind, _, loss = trained
    variance = float(np.mean(np.square(_data()[1])))
    assert loss < 0.12 * variance, kind
    assert loss < 0.08 * variance + 3 * floating


def test_weights_are_on_their_grids(trained):
    """Reading gives the kernel of the layer, and a grid that holds it."""
    _, model, _ = trained
    graph = kerasqnn.read_model(model)
    dense = [layer for layer in model.layers if isinstance(layer, layers.QuantDense)]
    for layer in dense:
        kernel = graph.operation(layer.name).weights["kernel"]
        received = np.asarray(layer.kernel_quantizer(layer.kernel))
        np.testing.assert_array_equal(kernel.value, received)
        np.testing.assert_array_equal(kernel.quantizer.quantize(received), received)
        assert len(np.unique(received)) > 5
    quantize = graph.of_kind("quantize")
    assert len(quantize) == 2


def test_files_clones_and_weights(trained, tmp_path):
    """The same predictions after each."""
    kind, model, _ = trained
    x, _ = _data()
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    copies = [keras.saving.load_model(tmp_path / "model.keras")]
    copies.append(keras.models.clone_model(model))
    copies[1].set_weights(model.get_weights())
    copies.append(_mlp(*KINDS[kind]))
    copies[2].load_weights(tmp_path / "model.weights.h5")
    for copy in copies:
        np.testing.assert_array_equal(copy.predict(x, verbose=0), expected)
        paths = [w.path.split("/", 1)[1] for w in copy.weights]
        assert [p.split("/")[-1] for p in paths] == [w.name for w in model.weights]
    before = copies[1].get_weights()
    copies[1].compile("sgd", "mse")
    copies[1].train_on_batch(x, np.zeros((len(x), 2)))
    after = copies[1].get_weights()
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


EXACT = ["power of two", "bits", "gradual"]


def test_chain(trained, tmp_path):
    """Power-of-two steps: the same bits in ONNX Runtime, qonnx and the emulation."""
    kind, model, _ = trained
    x = _data()[0][:100]
    expected = model.predict(x, verbose=0)
    if kind in EXACT:
        path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
        np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), expected)
        np.testing.assert_array_equal(run_reference(path, x), expected)
        if kind == "bits":
            deployment = kerasqnn.deploy(model, "arty", tmp_path / "project")
            np.testing.assert_array_equal(deployment.emulate(x), expected)
    else:
        with pytest.raises(UnsupportedModelError, match="power"):
            kerasqnn.deploy(model, "arty", tmp_path / "project")


def test_shared_quantizers_are_refused():
    """What a quantizer learns belongs to one tensor."""
    quantizer = LearnedStepSize(4)
    message = r"'second' cannot share.*Received: kernel_quantizer=LearnedStepSize\("
    first = layers.QuantDense(3, kernel_quantizer=quantizer)
    second = layers.QuantDense(3, kernel_quantizer=quantizer, name="second")
    first.build((None, 3))
    with pytest.raises(ValueError, match=message):
        second.build((None, 3))
    both = layers.QuantDense(3, kernel_quantizer="PACT(4)", name="second")
    both.bias_quantizer = quantizer
    with pytest.raises(ValueError, match="bias_quantizer=Learned"):
        both.build((None, 3))
    activation = layers.QuantActivation(quantizer, name="act")
    with pytest.raises(ValueError, match="'act' cannot share"):
        activation.build((None, 3))


def test_a_layer_used_twice():
    """Shares its weights and its quantizers."""
    layer = layers.QuantDense(6, kernel_quantizer="LearnedStepSize(4)")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer(layer(inputs)))
    assert len(model.weights) == 4


def test_quantizers_of_what_is_not_there():
    """No bias, no variables."""
    quantizers = {"bias_quantizer": "LearnedStepSize(4)"}
    layer = layers.QuantDense(3, use_bias=False, **quantizers)
    layer(np.ones((2, 3), np.float32))
    assert [w.name for w in layer.weights] == ["kernel"]
