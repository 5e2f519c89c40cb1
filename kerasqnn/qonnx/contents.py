"""Whether the parts of a model hold what they must: names, attributes, tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    ValueInfoProto,
)

from .constants import STANDARD_DOMAINS
from .operators import describe
from .structure import bodies_of, describe_tensor
from .tensor_data import check_shape, check_tensor, tensors_of_attribute

_FIELDS = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
}
_POSITIVE = frozenset("strides dilations kernel_shape group blocksize".split())
_SIZES = _POSITIVE | {"pads", "output_padding", "output_shape", "axis", "axes"}


def check_text(model: ModelProto) -> None:
    """Refuse names that are no UTF-8, which protobuf returns as bytes.

    Raises:
        ValueError: If there are some.
    """
    for body in bodies_of(model):
        names = [body.name]
        for node in body.node:
            names += [node.op_type, node.domain, node.name, node.overload]
            names += [*node.input, *node.output]
            names += [
                text for a in node.attribute for text in (a.name, a.ref_attr_name)
            ]
        if isinstance(body, FunctionProto):
            names += [body.domain, body.overload, *body.input, *body.output]
            names += [i.domain for i in body.opset_import]
        else:
            names += [tensor.name for tensor in body.initializer]
            values = [*body.input, *body.output, *body.value_info]
            names += [value.name for value in values]
        _refuse_bytes(names)
    _refuse_bytes([i.domain for i in model.opset_import])


def _refuse_bytes(names: Iterable[str | bytes]) -> None:
    for name in names:
        if isinstance(name, bytes):
            raise ValueError(f"Names must be UTF-8. Received: {name[:40]!r}")


def check_attributes(node: NodeProto, in_function: bool) -> None:
    """Check that each attribute has one value, of its type and of a sane size.

    Args:
        node: The node.
        in_function: Whether attributes may refer to those of a function.

    Raises:
        ValueError: If one has not, or the node computes nothing.
    """
    if not any(node.output):
        raise ValueError(f"{describe(node)} must have an output.")
    check_unique((a.name for a in node.attribute), f"{describe(node)}: attributes")
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if not in_function:
                raise ValueError(
                    f"{describe(node)}: the attribute {attribute.name!r} must have a "
                    "value. Received: a reference outside of a function"
                )
            continue
        _check_attribute(node, attribute)
    if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS:
        if len(node.attribute) != 1:
            raise ValueError(
                f"{describe(node)} must have one attribute. "
                f"Received: {[a.name for a in node.attribute]}"
            )


def _check_attribute(node: NodeProto, attribute: AttributeProto) -> None:
    what = f"{describe(node)}: the attribute {attribute.name!r}"
    field = _FIELDS.get(attribute.type)
    filled = [f for f in _FIELDS.values() if _is_filled(attribute, f)]
    if field is None or filled not in ([], [field]):
        raise ValueError(
            f"{what} must have a value of its type, which may be one of "
            f"{', '.join(AttributeProto.AttributeType.Name(t) for t in _FIELDS)}. "
            f"Received: type {attribute.type}, values in {filled}"
        )
    for text in [attribute.s, *attribute.strings]:
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{what} must be UTF-8. Received: {text[:40]!r}"
            ) from error
    for tensor in tensors_of_attribute(attribute):
        check_tensor(tensor, what)
    numbers = [attribute.i, *attribute.ints]
    if attribute.name in _SIZES and any(abs(n) >= 2**31 for n in numbers):
        raise ValueError(f"{what} must be less than 2^31. Received: {max(numbers)}")
    lowest = min(attribute.ints or [attribute.i])
    if attribute.name in _POSITIVE and field in ("i", "ints") and lowest < 1:
        raise ValueError(f"{what} must be positive. Received: {lowest}")


def _is_filled(attribute: AttributeProto, field: str) -> bool:
    if field in ("f", "i", "s", "t", "g"):
        return bool(attribute.HasField(field))
    return len(getattr(attribute, field)) > 0


def check_tensors(graph: GraphProto) -> None:
    """Check the data of the initializers and the declared shapes.

    Raises:
        ValueError: If data and shape differ, a size is none, or something else than
            tensors goes in or out.
    """
    if graph.sparse_initializer:
        raise ValueError("Sparse initializers must be written as dense ones.")
    for tensor in graph.initializer:
        check_tensor(tensor, describe_tensor(tensor))
    for value in [*graph.input, *graph.output]:
        kind = value.type.WhichOneof("value")
        if kind not in (None, "tensor_type"):
            raise ValueError(f"Input or output {value.name!r} must be a tensor. "
                             f"Received: {kind}")  # fmt: skip
    for value in [*graph.input, *graph.output, *graph.value_info]:
        check_shape(f"Tensor {value.name[:80]!r}", _sizes(value))


def _sizes(value: ValueInfoProto) -> list[int]:
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def check_unique(names: Iterable[object], what: str) -> None:
    """Check that no name is there twice.

    Raises:
        ValueError: If one is.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{what[0].upper()}{what[1:]} must have names of their own. "
            f"Received twice: {str(twice[0])[:80]!r}"
        )
