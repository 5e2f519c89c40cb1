"""Why an operation is one of floating point, in words."""

from __future__ import annotations

from ..quantizers import AutoScale, LearnedBits, Quantizer, StatefulQuantizer
from .graph import Operation


def why_floating_point(operation: Operation) -> str:
    """Return a predicate of the layer: why its values lie on no known grid.

    Args:
        operation: One of kind `activation`, `softmax` or `layer`, or of any other that
            has no integer arithmetic.
    """
    if "reason" in operation.attributes:
        return operation.attributes["reason"]
    function = operation.attributes.get("function")
    if isinstance(function, LearnedBits):
        return (
            "has a LearnedBits without `integer`, which is for weights"
            if function.integer is None
            else "has a LearnedBits whose widths are not all the same, while QONNX and "
            "the chip have one for an activation; use granularity='tensor'"
        )
    name = type(function).__name__
    if isinstance(getattr(function, "inference", function), AutoScale):
        return (
            f"has an activation ({name}) whose scale is computed from the values of "
            "every call; give it a number for `alpha`"
        )
    if isinstance(function, (Quantizer, StatefulQuantizer)):
        return f"has an activation ({name}) with no grid of one width"
    name = getattr(function, "__name__", type(function).__name__)
    return f"computes {operation.kind if function is None else name} in floating point"
