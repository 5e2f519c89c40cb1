"""One small handler for each kind of operation: from the reading to hls4ml layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...models import Grid, Operation
from ...models.arithmetic_rules import COMBINE
from .hardware_model import HardwareModel
from .images import (
    flatten,
    lower_global_pool,
    lower_pool,
    plain_kernel,
    window_of,
)
from .lowering import Lowering
from .quantizing import lower_quantizer
from .types import (
    accumulator_type,
    type_of_grid,
    type_of_values,
)

Handler = Callable[[Operation, Lowering], None]
_HANDLERS: dict[str, Handler] = {
    "quantize": lower_quantizer,
    "max_pool2d": lower_pool,
    "average_pool2d": lower_pool,
    "global_max_pool2d": lower_global_pool,
    "global_average_pool2d": lower_global_pool,
}


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a handler for operation kinds."""

    def register(handler: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def lower(model: HardwareModel, io_type: str) -> Lowering:
    """Translate the chip's graph to hls4ml layers; `preflight.check` comes first.

    Args:
        model: The model, divided between host and chip.
        io_type: `"io_stream"` or `"io_parallel"`.

    Raises:
        UnsupportedModelError: If too many layers read one stream.
    """
    lowering = Lowering(model, io_type)
    for operation in model.chip:
        _HANDLERS[operation.kind](operation, lowering)
    lowering.close()
    return lowering


@handles("input")
def _input(operation: Operation, lowering: Lowering) -> None:
    tensor = operation.output
    lowering.add(
        "InputLayer",
        f"in_{operation.name}",
        [],
        operation,
        {"result": type_of_grid(lowering.grid(tensor))},
        tensor=tensor,
        input_shape=lowering.shape(tensor),
    )


@handles("dense", "conv2d")
def _weighted_sum(operation: Operation, lowering: Lowering) -> None:
    kernel = plain_kernel(operation)
    bias = np.zeros(kernel.shape[-1])
    if "bias" in operation.weights:
        bias = operation.weights["bias"].value.astype(np.float64)
    grids = lowering.grid(operation.input), lowering.grid(operation.output)
    types = {
        "weight": type_of_values(kernel),
        "bias": type_of_values(bias),
        "accum": accumulator_type(kernel, bias, *grids),
    }
    geometry: dict[str, Any] = {"weight_data": kernel}
    class_name = "Conv2D"
    if kernel.ndim == 2:
        class_name = "Dense"
        geometry |= {"n_in": kernel.shape[0], "n_out": kernel.shape[1]}
    else:
        geometry |= window_of(operation, lowering, kernel.shape[:2], "filt")
        if _is_depthwise(operation, kernel):
            class_name = "DepthwiseConv2D"
            each = np.arange(kernel.shape[-1])
            del geometry["weight_data"]
            geometry["depthwise_data"] = kernel[..., each, each, np.newaxis]
    lowering.finish(
        class_name,
        operation,
        lowering.read(operation),
        types,
        data_format="channels_last",
        bias_data=bias,
        **geometry,
    )


def _is_depthwise(operation: Operation, kernel: np.ndarray) -> bool:
    """Whether hls4ml's depthwise convolution computes it."""
    rows, _, channels, filters = kernel.shape
    groups = operation.attributes.get("groups", 1)
    # With one filter a channel, and a buffer of at least one row.
    return groups == channels == filters > 1 and rows > 1


@handles("scale_offset")
def _scale_offset(operation: Operation, lowering: Lowering) -> None:
    scale = operation.weights["scale"].value.astype(np.float64)
    offset = operation.weights["offset"].value.astype(np.float64)
    layers = lowering.read(operation)
    shape = lowering.shape(operation.output)
    size = int(np.prod(shape))
    if np.all(scale == 1.0) and not np.any(offset):
        # hls4ml takes such a normalization out, and its output type with it.
        lowering.finish("Activation", operation, layers, activation="linear", n_in=size)
        return
    lowering.finish(
        "BatchNormalization",
        operation,
        layers,
        {"scale": type_of_values(scale), "bias": type_of_values(offset)},
        n_in=size,
        n_filt=shape[-1] if len(shape) > 1 else -1,
        scale_data=scale,
        bias_data=offset,
    )


@handles("relu")
def _relu(operation: Operation, lowering: Lowering) -> None:
    size = int(np.prod(lowering.shape(operation.output)))
    layers = lowering.read(operation)
    lowering.finish("Activation", operation, layers, activation="relu", n_in=size)


@handles("reshape")
def _reshape(operation: Operation, lowering: Lowering) -> None:
    flatten(operation, lowering, lowering.read(operation)[0], operation.name)


def _chain(
    operation: Operation, lowering: Lowering, class_name: str, **config: Any
) -> None:
    """A merge of any number of tensors as merges of two."""
    layer, *others = lowering.read(operation)
    first, *grids = (lowering.grid(t) for t in operation.inputs)
    for index, other in enumerate(others):
        here = {k: v(index) if callable(v) else v for k, v in config.items()}
        if index == len(others) - 1:
            lowering.finish(class_name, operation, [layer, other], **here)
            return
        first = _merged(operation.kind, first, grids[index])
        layer = lowering.add(
            class_name,
            f"{operation.name}_{index}",
            [layer, other],
            operation,
            {"result": type_of_grid(first)},
            **here,
        )


def _merged(kind: str, a: Grid, b: Grid) -> Grid:
    """Grid of a merge of two tensors on the way."""
    if kind != "concatenate":
        return COMBINE[kind](a, b)
    low, high = min(a.low.min(), b.low.min()), max(a.high.max(), b.high.max())
    return Grid(min(a.step, b.step), np.asarray(low), np.asarray(high))


@handles("add", "subtract", "multiply", "maximum", "minimum")
def _merge(operation: Operation, lowering: Lowering) -> None:
    shape = lowering.shape(operation.output)
    _chain(operation, lowering, "Merge", op=operation.kind, output_shape=shape)


@handles("concatenate")
def _concatenate(operation: Operation, lowering: Lowering) -> None:
    shapes = [lowering.shape(t) for t in operation.inputs]

    def shape_after(index: int) -> list[int]:
        channels = sum(s[-1] for s in shapes[: index + 2])
        return [*shapes[0][:-1], channels]

    _chain(
        operation,
        lowering,
        "Concatenate",
        op=f"concatenate{len(shapes[0])}d",
        axis=-1,
        output_shape=shape_after,
    )
