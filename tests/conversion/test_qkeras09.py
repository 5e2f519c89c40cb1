"""Files of QKeras 0.9 on Keras 2, and the predictions recorded with it.

`make_files.py` says how they were made.
"""

import json
from pathlib import Path

import keras
import pytest
import tensorflow as tf

import kerasqnn
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.quantizers import AutoFixedPoint, FixedPoint

from .recorded import assert_as_recorded

FILES = Path(__file__).with_name("files")
NAMES = ("dense", "convolution", "folded", "recurrent", "nested")


def taken_over(name: str) -> keras.Model:
    if (FILES / f"{name}.h5").exists():
        return kerasqnn.from_qkeras(FILES / f"{name}.h5")
    weights = FILES / f"{name}_weights.h5"
    return kerasqnn.from_qkeras(FILES / f"{name}.json", weights=weights)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_those_of_qkeras(name):
    """Bit for bit, called eagerly and traced; all models have several outputs."""
    model = taken_over(name)
    calls = (model, tf.function(model, autograph=False))
    assert_as_recorded(calls, FILES / f"{name}.npz")


def test_what_the_layers_become():
    """`alpha=None` is `auto_po2` for kernels only; constraints and names are kept."""
    first, second = taken_over("dense").layers[1:3]
    assert first.kernel_quantizer == AutoFixedPoint(4, 0, mode="auto_po2")
    assert first.bias_quantizer == FixedPoint(6, 1)
    assert first.kernel_regularizer is not None and first.name == "q_dense"
    assert isinstance(first.kernel_constraint, kerasqnn.layers.Clip)
    assert second.kernel_quantizer == FixedPoint(3, 0)


def test_models_in_models():
    """Layers of one name have the weights of their own model."""
    model = taken_over("nested")
    inner, end = model.get_layer("inner"), model.get_layer("end")
    assert [x.name for x in end.layers] == ["first", "second"]
    assert len(model.weights) == 7 and len(inner.weights) == 4
    assert type(inner.get_layer("deep").layers[0]) is kerasqnn.layers.QuantDense


def test_counter_of_training_steps():
    layers = [x for x in taken_over("folded").layers if "batchnorm" in x.name]
    assert [int(x.iteration) for x in layers] == [7, 7]
    assert [x.ema_freeze_delay for x in layers] == [3, None]


def test_gru_without_recurrent_quantizer_is_refused(tmp_path):
    """QKeras 0.9 multiplies the state by the kernel there."""
    architecture = json.loads((FILES / "recurrent.json").read_text())
    (wrapper,) = (
        x
        for x in architecture["config"]["layers"]
        if x["class_name"] == "QBidirectional"
    )
    wrapper["config"]["layer"]["config"]["recurrent_quantizer"] = None
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(architecture))
    with pytest.raises(UnsupportedModelError, match="takes the kernel for") as caught:
        kerasqnn.from_qkeras(path, weights=FILES / "recurrent_weights.h5")
    assert caught.value.layer == wrapper["config"]["name"]
