"""Layers of several or of integer inputs: Keras's bits, the formulas, the masks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasqnn import layers
from kerasqnn.quantizers import FixedPoint, get

GRID = FixedPoint(6, 3, rounding="FLOOR")
RANDOM = np.random.default_rng(0)


def numbers(*shape):
    return (np.rint(RANDOM.normal(0, 12, shape)) / 8).astype("f4")


QUERY, VALUE = numbers(5, 3, 4), numbers(5, 6, 4)
HEADS = {"num_heads": 2, "key_dim": 3}
GROUPS = {"head_dim": 4, "num_query_heads": 4, "num_key_value_heads": 2}
MASK = np.arange(6) < np.array([[6], [4], [1], [6], [3]])
ATTENTION = [
    ("MultiHeadAttention", {**HEADS, "value_dim": 2}, {}),
    ("MultiHeadAttention", {**HEADS, "use_gate": True}, {"use_causal_mask": True}),
    ("MultiHeadAttention", HEADS, {"return_attention_scores": True}),
    ("MultiHeadAttention", {**HEADS, "output_shape": 5}, {"value_mask": MASK}),
    ("MultiHeadAttention", {**HEADS, "dropout": 0.5, "seed": 1}, {"training": True}),
    ("GroupQueryAttention", GROUPS, {}),
    ("GroupQueryAttention", {**GROUPS, "use_bias": False}, {"use_causal_mask": True}),
]
MERGES = {
    "Add": {},
    "Subtract": {},
    "Multiply": {},
    "Average": {},
    "Maximum": {},
    "Minimum": {},
    "Concatenate": {"axis": 1},
    "Dot": {"axes": 2, "normalize": True},
}


def same(received, expected):
    received, expected = (keras.tree.flatten(t) for t in (received, expected))
    for one, two in zip(received, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two), strict=True)


def pair(name, kwargs, *shapes, **options):
    """Return our layer and Keras's, with the same weights."""
    ours = getattr(layers, f"Quant{name}")(**kwargs, **options)
    theirs = getattr(keras.layers, name)(**kwargs)
    for layer in (ours, theirs):
        layer.build(*shapes)
    values = [numbers(*w.shape) if w.shape else w.value for w in theirs.weights]
    for layer in (ours, theirs):
        layer.set_weights(values)
    return ours, theirs


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("name", "kwargs", "call"),
    ATTENTION,
    ids=lambda v: v if isinstance(v, str) else "-".join(v),
)
def test_attention_is_keras_s(name, kwargs, call, compiled):
    """Without quantizers: outputs, gradients, initial weights, eagerly and compiled."""

    def run(layer):
        with tf.GradientTape() as tape:
            y = layer(QUERY, VALUE, **call)
            loss = tf.reduce_sum(keras.tree.flatten(y)[0] ** 2)
        return y, tape.gradient(loss, [w.value for w in layer.trainable_weights])

    pairs = pair(name, kwargs, QUERY.shape, VALUE.shape)
    results = [(tf.function(run) if compiled else run)(layer) for layer in pairs]
    same(*results)
    starts = []
    for layer in pairs:
        keras.utils.set_random_seed(3)
        fresh = type(layer)(**kwargs)
        fresh.build(QUERY.shape, VALUE.shape)
        starts.append([w.numpy() for w in fresh.trainable_weights])
    same(*starts)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MERGES)
def test_merge_is_keras_s(name, training):
    """Without a quantizer; with one, Keras's output quantized."""
    inputs = [numbers(5, 3, 4), numbers(5, 3, 4)]
    shapes = [x.shape for x in inputs]
    ours, theirs = pair(name, MERGES[name], shapes)
    expected = theirs(inputs)
    same(ours(inputs, training=training), expected)
    quantized, _ = pair(name, MERGES[name], shapes, output_quantizer=GRID)
    received = quantized(inputs, training=training)
    same(received, GRID.quantize(expected))
    assert np.any(np.asarray(received) != np.asarray(expected))


@pytest.mark.parametrize("name", ["Add", "Multiply", "Maximum", "Minimum"])
def test_masks_of_merges(name):
    """Keras's masked values, and its mask on the output."""
    results = []
    for layer in pair(name, {}, [(5, 6, 4)] * 2, output_quantizer=FixedPoint(12, 8)):
        inputs = []
        for steps in (MASK, MASK[::-1]):
            x = np.where(steps[..., None], numbers(5, 6, 4) + 0.5, 0)
            inputs.append(keras.layers.Masking()(x.astype("f4")))
        results.append(np.asarray(layer(inputs)._keras_mask))
    np.testing.assert_array_equal(*results)
    assert not np.all(results[0])


def test_masked_steps_are_not_averaged():
    """GlobalAveragePooling1D uses the mask as Keras's layer does, and ends it."""
    ours, theirs = pair("GlobalAveragePooling1D", {}, VALUE.shape)
    expected = theirs(VALUE, mask=MASK)
    same(ours(VALUE, mask=MASK), expected)
    quantized, _ = pair(
        "GlobalAveragePooling1D", {}, VALUE.shape, output_quantizer=GRID
    )
    x = np.where(MASK[..., None], VALUE + 100, 0).astype("f4")
    received = quantized(keras.layers.Masking()(x))
    same(received, GRID.quantize(theirs(x, mask=MASK)))
    assert getattr(received, "_keras_mask", None) is None


def test_embedding():
    """Keras's rows without a quantizer; rows of the quantized table with one."""
    codes = RANDOM.integers(0, 7, (5, 3))
    kwargs = {"input_dim": 7, "output_dim": 4, "mask_zero": True}
    ours, theirs = pair("Embedding", kwargs, codes.shape)
    same(ours(codes), theirs(codes))
    same(ours(codes)._keras_mask, codes != 0)
    scales = get("quantized_bits(4,0,1,alpha=(0.5,1.0,2.0,4.0))")
    ours, theirs = pair("Embedding", kwargs, codes.shape, embeddings_quantizer=scales)
    table = scales.quantize(theirs.embeddings)
    assert np.any(table != np.asarray(theirs.embeddings))
    same(ours(codes), table[codes])


def test_layer_normalization():
    """Keras's layer with quantized parameters, and its output quantized."""
    grids = {"gamma_quantizer": get("quantized_bits(4,2)"), "beta_quantizer": GRID}
    ours, theirs = pair("LayerNormalization", {}, (5, 3, 4), **grids)
    last, _ = pair("LayerNormalization", {}, (5, 3, 4), output_quantizer=GRID)
    plain = theirs.get_weights()
    last.set_weights(plain)
    same(last(VALUE[:, :3]), GRID.quantize(theirs(VALUE[:, :3])))
    theirs.set_weights(
        [grids["gamma_quantizer"].quantize(plain[0]), GRID.quantize(plain[1])]
    )
    assert np.any(theirs.get_weights()[0] != plain[0])
    same(ours(VALUE[:, :3]), theirs(VALUE[:, :3]))


WEIGHT, PROJECTED = FixedPoint(5, 2), FixedPoint(8, 5, rounding="FLOOR")
SCORES, PROBABILITIES = FixedPoint(9, 5), FixedPoint(5, 0, signed=False)


def test_attention_formula():
    """Every stage in numpy; grids, and 1 / sqrt(4), make all but the softmax exact."""
    kwargs = {"num_heads": 2, "key_dim": 4}
    layer, theirs = pair(
        "MultiHeadAttention",
        kwargs,
        QUERY.shape,
        VALUE.shape,
        kernel_quantizer=WEIGHT,
        bias_quantizer=WEIGHT,
        query_quantizer=PROJECTED,
        key_quantizer=PROJECTED,
        value_quantizer=PROJECTED,
        scores_quantizer=SCORES,
        probabilities_quantizer=PROBABILITIES,
        output_quantizer=GRID,
    )
    weights = {
        name: [WEIGHT.quantize(w).astype("f8") for w in (dense.kernel, dense.bias)]
        for name, dense in (
            ("query", theirs.query_dense),
            ("key", theirs.key_dense),
            ("value", theirs.value_dense),
            ("output", theirs.output_dense),
        )
    }

    def project(x, name):
        kernel, bias = weights[name]
        return PROJECTED.quantize(np.einsum("btc,chd->bthd", x, kernel) + bias)

    q, k, v = project(QUERY, "query"), project(VALUE, "key"), project(VALUE, "value")
    scores = SCORES.quantize(np.einsum("bthd,bshd->bhts", q / 2, k))
    softmax = keras.ops.softmax(keras.ops.convert_to_tensor(scores), axis=-1)
    p = PROBABILITIES.quantize(softmax)
    assert np.any(p != np.asarray(softmax))
    context = np.einsum("bhts,bshd->bthd", p.astype("f8"), v.astype("f8"))
    kernel, bias = weights["output"]
    expected = GRID.quantize(np.einsum("bthd,hdc->btc", context, kernel) + bias)
    received, returned = layer(QUERY, VALUE, return_attention_scores=True)
    same(returned, p)
    same(received, expected)
    same(layer(QUERY, VALUE), expected)
    assert len(np.unique(expected)) > 5


def test_flash_attention_is_refused():
    """It has no scores to quantize."""
    with pytest.raises(ValueError, match="flash_attention=True"):
        layers.QuantMultiHeadAttention(
            2, 4, flash_attention=True, scores_quantizer=SCORES
        )


@pytest.mark.parametrize("noisy", [False, True])
def test_noise_acts_before_the_output_quantizer(noisy):
    """In every new family the output stays on the quantizer's grid."""
    options = {"output_quantizer": GRID}
    prefix = "Quant"
    if noisy:
        prefix = "NoisyQuant"
    for name, inputs, kwargs in (
        ("Add", [QUERY, QUERY], {}),
        ("MaxPooling1D", QUERY, {}),
        ("GlobalAveragePooling1D", QUERY, {}),
        ("LayerNormalization", QUERY, {}),
    ):
        layer = getattr(layers, prefix + name)(**kwargs, **options)
        clean = np.asarray(layer(inputs))
        if noisy:
            layer.noise_point.level, layer.noise_point.when = 2.0, "inference"
        y = np.asarray(layer(inputs))
        same(GRID.quantize(y), y)
        assert np.any(y != clean) == noisy, name
