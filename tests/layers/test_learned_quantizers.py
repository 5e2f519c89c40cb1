"""Every layer takes quantizers with variables, in every place that it has."""

import keras
import numpy as np
import pytest

from kerasqnn.layers._quantized import QuantizedLayer
from kerasqnn.quantizers import LearnedStepSize, StatefulQuantizer

from .cases import CASES

LAYERS = {
    case.cls: case
    for name, case in CASES.items()
    if name.endswith("-quantized")
    and issubclass(case.cls, QuantizedLayer)
    and not case.cls.__name__.startswith("Noisy")
}


def _model(layer, x):
    def inputs(values):
        return keras.Input(values.shape[1:], dtype=str(values.dtype))

    tensors = keras.tree.map_structure(inputs, x)
    outputs = layer(**tensors) if isinstance(x, dict) else layer(tensors)
    return keras.Model(keras.tree.flatten(tensors), outputs)


def _state(model):
    """Return the variables of quantizers."""
    return [w for w in model.weights if w.name in ("start", "change")]


@pytest.mark.parametrize("cls", LAYERS, ids=lambda c: c.__name__)
def test_build_clone_and_train(cls):
    """Built with the layer, kept by a clone, started by training, used in inference."""
    case = LAYERS[cls]
    places = dict.fromkeys(cls.quantizer_arguments, "LearnedStepSize(4)")
    layer = cls(**{**case.kwargs, **places})
    x = case.inputs()
    model = _model(layer, x)
    quantizers = [q for q in model._flatten_layers() if type(q) is LearnedStepSize]
    built = [q for q in quantizers if q.built]
    assert len(_state(model)) == 2 * len(built) >= 2 * (len(places) > 0)
    attention = "Attention" in cls.__name__  # its projections have copies
    assert attention or len(built) == len(quantizers) >= len(places)
    assert len({id(w) for w in _state(model)}) == len(_state(model))
    clone = keras.models.clone_model(model)
    assert [w.shape for w in _state(clone)] == [w.shape for w in _state(model)]
    before = [np.array(w) for w in _state(model)]
    data = keras.tree.flatten(x)
    model(data, training=True)
    weights = [np.array(w) for w in _state(model)]
    assert any(np.any(a != b) for a, b in zip(before, weights, strict=True))
    clone.set_weights(model.get_weights())
    expected = keras.tree.flatten(model(data))
    for received, wanted in zip(keras.tree.flatten(clone(data)), expected, strict=True):
        np.testing.assert_array_equal(received, wanted)
    assert len(_state(model)) == len(before)
    for name in places:
        assert isinstance(getattr(layer, name), StatefulQuantizer)
