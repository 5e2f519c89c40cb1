"""Folded batch normalization: QKeras's bits, the formula in numpy, freezing."""

import keras
import numpy as np
import pytest

from kerasqnn import layers

KERNEL = "quantized_bits(5,1,1,alpha=1.0)"
BIAS = "quantized_bits(8,3,1,alpha=1.0)"
SHAPES = {  # of the inputs
    "Conv2D": (6, 5, 2),
    "DepthwiseConv2D": (3, 3, 3),
    "Dense": (12,),
    "Conv1D": (6, 2),
}
REQUIRED = {
    "Conv2D": {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"},
    "DepthwiseConv2D": {"kernel_size": (3, 2), "depth_multiplier": 2},
    "Dense": {"units": 4},
    "Conv1D": {"filters": 3, "kernel_size": 2, "padding": "causal"},
}


def _arguments(kind, quantized=True, **options):
    kernel = "depthwise" if kind.startswith("Depthwise") else "kernel"
    quantizers = {f"{kernel}_quantizer": KERNEL, "bias_quantizer": BIAS}
    return REQUIRED[kind] | (quantizers if quantized else {}) | options


def _layer(kind, **options):
    """Return a layer with random weights and statistics, and inputs for it."""
    layer = getattr(layers, f"Quant{kind}BatchNorm")(**_arguments(kind, **options))
    numbers = np.random.default_rng(0)
    x = numbers.normal(0.3, 1.0, (16, *SHAPES[kind])).astype(np.float32)
    layer.build(x.shape)
    for weight in layer.weights[:-1]:
        weight.assign(numbers.uniform(0.4, 1.4, weight.shape))
    layer.kernel.assign(numbers.normal(size=layer.kernel.shape))
    return layer, x


def _network(make):
    model = keras.Sequential([keras.Input(SHAPES["Conv2D"])])
    for kind in ("Conv2D", "DepthwiseConv2D", "Dense"):
        model.add(make(kind))
        if kind.startswith("Depthwise"):
            model.add(keras.layers.Flatten())
    return model


def _pairs(ours, theirs):
    """Yield the weights of two networks that stand for the same, statistics apart."""
    folded = (layer for layer in ours.layers if hasattr(layer, "iteration"))
    others = (layer for layer in theirs.layers if hasattr(layer, "_iteration"))
    for layer, other in zip(folded, others, strict=True):
        depthwise = hasattr(other, "depthwise_kernel")
        yield layer.kernel, other.depthwise_kernel if depthwise else other.kernel, False
        if layer.use_bias:
            yield layer.bias, other.bias, False
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            weight = getattr(layer.batch_normalization, name)
            yield weight, getattr(other.batchnorm, name), name.startswith("moving")
        assert int(layer.iteration) == int(other._iteration)


@pytest.mark.parametrize(
    ("mode", "delay", "quantized"),
    [
        ("ema_stats_folding", None, True),
        ("ema_stats_folding", 0, False),
        ("batch_stats_folding", None, False),
        ("batch_stats_folding", 0, True),
    ],
)
def test_bits_of_qkeras(mode, delay, quantized):
    """Losses and statistics of four training steps, and predictions afterwards.

    The weights after a step are compared with a tolerance: in what order a gradient's
    parts are added is TensorFlow's choice in each graph.

    With its default `axis=-1` qkeras-v3 takes the batch's mean and variance over the
    channels too; with a positive axis it takes them a channel, as QKeras 0.9 does. Nor
    does it freeze the moving statistics after the delay, which a momentum of 1 does.
    """
    qkeras = pytest.importorskip("qkeras")
    options = {
        "ema_freeze_delay": delay, "folding_mode": mode, "momentum": 0.7,
        "epsilon": 0.01, "use_bias": delay is None,
    }  # fmt: skip

    def make_theirs(kind):
        options_ = _arguments(kind, quantized, axis=len(SHAPES[kind]), **options)
        return getattr(qkeras, f"Q{kind}Batchnorm")(**options_)

    def make_ours(kind):
        inverse = "rsqrt" if kind == "DepthwiseConv2D" else "reciprocal"
        options_ = _arguments(kind, quantized, inverse=inverse, **options)
        return getattr(layers, f"Quant{kind}BatchNorm")(**options_)

    pair = _network(make_ours), _network(make_theirs)
    numbers = np.random.default_rng(0)
    x = numbers.normal(0.3, 1.0, (4, 16, *SHAPES["Conv2D"])).astype(np.float32)
    for mine, other, _ in _pairs(*pair):
        values = numbers.uniform(0.4, 1.4, mine.shape)
        values *= numbers.choice([-1, 1], mine.shape) if "kernel" in mine.name else 1
        mine.assign(values)
        other.assign(values)
    target = numbers.normal(size=(16, 4))
    for model in pair:
        model.compile(keras.optimizers.SGD(0.05), "mse")
    for step in range(4):
        if delay is not None and step == delay + 2:
            for layer in pair[1].layers:
                if hasattr(layer, "batchnorm"):
                    layer.batchnorm.momentum = 1.0
            pair[1].compile(keras.optimizers.SGD(0.05), "mse")
        losses = [model.train_on_batch(x[step], target) for model in pair]
        assert losses[0] == losses[1]
        for mine, other, statistic in _pairs(*pair):
            rtol, atol = (0, 0) if statistic else (1e-5, 1e-6)
            np.testing.assert_allclose(mine, other, rtol, atol, err_msg=mine.name)
            mine.assign(other)
    received, expected = (m.predict(x[0], verbose=0) for m in pair)
    np.testing.assert_array_equal(received, expected, strict=True)
    assert int(pair[0].layers[0].iteration) == 3


def _statistics(layer, x):
    """Return mean and variance of the float product and bias, in float64."""
    plain = getattr(keras.layers, type(layer).__name__[5:-9])(
        **REQUIRED[type(layer).__name__[5:-9]]
    )
    plain.build(x.shape)
    plain.set_weights([layer.kernel, layer.bias])
    y = np.asarray(plain(x), np.float64)
    axes = tuple(range(y.ndim - 1))
    return plain, y, y.mean(axes), y.var(axes)


@pytest.mark.parametrize("kind", SHAPES)
def test_without_quantizers(kind):
    """The Keras layer and batch normalization after it, up to rounding."""
    for mode in ("ema_stats_folding", "batch_stats_folding"):
        layer, x = _layer(kind, quantized=False, folding_mode=mode)
        plain, _, _, _ = _statistics(layer, x)
        norm = keras.layers.BatchNormalization()
        norm.build(plain.compute_output_shape(x.shape))
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            getattr(norm, name).assign(getattr(layer.batch_normalization, name))
        for training in (True, False):
            expected = norm(plain(x), training=training)
            received = layer(x, training=training)
            np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)
        moved = layer.batch_normalization.moving_variance
        np.testing.assert_allclose(moved, norm.moving_variance, rtol=1e-6)


@pytest.mark.parametrize("kind", SHAPES)
def test_weights_of_inference(kind):
    """`folded_kernel_and_bias` is the formula, and what the quantizers are given."""
    layer, x = _layer(kind)
    norm = layer.batch_normalization
    factor = np.asarray(norm.gamma, np.float64) / np.sqrt(
        np.asarray(norm.moving_variance, np.float64) + norm.epsilon
    )
    kernel, bias = layer.folded_kernel_and_bias()
    if kind == "DepthwiseConv2D":
        factor_of_kernel = factor.reshape(kernel.shape[2:])
    else:
        factor_of_kernel = factor
    np.testing.assert_allclose(kernel, layer.kernel * factor_of_kernel, rtol=1e-6)
    offset = (np.asarray(layer.bias) - norm.moving_mean) * factor + norm.beta
    np.testing.assert_allclose(bias, offset, rtol=1e-5, atol=1e-6)
    plain, _, _, _ = _statistics(layer, x)
    quantizer = getattr(layer, layer.kernel_quantizer_argument)
    plain.set_weights([quantizer.quantize(kernel), layer.bias_quantizer.quantize(bias)])
    np.testing.assert_array_equal(layer(x), plain(x))
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    np.testing.assert_array_equal(model.predict(x, verbose=0), layer(x))


@pytest.mark.parametrize("mode", ["ema_stats_folding", "batch_stats_folding"])
def test_freezing(mode):
    """After the delay training is inference; a loaded counter goes on."""
    layer, x = _layer("Dense", ema_freeze_delay=1, folding_mode=mode)
    moving = layer.batch_normalization.moving_mean
    for step in range(5):
        before, inference = np.array(moving), np.asarray(layer(x))
        received = layer(x, training=True)
        is_batch = step < 3
        assert np.any(np.array(moving) != before) == is_batch
        assert np.any(np.asarray(received) != inference) == is_batch
    never, x = _layer("Dense", ema_freeze_delay=-1, folding_mode=mode)
    never.iteration.assign(10**6)
    before = np.array(never.batch_normalization.moving_mean)
    never(x, training=True)
    assert np.any(np.array(never.batch_normalization.moving_mean) != before)


def test_a_frozen_layer_is_in_inference():
    """`trainable=False` keeps statistics and counter as they are."""
    layer, x = _layer("Conv2D")
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    for value, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_masked_steps_are_left_out():
    """Of the statistics of a dense layer, as Keras's batch normalization does it."""
    layer = layers.QuantDenseBatchNorm(3, momentum=0.0)
    x = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    mask = np.random.default_rng(1).random((4, 6)) < 0.5
    layer(x, training=True, mask=mask)
    expected = (x[mask] @ np.asarray(layer.kernel)).mean(0)
    moving_mean = layer.batch_normalization.moving_mean
    np.testing.assert_allclose(moving_mean, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"folding_mode": "ema"}, "folding_mode"),
        ({"inverse": "sqrt"}, "`inverse`.*Received: 'sqrt'"),
        ({"ema_freeze_delay": 1.5}, "ema_freeze_delay=1.5"),
        ({"ema_freeze_delay": True}, "ema_freeze_delay=True"),
        ({"dtype": "int8_from_float32"}, "bypass the fold"),
        ({"renorm": True}, "renorm"),
    ],
)
def test_refused_arguments(options, text):
    """Each error names the argument."""
    with pytest.raises(ValueError, match=text):
        layers.QuantDenseBatchNorm(3, **options)


def test_keras_quantization_is_refused():
    """With and without quantizers, since Keras would bypass the fold."""
    layer, _ = _layer("Dense", quantized=False)
    with pytest.raises(ValueError, match=f"{layer.name}.*folds.*mode='int8'"):
        layer.quantize("int8")
