"""Every reason not to deploy: named, with a way out, and without a trace on disk."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import keras
import pytest

import kerasqnn
from kerasqnn.errors import CompilationError, ToolNotFoundError
from kerasqnn.hardware import emulation
from kerasqnn.layers import (
    QuantDense,
    QuantInput,
)

KERNEL = "quantized_bits(4,0,1)"
BIAS = "quantized_bits(6,1,1)"
BOARD = "arty-a7-100t"


def small(*layers: Any, shape: tuple[int, ...] = (4,)) -> keras.Model:
    """A quantized input, the layers, and a quantized dense layer."""
    return keras.Sequential(
        [
            keras.Input(shape, name="pixels"),
            QuantInput("quantized_bits(6,1,1)", name="grid"),
            *layers,
            QuantDense(3, kernel_quantizer=KERNEL, bias_quantizer=BIAS, name="logits"),
        ]
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The folder to deploy to; nothing may be beside it afterwards."""
    return tmp_path / "deployment"


# -- arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"board": "pink-z2"}, r"Unknown board. Did you mean 'pynq-z2'\?.*'pink-z2'"),
        ({"board": "nothing like it"}, r"Unknown board. Allowed: .*arty"),
        ({"io_type": "io_streams"}, r"Unknown io_type. Did you mean 'io_stream'\?"),
        ({"strategy": "latency"}, r"Unknown strategy. Did you mean 'Latency'\?"),
        ({"backend": "Vivad"}, r"Unknown backend. Did you mean 'Vivado'\?"),
        ({"backend": "VivadoAccelerator"}, r"is for the Pynq-Z2. Allowed for Digilent"),
        ({"reuse_factor": 0}, r"`reuse_factor` must be a positive integer.*=0"),
        ({"reuse_factor": 1.5}, r"`reuse_factor` must be a positive integer.*=1\.5"),
        ({"reuse_factor": True}, r"`reuse_factor` must be a positive integer.*=True"),
        ({"reuse_factor": {"logits": -1}}, r"positive integer.*\{'logits': -1\}"),
        (
            {"reuse_factor": {"logit": 2}},
            r"Unknown layer in `reuse_factor`. Did you mean 'logits'\?",
        ),
        (
            {"reuse_factor": {"logits": 5}, "strategy": "Resource"},
            r"'logits' with 4 inputs and 3 outputs cannot have that reuse factor; "
            r"the nearest is 4. Allowed: 1, 2, 4, 12. Received: 5",
        ),
        ({"clock_mhz": 0}, r"`clock_mhz` must be from 1 to 1000 MHz.*clock_mhz=0"),
        ({"clock_mhz": 1e9}, r"`clock_mhz` must be from 1 to 1000 MHz"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_arguments(arguments, message, target):
    given = {"board": BOARD, **arguments}
    with pytest.raises(ValueError, match=message):
        kerasqnn.deploy(small(), output_dir=target, **given)
    assert not list(target.parent.iterdir())


def test_no_model(target):
    with pytest.raises(TypeError, match=r"Expected a keras\.Model.*Received: 3"):
        kerasqnn.deploy(3, BOARD, target)


# -- folders ---------------------------------------------------------------------------


def test_a_folder_of_others_is_never_touched(target, monkeypatch):
    target.mkdir()
    (target / "thesis.tex").write_text("three years")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"is no kerasqnn deployment"):
            kerasqnn.deploy(small(), BOARD, target, overwrite=overwrite)
    file = target / "thesis.tex"
    with pytest.raises(FileExistsError, match=r"is no kerasqnn deployment"):
        kerasqnn.deploy(small(), BOARD, file, overwrite=True)
    assert file.read_text() == "three years"
    assert list(target.parent.iterdir()) == [target]


def test_a_place_that_cannot_be_written():
    with pytest.raises(PermissionError, match=r"Cannot write to '/proc.*output_dir="):
        kerasqnn.deploy(small(), BOARD, "/proc/no/deployment")


# -- tools -----------------------------------------------------------------------------


def test_missing_compiler(target, monkeypatch):
    """Said before anything is converted or written."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolNotFoundError, match=r"g\+\+, which is not on PATH"):
        kerasqnn.deploy(small(), BOARD, target)
    assert not list(target.parent.iterdir())


def test_failing_compiler_is_shown_and_leaves_nothing(target, monkeypatch):
    monkeypatch.setattr(
        emulation, "_SOURCE", emulation._SOURCE.replace("#include <string>", "no C++;")
    )
    deep = target / "made" / "for it"
    with pytest.raises(CompilationError, match=r"(?s)exit status 1:.*error:.*Command:"):
        kerasqnn.deploy(small(), BOARD, deep)
    assert not list(target.parent.iterdir())


def test_compiler_without_end(target, monkeypatch):
    def waits(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(emulation.subprocess, "run", waits)
    with pytest.raises(CompilationError, match=r"took longer than 1800 s"):
        kerasqnn.deploy(small(), BOARD, target)
    assert not list(target.parent.iterdir())


def test_failing_conversion_is_shown_and_leaves_nothing(target, monkeypatch):
    from hls4ml.model.graph import ModelGraph

    def fails(*args, **kwargs):
        print("hls4ml explains")
        raise Exception("no way")

    monkeypatch.setattr(ModelGraph, "from_layer_list", fails)
    with pytest.raises(CompilationError, match=r"(?s)no way.*hls4ml explains"):
        kerasqnn.deploy(small(), BOARD, target)
    assert not list(target.parent.iterdir())


def test_a_changed_type_is_noticed(target, monkeypatch):
    """The audit: what hls4ml builds must have the types that were asked for."""
    from hls4ml.model.graph import ModelGraph

    make = ModelGraph.from_layer_list.__func__

    def narrows(cls, *args, **kwargs):
        graph = make(cls, *args, **kwargs)
        graph.graph["logits"].attributes["accum_t"].precision.width -= 1
        return graph

    monkeypatch.setattr(ModelGraph, "from_layer_list", classmethod(narrows))
    with pytest.raises(CompilationError, match=r"changed the type accum of .*'logits'"):
        kerasqnn.deploy(small(), BOARD, target)
    assert not list(target.parent.iterdir())


def test_an_interrupt_leaves_nothing(target, monkeypatch):
    def interrupts(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(emulation.subprocess, "run", interrupts)
    with pytest.raises(KeyboardInterrupt):
        kerasqnn.deploy(small(), BOARD, target)
    assert not list(target.parent.iterdir())
