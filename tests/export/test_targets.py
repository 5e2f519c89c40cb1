"""Files for one consumer: it takes them as they are, with the numbers of Keras."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers as kl

import kerasqnn
from kerasqnn import layers as ql
from kerasqnn.errors import UnsupportedModelError
from kerasqnn.export import build_qonnx, run_reference
from kerasqnn.qonnx.operators import attributes_of
from kerasqnn.quantizers import Affine, Binary, FixedPoint

from .consumers import (
    BIAS,
    KERNEL,
    channels_first,
    convolutional,
    filled,
    perceptron,
    samples,
)
from .front_end import emulate_onnx

MODELS = {"perceptron": perceptron, "convolutional": convolutional}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> keras.Model:
    return MODELS[request.param]()


def sequential(*layers: keras.layers.Layer, shape: tuple[int, ...]) -> keras.Model:
    grid = ql.QuantInput("quantized_bits(6,1,1)", name="grid")
    return filled(keras.Sequential([keras.Input(shape, name="x"), grid, *layers]))


def dense(
    units: int = 3, kernel: object = KERNEL, **arguments: object
) -> ql.QuantDense:
    return ql.QuantDense(units, kernel_quantizer=kernel, use_bias=False, **arguments)


# -- hls4ml ----------------------------------------------------------------------------


def test_hls4ml_emulates_the_bits_of_keras(model, tmp_path):
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", target="hls4ml")
    x = samples(model)
    (got,) = emulate_onnx(onnx.load(path), [x], tmp_path / "project")
    np.testing.assert_array_equal(got, model.predict(x, verbose=0))


def test_hls4ml_file_runs_in_qonnx(model, tmp_path):
    """One sample: qonnx infers one for channels-last operators, whatever the batch."""
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", target="hls4ml")
    x = samples(model, 3)
    want = model.predict(x, verbose=0)
    np.testing.assert_array_equal(kerasqnn.run_qonnx(path, x), want)
    for one, expected in zip(x, want, strict=True):
        np.testing.assert_array_equal(run_reference(path, one[None])[0], expected)


def test_hls4ml_shares_no_computation_between_quantizers():
    """hls4ml makes the first one the type of the layer, also for the other reader."""
    inputs = keras.Input((5,))
    x = ql.QuantInput("quantized_bits(6,1,1)")(inputs)
    x = kl.ReLU(name="shared")(dense(4)(x))
    first = ql.QuantActivation("quantized_bits(4,1,1)", name="first")(x)
    second = ql.QuantActivation("quantized_bits(6,3,1)")(x)
    model = filled(keras.Model(inputs, kl.Add()([first, second])))
    with pytest.raises(UnsupportedModelError, match="'first'.*output type of 'shared'"):
        build_qonnx(model, target="hls4ml")
    with pytest.raises(UnsupportedModelError, match="'first'.*output type of 'shared'"):
        build_qonnx(keras.Model(inputs, [x, first]), target="hls4ml")
    build_qonnx(keras.Model(inputs, first), target="hls4ml")


def test_hls4ml_names_and_weights():
    """Steps of channels on the smallest one, signs as two bits, names as in C++."""
    model = sequential(
        dense(4, FixedPoint(4, 0, scale=(1.0, 0.5, 0.25, 1.0)), name="a.b"),
        ql.QuantActivation(Binary(alpha=0.5), name="signs"),
        dense(3, Binary(), name="class"),
        shape=(5,),
    )
    proto = build_qonnx(model, target="hls4ml")
    assert all(n.name.isidentifier() for n in proto.graph.node)
    assert [o.name for o in proto.graph.output] == ["layer_class"]
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    nodes = {n.name: n for n in proto.graph.node}
    steps = nodes["a_b_kernel_quant"]
    assert constants[steps.input[1]] == 0.25 * 2**-3
    assert constants[steps.input[3]] == 4 + 2
    signs = nodes["class_kernel_quant"]
    assert (signs.op_type, constants[signs.input[3]]) == ("Quant", 2)
    assert constants[nodes["signs_sign"].input[1]] == 1
    x = samples(model)
    got = kerasqnn.QONNXSession(proto).run(x)
    np.testing.assert_array_equal(got, model.predict(x, verbose=0))


def test_hls4ml_global_maximum_is_a_pooling(tmp_path):
    convolution = ql.QuantConv2D(3, 2, kernel_quantizer=KERNEL, use_bias=False)
    depthwise = ql.QuantDepthwiseConv2D(
        2, depthwise_quantizer=KERNEL, bias_quantizer=BIAS
    )
    layers = [convolution, depthwise, kl.GlobalMaxPooling2D(), dense()]
    model = sequential(*layers, shape=(5, 4, 2))
    proto = build_qonnx(model, target="hls4ml")
    x = samples(model)
    (got,) = emulate_onnx(proto, [x], tmp_path / "project")
    np.testing.assert_array_equal(got, model.predict(x, verbose=0))


# -- FINN ------------------------------------------------------------------------------


def test_finn_file_goes_through_the_tools_of_qonnx(model, tmp_path):
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.util.cleanup import cleanup
    from qonnx.util.range_analysis import range_analysis
    from qonnx.util.to_channels_last import to_channels_last

    path = kerasqnn.export_qonnx(
        model, tmp_path / "model.onnx", target="finn", batch_size=1
    )
    images = samples(model, 3)
    want = model.predict(images, verbose=0)
    x = channels_first(images) if images.ndim == 4 else images
    clean, last = (str(tmp_path / f"{name}.onnx") for name in ("clean", "last"))
    cleanup(str(path), out_file=clean, extract_conv_bias=True)
    to_channels_last(clean, out_file=last)
    wrapper = ModelWrapper(clean).transform(InferDataTypes())
    (output,) = wrapper.graph.output
    annotated = [wrapper.get_tensor_datatype(n.output[0]) for n in wrapper.graph.node]
    assert annotated
    ranges = range_analysis(clean, irange="-8,8", report_mode="range", do_cleanup=True)
    for one, expected in zip(x, want, strict=True):
        for file in (path, clean, last):
            got = run_reference(file, one[None])
            np.testing.assert_array_equal(got[0], expected)
    low, high = ranges[output.name]
    assert np.all(low <= want) and np.all(want <= high)


def quantizers_of(proto: onnx.ModelProto) -> dict[str, tuple[str, int, int]]:
    """By name of an activation's Quant: what computes its input, sign and bits."""
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    producers = {n.output[0]: n.op_type for n in proto.graph.node}
    return {
        n.name: (
            producers.get(n.input[0], ""),
            attributes_of(n)["signed"],
            int(constants[n.input[3]]),
        )
        for n in proto.graph.node
        if n.op_type == "Quant" and n.input[0] not in constants
    }


def test_finn_signs_follow_relu():
    """Rewritten with the same numbers: no negative code is used behind a Relu."""
    model = sequential(
        dense(name="one"),
        kl.ReLU(),
        ql.QuantActivation("quantized_bits(5,2,1)", name="signed"),
        dense(name="two"),
        ql.QuantActivation(FixedPoint(5, 2, signed=False), name="unsigned"),
        shape=(4,),
    )
    proto = build_qonnx(model, target="finn")
    assert quantizers_of(proto) == {
        "grid": ("", 1, 6),
        "signed": ("Relu", 0, 4),
        "unsigned": ("Relu", 0, 5),
    }
    x = samples(model)
    got = kerasqnn.QONNXSession(proto).run(x)
    np.testing.assert_array_equal(got, model.predict(x, verbose=0))


# -- QCDQ and quantized operators ------------------------------------------------------


def check_in_stock_onnxruntime(path, model, operator):
    import onnxruntime

    operators = {n.op_type for n in onnx.load(path).graph.node}
    assert operator in operators and "Quant" not in operators
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = samples(model)
    (got,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_array_equal(got, model.predict(x, verbose=0))


def test_qcdq_runs_in_stock_onnxruntime(model, tmp_path):
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", target="qcdq")
    check_in_stock_onnxruntime(path, model, "QuantizeLinear")


def test_quantized_operators_run_in_stock_onnxruntime(tmp_path):
    """Inputs, weights and outputs of every layer are quantized."""
    model = sequential(
        dense(5),
        ql.QuantActivation("quantized_relu(4,2)"),
        dense(3),
        ql.QuantActivation("quantized_bits(6,3,1)"),
        shape=(4,),
    )
    path = kerasqnn.export_qonnx(model, tmp_path / "model.onnx", target="qop")
    check_in_stock_onnxruntime(path, model, "QLinearMatMul")


def test_quantized_operators_refuse_a_float_output(model, tmp_path):
    with pytest.raises(UnsupportedModelError, match="output"):
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx", target="qop")
    assert not list(tmp_path.iterdir())


# -- what is refused -------------------------------------------------------------------

IMAGE, VECTOR = (6, 6, 2), (4,)
PER_CHANNEL = FixedPoint(4, 1, scale=(1.0, 0.5, 0.25, 1.0))
ZERO_POINT = Affine(4, scale=0.25, zero_point=3)
REFUSED = {
    "scales": (["hls4ml", "finn"], ql.QuantActivation(PER_CHANNEL, name="layer"),
               VECTOR, "4 scales"),
    "zero point": (["hls4ml", "finn"], ql.QuantActivation(ZERO_POINT, name="layer"),
                   VECTOR, "zero point"),
    "no power": (["hls4ml"], ql.QuantDense(2, kernel_quantizer=FixedPoint(
        4, 0, scale=0.3), use_bias=False, name="layer"), VECTOR, "no power of two"),
    "floor": (["finn"], ql.QuantActivation(FixedPoint(4, 1, rounding="FLOOR"),
              name="layer"), VECTOR, "rounding='ROUND'"),
    "wide": (["finn"], ql.QuantActivation(FixedPoint(9, 1), name="layer"),
             VECTOR, "at most 8 bits"),
    "average": (["hls4ml", "finn"], kl.AveragePooling2D(2, name="layer"),
                IMAGE, "no operator AveragePool"),
    "dilation": (["hls4ml"], ql.QuantConv2D(2, 2, dilation_rate=2, name="layer",
                 kernel_quantizer=KERNEL, use_bias=False), IMAGE, "dilation_rate=1"),
    "groups": (["hls4ml"], ql.QuantConv2D(4, 2, groups=2, kernel_quantizer=KERNEL,
               use_bias=False, name="layer"), IMAGE, "groups=1"),
    "pooling": (["hls4ml"], kl.MaxPooling2D(4, padding="same", name="layer"),
                IMAGE, "valid"),
    "bound": (["hls4ml", "finn"], kl.ReLU(1.0, name="layer"), VECTOR,
              "no bounds|no operator M"),
    "axes": (["hls4ml"], dense(name="layer"), IMAGE, "takes vectors"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case, tmp_path):
    targets, layer, shape, pattern = REFUSED[case]
    # A new layer: one that is built belongs to a model.
    layer = type(layer).from_config(layer.get_config())
    model = sequential(layer, shape=shape)
    build_qonnx(model, exact=False)
    for target in targets:
        with pytest.raises(UnsupportedModelError, match=pattern) as caught:
            kerasqnn.export_qonnx(
                model, tmp_path / "model.onnx", target=target, exact=False
            )
        assert caught.value.layer == "layer"
        assert "'layer'" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_hls4ml_concatenates_pairs():
    """Its front end raises a bare exception for three tensors."""
    inputs = keras.Input((4,), name="x")
    x = ql.QuantInput("quantized_bits(6,1,1)", name="grid")(inputs)
    parts = [dense(name=name)(x) for name in "abc"]
    three = filled(keras.Model(inputs, kl.Concatenate(name="three")(parts)))
    with pytest.raises(UnsupportedModelError, match="in pairs") as caught:
        build_qonnx(three, target="hls4ml")
    assert caught.value.layer == "three"
    two = kl.Concatenate()([parts[0], kl.Concatenate()(parts[1:])])
    build_qonnx(filled(keras.Model(inputs, two)), target="hls4ml")


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ({"target": "hls4m"}, r"Unknown target\. Did you mean 'hls4ml'"),
        ({"layout": "first"}, "Unknown layout"),
        ({"target": "finn", "layout": "channels_last"}, "must be 'channels_first'"),
        ({"target": "hls4ml", "layout": "channels_first"}, "must be 'channels_last'"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_arguments(arguments, pattern, tmp_path: Path):
    model = sequential(dense(), shape=VECTOR)
    with pytest.raises(ValueError, match=pattern):
        kerasqnn.export_qonnx(model, tmp_path / "model.onnx", **arguments)
    assert not list(tmp_path.iterdir())
