"""Without quantizers and noise a layer is Keras's layer, bit for bit."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasqnn import layers

DENSE = [
    ({"units": 7}, (5,)),
    ({"units": 7, "activation": "relu"}, (4, 5)),
    ({"units": 7, "use_bias": False, "activation": "tanh"}, (2, 3, 5)),
    ({"units": 7, "kernel_regularizer": "l2", "activity_regularizer": "l1"}, (5,)),
    ({"units": 7, "lora_rank": 2}, (5,)),
]
CONV = [
    ({"filters": 4, "kernel_size": 3}, (9, 8, 3)),
    ({"filters": 4, "kernel_size": (3, 2), "padding": "same"}, (9, 8, 3)),
    (
        {"filters": 4, "kernel_size": 3, "strides": (2, 3), "padding": "same"},
        (9, 8, 3),
    ),
    ({"filters": 4, "kernel_size": 3, "dilation_rate": 2}, (9, 8, 3)),
    ({"filters": 6, "kernel_size": 3, "groups": 3, "activation": "relu"}, (9, 8, 3)),
    ({"filters": 4, "kernel_size": 3, "use_bias": False}, (9, 8, 3)),
    ({"filters": 4, "kernel_size": 2, "lora_rank": 2}, (9, 8, 3)),
]
NORMALIZATION = [
    ({}, (5,)),
    ({}, (4, 6, 5)),
    ({"axis": 1, "momentum": 0.7, "epsilon": 0.1}, (4, 6, 5)),
    ({"center": False}, (5,)),
    ({"scale": False}, (5,)),
    ({"trainable": False}, (5,)),
    ({"renorm": True, "renorm_momentum": 0.9}, (5,)),
]
CONV1D = [
    ({"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, (9, 3)),
    ({"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, (9, 3)),
    ({"filters": 6, "kernel_size": 2, "groups": 3, "activation": "relu"}, (9, 3)),
]
CONV3D = [({"filters": 4, "kernel_size": 2, "strides": 2}, (5, 4, 6, 3))]
EINSUM = [
    (
        {"equation": "abc,cde->abde", "output_shape": (None, 3, 2), "bias_axes": "de"},
        (4, 5),
    ),
    ({"equation": "abc,cd->abd", "output_shape": (None, 3)}, (4, 5)),
]
ONCE_EACH = {  # name, arguments
    "Conv1DTranspose": {"filters": 4, "kernel_size": 3, "strides": 2},
    "Conv2DTranspose": {"filters": 4, "kernel_size": 3, "strides": 2},
    "Conv3DTranspose": {"filters": 4, "kernel_size": 2, "padding": "same"},
    "DepthwiseConv1D": {"kernel_size": 3, "depth_multiplier": 2},
    "DepthwiseConv2D": {"kernel_size": 3, "strides": 2, "padding": "same"},
    "AveragePooling1D": {"pool_size": 3, "strides": 2, "padding": "same"},
    "AveragePooling2D": {"pool_size": 3, "strides": 2, "padding": "same"},
    "AveragePooling3D": {"pool_size": 2},
    "GlobalAveragePooling1D": {},
    "GlobalAveragePooling2D": {},
    "GlobalAveragePooling3D": {"keepdims": True},
    "MaxPooling1D": {"pool_size": 2},
    "MaxPooling2D": {"pool_size": 3, "strides": 2, "padding": "same"},
    "MaxPooling3D": {"pool_size": 2},
    "GlobalMaxPooling1D": {"keepdims": True},
    "GlobalMaxPooling2D": {},
    "GlobalMaxPooling3D": {},
    "SeparableConv1D": {"filters": 4, "kernel_size": 3, "strides": 2},
    "SeparableConv2D": {"filters": 4, "kernel_size": 3, "activation": "relu"},
}
PAIRS = [
    *[(layers.QuantConv1D, keras.layers.Conv1D, *c) for c in CONV1D],
    *[(layers.QuantConv3D, keras.layers.Conv3D, *c) for c in CONV3D],
    *[(layers.QuantEinsumDense, keras.layers.EinsumDense, *c) for c in EINSUM],
    *[
        (
            getattr(layers, f"Quant{name}"),
            getattr(keras.layers, name),
            kwargs,
            (9, 8, 7)[: int(re.search(r"(\d)D", name)[1])] + (3,),
        )
        for name, kwargs in ONCE_EACH.items()
    ],
    *[(layers.QuantDense, keras.layers.Dense, *c) for c in DENSE],
    *[(layers.QuantConv2D, keras.layers.Conv2D, *c) for c in CONV],
    *[
        (layers.QuantBatchNormalization, keras.layers.BatchNormalization, *c)
        for c in NORMALIZATION
    ],
    *[
        (layers.QuantLayerNormalization, keras.layers.LayerNormalization, c, (4, 5))
        for c in ({}, {"axis": [1, 2], "epsilon": 0.1}, {"center": False})
    ],
    *[
        (layers.QuantActivation, keras.layers.Activation, {"activation": a}, (3, 4))
        for a in ("relu", "tanh", "softmax", keras.activations.silu)
    ],
]


def _same(received, expected):
    received, expected = np.asarray(received), np.asarray(expected)
    np.testing.assert_array_equal(received, expected, strict=True)


def _pair(ours, theirs, kwargs, shape):
    """Return both layers with the same random weights, and inputs."""
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(6, *shape)).astype(np.float32)
    pair = ours(**kwargs), theirs(**kwargs)
    for layer in pair:
        layer.build(x.shape)
    names = [[w.name for w in layer.weights] for layer in pair]
    assert names[0] == names[1]
    values = [numbers.uniform(0.2, 1.5, w.shape) for w in pair[0].weights]
    for layer in pair:
        layer.set_weights(values)
    return *pair, x


def _gradients(layer, x, training):
    x = tf.convert_to_tensor(x)
    weights = [w.value for w in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        factors = np.random.default_rng(2).normal(size=y.shape).astype(np.float32)
        loss = tf.reduce_sum(y * factors) + sum(layer.losses)
    return y, tape.gradient(loss, [x, *weights])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs", "kwargs", "shape"),
    PAIRS,
    ids=lambda v: re.sub(" at 0x[0-9a-f]*", "", getattr(v, "__name__", str(v))),
)
def test_outputs_gradients_and_states(ours, theirs, kwargs, shape, training):
    """Eagerly and compiled; with the same losses and updated states afterwards."""
    one, two, x = _pair(ours, theirs, kwargs, shape)
    for call in (_gradients, tf.function(_gradients, autograph=False)):
        (y, gradients), (expected, others) = (
            call(layer, x, training) for layer in (one, two)
        )
        _same(y, expected)
        assert len(gradients) == len(others) == 1 + len(two.trainable_weights)
        for gradient, other in zip(gradients, others, strict=True):
            _same(gradient, other)
        for weight, other in zip(one.weights, two.weights, strict=True):
            _same(weight, other)


def _network(kinds):
    dense, conv, normalization = kinds
    keras.utils.set_random_seed(5)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            conv(4, 3, strides=2, padding="same", activation="relu"),
            normalization(),
            keras.layers.Flatten(),
            dense(6, activation="relu"),
            dense(3, activation="softmax"),
        ]
    )


def test_training_a_network():
    """The same initial weights, and the same ones after ten steps of Adam with XLA."""
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(40, 8, 8, 1)).astype(np.float32)
    y = numbers.integers(0, 3, 40)
    results = []
    for kinds in (
        (layers.QuantDense, layers.QuantConv2D, layers.QuantBatchNormalization),
        (keras.layers.Dense, keras.layers.Conv2D, keras.layers.BatchNormalization),
    ):
        model = _network(kinds)
        first = model.get_weights()
        options = {"loss": "sparse_categorical_crossentropy", "jit_compile": True}
        model.compile(keras.optimizers.Adam(0.01), **options)
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        results.append([*first, *model.get_weights(), model.predict(x, verbose=0)])
    for received, expected in zip(*results, strict=True):
        _same(received, expected)
    assert np.any(results[0][0] != results[0][len(first)])


def test_a_mask_is_used_in_the_statistics():
    """Batch normalization leaves masked time steps out, as Keras's does."""
    one, two, x = _pair(
        layers.QuantBatchNormalization, keras.layers.BatchNormalization, {}, (4, 5)
    )
    mask = np.random.default_rng(3).random((6, 4)) < 0.5
    for layer in (one, two):
        layer(x, training=True, mask=mask)
    _same(one.moving_mean, two.moving_mean)
    _same(one.moving_variance, two.moving_variance)
    plain = keras.layers.BatchNormalization()
    plain.build(x.shape)
    assert np.any(np.asarray(plain.moving_mean) != np.asarray(one.moving_mean))


def test_channels_first():
    """The bias runs along the first axis there; on a CPU only XLA computes it."""
    kwargs = {"filters": 4, "kernel_size": 3, "data_format": "channels_first"}
    one, two, x = _pair(layers.QuantConv2D, keras.layers.Conv2D, kwargs, (3, 6, 5))
    received, expected = (tf.function(c, jit_compile=True)(x) for c in (one, two))
    _same(received, expected)
    assert received.shape == (6, 4, 4, 3)


def test_compute_dtype_is_keras_s():
    """Policies act alike."""
    for policy in ("mixed_float16", "mixed_bfloat16", "float64"):
        kwargs = {"units": 3, "dtype": policy}
        one, two, x = _pair(layers.QuantDense, keras.layers.Dense, kwargs, (5,))
        assert one(x).dtype == two(x).dtype
        _same(keras.ops.cast(one(x), "float32"), keras.ops.cast(two(x), "float32"))
