"""Running a graph: in Keras's float32, or exactly in integers held by float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ..errors import UnsupportedModelError
from ..quantizers.functions import FUNCTIONS
from ..quantizers.quantizer import without_denormals
from .arithmetic import Arithmetic
from .graph import Graph, Operation
from .grids import FLOAT64_BITS
from .windows import padding_of

# Applied to every output: (operation, tensor) -> tensor. Noise is injected through it.
Hook = Callable[[Operation, Any], Any]


def evaluate(
    operations: Sequence[Operation], values: Mapping[str, Any], hook: Hook | None = None
) -> dict[str, Any]:
    """Run operations with `keras.ops`, as the model itself does at inference.

    Args:
        operations: Operations of one graph, in order; may start in its middle.
        values: The tensors they read from outside, by name.
        hook: Called with each operation and each of its output tensors; what it returns
            takes the tensor's place.

    Returns:
        All tensors by name, the given ones included. Noise points count as off.
    """
    known = dict(values)
    for operation in operations:
        if operation.kind == "input":
            outputs = [known[operation.output]]
        else:
            outputs = _run(operation, [known[t] for t in operation.inputs])
        for name, tensor in zip(operation.outputs, outputs, strict=True):
            known[name] = tensor if hook is None else hook(operation, tensor)
    return known


def _run(operation: Operation, inputs: list[Any]) -> list[Any]:
    if operation.kind == "layer":
        return operation.attributes["call"](*inputs)
    return [_KERAS[operation.kind](operation, *inputs)]


def _weight(operation: Operation, name: str) -> Any:
    return ops.convert_to_tensor(operation.weights[name].value)


def _with_bias(operation: Operation, x: Any) -> Any:
    return ops.add(x, _weight(operation, "bias")) if "bias" in operation.weights else x


def _dense(operation: Operation, x: Any) -> Any:
    return _with_bias(operation, ops.matmul(x, _weight(operation, "kernel")))


def _conv2d(operation: Operation, x: Any) -> Any:
    a = operation.attributes
    kernel, convolve, padding = _weight(operation, "kernel"), ops.conv, a["padding"]
    if a.get("depthwise"):  # as Keras's layer does, not as a grouped one
        kernel = ops.reshape(kernel, (*kernel.shape[:2], a["groups"], -1))
        convolve = ops.depthwise_conv
    if padding == "causal":
        pads = padding_of(operation, x.shape[1:3], kernel.shape[:2])
        x, padding = ops.pad(x, [(0, 0), *pads, (0, 0)]), "valid"
    y = convolve(
        x,
        kernel,
        strides=a["strides"],
        padding=padding,
        dilation_rate=a["dilation"],
        data_format="channels_last",
    )
    return _with_bias(operation, y)


def _scale_offset(operation: Operation, x: Any) -> Any:
    shape = [1] * len(x.shape)
    shape[operation.attributes["axis"]] = -1
    scale = ops.reshape(_weight(operation, "scale"), shape)
    return x * scale + ops.reshape(_weight(operation, "offset"), shape)


def _pool2d(pool: Callable[..., Any]) -> Callable[..., Any]:
    def run(operation: Operation, x: Any) -> Any:
        a = operation.attributes
        return pool(
            x, a["pool_size"], a["strides"], a["padding"], data_format="channels_last"
        )

    return run


def _global_pool2d(reduce: Callable[..., Any]) -> Callable[..., Any]:
    def run(operation: Operation, x: Any) -> Any:
        return reduce(x, axis=(1, 2), keepdims=operation.attributes["keepdims"])

    return run


def _reciprocal_pool2d(operation: Operation, x: Any) -> Any:
    a = operation.attributes
    scaled = x * float(math.prod(a["pool_size"]))
    mean = _pool2d(ops.average_pool)(operation, scaled)
    return mean * _weight(operation, "reciprocal")


def _global_reciprocal_pool2d(operation: Operation, x: Any) -> Any:
    total = _global_pool2d(ops.sum)(operation, x)
    return total * _weight(operation, "reciprocal")


def _reshape(operation: Operation, x: Any) -> Any:
    return ops.reshape(x, (-1, *operation.attributes["target_shape"]))


def _slice(operation: Operation, x: Any) -> Any:
    a = operation.attributes
    index = [slice(None)] * len(x.shape)
    index[a["axis"]] = slice(a["start"], a["stop"])
    return x[tuple(index)]


def _around(operation: Operation) -> list[tuple[int, int]]:
    return [(0, 0), *operation.attributes["pads"], (0, 0)]


def _chain(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def run(operation: Operation, x: Any, *others: Any) -> Any:
        for other in others:
            x = function(x, other)
        return x

    return run


_KERAS: dict[str, Callable[..., Any]] = {
    "quantize": lambda o, x: o.attributes["quantizer"](x),
    "noise": lambda o, x: x,
    "dense": _dense,
    "conv2d": _conv2d,
    "scale_offset": _scale_offset,
    "relu": lambda o, x: ops.relu(x),
    "softmax": lambda o, x: keras.activations.softmax(x, axis=o.attributes["axis"]),
    **dict.fromkeys(
        ("activation", *FUNCTIONS), lambda o, x: o.attributes["function"](x)
    ),
    "max_pool2d": _pool2d(ops.max_pool),
    "average_pool2d": _pool2d(ops.average_pool),
    "global_max_pool2d": _global_pool2d(ops.max),
    "global_average_pool2d": _global_pool2d(ops.mean),
    "reciprocal_pool2d": _reciprocal_pool2d,
    "global_reciprocal_pool2d": _global_reciprocal_pool2d,
    "slice": _slice,
    "zero_padding": lambda o, x: ops.pad(x, _around(o)),
    "permute": lambda o, x: ops.transpose(x, o.attributes["axes"]),
    "reshape": _reshape,
    "add": _chain(ops.add),
    "subtract": _chain(ops.subtract),
    "multiply": _chain(ops.multiply),
    "maximum": _chain(ops.maximum),
    "minimum": _chain(ops.minimum),
    "concatenate": lambda o, *x: ops.concatenate(x, axis=o.attributes["axis"]),
}


def evaluate_exactly(
    graph: Graph, arithmetic: Arithmetic, inputs: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Run a graph without any rounding but that of its quantizers.

    Every value is an integer times a power of two, held in float64; nothing exceeds 53
    bits, which is checked first. This is the reference for layers whose sums float32
    cannot hold.

    Args:
        graph: The graph; noise points count as off.
        arithmetic: `analyse(graph)`.
        inputs: One float32 array an input, with the batch axis.

    Returns:
        All tensors by name, float64.

    Raises:
        UnsupportedModelError: If a tensor lies on no grid, or needs more than 53 bits.
    """
    for operation in graph:
        facts = arithmetic.facts[operation.output]
        wide = arithmetic.accumulator_bits.get(operation.name, 0) > FLOAT64_BITS
        if operation.kind != "input" and (facts.grid is None or wide):
            raise UnsupportedModelError(
                f"Layer {operation.layer!r} has no exact integer evaluation: its "
                "values lie on no power-of-two grid of at most 53 bits.",
                layer=operation.layer,
            )
    known = {
        name: np.asarray(x, np.float64)
        for name, x in zip(graph.inputs, inputs, strict=True)
    }
    for operation in graph:
        if operation.kind == "input":
            continue
        arguments = [known[t] for t in operation.inputs]
        if arithmetic.facts[operation.input].grid is None:
            # What an input counts as is what the quantizer makes of it in float32.
            a = operation.attributes
            first = a["quantizer"] if operation.kind == "quantize" else a["function"]
            values = without_denormals(arguments[0])
            result = first._forward(np, values).astype(np.float64)
        else:
            result = _EXACT[operation.kind](operation, *arguments)
        known[operation.output] = result
    return known


def _value(operation: Operation, name: str) -> np.ndarray:
    return operation.weights[name].value.astype(np.float64)


def _exact_bias(operation: Operation, y: np.ndarray) -> np.ndarray:
    return y + _value(operation, "bias") if "bias" in operation.weights else y


def _exact_dense(operation: Operation, x: np.ndarray) -> np.ndarray:
    return _exact_bias(operation, x @ _value(operation, "kernel"))


def _windows(
    x: np.ndarray, operation: Operation, window: tuple[int, ...], fill: float
) -> np.ndarray:
    """Return the windows, `(batch, height, width, channels, rows, columns)`."""
    a = operation.attributes
    strides, dilation = a["strides"], a.get("dilation", (1, 1))
    if a["padding"] != "valid":
        pads = padding_of(operation, x.shape[1:3], window)
        x = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    reach = tuple((window[i] - 1) * dilation[i] + 1 for i in (0, 1))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    return view[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


def _exact_conv2d(operation: Operation, x: np.ndarray) -> np.ndarray:
    kernel = _value(operation, "kernel")
    groups = operation.attributes["groups"]
    windows = _windows(x, operation, kernel.shape[:2], 0.0)
    parts = [
        np.tensordot(w, k, axes=([3, 4, 5], [2, 0, 1]))
        for w, k in zip(
            np.split(windows, groups, axis=3),
            np.split(kernel, groups, axis=3),
            strict=True,
        )
    ]
    return _exact_bias(operation, np.concatenate(parts, axis=-1))


def _exact_scale_offset(operation: Operation, x: np.ndarray) -> np.ndarray:
    return x * _value(operation, "scale") + _value(operation, "offset")


def _exact_pool(operation: Operation, x: np.ndarray) -> np.ndarray:
    maximum = operation.kind == "max_pool2d"
    fill = -np.inf if maximum else 0.0
    windows = _windows(x, operation, operation.attributes["pool_size"], fill)
    return windows.max(axis=(4, 5)) if maximum else windows.mean(axis=(4, 5))


def _exact_reciprocal_pool(operation: Operation, x: np.ndarray) -> np.ndarray:
    windows = _windows(x, operation, operation.attributes["pool_size"], 0.0)
    return windows.sum(axis=(4, 5)) * _value(operation, "reciprocal")


def _exact_global_reciprocal_pool(operation: Operation, x: np.ndarray) -> np.ndarray:
    total = x.sum(axis=(1, 2), keepdims=operation.attributes["keepdims"])
    return total * _value(operation, "reciprocal")


def _exact_global_pool(operation: Operation, x: np.ndarray) -> np.ndarray:
    reduce = np.max if operation.kind == "global_max_pool2d" else np.mean
    return reduce(x, axis=(1, 2), keepdims=operation.attributes["keepdims"])


_EXACT: dict[str, Callable[..., np.ndarray]] = {
    "quantize": lambda o, x: o.attributes["quantizer"]._forward(np, x),
    "noise": lambda o, x: x,
    "dense": _exact_dense,
    "conv2d": _exact_conv2d,
    "scale_offset": _exact_scale_offset,
    "relu": lambda o, x: np.maximum(x, 0.0),
    **dict.fromkeys(FUNCTIONS, lambda o, x: o.attributes["function"]._forward(np, x)),
    "max_pool2d": _exact_pool,
    "average_pool2d": _exact_pool,
    "global_max_pool2d": _exact_global_pool,
    "global_average_pool2d": _exact_global_pool,
    "reciprocal_pool2d": _exact_reciprocal_pool,
    "global_reciprocal_pool2d": _exact_global_reciprocal_pool,
    "slice": _slice,
    "zero_padding": lambda o, x: np.pad(x, _around(o)),
    "permute": lambda o, x: x.transpose(o.attributes["axes"]),
    "reshape": lambda o, x: x.reshape(-1, *o.attributes["target_shape"]),
    "add": _chain(np.add),
    "subtract": _chain(np.subtract),
    "multiply": _chain(np.multiply),
    "maximum": _chain(np.maximum),
    "minimum": _chain(np.minimum),
    "concatenate": lambda o, *x: np.concatenate(x, axis=o.attributes["axis"]),
}
