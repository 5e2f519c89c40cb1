"""Rules of hls4ml say what its converter does; the documentation lists all rules."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

from kerasqnn import check_qonnx
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.checker.registry import table

from .test_checker import FOUND, dense


def convert(model, folder):
    """Convert a model with hls4ml's ONNX front end, as its documentation says."""
    import hls4ml
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    wrapped = ModelWrapper(model, make_deepcopy=True).transform(InferShapes()).model
    options = {"backend": "Vitis"}
    with contextlib.redirect_stdout(io.StringIO()):
        config = hls4ml.utils.config.config_from_onnx_model(
            wrapped, granularity="name", default_precision="fixed<32,16>", **options
        )
        return hls4ml.converters.convert_from_onnx_model(
            wrapped, hls_config=config, output_dir=str(folder), **options
        )


def test_good_file_is_converted(tmp_path) -> None:
    assert check_qonnx(dense(), target="hls4ml").ok
    assert convert(dense(), tmp_path).get_layers()


@pytest.mark.parametrize(
    "rule",
    [
        "missing-rounding-mode",
        "rounding-mode-case",
        "rounding-mode-half-even",
        "missing-node-name",
        "duplicate-node-name",
        "bitwidth-per-channel",
        "hls4ml-constant-node",
        "hls4ml-gemm",
        "hls4ml-channels-first",
        "hls4ml-rounding-mode",
        "hls4ml-unsigned-narrow",
        "hls4ml-weight-zero-point",
        "hls4ml-matmul-scales",
        "hls4ml-activation-scale",
        "hls4ml-matmul-left",
    ],
)
def test_hls4ml_refuses_or_crashes(rule: str, tmp_path) -> None:
    """Errors of any type: hls4ml has none of its own."""
    with pytest.raises(Exception):  # noqa: B017
        convert(FOUND[rule], tmp_path)


@pytest.mark.parametrize(
    "rule", ["hls4ml-zero-point", "hls4ml-one-bit", "bitwidth-fractional"]
)
def test_hls4ml_takes_another_type(rule: str, tmp_path) -> None:
    """It converts without a word to a type that lacks values of the quantizer."""
    model = FOUND[rule]
    layer = next(n for n in convert(model, tmp_path).get_layers() if "a_q" in n.name)
    precision = layer.get_output_variable().type.precision
    step = 2.0**-precision.fractional
    high = 2.0 ** (precision.integer - 1) - step
    x = np.linspace(-9, 9, 64).reshape(16, 4).astype(np.float32)
    part = dense()
    part.CopyFrom(model)
    del part.graph.node[1:]
    part.graph.output[0].name = "a"
    part.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    assert run_reference(part, x).max() != high


def test_hls4ml_leaves_out_a_product(tmp_path) -> None:
    """One product of two that share their weights stays without an implementation."""
    layers = convert(FOUND["shared-weight-quantizer"], tmp_path).get_layers()
    assert [n.class_name for n in layers if n.name.endswith(("m1", "m2"))] == [
        "Dense",
        "MatMul",
    ]


def test_exported_file(tmp_path) -> None:
    """What kerasqnn exports has no findings."""
    import keras

    import kerasqnn

    grid = "quantized_bits(4,0,1)"
    model = keras.Sequential([
        keras.Input((6,)),
        kerasqnn.layers.QuantInput(grid),
        kerasqnn.layers.QuantDense(3, kernel_quantizer=grid, bias_quantizer=grid),
        kerasqnn.layers.QuantActivation("quantized_relu(4,1)"),
    ])  # fmt: skip
    kerasqnn.export_qonnx(model, tmp_path / "model.onnx")
    assert check_qonnx(tmp_path / "model.onnx").findings == []


def test_documentation_is_current() -> None:
    """`docs/qonnx.md` holds the table of the rules as they are."""
    text = (Path(__file__).parents[2] / "docs" / "qonnx.md").read_text()
    found = re.search(r"<!-- rules -->\n(.*?)<!-- end of rules -->", text, re.S)
    assert found is not None and found[1] == table()
