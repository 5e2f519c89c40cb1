"""The layers on JAX and torch are as docs/parity.md says."""

import importlib.util

import pytest

from .parity import OTHERS, compare, pairs, read_table

EVERY = 17  # prime, so that all layers and quantizers have their turn


def test_the_table_is_complete():
    """A new layer or quantizer needs a row or column: run tests.backends.parity."""
    assert set(read_table()) == set(pairs())


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_every_seventeenth_pair(backend):
    """The bits of TensorFlow where the table says so, and no new refusal."""
    assert importlib.util.find_spec(backend), "make backends installs it"
    table, seen = read_table(), 0
    for key, where, result in compare([backend], EVERY):
        name, _, quantizer = key.partition(" ")
        if where == backend:
            said = table[name, quantizer][OTHERS.index(backend)]
            if said != "-":
                assert "Error" not in result, f"{key}: {result}"
            if said == "=":
                assert result == "=", f"{key}: {result}"
            seen += 1
    assert seen == len(pairs()[::EVERY])
