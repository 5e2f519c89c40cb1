"""The table of formats: what each can say, and the refusal of what it cannot."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from ...errors import UnsupportedModelError
from ..operators import describe

#: Rows of the table that compares the formats, in its order.
ROWS = (
    "arbitrary precision",
    "rounding variants",
    "below 8 bits",
    "weights-only",
    "no operator duplication",
    "high-precision output",
)
#: What each format has, by row. `convert_qonnx` writes the first three.
FORMATS: Mapping[str, Mapping[str, bool]] = {
    name: dict(zip(ROWS, (cell == "x" for cell in cells), strict=True))
    for name, cells in {
        "qonnx": "xxxxxx",
        "qcdq": "..xxxx",
        "qop": "..x...",
        "qdq": "...xxx",
        "integer": ".....x",
        "quantized": "......",
    }.items()
}
TITLES = {
    "qonnx": "QONNX",
    "qcdq": "QCDQ",
    "qop": "quantized operators with clipping",
}


def refusal(
    node: NodeProto, to: str, row: str | None, reason: str, way_out: str
) -> UnsupportedModelError:
    """Return the error for a node that a format cannot say.

    Args:
        node: The node.
        to: Name of the format.
        row: The row of the table that forbids it, or None where it is no question of
            the format.
        reason: What the node has, what would be allowed, and `Received: ...`.
        way_out: What the caller can do.

    Returns:
        The error, to be raised.
    """
    cause = f" The format has no {row!r} (table of formats)." if row else ""
    return UnsupportedModelError(
        f"{describe(node)} cannot be written as {TITLES[to]}: {reason}.{cause} "
        f"{way_out}",
        layer=node.name or node.output[0],
    )
