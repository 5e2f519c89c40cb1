"""Rules of hls4ml say what its converter does; the documentation lists all rules."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from kerasqnn import check_qonnx
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.checker.registry import table
from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN

from .models import model_of
from .test_checker import FOUND, KERNEL, WINDOW, dense, quant, shaped


def convert(model, folder, infer=True):
    """Convert a model with hls4ml's ONNX front end, as its documentation says."""
    import hls4ml
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    wrapper = ModelWrapper(model, make_deepcopy=True)
    wrapped = (wrapper.transform(InferShapes()) if infer else wrapper).model
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
        "hls4ml-pool-attributes",
        "hls4ml-pool-sequence",
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
    del part.graph.node[1:], part.graph.value_info[:]
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


def convolution(**attributes):
    """A channels-last convolution; None leaves an attribute out."""
    given = WINDOW | {"kernel_shape": [3, 3]} | attributes
    given = {k: v for k, v in given.items() if v is not None}
    constants = {"w": KERNEL.transpose(0, 2, 3, 1).copy()}
    nodes = [
        quant("x", "a", constants),
        quant("w", "v", constants),
        helper.make_node("Conv", ["a", "v"], ["y"], name="c",
                         domain=CHANNELS_LAST_DOMAIN, **given),
    ]  # fmt: skip
    model = model_of(nodes, constants, (1, 7, 7, 3), output_shape=(1, 5, 5, 2),
                     domains={DOMAIN: 1, CHANNELS_LAST_DOMAIN: 1})  # fmt: skip
    return shaped(model, a=(1, 7, 7, 3), v=(2, 3, 3, 3))


def test_hls4ml_wants_all_attributes_of_convolutions(tmp_path) -> None:
    assert check_qonnx(convolution(), target="hls4ml").ok
    assert convert(convolution(), tmp_path, infer=False).get_layers()
    for name in [*WINDOW, "kernel_shape"]:
        model = convolution(**{name: None})
        (finding,) = check_qonnx(model, target="hls4ml").errors
        assert (finding.rule, finding.where) == ("hls4ml-conv-attributes", name)
        with pytest.raises((KeyError, TypeError)):
            convert(model, tmp_path, infer=False)


def test_hls4ml_crashes_on_dilations(tmp_path) -> None:
    model = convolution(dilations=[2, 2])
    (finding,) = check_qonnx(model, target="hls4ml").errors
    assert finding.rule == "hls4ml-dilation"
    with pytest.raises(ValueError, match="array split"):
        convert(model, tmp_path, infer=False)


def test_hls4ml_infers_no_shapes(tmp_path) -> None:
    model = FOUND["hls4ml-tensor-shape"]
    with pytest.raises(RuntimeError, match="Could not find the shape"):
        convert(model, tmp_path, infer=False)
    path = tmp_path / "mended.onnx"
    assert check_qonnx(model, target="hls4ml", fix=path).ok
    assert convert(onnx.load(path), tmp_path, infer=False).get_layers()


def test_hls4ml_leaves_out_a_cut_window(tmp_path) -> None:
    model = FOUND["hls4ml-pool-ceil"]
    declared = model.graph.output[0].type.tensor_type.shape.dim[1:]
    assert [d.dim_value for d in declared] == [3, 3, 3]
    layers = list(convert(model, tmp_path).get_layers())
    assert list(layers[-1].get_output_variable().shape) == [2, 2, 3]


def test_hls4ml_writes_names_into_types(tmp_path) -> None:
    graph = convert(FOUND["hls4ml-name"], tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        graph.write()
    types = (tmp_path / "firmware" / "defines.h").read_text()
    assert re.search(r"typedef \S+ \S*/fc/product\S*;", types)


def test_documentation_is_current() -> None:
    """`docs/qonnx.md` holds the table of the rules as they are."""
    text = (Path(__file__).parents[2] / "docs" / "qonnx.md").read_text()
    found = re.search(r"<!-- rules -->\n(.*?)<!-- end of rules -->", text, re.S)
    assert found is not None and found[1] == table()
