"""Random graphs: rewrites change no number, and what is inferred of tensors holds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from kerasqnn import QONNXSession, convert_qonnx
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.qonnx import infer_grids, run_reference

from .random_graphs import RandomGraph


def check(seed: int) -> str:
    """Compare the session as it is with one that rewrites nothing; check the grids."""
    graph = RandomGraph(seed)
    model, x = graph.model(), graph.inputs()
    plain = QONNXSession(model, optimization="none", threads=1)
    expected = plain.run_flat([x])
    received = QONNXSession(model, threads=1).run_flat([x])
    # Which numbers win against NaN in a pool, ONNX Runtime leaves open.
    pooled = any(n.op_type == "MaxPool" for n in model.graph.node)
    for want, got in zip(expected, received, strict=True):
        rows = np.isfinite(want).reshape(len(want), -1).all(axis=1)
        rows = rows if pooled else np.ones_like(rows)
        np.testing.assert_array_equal(got[rows], want[rows], err_msg=f"seed {seed}")
    tensors, finite = plain.tensors(x[: len(x) // 2]), 0
    for name, grid in infer_grids(model).items():
        if name in tensors:
            values = tensors[name]
            assert np.all((values >= grid.low) & (values <= grid.high)), (seed, name)
            assert np.all(values / grid.step == np.rint(values / grid.step)), seed
            finite += 1
    return "known" if finite else "unknown"


@pytest.mark.parametrize("start", [0, 40])
def test_rewrites_and_grids(start):
    outcomes = [check(seed) for seed in range(start, start + 40)]
    assert outcomes.count("known") >= 15


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_rewrites_and_grids():
    for seed in range(10_000, 12_000):
        check(seed)


def test_the_executor_of_qonnx():
    """The numbers are those that qonnx gives, finite inputs given."""
    for seed in range(200, 212):
        graph = RandomGraph(seed)
        model, x = graph.model(), graph.inputs(8)[:4]
        expected = QONNXSession(model).run_flat([x])
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.shape.dim[0].dim_value = len(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = run_reference(model, x)
        others = reference if isinstance(reference, list) else [reference]
        for want, got in zip(others, expected, strict=True):
            np.testing.assert_array_equal(got, np.float32(want), err_msg=f"seed {seed}")


def test_qcdq_there_and_back():
    """What converts has the same numbers before, between and after."""
    converted = 0
    for seed in range(300, 340):
        graph = RandomGraph(seed)
        model, x = graph.model(), graph.inputs()[:12]
        try:
            qcdq = convert_qonnx(model, "qcdq")
        except (UnsupportedModelError, ValueError):
            continue
        back = convert_qonnx(qcdq, "qonnx")
        expected = QONNXSession(model).run_flat([x])
        for other in (qcdq, back):
            for want, got in zip(
                expected, QONNXSession(other).run_flat([x]), strict=True
            ):
                np.testing.assert_array_equal(got, want, err_msg=f"seed {seed}")
        converted += 1
    assert converted >= 4
