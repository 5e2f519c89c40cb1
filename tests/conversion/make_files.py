"""Writes the files of tests/conversion/files with QKeras 0.9 on Keras 2.

Not run by the tests. In an environment of its own, Python 3.11:

    pip install tensorflow-cpu==2.15.1 QKeras==0.9.0 pyparsing six tqdm "setuptools<70"
    python tests/conversion/make_files.py

Each model becomes `NAME.h5` (the whole model) or `NAME.json` with `NAME_weights.h5`,
and `NAME.npz` with inputs `x` and QKeras's predictions `y0`, `y1` ...
"""

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import qkeras as q
import tensorflow as tf
from tensorflow.keras import layers as k
from tensorflow.python.ops import array_ops
from tensorflow.python.util import nest

# QKeras looks for two functions where they were in TensorFlow 2.4.
array_ops.stack = tf.stack
array_ops.unstack = tf.unstack
nest.is_sequence = tf.nest.is_nested

FILES = Path(__file__).with_name("files")


def dense():
    """Fixed and automatic scales, of kernels and biases, strings and objects."""
    return tf.keras.Sequential(
        [
            k.InputLayer((6,)),
            q.QActivation("quantized_bits(8,2,1)"),
            q.QDense(
                7,
                kernel_quantizer="quantized_bits(4,0,1)",
                bias_quantizer=q.quantized_bits(6, 1),
                activation="quantized_relu(6,2)",
                kernel_regularizer="l2",
            ),
            q.QDense(
                5,
                kernel_quantizer=q.quantized_bits(3, 0, alpha=1),
                activation=q.quantized_bits(6, 2, 1, alpha=1),
            ),
            k.Dropout(0.3),
            q.QDense(5, kernel_quantizer=q.ternary()),
            q.QActivation(q.quantized_tanh(5)),
            q.QDense(4, kernel_quantizer="binary(alpha=1)", use_bias=False),
            q.QActivation("quantized_po2(4)"),
            q.QDense(3, kernel_quantizer=q.quantized_po2(4), activation="softmax"),
        ]
    )


def convolution():
    """A functional model with two branches and every convolution."""
    inputs = tf.keras.Input((8, 8, 3), name="image")
    x = q.QActivation(q.quantized_relu(6, 2), name="grid")(inputs)
    x = q.QConv2D(
        4,
        3,
        padding="same",
        kernel_quantizer=q.quantized_bits(4, 0, 1),
        bias_quantizer=q.quantized_bits(5, 1, 1),
        name="first",
    )(x)
    x = k.BatchNormalization(epsilon=0.01)(x)
    x = q.QActivation(q.quantized_relu(5, 2, negative_slope=0.25))(x)
    y = q.QDepthwiseConv2D(
        3, padding="same", depthwise_quantizer=q.quantized_bits(4, 0, 1, alpha=1.0)
    )(x)
    y = q.QActivation("quantized_relu(5,2)")(y)
    x = k.Add()([x, y])
    x = q.QSeparableConv2D(
        4,
        3,
        strides=2,
        depthwise_quantizer=q.quantized_bits(4, 0, 1),
        pointwise_quantizer=q.binary(alpha=0.5),
        activation=q.quantized_bits(7, 3, 1),
    )(x)
    x = q.QConv2DTranspose(2, 2, strides=2, kernel_quantizer="quantized_bits(5,0,1)")(x)
    x = k.MaxPooling2D()(x)
    x = k.BatchNormalization(name="last")(x)
    x = k.Flatten()(x)
    outputs = q.QDense(3, kernel_quantizer=q.quantized_bits(4, 1, 1))(x)
    return tf.keras.Model(inputs, [outputs, x])


def folded():
    """Batch normalization folded into convolutions, and QKeras's own, and poolings."""
    return tf.keras.Sequential(
        [
            k.InputLayer((8, 8, 2)),
            q.QActivation("quantized_bits(6,1,1)"),
            q.QConv2DBatchnorm(
                3,
                3,
                kernel_quantizer=q.quantized_bits(6, 1, 1, alpha=1),
                bias_quantizer=q.quantized_bits(8, 2, 1),
                ema_freeze_delay=3,
                epsilon=0.01,
            ),
            q.QActivation("quantized_relu(6,2)"),
            q.QDepthwiseConv2DBatchnorm(
                2,
                depthwise_quantizer=q.quantized_bits(6, 1, 1, alpha=1),
                folding_mode="batch_stats_folding",
            ),
            q.QActivation("quantized_bits(6,2,1)"),
            q.QAveragePooling2D(2, average_quantizer=q.quantized_bits(6, 0, 1)),
            q.QBatchNormalization(),
            q.QActivation(q.quantized_bits(8, 3, 1)),
            q.QConv2D(2, 1, kernel_quantizer=q.quantized_bits(4, 0, 1, alpha=1)),
            q.QGlobalAveragePooling2D(average_quantizer=q.quantized_bits(8, 0, 1)),
        ]
    )


def recurrent():
    """Recurrent layers, one of them in both directions."""
    given = {
        "kernel_quantizer": q.quantized_bits(4, 0, 1),
        "recurrent_quantizer": q.quantized_bits(4, 0, 1, alpha=1),
        "bias_quantizer": q.quantized_bits(6, 1, 1),
    }
    return tf.keras.Sequential(
        [
            k.InputLayer((5, 3)),
            q.QConv1D(4, 2, kernel_quantizer=q.quantized_bits(4, 0, 1, alpha=1)),
            q.QLSTM(3, return_sequences=True, **given),
            q.QActivation("quantized_bits(6,0,1)"),
            q.QBidirectional(
                q.QGRU(
                    3, return_sequences=True, activation="quantized_tanh(6)", **given
                )
            ),
            q.QSimpleRNN(3, state_quantizer=q.quantized_bits(5, 0, 1), **given),
            q.QDense(2, kernel_quantizer=q.quantized_bits(4, 0, 1)),
        ]
    )


def _stack(name, *names, **options):
    kernel_quantizer = q.quantized_bits(4, 0, 1, alpha=1)
    dense, act = names or ("first", "second")
    return tf.keras.Sequential(
        [
            k.InputLayer((6,)),
            q.QDense(6, kernel_quantizer=kernel_quantizer, name=dense, **options),
            q.QActivation("quantized_relu(7,2)", name=act),
        ],
        name=name,
    )


def nested():
    """Models in models, one called twice; layers of one name in several of them."""
    a, b = k.Input((6,)), k.Input((6,))
    x = k.Maximum(name="maximum")([_stack("deep", "deep_first", "relu")(a), b])
    last = q.QDense(6, kernel_quantizer="quantized_bits(4,0,1)", name="first")(x)
    inner = tf.keras.Model([a, b], [last, x], name="inner")
    c = k.Input((6,), name="c")
    one, two = inner([_stack("other")(c), c])
    three, four = inner([two, one])
    five = _stack("end", use_bias=False)(four)
    return tf.keras.Model(c, [three, five, one], name="outer")


def fill(model, seed):
    """Give every weight random values."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "iteration" in variable.name:
            variable.assign(7)
        elif "variance" in variable.name:
            variable.assign(rng.uniform(0.2, 2.0, variable.shape))
        else:
            around = 1.0 if "gamma" in variable.name else 0.0
            variable.assign(rng.normal(around, 0.5, variable.shape))


def write(make, is_whole):
    """Write the files of one model."""
    tf.keras.utils.set_random_seed(0)
    model = make()
    fill(model, len(make.__name__))
    shape = (4, *model.input_shape[1:])
    x = np.random.default_rng(1).normal(0, 1.5, shape).astype(np.float32)
    path = FILES / make.__name__
    if is_whole:
        model.save(f"{path}.h5")
    else:
        Path(f"{path}.json").write_text(model.to_json())
        model.save_weights(f"{path}_weights.h5")
    outputs = model.predict(x, verbose=0)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    named = {f"y{i}": y for i, y in enumerate(outputs)}
    np.savez_compressed(f"{path}.npz", x=x, **named)


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for number, make in enumerate((dense, convolution, folded, recurrent, nested)):
        write(make, is_whole=number % 2 == 0)
