"""Windows, pooling and reshaping of images as hls4ml layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models import Operation
from ...models.windows import padding_of
from .lowering import Lowering
from .types import average_accumulator_type, type_of_grid

_SIDES = ("top", "bottom", "left", "right")


def window_of(
    operation: Operation, lowering: Lowering, window: tuple[int, ...], kind: str
) -> dict[str, Any]:
    """Return the geometry of a convolution (kind `filt`) or pooling (kind `pool`)."""
    height, width, channels = lowering.shape(operation.input)
    out_height, out_width, filters = lowering.shape(operation.output)
    pads, strides = [(0, 0), (0, 0)], (1, 1)
    if operation.kind != "dense":
        size = operation.attributes.get("pool_size")
        size = size or operation.weights["kernel"].value.shape[:2]
        pads = padding_of(operation, (height, width), size)
        strides = operation.attributes["strides"]
    return {
        f"{kind}_height": window[0],
        f"{kind}_width": window[1],
        "stride_height": 1 if height == 1 else strides[0],
        "stride_width": strides[1],
        "pad_top": pads[0][0],
        "pad_bottom": pads[0][1],
        "pad_left": pads[1][0],
        "pad_right": pads[1][1],
        "in_height": height,
        "in_width": width,
        "out_height": out_height,
        "out_width": out_width,
        "n_chan": channels,
        "n_filt": filters,
    }


def plain_kernel(operation: Operation) -> np.ndarray:
    """Return the kernel with zeros for what groups and dilation leave out.

    That of a dense layer on images is a convolution's of one pixel.
    """
    kernel = operation.weights["kernel"].value.astype(np.float64)
    if operation.kind == "dense":
        return kernel
    a = operation.attributes
    groups, (down, right) = a["groups"], a["dilation"]
    rows, columns, channels, filters = kernel.shape
    blocks = np.zeros((rows, columns, groups, channels, groups, filters // groups))
    each = np.arange(groups)
    split = kernel.reshape(rows, columns, channels, groups, -1)
    blocks[:, :, each, :, each, :] = np.moveaxis(split, 3, 0)
    spread = np.zeros(
        ((rows - 1) * down + 1, (columns - 1) * right + 1, groups * channels, filters)
    )
    spread[::down, ::right] = blocks.reshape(rows, columns, groups * channels, filters)
    return spread


def _pooling(
    operation: Operation, lowering: Lowering, layer: str, **geometry: Any
) -> str:
    maximum = "max" in operation.kind
    grid = lowering.grid(operation.input)
    accumulator = type_of_grid(grid)
    if not maximum:
        count = geometry["pool_height"] * geometry["pool_width"]
        result = lowering.grid(operation.output)
        accumulator = average_accumulator_type(count, grid, result)
    return lowering.finish(
        "MaxPooling2D" if maximum else "AveragePooling2D",
        operation,
        [layer],
        {"accum": accumulator},
        data_format="channels_last",
        **geometry,
    )


def lower_pool(operation: Operation, lowering: Lowering) -> None:
    """Append a pooling, behind a padding where it has one."""
    geometry = window_of(operation, lowering, operation.attributes["pool_size"], "pool")
    for axis in ("height", "width"):
        if geometry[f"out_{axis}"] == 1:  # so that streams take it
            geometry[f"stride_{axis}"] = geometry[f"pool_{axis}"]
    (layer,) = lowering.read(operation)
    if any(geometry[f"pad_{side}"] for side in _SIDES):
        layer, geometry = _padded(operation, lowering, layer, geometry)
    _pooling(operation, lowering, layer, **geometry)


def _padded(
    operation: Operation, lowering: Lowering, layer: str, geometry: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Append a padding with zeros; return it and the geometry that is left to do."""
    pads = {f"pad_{side}": geometry[f"pad_{side}"] for side in _SIDES}
    height = geometry["in_height"] + pads["pad_top"] + pads["pad_bottom"]
    width = geometry["in_width"] + pads["pad_left"] + pads["pad_right"]
    layer = lowering.add(
        "ZeroPadding2D",
        f"{operation.name}_padding",
        [layer],
        operation,
        {"result": lowering.types[layer]["result"]},
        **pads,
        in_height=geometry["in_height"],
        in_width=geometry["in_width"],
        out_height=height,
        out_width=width,
        n_chan=geometry["n_chan"],
        data_format="channels_last",
    )
    left = {
        **geometry,
        **dict.fromkeys(pads, 0),
        "in_height": height,
        "in_width": width,
    }
    return layer, left


def lower_global_pool(operation: Operation, lowering: Lowering) -> None:
    """Append a pooling over the whole image, and a reshape: hls4ml's own is wrong."""
    height, width, channels = lowering.shape(operation.input)
    layer = _pooling(
        operation,
        lowering,
        lowering.read(operation)[0],
        pool_height=height,
        pool_width=width,
        stride_height=height,
        stride_width=width,
        pad_top=0,
        pad_bottom=0,
        pad_left=0,
        pad_right=0,
        in_height=height,
        in_width=width,
        out_height=1,
        out_width=1,
        n_chan=channels,
        n_filt=channels,
    )
    if not operation.attributes["keepdims"]:
        flatten(operation, lowering, layer, f"{operation.name}_flatten")


def flatten(operation: Operation, lowering: Lowering, layer: str, name: str) -> None:
    """Append a reshape; it leaves the type as it is.

    A stream keeps its words of one pixel each behind hls4ml's Reshape, which only a
    dense layer copes with; for all others, a Repack gathers them.
    """
    tensor = operation.output
    readers = lowering.model.chip.consumers(tensor)
    in_place = lowering.io_type == "io_parallel" or (
        len(lowering.shape(tensor)) == 1
        and [r.kind for r in readers] == ["dense"]
        and tensor not in lowering.model.chip.outputs
    )
    lowering.add(
        "Reshape" if in_place else "Repack",
        name,
        [layer],
        operation,
        {"result": lowering.types[layer]["result"]},
        tensor=tensor,
        target_shape=lowering.shape(tensor),
    )
