"""The error for what cannot be said in kerasqnn layers."""

from __future__ import annotations

from onnx import NodeProto

from ...errors import UnsupportedModelError
from ..operators import describe


def refused(node: NodeProto, reason: str, way_out: str) -> UnsupportedModelError:
    """Return the error for a node: why it cannot be imported, and what to do."""
    return UnsupportedModelError(
        f"{describe(node)} cannot be imported: {reason}. {way_out}.",
        layer=node.name or node.output[0],
    )
