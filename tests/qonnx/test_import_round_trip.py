"""Keras -> QONNX -> Keras -> QONNX: the same bits, and the same graph."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerasqnn import import_qonnx
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import build_qonnx
from kerasqnn.models.noise_control import noise_switched_off

from ..chain.random_models import random_case
from .graphs import described


def check_round_trip(seed: int) -> str:
    """Check one random model; return what became of it."""
    case = random_case(seed)
    try:
        exported = build_qonnx(case.model)
    except UnsupportedModelError:
        return "not exported"
    imported = import_qonnx(exported, layout="channels_last", check=False)
    with noise_switched_off(case.model):
        want = keras.tree.flatten(case.model.predict(case.data, verbose=0))
    got = keras.tree.flatten(imported.predict(case.data, verbose=0))
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(a, b)
    assert described(build_qonnx(imported)) == described(exported)
    return "the same"


@pytest.fixture(autouse=True)
def _fresh_names():
    yield
    keras.backend.clear_session()


def test_random_models():
    """Every model that is exported is imported, and exported as before."""
    outcomes = [check_round_trip(seed) for seed in range(8)]
    assert outcomes.count("the same") >= 6, outcomes


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(2000, 2200, 50))
def test_many_random_models(start):
    for seed in range(start, start + 50):
        check_round_trip(seed)
        keras.backend.clear_session()
