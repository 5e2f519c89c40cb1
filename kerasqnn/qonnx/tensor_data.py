"""Whether the tensors of a file hold what they claim to hold."""

from __future__ import annotations

import math
from collections.abc import Iterator

from onnx import AttributeProto, TensorProto, helper, numpy_helper

#: Largest number of elements of a shape, so that no product of sizes overflows.
MOST_ELEMENTS = 2**40
MOST_AXES = 64
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data",
           "uint64_data")  # fmt: skip
_PACKED = {
    getattr(TensorProto, name): bits
    for bits, names in {4: "INT4 UINT4 FLOAT4E2M1", 2: "INT2 UINT2"}.items()
    for name in names.split()
    if hasattr(TensorProto, name)
}
_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)


def check_shape(what: str, dims: list[int]) -> None:
    """Refuse sizes that no machine holds.

    Raises:
        ValueError: If a size is negative, or there are too many axes or elements.
    """
    if len(dims) > MOST_AXES:
        raise ValueError(
            f"{what} must have at most {MOST_AXES} axes. Received: {len(dims)}"
        )
    if any(d < 0 for d in dims) or math.prod(max(d, 1) for d in dims) > MOST_ELEMENTS:
        raise ValueError(
            f"{what} must have sizes of at least 0 and at most 2^40 elements. "
            f"Received: shape {tuple(dims)}"
        )


def check_tensor(tensor: TensorProto, what: str) -> None:
    """Check that a tensor holds as many numbers as its shape says, where they belong.

    Args:
        tensor: The tensor; external data is not looked at.
        what: What a message calls it.

    Raises:
        ValueError: If it does not.
    """
    check_shape(what, list(tensor.dims))
    if tensor.data_type not in helper.get_all_tensor_dtypes():
        raise ValueError(
            f"{what} must have a data type of ONNX. "
            f"Received: data_type={tensor.data_type}"
        )
    if tensor.HasField("segment"):
        raise ValueError(f"{what} must not be stored in segments.")
    if is_external(tensor):
        return
    filled = [name for name in _FIELDS if len(getattr(tensor, name))]
    if tensor.HasField("raw_data"):
        _check_length(what, len(tensor.raw_data), byte_count(tensor, what), "bytes")
        if filled:
            raise ValueError(f"{what} must hold one kind of data. Received: raw_data "
                             f"and {filled[0]}")  # fmt: skip
        return
    field = helper.tensor_dtype_to_field(tensor.data_type)
    if filled not in ([], [field]):
        raise ValueError(f"{what} must hold its data in {field}. Received: {filled}")
    count = math.prod(tensor.dims)
    bits = _PACKED.get(tensor.data_type, 8)
    wanted = -(-count * bits // 8) * (2 if tensor.data_type in _COMPLEX else 1)
    _check_length(what, len(getattr(tensor, field)), wanted, "entries")
    try:
        numpy_helper.to_array(tensor)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{what} holds numbers that are none: {error}") from error


def byte_count(tensor: TensorProto, what: str) -> int:
    """Return the number of bytes of a tensor's elements.

    Raises:
        ValueError: If it holds strings.
    """
    if tensor.data_type == TensorProto.STRING:
        raise ValueError(f"{what} must hold its strings in string_data.")
    bits = _PACKED.get(tensor.data_type)
    if bits is None:
        bits = 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return -(-math.prod(tensor.dims) * bits // 8)


def is_external(tensor: TensorProto) -> bool:
    """Whether the elements are in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def tensors_of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    """Yield the tensors that are an attribute's value."""
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors


def _check_length(what: str, received: int, wanted: int, unit: str) -> None:
    if received != wanted:
        raise ValueError(
            f"{what} must hold {wanted} {unit}, as its shape says. "
            f"Received: {received} {unit}"
        )
