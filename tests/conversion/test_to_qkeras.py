"""to_qkeras: the way back, from there on, and what QKeras cannot express."""

import json
import re
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import qkeras

import kerasqnn
from kerasqnn import layers
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.quantizers import FixedPoint, LearnedStepSize

from .random_qkeras import IDENTICAL, _Models, predictions, run

BITS = "quantized_bits(4,0,1)"
X = (np.rint(np.random.default_rng(0).normal(0, 12, (16, 6))) / 8).astype("f4")


def _model(*given, shape=(6,)):
    model = keras.Sequential([keras.Input(shape), *given])
    random = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(np.abs(random.normal(0.5, 0.6, variable.shape)))
    return model


def _config(model):
    """Return the configuration without Keras's running numbers of quantizers."""
    text = json.dumps(model.get_config(), sort_keys=True, default=str)
    text = re.sub(r'"(stochastic_[a-z]+?)(_\d+)?"', r'"\1"', text)
    return re.sub(r'"shared_object_id": \d+', "", text)


def _same(model, x=X):
    theirs = kerasqnn.to_qkeras(model)
    np.testing.assert_array_equal(predictions(theirs, x), predictions(model, x))
    return theirs


def _check_random_models(seeds):
    checked = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            if run(seed, Path(folder)).kind != IDENTICAL:
                continue
        models = _Models(seed)
        keras.utils.set_random_seed(seed)
        theirs = models.model()
        ours = kerasqnn.from_qkeras(theirs)
        back = kerasqnn.to_qkeras(ours)
        x = models.data(theirs)
        np.testing.assert_array_equal(predictions(back, x), predictions(theirs, x))
        assert [type(a) for a in back.layers] == [type(a) for a in theirs.layers]
        assert _config(kerasqnn.from_qkeras(back)) == _config(ours)
        checked += 1
    assert checked > 0.4 * len(seeds)


def test_random_models_there_and_back():
    """Taken over, given back and taken over again: the same bits and configuration."""
    _check_random_models(range(20_000, 20_016, 2))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_random_models_there_and_back():
    """As above; even seeds are live models."""
    _check_random_models(range(30_000, 30_400, 2))


def test_graph():
    """Two inputs and outputs, a shared layer, a model within, an output quantizer."""
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    inner = _model(layers.QuantInput("quantized_bits(6,2,1)", name="grid"))
    shared = layers.QuantDense(4, kernel_quantizer=BITS, name="shared")
    x, y = shared(inner(a)), shared(b)
    z = layers.QuantAdd(output_quantizer="quantized_bits(5,2)", name="sum")([x, y])
    model = keras.Model([a, b], [layers.QuantDense(2, name="last")(z), y])
    theirs = kerasqnn.to_qkeras(model)
    assert len(theirs.weights) == len(model.weights)
    assert type(theirs.get_layer("shared")) is qkeras.QDense
    assert type(theirs.get_layer(inner.name).layers[0]) is qkeras.QActivation
    assert type(theirs.get_layer("sum")) is keras.layers.Add
    assert type(theirs.get_layer("sum_quantizer")) is qkeras.QActivation
    for one, other in zip(theirs([X, X[::-1]]), model([X, X[::-1]]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) > 20


def test_what_is_learned_is_the_grid_of_now():
    quantizer = LearnedStepSize(4, power_of_two=True)
    model = _model(layers.QuantDense(3, kernel_quantizer=quantizer))
    (kernel_quantizer,) = (x.kernel_quantizer for x in model.layers)
    kernel_quantizer.start.assign(0.5)
    kernel_quantizer.change.assign(0.0)
    theirs = _same(model)
    (layer,) = kerasqnn.from_qkeras(theirs).layers
    assert layer.kernel_quantizer == FixedPoint(4, 2)


def test_steps_a_channel_are_refused():
    """QKeras's layers cannot hold a quantizer with a vector for `alpha`."""
    quantizer = LearnedStepSize(4, power_of_two=True, per_channel=True)
    model = _model(layers.QuantDense(3, kernel_quantizer=quantizer))
    model.layers[0].kernel_quantizer.start.assign([0.25, 0.5, 1.0])
    model.layers[0].kernel_quantizer.change.assign([0.0, 0.0, 0.0])
    with pytest.raises(UnsupportedModelError, match="QKeras cannot make it"):
        kerasqnn.to_qkeras(model)


def test_binary_kernels():
    """QKeras would compute a scale for `alpha=None` in a kernel."""
    theirs = _same(_model(layers.QuantDense(3, kernel_quantizer="binary()")))
    assert theirs.layers[0].kernel_quantizer_internal.alpha == 1.0


def test_constraints_stay_as_they_are():
    """QKeras adds a Clip where there is none; kerasqnn's becomes QKeras's."""
    clip = layers.Clip(-2.0, 2.0)
    theirs = _same(
        _model(
            layers.QuantDense(3, kernel_quantizer=BITS, bias_quantizer=BITS),
            layers.QuantDense(3, kernel_quantizer=BITS, kernel_constraint=clip),
        )
    )
    first, last = theirs.layers
    assert first.kernel_constraint is None and first.bias_constraint is None
    assert type(last.kernel_constraint) is qkeras.Clip
    assert last.kernel_constraint.max_value == 2.0


def test_normalization():
    """Without quantizers it is Keras's; QKeras's `1 / sqrt` is another than Keras's."""
    theirs = _same(_model(layers.QuantBatchNormalization()))
    assert type(theirs.layers[0]) is keras.layers.BatchNormalization
    theirs = _same(
        _model(layers.QuantBatchNormalization(inverse="reciprocal", name="n"))
    )
    assert type(theirs.layers[0]) is qkeras.QBatchNormalization


def test_trainable_is_kept():
    model = _model(layers.QuantDense(3, kernel_quantizer=BITS))
    model.layers[0].trainable = False
    assert not kerasqnn.to_qkeras(model).layers[0].trainable


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (layers.NoisyQuantDense(2, name="l"), "strip_noise"),
        (layers.NoisePoint("additive(0.1)", name="l"), "strip_noise"),
        (
            layers.QuantDense(
                2, kernel_quantizer=FixedPoint(4, rounding="FLOOR"), name="l"
            ),
            "kernel_quantizer: QKeras.*FLOOR",
        ),
        (
            layers.QuantDense(2, activation=FixedPoint(4, overflow="WRAP"), name="l"),
            "activation: QKeras.*WRAP",
        ),
        (
            layers.QuantDense(2, activation=FixedPoint(4, scale=0.7), name="l"),
            "whose step is no power of two",
        ),
        (layers.QuantEinsumDense("ab,bc->ac", 2, name="l"), "no layer that computes"),
        (layers.QuantDense(2, activation="hard_sigmoid", name="l"), "its own"),
        (layers.QuantDense(2, dtype="bfloat16", name="l"), "float32"),
        (
            layers.QuantBatchNormalization(offset_quantizer=BITS, name="l"),
            "offset_quantizer",
        ),
        (keras.layers.UnitNormalization(name="l"), "no layer that computes"),
    ],
)
def test_refused_with_the_name_of_the_layer(layer, text):
    with pytest.raises(UnsupportedModelError, match=text) as caught:
        kerasqnn.to_qkeras(_model(layer))
    assert caught.value.layer == "l" and "'l'" in str(caught.value)
