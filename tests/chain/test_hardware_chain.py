"""Random models on random boards: the hardware emulation gives the model's bits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import keras
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import kerasqnn
from kerasqnn.errors import UnsupportedModelError

from .random_models import Case, random_case
from .test_export_chain import (
    REPLAYABLE,
    assert_names_a_layer,
    assert_same,
    predictions,
)


def random_settings(rng: random.Random) -> dict[str, Any]:
    """Return arguments for `deploy`."""
    board = rng.choice(["arty-a7-100t", "pynq-z2"])
    chosen: dict[str, Any] = {
        "board": board,
        "io_type": rng.choice(["io_stream", "io_parallel"]),
        "strategy": rng.choice([None, "Latency", "Resource"]),
        "reuse_factor": rng.choice([1, 1, 2, 3, 8]),
    }
    if board == "pynq-z2":
        chosen["io_type"] = "io_stream"
        if rng.random() < 0.3:
            chosen["backend"] = rng.choice(["Vitis", "Vivado"])
    elif rng.random() < 0.3:
        chosen["backend"] = "Vivado"
    return chosen


def check_hardware(case: Case, chosen: dict[str, Any], folder: Path) -> str:
    """Check one model; return `"exact"`, `"wide"`, `"cut"` or `"refused"`.

    In a wide model Keras itself rounds, and exact integers are the reference; a cut one
    ends before its softmax, where `verify` runs Keras's operations.
    """
    try:
        deployment = kerasqnn.deploy(case.model, output_dir=folder, **chosen)
    except UnsupportedModelError as error:
        assert not list(folder.parent.iterdir())
        if "nothing to put on the chip" not in str(error):
            assert_names_a_layer(error, case.model)
        return "refused"
    verification = deployment.verify(case.data)
    assert verification, (str(verification), chosen)
    received = deployment.emulate(case.data)
    if verification.reference == "exact integers":
        return "wide"
    if any("softmax" in note for note in deployment.notes):
        return "cut"
    assert_same(predictions(case), received, "emulation")
    return "exact"


def check_seed(seed: int, folder: Path) -> str:
    """Check the model and the settings of a seed."""
    outcome = check_hardware(
        random_case(seed, hardware=True), random_settings(random.Random(seed)), folder
    )
    keras.backend.clear_session()
    return outcome


def test_random_models(tmp_path):
    """Six models are compiled, whatever is refused between them."""
    outcomes: list[str] = []
    for seed in range(18):
        folder = tmp_path / f"seed {seed}"
        folder.mkdir()
        outcomes.append(check_seed(seed, folder / "deployment"))
        if len(outcomes) - outcomes.count("refused") == 6:
            break
    assert len(outcomes) - outcomes.count("refused") == 6, outcomes
    assert outcomes.count("exact") >= 3, outcomes


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(2000, 2060, 20))
def test_many_random_models(start, tmp_path):
    for seed in range(start, start + 20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        check_seed(seed, folder / "deployment")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=20, **REPLAYABLE)
@given(rng=st.randoms(use_true_random=False))
def test_odd_random_models(tmp_path_factory, rng):
    """Hypothesis draws the extremes more often, and shrinks what fails."""
    folder = tmp_path_factory.mktemp("model") / "deployment"
    case = random_case(rng, hardware=True)
    event(check_hardware(case, random_settings(rng), folder))
    keras.backend.clear_session()
