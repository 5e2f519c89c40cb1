"""`quantized_weights()` is what the layer computes with."""

import keras
import numpy as np
import pytest

from kerasqnn import layers

KERNEL = "quantized_bits(4,0,1)"
RECURRENT = {
    "kernel_quantizer": KERNEL,
    "recurrent_quantizer": "ternary",
    "state_quantizer": "quantized_bits(6,1)",
}


def _built(layer, *shape):
    layer.build(*[(None, *s) for s in shape])
    numbers = np.random.default_rng(0)
    for weight in layer.weights:
        if weight.shape and weight.dtype == "float32":
            weight.assign(np.abs(numbers.normal(0, 1, weight.shape)) + 0.1)
    return layer


@pytest.mark.parametrize(
    "quantizer",
    [
        "quantized_bits(4,1,1)",
        "quantized_bits(5,0,1,alpha=[0.3,0.5,1.0])",
        "quantized_bits(4,0,1,alpha='auto_po2')",
        "quantized_po2(4)",
        "binary",
        "LearnedStepSize(4, per_channel=True)",
        "LearnedBits(3, granularity='element')",
    ],
)
def test_values_codes_and_scale(quantizer):
    """Codes times scale are the values, and these the output for a unit input."""
    layer = _built(
        layers.QuantDense(3, kernel_quantizer=quantizer, bias_quantizer=KERNEL), (4,)
    )
    weights = layer.quantized_weights()
    assert list(weights) == ["kernel", "bias"]
    for weight in weights.values():
        assert (weight.values.dtype, weight.codes.dtype) == (np.float32, np.int64)
        product = (weight.codes - weight.zero_point) * weight.scale.astype(np.float64)
        np.testing.assert_array_equal(product.astype(np.float32), weight.values)
        assert np.max(np.abs(weight.codes)) <= 2 ** int(weight.bits)
    units = np.eye(4, dtype=np.float32)
    expected = weights["kernel"].values + weights["bias"].values
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(units)), expected)


def test_folded_layers_give_the_folded_weights():
    layer = _built(layers.QuantDenseBatchNorm(3, kernel_quantizer=KERNEL), (4,))
    (kernel, _) = layer.folded_kernel_and_bias()
    received = layer.quantized_weights()
    assert list(received) == ["kernel"]
    expected = layer.kernel_quantizer.quantize(kernel)
    np.testing.assert_array_equal(received["kernel"].values, expected)
    assert np.any(layer.kernel_quantizer.quantize(layer.kernel) != expected)


def test_batch_normalization_gives_scale_and_offset():
    layer = _built(
        layers.QuantBatchNormalization(
            scale_quantizer="quantized_bits(6,2)", mean_quantizer=KERNEL
        ),
        (4,),
    )
    received = layer.quantized_weights()
    assert sorted(received) == ["mean", "scale"]
    scale, _ = layer.inference_scale_and_offset()
    np.testing.assert_array_equal(received["scale"].values, scale)


def test_recurrent_and_attention_layers_give_those_of_their_parts():
    layer = _built(layers.QuantLSTM(2, **RECURRENT), (3, 4))
    received = layer.quantized_weights()
    assert list(received) == ["kernel", "recurrent"]
    assert received["recurrent"].values.shape == (2, 8)
    attention = _built(
        layers.QuantMultiHeadAttention(2, 3, kernel_quantizer=KERNEL), (5, 4), (5, 4)
    )
    received = attention.quantized_weights()
    parts = ("query", "key", "value", "output")
    assert list(received) == [f"{p}/kernel" for p in parts]
    assert received["query/kernel"].values.shape == (4, 2, 3)


def test_values_without_a_grid_have_no_codes():
    """Where no grid of 16 bits holds the weights, as with scales along the rows."""
    quantizer = "AutoFixedPoint(4, mode='auto', axis=0)"
    layer = _built(layers.QuantDense(3, kernel_quantizer=quantizer), (4,))
    weight = layer.quantized_weights()["kernel"]
    assert weight.grid is weight.codes is weight.scale is weight.bits is None


def test_not_built():
    with pytest.raises(ValueError, match="no weights before it is built"):
        layers.QuantDense(3, kernel_quantizer=KERNEL).quantized_weights()
