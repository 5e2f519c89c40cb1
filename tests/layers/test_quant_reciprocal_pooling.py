"""Pooling that multiplies by a quantized reciprocal, against the formula in numpy."""

import keras
import numpy as np
import pytest

from kerasqnn.layers import (
    QuantReciprocalAveragePooling2D,
    QuantReciprocalGlobalAveragePooling2D,
)
from kerasqnn.quantizers import FixedPoint

X = (np.rint(np.random.default_rng(0).normal(0, 8, (3, 4, 6, 2))) / 4).astype("f4")
RECIPROCAL = FixedPoint(5, 0, signed=False)
OUTPUT = FixedPoint(8, 3, rounding="FLOOR")


def test_windows():
    """1/6 is 5/32 on the grid; every product and sum is exact in float32."""
    layer = QuantReciprocalAveragePooling2D(
        (2, 3), average_quantizer=RECIPROCAL, output_quantizer=OUTPUT
    )
    sums = X.reshape(3, 2, 2, 2, 3, 2).astype(np.float64).sum((2, 4))
    assert float(layer.reciprocal(6)) == 5 / 32
    np.testing.assert_array_equal(layer(X), OUTPUT.quantize(sums * 5 / 32))


@pytest.mark.parametrize("keepdims", [True, False])
def test_global(keepdims):
    layer = QuantReciprocalGlobalAveragePooling2D(
        keepdims=keepdims, average_quantizer=FixedPoint(7, 0)
    )
    sums = X.astype(np.float64).sum((1, 2), keepdims=keepdims)
    np.testing.assert_array_equal(layer(X), sums * float(np.rint(64 / 24) / 64))


def test_unknown_size_is_refused():
    layer = QuantReciprocalGlobalAveragePooling2D(average_quantizer=RECIPROCAL)
    with pytest.raises(ValueError, match="must be known"):
        layer(keras.Input((None, 4, 2)))
