"""One small handler for each kind of operation: from the reading to ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..models import Operation
from ..models.windows import padding_of
from .builder import CHANNELS_FIRST, Builder

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


def _channel_shape(rank: int, axis: int, layout: str) -> tuple[int, ...]:
    """Shape that lays a vector along one axis, given in Keras order, of a tensor."""
    if rank == 4 and layout == CHANNELS_FIRST:
        axis = {0: 0, 1: 2, 2: 3, 3: 1}[axis]
    return tuple(-1 if i == axis else 1 for i in range(rank))


def _rank(operation: Operation, builder: Builder) -> int:
    return len(builder.tensor(operation.input).shape)


@handles("quantize")
def _quantize(operation: Operation, builder: Builder) -> None:
    layout, rank = builder.layout(operation.input), _rank(operation, builder)
    value = builder.quantize(
        builder.value(operation.input, layout),
        operation.attributes["quantizer"],
        operation,
        _channel_shape(rank, rank - 1, layout),
    )
    builder.define(operation.output, value, layout)


@handles("dense")
def _dense(operation: Operation, builder: Builder) -> None:
    name = operation.name
    kernel = builder.parameter(operation, "kernel")
    value = builder.value(operation.input)
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
    name = operation.name
    kernel = operation.weights["kernel"].value
    inputs = [
        builder.value(operation.input, CHANNELS_FIRST),
        builder.parameter(operation, "kernel", lambda a: a.transpose(3, 2, 0, 1)),
    ]
    if "bias" in operation.weights:
        inputs.append(builder.parameter(operation, "bias"))
    value = builder.node(
        "Conv",
        inputs,
        name,
        group=operation.attributes["groups"],
        dilations=list(operation.attributes["dilation"]),
        **_window(operation, builder, kernel.shape[:2]),
    )
    builder.define(operation.output, value, CHANNELS_FIRST)


@handles("scale_offset")
def _scale_offset(operation: Operation, builder: Builder) -> None:
    layout = builder.layout(operation.input)
    shape = _channel_shape(
        _rank(operation, builder), operation.attributes["axis"], layout
    )

    def along_channels(array: np.ndarray) -> np.ndarray:
        return array.reshape(shape[1:])

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
    op_type = "MaxPool" if operation.kind == "max_pool2d" else "AveragePool"
    value = builder.node(
        op_type,
        [builder.value(operation.input, CHANNELS_FIRST)],
        operation.name,
        **_window(operation, builder, operation.attributes["pool_size"]),
    )
    builder.define(operation.output, value, CHANNELS_FIRST)


@handles("global_max_pool2d", "global_average_pool2d")
def _global_pool2d(operation: Operation, builder: Builder) -> None:
    maximum = operation.kind == "global_max_pool2d"
    op_type = "GlobalMaxPool" if maximum else "GlobalAveragePool"
    keep = operation.attributes["keepdims"]
    value = builder.node(
        op_type,
        [builder.value(operation.input, CHANNELS_FIRST)],
        operation.name if keep else f"{operation.name}/pool",
    )
    if keep:
        builder.define(operation.output, value, CHANNELS_FIRST)
    else:
        builder.define(
            operation.output, builder.node("Flatten", [value], operation.name, axis=1)
        )


@handles("reshape")
def _reshape(operation: Operation, builder: Builder) -> None:
    target = [-1, *operation.attributes["target_shape"]]
    shape = builder.initializer(f"{operation.name}/shape", np.array(target, np.int64))
    value = builder.node(
        "Reshape", [builder.value(operation.input), shape], operation.name
    )
    builder.define(operation.output, value)


def _common_layout(operation: Operation, builder: Builder) -> str:
    layouts = [builder.layout(t) for t in operation.inputs]
    return CHANNELS_FIRST if CHANNELS_FIRST in layouts else layouts[0]


_ELEMENTWISE = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "maximum": "Max",
    "minimum": "Min",
}


@handles(*_ELEMENTWISE)
def _merge(operation: Operation, builder: Builder) -> None:
    ranks = {len(builder.tensor(t).shape) for t in operation.inputs}
    first = ranks == {4}
    layout = _common_layout(operation, builder) if first else "channels_last"
    value, *others = (builder.value(t, layout) for t in operation.inputs)
    for index, other in enumerate(others):
        last = index == len(others) - 1
        name = operation.name if last else f"{operation.name}/{index}"
        value = builder.node(_ELEMENTWISE[operation.kind], [value, other], name)
    builder.define(operation.output, value, layout)


@handles("concatenate")
def _concatenate(operation: Operation, builder: Builder) -> None:
    layout = _common_layout(operation, builder)
    rank, axis = _rank(operation, builder), operation.attributes["axis"]
    axis = _channel_shape(rank, axis, layout).index(-1)
    values = [builder.value(t, layout) for t in operation.inputs]
    builder.define(
        operation.output,
        builder.node("Concat", values, operation.name, axis=axis),
        layout,
    )
