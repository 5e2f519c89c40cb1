"""Layers that no handler exports are refused by their name, whatever is asked for."""

from __future__ import annotations

import keras
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import UnsupportedModelError

BITS = "quantized_bits(4,0,1)"
RECURRENT = {
    "kernel_quantizer": BITS,
    "recurrent_quantizer": BITS,
    "name": "here",
}
SEQUENCE, IMAGE = (4, 3), (5, 5, 2)
LAYERS = {
    "simple RNN": (lambda: ql.QuantSimpleRNN(2, **RECURRENT), SEQUENCE),
    "LSTM": (lambda: ql.QuantLSTM(2, **RECURRENT), SEQUENCE),
    "GRU": (lambda: ql.QuantGRU(2, **RECURRENT), SEQUENCE),
    "wrapped": (
        lambda: kl.Bidirectional(ql.QuantLSTM(2, **RECURRENT), name="here"), SEQUENCE,
    ),
    "cell": (
        lambda: kl.RNN(ql.QuantLSTMCell(2, kernel_quantizer=BITS), name="here"),
        SEQUENCE,
    ),
    "embedding": (
        lambda: ql.QuantEmbedding(5, 3, embeddings_quantizer=BITS, name="here"), (4,),
    ),
    "einsum": (
        lambda: ql.QuantEinsumDense("abc,cd->abd", output_shape=(None, 2), name="here",
                                    kernel_quantizer=BITS), SEQUENCE,
    ),
    "normalization": (
        lambda: ql.QuantLayerNormalization(gamma_quantizer=BITS, name="here"),
        SEQUENCE,
    ),
    "transposed": (
        lambda: ql.QuantConv2DTranspose(2, 3, kernel_quantizer=BITS, name="here"),
        IMAGE,
    ),
    "volume": (
        lambda: ql.QuantConv3D(2, 3, kernel_quantizer=BITS, name="here"), (4, 4, 4, 1),
    ),
    "border": (
        lambda: ql.QuantReciprocalAveragePooling2D(
            2, padding="same", average_quantizer=BITS, name="here"), IMAGE,
    ),
}  # fmt: skip


def _refused(model: keras.Model, tmp_path, **options) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(UnsupportedModelError, match="'here'.* holds quantizers") as e:
        kerasqnn.export_qonnx(model, path, **options)
    assert e.value.layer == "here" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("case", LAYERS)
def test_by_name(case, exact, tmp_path):
    make, shape = LAYERS[case]
    inputs = keras.Input(shape)
    x = ql.QuantInput("quantized_bits(6,1)")(inputs)
    _refused(keras.Model(inputs, make()(x)), tmp_path, exact=exact)


@pytest.mark.parametrize("exact", [True, False])
def test_attention(exact, tmp_path):
    inputs = keras.Input(SEQUENCE)
    x = ql.QuantInput("quantized_bits(6,1)")(inputs)
    layer = ql.QuantMultiHeadAttention(2, 2, query_quantizer=BITS, name="here")
    _refused(keras.Model(inputs, layer(x, x)), tmp_path, exact=exact)
