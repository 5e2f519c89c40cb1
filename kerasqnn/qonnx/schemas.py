"""Whether nodes of standard operators have what ONNX says that they must have."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from onnx import NodeProto, defs

from .operators import describe


@lru_cache(maxsize=1024)
def _schema(op_type: str, version: int) -> defs.OpSchema | None:
    try:
        return defs.get_schema(op_type, version, "")
    except defs.SchemaError:
        return None


def check_node(node: NodeProto, versions: Mapping[str, int]) -> None:
    """Check inputs, outputs and attributes of a node of a standard operator.

    Args:
        node: The node.
        versions: Version of each imported domain.

    Raises:
        ValueError: If ONNX has no such operator, or it must have others.
    """
    version = versions.get("", versions.get("ai.onnx", 13))
    schema = _schema(node.op_type, version)
    if schema is None:
        raise ValueError(
            f"{describe(node)}: ONNX has no such operator in version {version}."
        )
    _check_count(node, "inputs", len(node.input), schema.min_input, schema.max_input)
    outputs = len(node.output)
    _check_count(node, "outputs", outputs, schema.min_output, schema.max_output)
    if not all(node.input[: schema.min_input]):
        raise ValueError(f"{describe(node)} must have its first {schema.min_input} "
                         f"inputs. Received: {list(node.input)}")  # fmt: skip
    given = {a.name: a for a in node.attribute}
    for name, known in schema.attributes.items():
        kind: Any = known.type
        if name not in given:
            if known.required:
                raise ValueError(f"{describe(node)} must have the attribute {name!r}.")
        elif given[name].type != kind.value:
            raise ValueError(
                f"{describe(node)}: the attribute {name!r} must be of the type "
                f"{kind.name}. Received: type {given[name].type}"
            )


def _check_count(node: NodeProto, what: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise ValueError(
            f"{describe(node)} must have {least} to {most} {what}. Received: {count}"
        )
