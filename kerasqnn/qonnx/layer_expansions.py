"""The other operators of qonnx's registries as standard ones: thresholds, images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .node_writer import NodeWriter
from .operators import OPERATORS, attributes_of, describe
from .schemas import check_node

_LARGEST_SIDE = 2**24
_TO_FIRST, _TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def multi_threshold(e: NodeWriter) -> None:
    """Count the thresholds that a value reaches; scale and shift the count."""
    thresholds = e.parameters(OPERATORS["MultiThreshold"])["thresholds"]
    given = e.attributes()
    shape = e.shape_of(e.value)
    if thresholds.ndim != 2:
        raise _bad(e, "thresholds", "two axes, channels and steps", thresholds.shape)
    e.promote(thresholds)
    axis = _channel_axis(e, str(given.get("data_layout", "")), thresholds, shape)
    if axis is not None and shape is not None:
        channels, rank = shape[axis], len(shape)
        if channels != len(thresholds):
            wanted = f"for 1 channel or {channels or 'a number that is known'}"
            raise _bad(e, "thresholds", wanted, thresholds.shape)
        ones = [1] * (rank - 1 - axis)
        thresholds = thresholds.reshape([len(thresholds), *ones, -1])
    last = e.constant([-1], np.int64)
    e.node("Unsqueeze", last)
    e.node("GreaterOrEqual", e.constant(thresholds))
    e.node("Cast", to=TensorProto.FLOAT)
    e.dtype = np.float32
    e.node("ReduceSum", last, keepdims=0)
    for name, write in (("out_scale", e.multiply), ("out_bias", e.add)):
        number = np.float32(given.get(name, float(name == "out_scale")))
        if not np.isfinite(number):
            raise _bad(e, name, "finite", number)
        write(number)


def _channel_axis(
    e: NodeWriter, layout: str, thresholds: np.ndarray, shape: Sequence[int] | None
) -> int | None:
    """Return the axis of the channels; None where all have the same thresholds."""
    if len(thresholds) == 1:
        return None
    if shape is None:
        raise ValueError(
            f"{describe(e.original)}: the shape of its input must be known, to tell "
            "the channels. Received: no `value_info` of "
            f"{e.original.input[0]!r}, and none that can be inferred"
        )
    if not layout:
        return 2 if len(shape) == 3 else 1
    axis = layout.index("C") if "C" in layout else 1
    if axis >= len(shape):
        raise _bad(e, "data_layout", f"a layout of {len(shape)} axes", layout)
    return axis


def quant_avg_pool(e: NodeWriter) -> None:
    """Sum over the window and shift right until `obits` bits remain."""
    given = e.attributes("stride", "kernel", "ibits", "obits")
    for name in ("stride", "kernel", "ibits", "obits"):
        if not isinstance(given[name], int) or not 0 < given[name] < 2**15:
            raise _bad(e, name, "a positive integer", given[name])
    layout = given.get("data_layout", "NCHW")
    if layout not in ("NCHW", "NHWC"):
        raise _bad(e, "data_layout", "NCHW or NHWC", layout)
    kernel, stride, bits = given["kernel"], given["stride"], given["ibits"]
    if bits > 32:
        raise _bad(e, "ibits", "at most 32", bits)
    if layout == "NHWC":
        e.node("Transpose", perm=_TO_FIRST)
    e.node("AveragePool", kernel_shape=[kernel] * 2, strides=[stride] * 2)
    e.multiply(np.float32(kernel * kernel))
    e.round("ROUND")
    largest = (2**bits - 1) * kernel * kernel
    shift = max(largest.bit_length() - given["obits"], 0)
    e.divide(np.float32(2.0**shift))
    e.round("FLOOR")
    if layout == "NHWC":
        e.node("Transpose", perm=_TO_LAST)


def max_pool_nhwc(e: NodeWriter) -> None:
    """Pool images whose channels are last."""
    e.attributes("kernel_shape", "pads", "strides")
    e.node("Transpose", perm=_TO_FIRST)
    e.node("MaxPool")
    e.nodes[-1].attribute.extend(e.original.attribute)
    check_node(e.nodes[-1], {})
    e.node("Transpose", perm=_TO_LAST)


def xnor_popcount(e: NodeWriter) -> None:
    """Count where rows and columns of zeros and ones agree."""
    if len(e.original.input) != 2:
        raise _bad(e, "inputs", "two matrices", list(e.original.input))
    shape = e.shape_of(e.original.input[1])
    if not shape or not shape[0]:
        raise ValueError(
            f"{describe(e.original)}: the shape of its second input must be known. "
            f"Received: {e.original.input[1]!r} of the shape {shape}"
        )
    bipolar = []
    for name in e.original.input:
        e.value = name
        e.multiply(np.float32(2))
        e.subtract(np.float32(1))
        bipolar.append(e.value)
    e.append("MatMul", bipolar)
    e.add(np.float32(shape[0]))
    e.multiply(np.float32(0.5))


def im2col(e: NodeWriter) -> None:
    """Lay the windows of an image side by side: `(N, oh, ow, kh * kw * C)`."""
    given = e.attributes("stride", "kernel_size")
    numbers: dict[str, Any] = {"pad_amount": [0] * 4, "dilations": [1, 1]}
    numbers |= {"pad_value": 0} | given
    for name, count, least in (("stride", 2, 1), ("kernel_size", 2, 1),
                               ("dilations", 2, 1), ("pad_amount", 4, 0)):  # fmt: skip
        value = numbers[name]
        if not isinstance(value, list):
            raise _bad(e, name, "a list of integers", value)
        if len(value) != count or not all(least <= n < 2**15 for n in value):
            raise _bad(e, name, f"{count} integers of at least {least}", value)
    if not isinstance(numbers["pad_value"], int):
        raise _bad(e, "pad_value", "an integer", numbers["pad_value"])
    shape = e.shape_of(e.value)
    if shape is None or len(shape) != 4 or 0 in shape[1:]:
        raise ValueError(
            f"{describe(e.original)}: height, width and channels of its input must be "
            f"known. Received: {e.value!r} of the shape {shape}"
        )
    pads: list[int] = list(numbers["pad_amount"])
    if any(pads):
        amounts = e.constant([0, *pads[:2], 0, 0, *pads[2:], 0], np.int64)
        e.node("Pad", amounts, e.constant(numbers["pad_value"]))
    counts = []
    for axis in (1, 2):
        kernel, stride, dilation = (
            numbers[name][axis - 1] for name in ("kernel_size", "stride", "dilations")
        )
        padding = pads[axis - 1] + pads[axis + 1]
        if shape[axis] == 1 and (kernel != 1 or padding):
            raise _bad(
                e, "kernel_size", "1 without padding where an image has size 1", kernel
            )
        count = (shape[axis] + padding - dilation * (kernel - 1) - 1) // stride + 1
        if not 1 <= count <= _LARGEST_SIDE // kernel:
            raise _bad(e, "kernel_size", "within an image of at most 2^24", kernel)
        starts, steps = stride * np.arange(count), dilation * np.arange(kernel)
        index = (starts[:, None] + steps).ravel()
        e.node("Gather", e.constant(index, np.int64), axis=axis)
        counts += [count, kernel]
    e.node("Reshape", e.constant([0, *counts, shape[3]], np.int64))
    e.node("Transpose", perm=[0, 1, 3, 2, 4, 5])
    depth = counts[1] * counts[3] * shape[3]
    e.node("Reshape", e.constant([0, counts[0], counts[2], depth], np.int64))


def channels_last(e: NodeWriter) -> None:
    """Run a standard operator between transpositions; weights are channels last too."""
    node = e.original
    if node.op_type == "BatchNormalization":
        given = e.attributes("epsilon", "momentum")
        if given.get("training_mode", 0):
            raise _bad(e, "training_mode", "0", 1)
        shape = e.shape_of(node.input[0])
        if shape is None or len(shape) < 2:
            raise ValueError(
                f"{describe(node)}: the number of axes of its input must be known. "
                f"Received: {node.input[0]!r} of the shape {shape}"
            )
        rank, transposed = len(shape), 1
    else:
        window = attributes_of(node).get("kernel_shape")
        if not window:
            raise _bad(e, "kernel_shape", "given, one number an axis", window)
        rank, transposed = 2 + len(window), 2
    first = [0, rank - 1, *range(1, rank - 1)]
    inputs = [e.append("Transpose", [n], perm=first) for n in node.input[:transposed]]
    inner = helper.make_node(node.op_type, [*inputs, *node.input[transposed:]], [""])
    inner.attribute.extend(node.attribute)
    inner.output[0] = e.value = f"{node.output[0]}@channels_first"
    check_node(inner, {})
    e.nodes.append(inner)
    e.node("Transpose", perm=[0, *range(2, rank), 1])


def _bad(e: NodeWriter, name: str, what: str, value: Any) -> ValueError:
    return ValueError(
        f"{describe(e.original)}: `{name}` must be {what}. Received: {name}={value!r}"
    )
