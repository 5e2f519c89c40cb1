"""One small handler for each kind of operation: from the reading to ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..models import Operation
from ..models.windows import padding_of
from .builder import Builder
from .layouts import CHANNELS_FIRST, CHANNELS_LAST, Layout, joined_features

Handler = Callable[[Operation, Builder], None]
_HANDLERS: dict[str, Handler] = {}


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a handler for operation kinds."""

    def register(handler: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def handler_of(kind: str) -> Handler | None:
    """Return the handler of an operation kind, or None."""
    return _HANDLERS.get(kind)


@handles("quantize")
def _quantize(operation: Operation, builder: Builder) -> None:
    layout = builder.layout(operation.input)
    value = builder.value(operation.input, layout)
    quantizer = operation.attributes["quantizer"]
    quantized = builder.quantize(value, quantizer, operation, layout)
    builder.define(operation.output, quantized, layout)


@handles("dense")
def _dense(operation: Operation, builder: Builder) -> None:
    name = operation.name
    # A vector stays as it is; the rows of the kernel are put in its order.
    is_vector = builder.rank(operation.input) == 2
    layout = builder.layout(operation.input) if is_vector else CHANNELS_LAST
    kernel = builder.parameter(operation, "kernel", layout.rows)
    value = builder.value(operation.input, layout)
    biased = "bias" in operation.weights
    value = builder.node(
        "MatMul", [value, kernel], f"{name}/matmul" if biased else name
    )
    if biased:
        bias = builder.parameter(operation, "bias")
        value = builder.node("Add", [value, bias], name)
    builder.define(operation.output, value)


def _window(operation: Operation, builder: Builder, window: tuple[int, ...]) -> dict:
    size = builder.tensor(operation.input).shape[1:3]
    pads = padding_of(operation, size, window)
    return {
        "kernel_shape": list(window),
        "strides": list(operation.attributes["strides"]),
        "pads": [before for before, _ in pads] + [after for _, after in pads],
    }


@handles("conv2d")
def _conv2d(operation: Operation, builder: Builder) -> None:
    name, layout = operation.name, builder.profile.windows
    kernel = operation.weights["kernel"].value
    # Filters come first, and within each the axes lie as in the image.
    axes = (3, *(axis - 1 for axis in layout.axes(4)[1:]))
    inputs = [
        builder.value(operation.input, layout),
        builder.parameter(operation, "kernel", lambda a: a.transpose(axes)),
    ]
    biased = "bias" in operation.weights
    within = builder.profile.has_bias_in_convolution
    if biased and within:
        inputs.append(builder.parameter(operation, "bias"))
    value = builder.window(
        "Conv",
        inputs,
        f"{name}/conv" if biased and not within else name,
        group=operation.attributes["groups"],
        dilations=list(operation.attributes["dilation"]),
        **_window(operation, builder, kernel.shape[:2]),
    )
    if biased and not within:
        bias = builder.parameter(operation, "bias", lambda a: layout.along(a, -1, 4)[0])
        value = builder.node("Add", [value, bias], name)
    builder.define(operation.output, value, layout)


@handles("scale_offset")
def _scale_offset(operation: Operation, builder: Builder) -> None:
    layout, rank = builder.layout(operation.input), builder.rank(operation.input)
    axis = operation.attributes["axis"]

    def along_channels(array: np.ndarray) -> np.ndarray:
        return layout.along(array, axis, rank)[0]

    name = operation.name
    scale = builder.parameter(operation, "scale", along_channels)
    offset = builder.parameter(operation, "offset", along_channels)
    value = builder.value(operation.input, layout)
    scaled = builder.node("Mul", [value, scale], f"{name}/mul")
    builder.define(
        operation.output, builder.node("Add", [scaled, offset], name), layout
    )


@handles("relu")
def _relu(operation: Operation, builder: Builder) -> None:
    layout = builder.layout(operation.input)
    value = builder.value(operation.input, layout)
    builder.define(
        operation.output, builder.node("Relu", [value], operation.name), layout
    )


@handles("softmax")
def _softmax(operation: Operation, builder: Builder) -> None:
    axis = operation.attributes["axis"]
    value = builder.node(
        "Softmax", [builder.value(operation.input)], operation.name, axis=axis
    )
    builder.define(operation.output, value)


@handles("max_pool2d", "average_pool2d")
def _pool2d(operation: Operation, builder: Builder) -> None:
    layout = builder.profile.windows
    value = builder.window(
        "MaxPool" if operation.kind == "max_pool2d" else "AveragePool",
        [builder.value(operation.input, layout)],
        operation.name,
        **_window(operation, builder, operation.attributes["pool_size"]),
    )
    builder.define(operation.output, value, layout)


@handles("global_max_pool2d", "global_average_pool2d")
def _global_pool2d(operation: Operation, builder: Builder) -> None:
    layout = builder.profile.windows
    maximum = operation.kind == "global_max_pool2d"
    op_type = "GlobalMaxPool" if maximum else "GlobalAveragePool"
    keep = operation.attributes["keepdims"]
    inputs = [builder.value(operation.input, layout)]
    name = operation.name if keep else f"{operation.name}/pool"
    size = builder.tensor(operation.input).shape[1:3]
    if maximum and not builder.profile.takes(op_type) and None not in size:
        value = builder.window(
            "MaxPool", inputs, name, kernel_shape=size, strides=size, pads=[0] * 4
        )
    else:
        value = builder.window(op_type, inputs, name)
    if keep:
        builder.define(operation.output, value, layout)
    else:
        builder.define(
            operation.output, builder.node("Flatten", [value], operation.name, axis=1)
        )


@handles("reshape")
def _reshape(operation: Operation, builder: Builder) -> None:
    source = builder.tensor(operation.input).shape[1:]
    target = operation.attributes["target_shape"]
    layout = builder.layout(operation.input)
    reshaped = layout.reshaped(source, target)
    if reshaped is None:
        layout = reshaped = CHANNELS_LAST
    inputs = [builder.value(operation.input, layout)]
    if len(target) == 1 and len(source) > 1:
        value = builder.node("Flatten", inputs, operation.name, axis=1)
    else:
        shape = np.array(reshaped.shape([-1, *target]), np.int64)
        inputs.append(builder.initializer(f"{operation.name}/shape", shape))
        value = builder.node("Reshape", inputs, operation.name)
    builder.define(operation.output, value, reshaped)


def _common_layout(operation: Operation, builder: Builder) -> Layout:
    layouts = {builder.layout(t) for t in operation.inputs}
    if len({builder.rank(t) for t in operation.inputs}) > 1:
        return CHANNELS_LAST
    if len(layouts) == 1:
        return layouts.pop()
    return CHANNELS_FIRST if CHANNELS_FIRST in layouts else CHANNELS_LAST


_ELEMENTWISE = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "maximum": "Max",
    "minimum": "Min",
}


@handles(*_ELEMENTWISE)
def _merge(operation: Operation, builder: Builder) -> None:
    layout = _common_layout(operation, builder)
    value, *others = (builder.value(t, layout) for t in operation.inputs)
    for index, other in enumerate(others):
        last = index == len(others) - 1
        name = operation.name if last else f"{operation.name}/{index}"
        value = builder.node(_ELEMENTWISE[operation.kind], [value, other], name)
    builder.define(operation.output, value, layout)


@handles("concatenate")
def _concatenate(operation: Operation, builder: Builder) -> None:
    rank, axis = builder.rank(operation.input), operation.attributes["axis"]
    layouts = [builder.layout(t) for t in operation.inputs]
    if rank == 2:
        sizes = [builder.tensor(t).shape[1] for t in operation.inputs]
        joined = joined_features(layouts, sizes)
        if joined == CHANNELS_LAST:
            layouts = [joined] * len(layouts)
    else:
        joined = _common_layout(operation, builder)
        layouts = [joined] * len(layouts)
    tensors = zip(operation.inputs, layouts, strict=True)
    values = [builder.value(tensor, layout) for tensor, layout in tensors]
    axis = joined.axes(rank).index(axis)
    value = builder.node("Concat", values, operation.name, axis=axis)
    builder.define(operation.output, value, joined)
