"""The warning of kernels that are almost all zero or saturated."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import QuantizationWarning


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            ql.QuantDense(64, kernel_quantizer="quantized_bits(4,3)", name="d"),
            (None, 64), "100% of the kernel of layer 'd' is zero.*step is 1 ",
        ),
        (
            ql.QuantConv2D(8, 3, kernel_quantizer="quantized_bits(4,-9)", name="c"),
            (None, 8, 8, 8), "kernel of layer 'c' is saturated.*larger `integer`",
        ),
        (
            ql.QuantSeparableConv2D(
                64, 1, pointwise_quantizer="quantized_bits(4,3)", name="s"),
            (None, 8, 8, 64), "pointwise of layer 's' is zero",
        ),
    ],
)  # fmt: skip
def test_it_warns_at_build(layer, shape, message):
    """Once, with the quantizer, the step and the largest weight."""
    with pytest.warns(QuantizationWarning, match=message) as caught:
        layer.build(shape)
    assert [w.category for w in caught].count(QuantizationWarning) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_quantizer": "quantized_bits(4,-1)"},
        {"kernel_quantizer": "binary"},
        {"kernel_quantizer": "ternary(threshold=5.0)"},
        {"kernel_quantizer": "quantized_bits(4,3)", "kernel_initializer": "zeros"},
        {"bias_quantizer": "quantized_bits(4,3)", "bias_initializer": "ones"},
        {},
    ],
    ids=str,
)
def test_it_is_silent(options):
    """About kernels that keep their codes, and quantizers that have few."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", QuantizationWarning)
        ql.QuantDense(64, **options).build((None, 64))


def test_quantizing_a_model_judges_its_weights():
    """Not the initial ones of the copy, of which the quantizer knows nothing."""
    model = keras.Sequential([keras.Input((64,)), kl.Dense(64, name="d")])
    grid = {"Dense": {"kernel_quantizer": "quantized_bits(4,3)"}}
    with pytest.warns(QuantizationWarning, match="layer 'd' is zero"):
        kerasqnn.quantize_model(model, grid)
    model.layers[0].kernel.assign(np.asarray(model.layers[0].kernel) * 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error", QuantizationWarning)
        kerasqnn.quantize_model(model, grid)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="traces with it")
def test_it_does_not_disturb_tracing():
    """A layer that is built inside a traced function builds as Keras's does."""
    import tensorflow as tf

    layer = ql.QuantDense(64, kernel_quantizer="quantized_bits(4,3)")
    traced = tf.function(lambda x: layer(x))
    assert traced(tf.ones((2, 64))).shape == (2, 64)
