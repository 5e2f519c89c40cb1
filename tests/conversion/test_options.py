"""Options of single layers: what they become, and which are refused."""

import json
from pathlib import Path

import keras
import pytest

from kerasqnn.conversion.architecture import describe
from kerasqnn.conversion.description import LayerDescription
from kerasqnn.conversion.layers import entry_of
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.quantizers import qkeras_hard_sigmoid, qkeras_smooth_tanh

FILES = Path(__file__).with_name("files")
SIZES = {"filters": 2, "kernel_size": 3}


def converted(class_name, package="qkeras", *, is_keras2=False, **config):
    """The layer that one of these options becomes."""
    config = {"name": "l", **config}
    layer = LayerDescription(class_name, package, "l", config, (), {}, is_keras2)
    return entry_of(layer).convert(layer)


@pytest.mark.parametrize(
    ("class_name", "config", "text"),
    [
        ("QLSTM", {"units": 2, "zero_output_for_mask": True}, "zero_output_for_mask"),
        ("QLSTM", {"units": 2, "stateful": True}, "stateful=True"),
        ("QConv2D", {**SIZES, "mask": [[1, 0], [1, 1]]}, "'mask'"),
        ("QConv2D", {**SIZES, "data_format": "channels_first"}, "channels_first"),
        (
            "QActivation",
            {"activation": "relu", "kernel_regularizer": "l2"},
            "no kernel",
        ),
        ("QDense", {"units": 2, "dtype": "float16"}, "dtype='float16'"),
        ("QDense", {"units": 2, "kernel_constraint": "Own"}, "'Own' has no counter"),
        ("QDense", {"units": 2, "option_of_a_fork": 1}, "option_of_a_fork=1"),
        ("QConv2DBatchnorm", {**SIZES, "axis": [2]}, "another axis than the last"),
    ],
)
def test_refused(class_name, config, text):
    with pytest.raises(UnsupportedModelError, match=text) as caught:
        converted(class_name, **config)
    assert caught.value.layer == "l"


def test_options_that_change_nothing():
    converted("QLSTM", units=2, zero_output_for_mask=False, stateful=False)
    converted("QConv2D", **SIZES, mask=[[1, 1], [1, 1]])


def test_what_is_kept():
    layer = converted(
        "QDepthwiseConv2D", kernel_size=3, padding="VALID", strides=[2, 2]
    )
    assert (layer.padding, layer.strides) == ("valid", (2, 2))
    assert converted("QDense", units=2).trainable
    assert not converted("QDense", units=2, trainable=False).trainable


@pytest.mark.parametrize(
    ("class_name", "config", "is_keras2", "inverse"),
    [
        ("QBatchNormalization", {}, False, "reciprocal"),
        ("QBatchNormalization", {}, True, "rsqrt"),
        ("QConv2DBatchnorm", SIZES, False, "reciprocal"),
        ("QDepthwiseConv2DBatchnorm", {"kernel_size": 3}, False, "rsqrt"),
    ],
)
def test_inverse_of_the_deviation(class_name, config, is_keras2, inverse):
    """What each class computes, whose last bits differ."""
    assert converted(class_name, is_keras2=is_keras2, **config).inverse == inverse


def test_functions_of_one_name():
    """Strings are QKeras's own in its layers; those wrapped by Keras 3 are Keras's."""
    wrapped = {"class_name": "function", "config": "hard_sigmoid"}
    own = {"class_name": "function", "config": "smooth_tanh"}
    for given, function in (
        ("hard_sigmoid", qkeras_hard_sigmoid),
        (wrapped, keras.activations.hard_sigmoid),
        (own, qkeras_smooth_tanh),
    ):
        assert converted("QActivation", activation=given).activation is function
    layer = converted("Activation", "keras", activation="hard_sigmoid")
    assert layer.activation is keras.activations.hard_sigmoid
    with pytest.raises(UnsupportedModelError, match="'hard_sigmoid' has no"):
        converted("Activation", "keras", is_keras2=True, activation="hard_sigmoid")


def test_arguments_of_calls():
    """In Keras 2's files, and where there are several tensors instead of a list."""
    architecture = json.loads((FILES / "convolution.json").read_text())
    layers = architecture["config"]["layers"]
    node = layers[1]["inbound_nodes"][0][0]
    node[3] = {"training": True}
    described = describe(architecture, lambda *path: {}, is_keras2=True)
    assert dict(described.layers[1].calls[0].arguments) == {"training": True}
    theirs = keras.Sequential([keras.Input((3,)), keras.layers.ReLU(name="l")])
    functional = keras.Model(theirs.inputs, theirs.outputs)
    architecture = json.loads(functional.to_json())
    node = architecture["config"]["layers"][1]["inbound_nodes"][0]
    node["args"] = 2 * node["args"]
    with pytest.raises(UnsupportedModelError, match="'l' is called with 2 arguments"):
        describe(architecture, lambda *path: {})
