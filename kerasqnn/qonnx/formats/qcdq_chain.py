"""Reads QuantizeLinear, Clip, DequantizeLinear as one quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ..operators import attributes_of, describe
from .codes import limits_of
from .standard import Standard
from .table import refusal

#: Types of codes by the number that ONNX gives them.
_TYPES: Mapping[int, Any] = {
    getattr(TensorProto, name): helper.tensor_dtype_to_np_dtype(
        getattr(TensorProto, name)
    )
    for name in "INT4 UINT4 INT8 UINT8 INT16 UINT16 INT32".split()
}
_DEFAULT_AXIS = 1


@dataclass(frozen=True)
class Chain:
    """A DequantizeLinear and what its codes come from.

    Attributes:
        node: The DequantizeLinear.
        nodes: All nodes of the chain, the DequantizeLinear last.
        source: What QuantizeLinear reads, or the constant that holds the codes.
        is_stored: Whether the source holds codes.
        low: Smallest code.
        high: Largest code.
        scale: float32, shape `()` or `(channels,)`.
        zero_point: int64, with the shape of `scale`.
        axis: The axis of the channels, None for one scale.
        clip: The Clip, or None.
    """

    node: NodeProto
    nodes: list[NodeProto]
    source: str
    is_stored: bool
    low: int
    high: int
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None
    clip: NodeProto | None


def read_chain(
    node: NodeProto, model: Standard, producers: Mapping[str, NodeProto]
) -> Chain:
    """Read the chain that ends in a DequantizeLinear.

    Args:
        node: The DequantizeLinear.
        model: Its model.
        producers: The nodes by the names of their outputs.

    Returns:
        The chain.

    Raises:
        UnsupportedModelError: If no Quant node says it.
    """
    nodes = [node]
    name = node.input[0]
    while name in producers and producers[name].op_type in ("Clip", "Cast"):
        nodes.insert(0, producers[name])
        name = producers[name].input[0]
    first = producers.get(name)
    is_stored = first is None or first.op_type != "QuantizeLinear"
    if is_stored and name not in model.constants:
        raise _no_chain(
            node, "its codes must be constant or come from QuantizeLinear, through "
            f"Clip and Cast only. Received: {first.op_type if first else 'an input'}"
        )  # fmt: skip
    scale, zero, axis = _parameters(node, model.constants)
    if first is not None and not is_stored:
        nodes.insert(0, first)
        name = first.input[0]
        given = _parameters(first, model.constants)
        if not all(map(np.array_equal, (scale, zero), given[:2])) or axis != given[2]:
            raise _no_chain(
                node, "`x_scale`, `x_zero_point` and `axis` must be those of the "
                f"QuantizeLinear {first.name!r}. Received: others"
            )  # fmt: skip
        dtype = _code_type(first, model.constants)
    else:
        dtype = model.constants[name].dtype
    if dtype not in _TYPES.values():
        raise _no_chain(
            node, "codes must be integers of 4, 8, 16 bits, or constants of 32. "
            f"Received: {dtype}"
        )  # fmt: skip
    low, high, clip = _range(nodes, dtype, model.constants)
    return Chain(node, nodes, name, is_stored, low, high, scale, zero, axis, clip)


def _parameters(
    node: NodeProto, constants: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Return scale, zero point and axis of a QuantizeLinear or DequantizeLinear."""
    given = attributes_of(node)
    if given.get("block_size") or given.get("precision"):
        raise _no_chain(
            node, "`block_size` and `precision` must be 0. Received: "
            f"block_size={given.get('block_size', 0)}, "
            f"precision={given.get('precision', 0)}"
        )  # fmt: skip
    unknown = [name for name in node.input[1:] if name and name not in constants]
    if unknown:
        raise _no_chain(
            node, f"scale and zero point must be constant. Received: {unknown[0]!r}, "
            "which is computed"
        )  # fmt: skip
    scale = constants[node.input[1]]
    has_zero = len(node.input) > 2 and node.input[2]
    zero = constants[node.input[2]] if has_zero else np.zeros(scale.shape, np.int64)
    if scale.dtype != np.float32 or not np.all((scale > 0) & np.isfinite(scale)):
        raise _no_chain(
            node, "its scale must be float32, positive and finite. Received: "
            f"{np.array2string(scale, threshold=8)} of type {scale.dtype}"
        )  # fmt: skip
    if scale.size == 1:
        return scale.reshape(()), zero.reshape(()).astype(np.int64), None
    axis = int(given.get("axis", _DEFAULT_AXIS))
    return scale, zero.astype(np.int64), axis


def _code_type(node: NodeProto, constants: Mapping[str, np.ndarray]) -> Any:
    if len(node.input) > 2 and node.input[2]:
        return constants[node.input[2]].dtype
    return _TYPES.get(attributes_of(node).get("output_dtype") or TensorProto.UINT8)


def _range(
    nodes: list[NodeProto], dtype: Any, constants: Mapping[str, np.ndarray]
) -> tuple[int, int, NodeProto | None]:
    """Return the smallest and largest code that reach the DequantizeLinear."""
    low, high = limits_of(dtype)
    clip = None
    for node in nodes[:-1]:
        if node.op_type == "Clip":
            clip = node
            given = [constants.get(name) for name in node.input[1:] if name]
            if len(given) != 2 or any(g is None or g.size != 1 for g in given):
                raise _no_chain(
                    node, "an integer Clip must have constant bounds, one number each. "
                    f"Received: {', '.join(node.input[1:])}"
                )  # fmt: skip
            low, high = max(low, int(given[0])), min(high, int(given[1]))  # type: ignore[arg-type]
        elif node.op_type == "Cast":
            to = _TYPES.get(attributes_of(node)["to"])
            if to is None or not (limits_of(to)[0] <= low and high <= limits_of(to)[1]):
                raise _no_chain(
                    node, "a Cast of codes must keep them. Received: codes from "
                    f"{low} to {high}, as {to}"
                )  # fmt: skip
    return low, high, clip


def _no_chain(node: NodeProto, reason: str) -> Exception:
    return refusal(
        node, "qonnx", None, reason,
        "QONNXSession runs the model as it is.",
    )  # fmt: skip


def unread_chain(node: NodeProto) -> Exception:
    """Return the error for a node whose integers are read by something else."""
    return _no_chain(
        node,
        "its integers must be read by a DequantizeLinear only, as QONNX holds numbers. "
        f"Received: {describe(node)} with another reader",
    )
