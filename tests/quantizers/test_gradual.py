"""`Gradual` before it is built, and around a quantizer that sets its own variables."""

from __future__ import annotations

import keras
import pytest

from kerasqnn.layers import QuantSimpleRNN
from kerasqnn.quantizers import Gradual, LearnedStepSize


def test_strength_before_it_is_built():
    """An error that says what to do, not one of Python's."""
    quantizer = Gradual("quantized_bits(4)", name="slowly")
    with pytest.raises(ValueError, match="'slowly' has no variables before it is buil"):
        _ = quantizer.strength
    with pytest.raises(ValueError, match="Build the layer that holds it, or call it"):
        quantizer.strength = 0.5
    quantizer(keras.ops.ones((1, 2)))
    quantizer.strength = 0.5
    assert quantizer.strength == 0.5


@pytest.mark.parametrize("argument", ["state_quantizer", "activation"])
def test_jax_refuses_what_its_loop_cannot_keep(argument, monkeypatch):
    """The first batch sets the step, also of a `LearnedStepSize` inside a `Gradual`."""
    inner = LearnedStepSize(4)
    assert Gradual(inner).changes_in_training
    assert not Gradual("quantized_bits(4)").changes_in_training
    layer = QuantSimpleRNN(2, **{argument: Gradual(LearnedStepSize(4))})
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=f"On JAX the loop.*{argument}=Gradual"):
        layer.build((None, 3, 2))
