"""Learned steps of weights start from the weights, and are never overwritten."""

import warnings

import keras
import numpy as np
import pytest

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import QuantizationWarning
from kerasqnn.quantizers import Affine, LearnedStepSize, get

IMAGE = (6, 5, 2)
MADE = {
    "dense": (layers.QuantDense, {"units": 3}, (4,), "kernel"),
    "conv": (layers.QuantConv2D, {"filters": 3, "kernel_size": 2}, IMAGE, "kernel"),
    "depthwise": (layers.QuantDepthwiseConv2D, {"kernel_size": 2}, IMAGE, "depthwise"),
    "pointwise": (
        layers.QuantSeparableConv2D,
        {"filters": 3, "kernel_size": 2},
        IMAGE,
        "pointwise",
    ),
    "recurrent": (layers.QuantLSTM, {"units": 3}, (5, 2), "recurrent"),
    "gamma": (
        layers.QuantBatchNormalization,
        {"gamma_initializer": "random_normal"},
        (4,),
        "gamma",
    ),
    "folded": (
        layers.QuantDenseBatchNorm,
        {"units": 3, "moving_variance_initializer": keras.initializers.Constant(9.0)},
        (4,),
        "kernel",
    ),
}
X = np.random.default_rng(0).normal(0, 4, (9, 4)).astype(np.float32)


def expected(values, bits=4):
    """The step of the paper, in float64."""
    code_max = 2 ** (bits - 1) - 1
    values = np.asarray(values, np.float64)
    return np.float32(2 * np.mean(np.abs(values)) / np.sqrt(code_max))


def weight_of(layer, argument):
    """The float values that a layer hands to a quantizer."""
    if isinstance(layer, layers.QuantDenseBatchNorm):
        return layer.folded_kernel_and_bias()[0]
    layer = getattr(layer, "cell", layer)
    names = (f"{argument}_kernel", "kernel", argument)
    return next(getattr(layer, n) for n in names if hasattr(layer, n))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("name", MADE)
def test_built(name, policy):
    """Before any batch; and read without a warning."""
    cls, kwargs, shape, argument = MADE[name]
    keras.utils.set_random_seed(0)
    places = {f"{argument}_quantizer": "LearnedStepSize(4)"}
    layer = cls(**kwargs, **places, dtype=policy)
    keras.Model(inputs := keras.Input(shape), layer(inputs))
    quantizer = getattr(getattr(layer, "cell", layer), f"{argument}_quantizer")
    wanted = expected(weight_of(layer, argument))
    assert wanted not in (0, 0.125)
    assert quantizer.step == wanted
    with warnings.catch_warnings():
        warnings.simplefilter("error", QuantizationWarning)
        assert quantizer.fixed().step == wanted


def test_folded_bias():
    """The fold has a bias also where the layer has none."""
    layer = layers.QuantDenseBatchNorm(
        3, use_bias=False, bias_quantizer="LearnedStepSize(4)", beta_initializer="ones"
    )
    layer.build((None, 4))
    assert layer.bias_quantizer.built
    assert layer.bias_quantizer.step == expected([1.0])


def test_attention():
    """Each projection starts from its own kernel."""
    layer = layers.QuantMultiHeadAttention(2, 3, kernel_quantizer="LearnedStepSize(4)")
    layer(np.ones((1, 4, 5), np.float32), np.ones((1, 4, 5), np.float32))
    for dense in (layer._query_dense, layer._output_dense):
        assert dense.kernel_quantizer.step == expected(dense.kernel)


def dense(quantizer, **options):
    """A model of one layer."""
    layer = layers.QuantDense(3, kernel_quantizer=quantizer, **options)
    return keras.Sequential([keras.Input((4,)), layer]), layer


@pytest.mark.parametrize(
    "text", ["LearnedStepSize(4)", "LSQPlus(4)", "Gradual('LearnedStepSize(4)')"]
)
def test_a_step_that_was_set_stays(text, tmp_path):
    """The first batch sets it anew from weights assigned since; a file's, never."""
    model, layer = dense(text)
    kernel = layer.kernel_quantizer
    first = kernel.fixed().step
    layer.kernel.assign(3 * np.asarray(layer.kernel))
    assert kernel.fixed().step == first
    untrained = keras.models.clone_model(model)
    untrained.set_weights(model.get_weights())
    assert untrained.layers[0].kernel_quantizer.fixed().step == first
    model(X, training=True)
    np.testing.assert_allclose(kernel.fixed().step, 3 * first, rtol=1e-5)
    wanted, grid = np.asarray(model(X)), repr(kernel.fixed())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    (same,) = loaded.layers
    same.kernel.assign(0.1 * np.asarray(same.kernel))
    loaded(X, training=True)
    same.start_quantizers()
    assert repr(same.kernel_quantizer.fixed()) == grid
    same.kernel.assign(np.asarray(layer.kernel))
    np.testing.assert_array_equal(loaded(X), wanted)


def test_start_quantizers():
    """The step of float weights, before the first batch."""
    model, layer = dense("LearnedStepSize(4, per_channel=True)")
    layer.kernel.assign(np.arange(12).reshape(4, 3))
    layer.start_quantizers()
    steps = [expected(column) for column in np.arange(12).reshape(4, 3).T]
    np.testing.assert_array_equal(layer.kernel_quantizer.step, steps)


def test_zeros_start_nothing():
    """Zeros have no step: the first batch with others sets it."""
    model, layer = dense("binary", bias_quantizer="LearnedStepSize(4)")
    with pytest.warns(QuantizationWarning, match="no values in training but zeros"):
        assert layer.bias_quantizer.fixed().step == 0.125


def test_lsq_plus():
    """The range of the weights."""
    layer = layers.QuantDense(1, kernel_quantizer="LSQPlus(2)")
    layer.kernel_initializer = lambda shape, dtype: np.float32([[-0.5], [0.0], [1.0]])
    layer.build((None, 3))
    assert layer.kernel_quantizer.fixed() == Affine(2, 0.5, 1)


def test_quantize_model():
    """The steps are those of the float model's weights; copies keep trained ones."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")])
    model.layers[0].kernel.assign(np.arange(12).reshape(4, 3) + 20)
    small = kerasqnn.quantize_model(
        model, {"Dense": {"kernel_quantizer": LearnedStepSize(4)}}
    )
    quantizer = small.get_layer("d").kernel_quantizer
    assert quantizer.step == expected(model.layers[0].kernel)
    small(X, training=True)
    quantizer.start.assign(7.0)
    copy = kerasqnn.strip_noise(small)
    assert copy.get_layer("d").kernel_quantizer.step == 7.0


def test_variables_that_are_made_later():
    """In a stateless scope, as JAX has it, kernel and step get values at its end."""
    layer = layers.QuantDense(3, kernel_quantizer="LearnedStepSize(4)")
    with keras.StatelessScope():
        layer.build((None, 4))
    assert layer.kernel_quantizer.step == expected(layer.kernel)


def test_built_while_traced():
    """Weights without values yet: the first batch sets the step, as it always did."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function")
    import tensorflow as tf

    layer = layers.QuantDense(3, kernel_quantizer="LearnedStepSize(4)")
    tf.function(lambda x: layer(x, training=True))(X)
    np.testing.assert_allclose(
        layer.kernel_quantizer.step, expected(layer.kernel), rtol=1e-5
    )


def test_activations_start_from_nothing():
    """Their first batch is needed, also on a shape that is known."""
    quantizer = get("LearnedStepSize(4)")
    layers.QuantActivation(quantizer)(X)
    assert quantizer.step == 0.125
