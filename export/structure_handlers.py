"""Handlers of paddings, permuted axes, and poolings by a reciprocal."""

from __future__ import annotations

import numpy as np

from ..models import Operation
from .builder import Builder
from .handlers import handles
from .layouts import CHANNELS_FIRST, Layout


@handles("zero_padding")
def _zero_padding(operation: Operation, builder: Builder) -> None:
    layout = builder.layout(operation.input)
    rows, columns = operation.attributes["pads"]
    around = [(0, 0), rows, columns, (0, 0)]
    if layout == CHANNELS_FIRST:
        around = [(0, 0), (0, 0), rows, columns]
    pads = np.array(around, np.int64).T.ravel()
    inputs = [
        builder.value(operation.input, layout),
        builder.initializer(f"{operation.name}/pads", pads),
    ]
    builder.define(
        operation.output, builder.node("Pad", inputs, operation.name), layout
    )


@handles("permute")
def _permute(operation: Operation, builder: Builder) -> None:
    value = builder.value(operation.input)
    axes = list(operation.attributes["axes"])
    value = builder.node("Transpose", [value], operation.name, perm=axes)
    builder.define(operation.output, value)


@handles("slice")
def _slice(operation: Operation, builder: Builder) -> None:
    name, a = operation.name, operation.attributes
    constants = [
        builder.initializer(f"{name}/{part}", np.array([a[part]], np.int64))
        for part in ("start", "stop", "axis")
    ]
    value = builder.node("Slice", [builder.value(operation.input), *constants], name)
    builder.define(operation.output, value)


@handles("reciprocal_pool2d")
def _reciprocal_pool2d(operation: Operation, builder: Builder) -> None:
    """Append the sum over windows as a convolution: exact for every size."""
    name, window = operation.name, operation.attributes["pool_size"]
    channels = builder.tensor(operation.input).shape[-1]
    ones = builder.initializer(f"{name}/ones", np.ones((channels, 1, *window), "f4"))
    total = builder.node(
        "Conv",
        [builder.value(operation.input, CHANNELS_FIRST), ones],
        f"{name}/sum",
        group=channels,
        dilations=[1, 1],
        kernel_shape=list(window),
        strides=list(operation.attributes["strides"]),
        pads=[0, 0, 0, 0],
    )
    _multiply(operation, builder, total, CHANNELS_FIRST)


@handles("global_reciprocal_pool2d")
def _global_reciprocal_pool2d(operation: Operation, builder: Builder) -> None:
    layout, keep = builder.layout(operation.input), operation.attributes["keepdims"]
    axes = [2, 3] if layout == CHANNELS_FIRST else [1, 2]
    inputs = [
        builder.value(operation.input, layout),
        builder.initializer(f"{operation.name}/axes", np.array(axes, np.int64)),
    ]
    total = builder.node(
        "ReduceSum", inputs, f"{operation.name}/sum", keepdims=int(keep)
    )
    _multiply(operation, builder, total, layout)


def _multiply(
    operation: Operation, builder: Builder, total: str, layout: Layout
) -> None:
    reciprocal = builder.parameter(operation, "reciprocal")
    value = builder.node("Mul", [total, reciprocal], operation.name)
    builder.define(operation.output, value, layout)
