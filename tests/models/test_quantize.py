"""Quantizing a float model, and the ways back."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.models import analyse, read_model
from kerasqnn.quantizers import (
    Binary,
    FixedPoint,
    LearnedStepSize,
    QuantizedReLU,
    calibrate,
)

from ..chain.random_models import random_case
from .zoo import KERNEL, data, fill, functional, outputs


def float_model() -> keras.Model:
    """A shared layer, a residual sum, a nested model, an operation."""
    inner = keras.Sequential(
        [keras.Input((4,)), kl.Dense(6, activation="tanh", name="d")], name="inner"
    )
    inputs = keras.Input((8, 8, 1), name="image")
    x = kl.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    shared = kl.Conv2D(4, 3, padding="same", name="shared")
    y = kl.BatchNormalization(name="norm")(shared(x))
    y = kl.ReLU(name="relu")(y)
    x = kl.Activation("relu", name="sum_relu")(kl.Add(name="sum")([shared(y), x]))
    x = kl.MaxPooling2D(2, name="pool")(x)
    x = kl.DepthwiseConv2D(2, activation="relu", name="depthwise")(x)
    x = kl.GlobalAveragePooling2D(name="average")(x)
    x = keras.ops.negative(inner(kl.Dropout(0.3, name="dropout")(x)))
    return fill(keras.Model(inputs, kl.Dense(3, activation="softmax", name="out")(x)))


IMAGES = np.abs(data(8, 8, 1, samples=20))


def test_the_whole_of_a_model():
    """Every layer has a row, weights and sharing survive, the input is untouched."""
    model = float_model()
    model.compile("adam", "mse")
    before = [w.copy() for w in model.get_weights()]
    predicted = outputs(model, IMAGES)
    small = kerasqnn.quantize_model(model, "w12a12i12", calibration=IMAGES)
    rows = {r["layer"]: r for r in small.quantization_report.to_dict()}
    assert {name: r["became"] for name, r in rows.items()} == {
        "image": "QuantInput",
        "first": "QuantConv2D",
        "shared": "QuantConv2D",
        "norm": "QuantBatchNormalization",
        "relu": "QuantActivation",
        "sum": "Add",
        "sum_relu": "QuantActivation",
        "pool": "MaxPooling2D",
        "depthwise": "QuantDepthwiseConv2D",
        "average": "QuantGlobalAveragePooling2D",
        "dropout": "Dropout",
        "inner/d": "QuantDense + QuantActivation",
        "negative": "Negative",
        "out": "QuantDense",
    }
    skipped = small.quantization_report.skipped
    assert set(skipped) == {"sum", "pool", "dropout", "negative"}
    assert skipped["pool"] == "keeps the grid of its input"
    assert "softmax" in rows["out"]["note"]
    assert "QuantConv2D" in str(small.quantization_report)
    assert "<td>QuantConv2D</td>" in small.quantization_report._repr_html_()
    assert list(small.quantization_report.to_dataframe()["layer"]) == list(rows)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert small.compiled
    assert len(small.get_layer("shared")._inbound_nodes) == 2
    np.testing.assert_array_equal(small.get_layer("shared").kernel, before[2])
    np.testing.assert_array_equal(outputs(model, IMAGES), predicted)
    # 12 bits everywhere: close, and not the same.
    received = outputs(small, IMAGES)
    assert 0 < np.abs(received - predicted).max() < 0.02


def test_a_sequential_model_stays_one(tmp_path):
    """It saves, loads, trains, and everything in it is on a grid."""
    model = keras.Sequential(
        [keras.Input((4,)), kl.Dense(8, activation="relu", name="hidden"),
         kl.Dense(2, name="logits", trainable=False)]
    )  # fmt: skip
    small = kerasqnn.quantize_model(
        fill(model), {"weights": 4, "activations": 3, "input": 6}, calibration=data(4)
    )
    assert type(small) is keras.Sequential
    assert [type(layer) for layer in small.layers] == [
        ql.QuantInput, ql.QuantDense, ql.QuantDense
    ]  # fmt: skip
    hidden, logits = small.layers[1:]
    assert (hidden.trainable, logits.trainable) == (True, False)
    assert hidden.kernel_quantizer.bits == 4
    assert hidden.bias_quantizer.bits == 8
    assert hidden.activation == QuantizedReLU(3, hidden.activation.integer)
    assert logits.activation is keras.activations.linear
    facts = analyse(read_model(small)).facts
    assert all(f.faithful for f in list(facts.values())[1:])
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(outputs(loaded, data(4)), outputs(small, data(4)))


@pytest.mark.parametrize("method", ["mse", "min_max", "percentile"])
def test_ranges_come_from_the_data_and_the_weights(method):
    """What `calibrate` says of the float values, over all calls of a shared layer."""
    layer = kl.Dense(4, activation="relu", name="d")
    model = functional((4,), layer, layer)
    x = data(4, samples=300)
    small = kerasqnn.quantize_model(model, "w4a5i6", calibration=x, method=method)
    first, second = (
        keras.Model(model.inputs, node.outputs[0]).predict(x, verbose=0)
        for node in layer._inbound_nodes
    )
    dense = small.get_layer("d")
    both = np.concatenate([first, second])
    grid = calibrate(both, 5, signed=False, method=method)
    assert dense.activation == QuantizedReLU(5, grid.integer)
    kernel = calibrate(np.asarray(layer.kernel), 4, signed=True, method=method)
    assert dense.kernel_quantizer == kernel
    assert small.layers[1].quantizer == calibrate(x, 6, method=method)


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        (
            {"Dense": {"kernel_quantizer": "quantized_bits(4,0,1)"},
             "Activation": "quantized_relu(4,2)"},
            {},
            {"first": "Conv2D", "relu": "relu(4,2)", "out": "kernel",
             "inner/d": "kernel"},
        ),
        (
            {"QDense": {"bias_quantizer": 6},
             "QActivation": {"relu": "quantized_relu(3)"}},
            {"skip": ["out"]},
            {"relu": "relu(3,0)", "out": "in skip", "inner/d": "bias"},
        ),
        (
            "w8",
            {"per_layer": {"inner/*": None, "out": {"kernel_quantizer": "binary"},
                           "fir*": "w2"}},
            {"inner/d": "None in per_layer", "out": "Binary", "first": "FixedPoint(2,",
             "relu": "stays"},
        ),
        (
            {"Dense": {"activation": {"tanh": "quantized_bits(4,0,1)"}}},
            {"skip": ["Conv2D"]},
            {"inner/d": "activation FixedPoint(4, 0", "first": "in skip",
             "out": "softmax stays in float"},
        ),
    ],
)  # fmt: skip
def test_what_a_user_types(config, options, expected):
    """QKeras's dictionaries, patterns, nested names, bits and quantizers mixed."""
    small = kerasqnn.quantize_model(float_model(), config, **options)
    rows = {r["layer"]: r for r in small.quantization_report.to_dict()}
    for layer, text in expected.items():
        row = " ".join(str(v) for v in rows[layer].values())
        shown = row.replace("QuantizedReLU(3, 0)", "relu(3,0)")
        assert text in shown.replace("QuantizedReLU(4, 2)", "relu(4,2)"), row


def test_layers_in_wrappers_and_activation_layers():
    """A wrapper holds the twin; behind an activation layer stands a quantizer."""
    model = functional(
        (5, 4), kl.TimeDistributed(kl.Dense(4, activation="relu", name="d"), name="t"),
        kl.TimeDistributed(kl.Dense(4, activation="tanh", name="h"), name="u"),
        kl.LeakyReLU(0.25, name="leaky"), kl.Flatten(), kl.Softmax(name="softmax"),
    )  # fmt: skip
    small = kerasqnn.quantize_model(model, "w12a12", calibration=data(5, 4))
    rows = {r["layer"]: r for r in small.quantization_report.to_dict()}
    assert rows["t/d"]["became"] == "QuantDense"
    assert type(small.get_layer("t").layer) is ql.QuantDense
    assert "'h' has no place" in rows["u"]["note"]
    assert not {"t", "u/h"} & set(rows)  # what became of nothing has no row
    assert rows["leaky"]["became"] == "LeakyReLU + QuantActivation"
    assert "at the model's output" in rows["softmax"]["note"]
    received, expected = outputs(small, data(5, 4)), outputs(model, data(5, 4))
    assert 0 < np.abs(received - expected).max() < 0.01
    kept = kerasqnn.quantize_model(model, "w12", skip=["t"])
    assert type(kept.get_layer("t").layer) is kl.Dense


def test_one_bit_weights_are_binary():
    """With a power of two near the mean magnitude."""
    model = functional((4,), kl.Dense(3, name="d"))
    model.get_layer("d").kernel.assign(np.full((4, 3), 0.3))
    small = kerasqnn.quantize_model(model, "w1")
    assert small.get_layer("d").kernel_quantizer == Binary(alpha=0.25)


def test_each_layer_learns_on_its_own():
    """One learned quantizer in the configuration becomes one a layer."""
    model = functional((4,), kl.Dense(4, name="d"), kl.Dense(4, name="e"))
    quantizer = LearnedStepSize(4)
    small = kerasqnn.quantize_model(model, {"Dense": {"kernel_quantizer": quantizer}})
    held = [small.get_layer(name).kernel_quantizer for name in "de"]
    assert all(type(q) is LearnedStepSize and q.bits == 4 for q in held)
    assert len({id(q) for q in (quantizer, *held)}) == 3


def test_an_input_is_quantized_once():
    """A quantizer behind it is left alone, whatever the configuration says."""
    model = functional((4,), ql.QuantInput(FixedPoint(4)))
    small = kerasqnn.quantize_model(model, "i8", calibration=data(4))
    assert [type(layer) for layer in small.layers[1:]] == [ql.QuantInput]
    assert small.layers[1].quantizer == FixedPoint(4)


def test_several_inputs():
    """Lists and dictionaries of data; integers are no matter of quantizers."""
    first, second = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    tokens = keras.Input((2,), dtype="int32", name="tokens")
    x = kl.Concatenate()([first, second, kl.Flatten()(kl.Embedding(9, 3)(tokens))])
    model = fill(keras.Model([first, second, tokens], kl.Dense(2, name="d")(x)))
    inputs = [data(4), data(4) * 8, np.ones((7, 2), "int32")]
    names = dict(zip(("a", "b", "tokens"), inputs, strict=True))
    for given in (inputs, names):
        small = kerasqnn.quantize_model(model, "w8i8", calibration=given)
        steps = [
            float(small.get_layer(f"{name}_quantizer").quantizer.step) for name in "ab"
        ]
        assert steps[1] == 8 * steps[0]
        assert "int32" in small.quantization_report.skipped["tokens"]
    with pytest.raises(ValueError, match="3 inputs.*2 arrays"):
        kerasqnn.quantize_model(model, "w8i8", calibration=inputs[:2])
    with pytest.raises(ValueError, match="input.*Received: 'b'"):
        kerasqnn.quantize_model(model, "w8i8", calibration={"a": inputs[0]})
    with pytest.raises(ValueError, match=r"shape \(7, 5\)"):
        kerasqnn.quantize_model(model, "i8", calibration=[data(5), *inputs[1:]])


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("w4a4", {}, "'first'.*calibration=x.*4 bits"),
        ("x4", {}, "'w4a4'.*config='x4'"),
        ("w4w5", {}, "once.*config='w4w5'"),
        (4, {}, "config=4"),
        ("w99", {}, "w=99"),
        ({"Dnse": {}}, {}, "Did you mean 'Dense'"),
        ({"Dense": {"kernal_quantizer": 4}}, {}, "'inner/d'.*'kernel_quantizer'"),
        ({"Dense": {"kernel_quantizer": "nope(4)"}}, {}, "quantizer.*'nope'"),
        ("w4", {"skip": ["frist"]}, "`skip`.*'first'"),
        ("w4", {"per_layer": {"frist": None}}, "`per_layer`.*'first'"),
        ("w4", {"per_layer": ["first"]}, "per_layer="),
        ("w4", {"method": "max"}, "`method`.*'max'"),
        ({"Dense": {"activation": "quantized_relu(4)"}}, {"skip": ["d"]}, "`skip`"),
    ],
)
def test_refusals(config, options, message):
    """Each names what is wrong and what is allowed."""
    with pytest.raises((ValueError, TypeError), match=message):
        kerasqnn.quantize_model(float_model(), config, **options)


def test_a_layer_that_passes_its_input_on():
    """It has no values to watch, but takes a quantizer."""
    model = functional((4,), kl.Activation("linear", name="a"))
    by_bits = {"Activation": {"linear": 4}}
    with pytest.raises(ValueError, match="'a'.*4 bits"):
        kerasqnn.quantize_model(model, by_bits, calibration=data(4))
    by_quantizer = {"Activation": {"linear": "quantized_bits(4,2)"}}
    small = kerasqnn.quantize_model(model, by_quantizer)
    assert small.get_layer("a").activation.bits == 4


def test_a_quantized_relu_never_replaces_a_linear_output():
    """It would change what the model computes."""
    model = functional((4,), kl.Dense(3, name="d"))
    small = kerasqnn.quantize_model(
        model, {"Dense": {"activation": "quantized_relu(4)", "kernel_quantizer": 4}}
    )
    assert small.get_layer("d").activation is keras.activations.linear
    assert "negative" in small.quantization_report.rows[0][4]


@pytest.mark.parametrize("seed", range(8))
def test_strip_noise_leaves_the_bits(seed):
    """Of every model, nested, shared and with several inputs."""
    case = random_case(seed + 40)
    quiet = kerasqnn.strip_noise(case.model)
    assert not kerasqnn.noise_points(quiet)
    pairs = zip(
        keras.tree.flatten(outputs(case.model, case.data)),
        keras.tree.flatten(outputs(quiet, case.data)),
        strict=True,
    )
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_strip_noise_of_active_points():
    """The copy has none of it, whatever the points were set to."""
    model = functional(
        (4,), ql.NoisyQuantDense(4, noise="additive(3.0)", name="d", **KERNEL),
        ql.NoisePoint("additive(1.0)"),
        ql.QuantBatchNormalization(noise="additive(1.0)"),
    )  # fmt: skip
    expected = outputs(model, data(4))
    for point in kerasqnn.noise_points(model).values():
        point.when = "always"
    assert np.any(outputs(model, data(4)) != expected)
    quiet = kerasqnn.strip_noise(model)
    assert type(quiet.get_layer("d")) is ql.QuantDense
    np.testing.assert_array_equal(outputs(quiet, data(4)), expected)


def test_dequantize():
    """Plain layers with quantized values: equal where activations were exact."""
    model = functional(
        (4,), ql.NoisyQuantDense(4, activation="quantized_relu(24,10)", **KERNEL),
        ql.QuantBatchNormalization(
            scale_quantizer="quantized_bits(5,2)",
            offset_quantizer="quantized_bits(6,3)", name="n"),
        ql.QuantDense(3, activation="softmax", name="out", **KERNEL),
    )  # fmt: skip
    plain = kerasqnn.dequantize_model(model)
    assert all(type(la).__module__.startswith("keras.") for la in plain.layers)
    x = np.rint(data(4))
    # The normalization of Keras computes its scale anew: one rounding.
    np.testing.assert_allclose(outputs(plain, x), outputs(model, x), rtol=1e-5)
    kernel = model.layers[1].kernel
    np.testing.assert_array_equal(
        plain.layers[1].kernel, FixedPoint(4, 0, overflow="SAT_SYM").quantize(kernel)
    )
    stored = kerasqnn.dequantize_model(model, weights="float")
    np.testing.assert_array_equal(stored.layers[1].kernel, kernel)
    for a, b in zip(stored.get_layer("n").get_weights(),
                    model.get_layer("n").get_weights(), strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)


def test_there_and_back():
    """Float weights come back unchanged, and so does the model."""
    model = float_model()
    small = kerasqnn.quantize_model(model, "w4a4i8", calibration=IMAGES)
    back = kerasqnn.dequantize_model(small, weights="float")
    np.testing.assert_array_equal(outputs(back, IMAGES), outputs(model, IMAGES))


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (ql.QuantInput(Binary(), name="q"), "q"),
        (ql.QuantDense(2, activation=Binary(), name="b"), "b"),
        (ql.QuantBatchNormalization(center=False, scale_quantizer="binary", name="n"),
         "n"),
        (kl.TimeDistributed(ql.QuantDense(2, **KERNEL), name="t"), "t"),
    ],
)  # fmt: skip
def test_dequantize_refusals(step, name):
    """By the layer's name."""
    model = functional((3, 4), step)
    with pytest.raises(UnsupportedModelError, match=f"'{name}'"):
        kerasqnn.dequantize_model(model)
    with pytest.raises(ValueError, match="`weights`.*'int'"):
        kerasqnn.dequantize_model(model, weights="int")


def test_dequantize_low_rank_weights():
    """The kernel is quantized together with what a plain layer would add to it."""
    model = functional((6,), ql.QuantDense(4, name="adapted", **KERNEL))
    model.get_layer("adapted").enable_lora(2)
    with pytest.raises(UnsupportedModelError, match="'adapted'.*low-rank weights"):
        kerasqnn.dequantize_model(model)


FOLDABLE = {
    "dense": ((4,), lambda: kl.Dense(6)),
    "dense without bias": ((3, 4), lambda: kl.Dense(6, use_bias=False)),
    "conv1d": ((8, 3), lambda: kl.Conv1D(4, 3, padding="causal")),
    "conv2d": ((8, 8, 4), lambda: kl.Conv2D(4, 3, groups=2, use_bias=False)),
    "depthwise": ((8, 8, 3), lambda: kl.DepthwiseConv2D(3, depth_multiplier=2)),
    "separable": ((8, 8, 3), lambda: kl.SeparableConv2D(4, 3)),
}


@pytest.mark.parametrize("case", FOLDABLE)
def test_folding(case):
    """To float32 rounding: 1e-6 of the largest value, a few roundings."""
    shape, make = FOLDABLE[case]
    options = {"scale": case != "conv1d", "epsilon": 0.1}
    model = functional(
        shape, kl.Dense(shape[-1]), kl.BatchNormalization(**options),
        make(), kl.BatchNormalization(center="dense" not in case), kl.ReLU(),
    )  # fmt: skip
    folded = kerasqnn.fold_batch_normalization(model, strict=True)
    assert len(folded.layers) == len(model.layers) - 2
    x = data(*shape)
    expected = outputs(model, x)
    received = outputs(folded, x)
    largest = np.abs(expected).max()
    assert largest > 0.5
    np.testing.assert_allclose(received, expected, rtol=0, atol=2e-6 * largest)


def _read_twice() -> keras.Model:
    inputs = keras.Input((4,))
    x = kl.Dense(4, name="d")(inputs)
    return keras.Model(inputs, kl.Add()([x, kl.BatchNormalization(name="n")(x)]))


def _given_out() -> keras.Model:
    inputs = keras.Input((4,))
    x = kl.Dense(4, name="d")(inputs)
    return keras.Model(inputs, [x, kl.BatchNormalization(name="n")(x)])


def _shared() -> keras.Model:
    inputs = keras.Input((4,))
    layer, norm = kl.Dense(4, name="d"), kl.BatchNormalization(name="n")
    return keras.Model(inputs, norm(layer(layer(inputs))))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: functional((4,), kl.BatchNormalization(name="n")), "InputLayer"),
        (
            lambda: functional(
                (4,), kl.Dense(3, activation="relu", name="d"),
                kl.BatchNormalization(name="n")),
            "activation of layer 'd' stands between",
        ),
        (
            lambda: functional(
                (4,), kl.Dense(3), kl.ReLU(), kl.BatchNormalization(name="n")),
            "of class ReLU",
        ),
        (_read_twice, "'d' is used elsewhere"),
        (_given_out, "'d' is used elsewhere"),
        (_shared, "'d' or the normalization is shared"),
        (
            lambda: functional((3, 4), kl.Dense(3), kl.BatchNormalization(1, name="n")),
            "another axis",
        ),
        (
            lambda: functional(
                (4,), kl.Dense(3), ql.QuantBatchNormalization(name="n")),
            "fold before quantizing",
        ),
        (
            lambda: functional(
                (4,), kl.Dense(3), kl.BatchNormalization(renorm=True, name="n")),
            "it renormalizes",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_folded(make, reason):
    """It stays, and `strict` says why."""
    model = make()
    folded = kerasqnn.fold_batch_normalization(model)
    x = data(*model.input_shape[1:])
    keras.tree.map_structure(
        np.testing.assert_array_equal, outputs(folded, x), outputs(model, x)
    )
    with pytest.raises(UnsupportedModelError, match=f"'n'.*{reason}"):
        kerasqnn.fold_batch_normalization(model, strict=True)


def test_folding_of_masked_sequences():
    """A normalization takes the mask beside its input; inference does not use it."""
    model = functional(
        (3, 4), kl.Masking(), kl.Dense(3), kl.BatchNormalization(epsilon=0.1)
    )
    folded = kerasqnn.fold_batch_normalization(model, strict=True)
    assert not any(isinstance(v, kl.BatchNormalization) for v in folded.layers)
    x = data(3, 4)
    x[:, 1] = 0.0  # masked
    np.testing.assert_allclose(
        outputs(folded, x), outputs(model, x), rtol=1e-5, atol=1e-5
    )


def test_folding_inside_a_nested_model():
    """Called twice, folded once."""
    inner = keras.Sequential(
        [keras.Input((4,)), kl.Dense(4), kl.BatchNormalization(), kl.ReLU()]
    )
    model = functional((4,), inner, inner)
    folded = kerasqnn.fold_batch_normalization(model, strict=True)
    assert len(folded.layers[1].layers) == 2
    x = data(4)
    np.testing.assert_allclose(
        outputs(folded, x), outputs(model, x), rtol=1e-5, atol=1e-5
    )
