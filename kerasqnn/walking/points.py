"""Where noise is injected: after the input and after every operation."""

from __future__ import annotations

from dataclasses import dataclass

from ..models import Graph, Operation

# Kind of operation -> kind of noise point. Operations that only move numbers (reshape,
# concatenate) have none, and none stands behind a softmax: the logits are the last.
_KINDS = {
    "dense": "dense",
    "conv2d": "conv2d",
    "scale_offset": "batch_normalization",
    "quantize": "activation",
    "relu": "activation",
    "activation": "activation",
    "max_pool2d": "pooling",
    "average_pool2d": "pooling",
    "global_max_pool2d": "pooling",
    "global_average_pool2d": "pooling",
    "reciprocal_pool2d": "pooling",
    "global_reciprocal_pool2d": "pooling",
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "maximum": "maximum",
    "minimum": "minimum",
    "layer": "layer",
}


@dataclass(frozen=True)
class WalkPoint:
    """A place in the network where noise is injected.

    Attributes:
        name: Name of the operation whose output gets the noise.
        layer: Name of its Keras layer.
        kind: `"input"`, `"dense"`, `"conv2d"`, `"batch_normalization"`,
            `"activation"`, `"pooling"`, `"add"` and other merges, `"layer"` or
            `"logits"`.
        index: Position of the operation in the graph.
    """

    name: str
    layer: str
    kind: str
    index: int


def walk_points(graph: Graph) -> list[WalkPoint]:
    """Return the noise points of a network in order.

    One at the input (behind its quantizer, where it has one: hardware receives the
    quantized input), then one behind every operation: convolution and dense outputs
    before batch normalization and activation, batch normalization, activation, pooling
    and merge outputs, and the logits.

    Args:
        graph: A graph without noise points.

    Returns:
        The points in network order.
    """
    points = []
    for index, operation in enumerate(graph):
        kind = _kind(operation, graph)
        if kind is not None:
            points.append(WalkPoint(operation.name, operation.layer, kind, index))
    return points


def _kind(operation: Operation, graph: Graph) -> str | None:
    if operation.kind == "input":
        readers = graph.consumers(operation.output)
        quantized = readers and all(r.kind == "quantize" for r in readers)
        return None if quantized else "input"
    if operation.kind == "quantize" and operation.input in graph.inputs:
        return "input"
    if operation.kind not in _KINDS or "unrolled" in operation.attributes:
        return None
    behind = graph.consumers(operation.output)
    final = operation.output in graph.outputs or (
        len(behind) == 1
        and behind[0].kind == "softmax"
        and behind[0].output in graph.outputs
    )
    return "logits" if final else _KINDS[operation.kind]
