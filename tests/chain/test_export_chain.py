"""Random models: Keras, ONNX Runtime and qonnx's executor give the same bits."""

from __future__ import annotations

import random
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import kerasqnn
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import run_reference
from kerasqnn.models import analyse, read_model
from kerasqnn.models.noise_control import noise_switched_off

from .random_models import Case, random_case

REPLAYABLE = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def predictions(case: Case) -> list[np.ndarray]:
    """Return what `model.predict` gives with its noise off, as a list."""
    with noise_switched_off(case.model):
        outputs = case.model.predict(case.data, batch_size=16, verbose=0)
    return keras.tree.flatten(outputs)


def assert_same(want: list[np.ndarray], got: object, what: str) -> None:
    """Compare lists of arrays bit for bit (but for the sign of zero)."""
    received = got if isinstance(got, list) else [got]
    assert len(want) == len(received), what
    for index, (a, b) in enumerate(zip(want, received, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), (what, index)
        assert np.all(np.isfinite(a)), (what, index)
        different = int(np.sum(a != b))
        assert not different, f"{what}: {different} of {a.size} in output {index}"


def assert_names_a_layer(error: UnsupportedModelError, model: keras.Model) -> None:
    """A refusal says which layer is meant, in its text and as an attribute."""
    assert error.layer in {o.layer for o in read_model(model)}, error
    assert repr(error.layer) in str(error), error


def check_export(case: Case, folder: Path) -> str:
    """Check one model; return `"exact"`, `"faithful"` or `"refused"`.

    A faithful model is one in which no number is ever rounded in float32 except by its
    quantizers: ONNX Runtime then needs none of kerasqnn's options.
    """
    path = folder / "model.onnx"
    path.unlink(missing_ok=True)
    try:
        kerasqnn.export_qonnx(case.model, path)
    except UnsupportedModelError as error:
        assert_names_a_layer(error, case.model)
        assert not list(folder.iterdir())
        return "refused"
    want = predictions(case)
    assert_same(want, kerasqnn.run_qonnx(path, case.inputs), "ONNX Runtime")
    assert_same(want, run_reference(path, case.inputs), "qonnx")
    graph = read_model(case.model).without_noise()
    facts = analyse(graph).facts
    if not all(facts[o.output].faithful for o in graph if o.kind != "input"):
        return "exact"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {i.name: x for i, x in zip(session.get_inputs(), case.inputs, strict=True)}
    assert_same(want, session.run(None, feeds), "stock ONNX Runtime")
    return "faithful"


@pytest.fixture(autouse=True)
def _fresh_names():
    yield
    keras.backend.clear_session()


def test_random_models(tmp_path):
    """Most of them are exact: the test would show little if all were refused."""
    outcomes = []
    for seed in range(30):
        outcomes.append(check_export(random_case(seed), tmp_path))
        keras.backend.clear_session()
    assert outcomes.count("faithful") >= 10, outcomes
    assert outcomes.count("exact") >= 3, outcomes
    assert outcomes.count("refused") >= 3, outcomes


@settings(max_examples=15, **REPLAYABLE)
@given(rng=st.randoms(use_true_random=False))
def test_odd_random_models(tmp_path_factory, rng):
    """Hypothesis draws the extremes more often, and shrinks what fails."""
    event(check_export(random_case(rng), tmp_path_factory.mktemp("model")))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=500, **REPLAYABLE)
@given(rng=st.randoms(use_true_random=False))
def test_many_odd_random_models(tmp_path_factory, rng):
    event(check_export(random_case(rng), tmp_path_factory.mktemp("model")))
    keras.backend.clear_session()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(1000, 1500, 100))
def test_many_random_models(start, tmp_path):
    for seed in range(start, start + 100):
        check_export(random_case(seed), tmp_path)
        keras.backend.clear_session()


def test_random_case_replays():
    """The same seed is the same model, weights and inputs."""
    first, second = (random_case(random.Random(7)) for _ in range(2))
    for a, b in zip(first.inputs, second.inputs, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first.model.weights, second.model.weights, strict=True):
        if "seed_generator" not in a.path:
            np.testing.assert_array_equal(a.numpy(), b.numpy())
