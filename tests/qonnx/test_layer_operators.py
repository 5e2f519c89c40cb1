"""Thresholds, pooling and images of qonnx's registries: the numbers of its executor."""

import itertools

import numpy as np
import pytest
from onnx import StringStringEntryProto, TensorAnnotation, helper

from kerasqnn import QONNXSession
from kerasqnn.qonnx import run_reference
from kerasqnn.qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN

from .models import model_of

RNG = np.random.default_rng(0)


def model_with(op_type, shape, constants=None, output_shape=None, **attributes):
    node = helper.make_node(
        op_type, ["x", *(constants or {})], ["y"], domain=DOMAIN, **attributes
    )
    return model_of([node], constants or {}, shape, output_shape=output_shape)


def check(model, x):
    received = QONNXSession(model).run(x)
    assert received.dtype == np.float32
    np.testing.assert_array_equal(received, np.float32(run_reference(model, x)))


def on_grid(shape):
    """Many values equal to a threshold, and what is no number."""
    x = RNG.integers(-8, 9, shape).astype(np.float32) / 4
    x.flat[:5] = [np.nan, np.inf, -np.inf, -0.0, 0.0]
    return x


LAYOUTS = {
    "": [(4, 3), (2, 5, 3), (2, 3, 4, 5), (2, 3, 4, 2, 2)],
    "NC": [(4, 3)],
    "NWC": [(2, 5, 3)],
    "NCW": [(2, 3, 5)],
    "NCHW": [(2, 3, 4, 5)],
    "NHWC": [(2, 4, 5, 3)],
    "N?W": [(2, 3, 5)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_multi_threshold(layout):
    """All layouts, thresholds for each channel or all, scales, biases, NaN."""
    for shape, channels in itertools.product(LAYOUTS[layout], (1, 3)):
        for (scale, bias), steps in itertools.product(
            ((1.0, 0.0), (0.3, -1.5), (2.0, -8.0), (0.0, 0.7)), (1, 7)
        ):
            thresholds = np.sort(RNG.integers(-8, 9, (channels, steps)) / 4)
            attributes = {"out_scale": scale, "out_bias": bias, "out_dtype": "INT4"}
            attributes |= {"data_layout": layout} if layout else {}
            constants = {"thresholds": thresholds.astype(np.float32)}
            check(model_with("MultiThreshold", shape, constants, **attributes),
                  on_grid(shape))  # fmt: skip


def test_multi_threshold_of_integers():
    """numpy compares float32 with int64 in double precision."""
    thresholds = {"thresholds": np.array([[2**24 + 1, 2**25]])}
    model = model_with("MultiThreshold", (1, 4), thresholds, out_dtype="UINT2")
    check(model, np.float32([[2**24, 2**24 + 2, 2**25, -1]]))


def test_thresholds_in_any_order():
    """They are counted, whatever their order."""
    thresholds = {"thresholds": np.float32([[2, -1, 0.5]])}
    model = model_with("MultiThreshold", (1, 5), thresholds, out_dtype="UINT2")
    check(model, np.float32([[-2, -1, 0, 1, 3]]))


def test_shape_behind_other_operators():
    """The shape follows from the operators before, also from QONNX ones."""
    constants = {"scale": np.float32(0.5), "zeropt": np.float32(0)}
    constants |= {"bits": np.float32(4), "shape": np.array([0, 3, 2])}
    constants["thresholds"] = np.sort(RNG.normal(0, 1, (2, 3))).astype(np.float32)
    nodes = [
        helper.make_node("Quant", ["x", "scale", "zeropt", "bits"], ["q"],
                         domain=DOMAIN, signed=1, narrow=0, rounding_mode="ROUND"),
        helper.make_node("Reshape", ["q", "shape"], ["r"]),
        helper.make_node("MultiThreshold", ["r", "thresholds"], ["y"], domain=DOMAIN,
                         out_dtype="UINT2"),
    ]  # fmt: skip
    model = model_of(nodes, constants, (1, 6), output_shape=(1, 3, 2))
    check(model, RNG.normal(0, 2, (1, 6)).astype(np.float32))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_quant_avg_pool(layout):
    """Sums of windows, shifted right until so many bits remain."""
    for kernel, stride, (ibits, obits), signed in itertools.product(
        (1, 2, 3), (1, 2), ((4, 4), (8, 4), (4, 16), (2, 1)), (0, 1)
    ):
        shape = (2, 3, 6, 7) if layout == "NCHW" else (2, 6, 7, 3)
        size = tuple((n - kernel) // stride + 1 for n in (6, 7))
        after = (2, 3, *size) if layout == "NCHW" else (2, *size, 3)
        model = model_with(
            "QuantAvgPool2d",
            shape,
            output_shape=after,
            kernel=kernel,
            stride=stride,
            ibits=ibits,
            obits=obits,
            signed=signed,
            data_layout=layout,
        )
        low = -(2 ** (ibits - 1)) if signed else 0
        x = RNG.integers(low, low + 2**ibits, shape).astype(np.float32)
        check(model, x)


@pytest.mark.filterwarnings("ignore:Output shapes disagree")
def test_max_pool_nhwc():
    """Strides, padding, windows that reach over the border."""
    for kernel, stride, pad, ceil in itertools.product((2, 3), (1, 2), (0, 1), (0, 1)):
        dummy = [1, 1, 1, 2]
        size = [
            int((np.ceil if ceil else np.floor)((n + 2 * pad - kernel) / stride + 1))
            for n in (6, 7)
        ]
        model = model_with(
            "MaxPoolNHWC",
            (1, 6, 7, 2),
            output_shape=(1, *size, dummy[3]),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            ceil_mode=ceil,
        )
        check(model, RNG.normal(0, 1, (1, 6, 7, 2)).astype(np.float32))


@pytest.mark.parametrize("shape", [(2, 9), (2, 4, 9)])
def test_xnor_popcount(shape):
    """Counts where zeros and ones agree."""
    constants = {"w": RNG.integers(0, 2, (9, 5)).astype(np.float32)}
    model = model_with("XnorPopcountMatMul", shape, constants, (*shape[:-1], 5))
    x = RNG.integers(0, 2, shape).astype(np.float32)
    check(model, x)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 3)])
def test_im2col(kernel):
    """Windows side by side, also strided, dilated and padded."""
    for stride, dilation, pads, value in itertools.product(
        ((1, 1), (2, 1)), ((1, 1), (1, 2)), ([0] * 4, [1, 0, 2, 1]), (0, 3)
    ):
        after = [
            (n + pads[i] + pads[i + 2] - dilation[i] * (kernel[i] - 1) - 1)
            // stride[i] + 1
            for i, n in enumerate((6, 7))
        ]  # fmt: skip
        model = model_with(
            "Im2Col",
            (1, 6, 7, 2),
            output_shape=(1, *after, 2 * kernel[0] * kernel[1]),
            kernel_size=kernel,
            stride=stride,
            dilations=dilation,
            pad_amount=pads,
            pad_value=value,
            input_shape="(1,6,7,2)",
        )
        # qonnx demands the data type.
        entry = StringStringEntryProto(key="finn_datatype", value="FLOAT32")
        annotation = TensorAnnotation(tensor_name="x")
        annotation.quant_parameter_tensor_names.append(entry)
        model.graph.quantization_annotation.append(annotation)
        x = RNG.normal(0, 1, (1, 6, 7, 2)).astype(np.float32)
        x[0, 0, 0, 0], x[0, 1, 1, 1] = np.nan, np.inf
        check(model, x)
        # qonnx mixes the samples of larger batches up: each is laid out as if alone.
        two = QONNXSession(model).run(np.concatenate([x, 2 * x]))
        np.testing.assert_array_equal(two[1:], run_reference(model, 2 * x))


def test_debug_marker():
    model = model_with("DebugMarker", (2, 3), export_debug_name="marked")
    check(model, on_grid((2, 3)))


@pytest.mark.parametrize("version", [9, 14])
@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 4, 5, 3)])
def test_batch_normalization(shape, version):
    """Channels last, of as many axes as qonnx takes."""
    constants = {
        name: RNG.uniform(0.2, 2, 3).astype(np.float32)
        for name in ("scale", "bias", "mean", "variance")
    }
    node = helper.make_node(
        "BatchNormalization",
        ["x", *constants],
        ["y"],
        domain=CHANNELS_LAST_DOMAIN,
        epsilon=0.01,
        momentum=0.9,
    )
    domains = {CHANNELS_LAST_DOMAIN: version}
    model = model_of([node], constants, shape, domains=domains)
    check(model, RNG.normal(0, 2, shape).astype(np.float32))


THRESHOLDS = {"thresholds": np.zeros((3, 2), np.float32)}
POOL = {"kernel": 2, "stride": 1, "ibits": 4, "obits": 4, "signed": 0}
WINDOWS = {"kernel_size": [2, 2], "stride": [1, 1], "input_shape": "(1,4,4,1)"}
BAD = {
    "channels": ("MultiThreshold", (1, 4), THRESHOLDS, {}, "for 1 channel or 4"),
    "any channels": (
        "MultiThreshold", (1, "C"), THRESHOLDS, {}, "a number that is known",
    ),
    "axes": ("MultiThreshold", (1, 4), {"t": np.zeros(3, np.float32)}, {}, "two axes"),
    "layout": (
        "MultiThreshold", (1, 3), THRESHOLDS, {"data_layout": "NHWC"}, "of 2 axes",
    ),
    "scale": (
        "MultiThreshold", (1, 3), THRESHOLDS, {"out_scale": np.inf}, "`out_scale` must",
    ),
    "no kernel": ("QuantAvgPool2d", (1, 1, 4, 4), {}, {}, "attributes stride, kernel"),
    "kernel": (
        "QuantAvgPool2d", (1, 1, 4, 4), {}, POOL | {"kernel": 0}, "`kernel` must be a",
    ),
    "bits": (
        "QuantAvgPool2d", (1, 1, 4, 4), {}, POOL | {"ibits": 999}, "`ibits` must be at",
    ),
    "pool layout": (
        "QuantAvgPool2d", (1, 1, 4, 4), {}, POOL | {"data_layout": "X"}, "NCHW or NHWC",
    ),
    "window": (
        "Im2Col", (1, 4, 4, 1), {}, WINDOWS | {"kernel_size": [9, 9]}, "within an",
    ),
    "no list": ("Im2Col", (1, 4, 4, 1), {}, WINDOWS | {"stride": 1}, "a list of int"),
    "fill": ("Im2Col", (1, 4, 4, 1), {}, WINDOWS | {"pad_value": 0.5}, "an integer"),
    "huge image": ("Im2Col", (1, 2**31 - 2, 4, 1), {}, WINDOWS, "within an image"),
    "height": ("Im2Col", (1, "H", 4, 1), {}, WINDOWS, "height, width and channels"),
    "stride": ("Im2Col", (1, 4, 4, 1), {}, WINDOWS | {"stride": [0, 1]}, "2 integers"),
    "matrix": ("XnorPopcountMatMul", (1, 3), {}, {}, "`inputs` must be two matrices"),
    "partition": ("GenericPartition", (1, 3), {}, {}, "no translation"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_errors(case):
    op_type, shape, constants, attributes, text = BAD[case]
    with pytest.raises(ValueError, match=text) as error:
        QONNXSession(model_with(op_type, shape, constants, **attributes))
    assert str(error.value).startswith(f"{op_type} node")


def test_unknown_shape():
    """Thresholds of several channels behind a shape that depends on the input."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=1),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ReduceMax", ["n"], ["m"], keepdims=0),
        helper.make_node("Range", ["zero", "m", "one"], ["r"]),
        helper.make_node("Reshape", ["f", "r"], ["g"]),
        helper.make_node("MultiThreshold", ["g", "t"], ["y"], domain=DOMAIN),
    ]
    constants = {"t": THRESHOLDS["thresholds"], "zero": np.array(0), "one": np.array(1)}
    model = model_of(nodes, constants, (1, 3))
    with pytest.raises(ValueError, match="the shape of its input must be known"):
        QONNXSession(model)
