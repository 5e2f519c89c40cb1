"""What a Quant node does, as QuantizeLinear and DequantizeLinear can do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto

from ..node_writer import NodeWriter
from ..operators import OPERATORS, rounding_mode_of
from .codes import Width, bounds_of
from .table import refusal


@dataclass(frozen=True)
class Quantization:
    """Scale, zero point and range of codes of a Quant node.

    Attributes:
        node: The node.
        width: Bit width, sign and whether the range is narrow.
        scale: float32, shape `()` or `(channels,)`.
        zero_point: int64, with the shape of `scale`.
        axis: The axis of the channels, negative where it counts from the last axis;
            None for one scale.
        rounding_mode: As in QONNX, in upper case.
    """

    node: NodeProto
    width: Width
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None
    rounding_mode: str

    @property
    def low(self) -> int:
        """Smallest code."""
        return bounds_of(self.width)[0]

    @property
    def high(self) -> int:
        """Largest code."""
        return bounds_of(self.width)[1]

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the codes of numbers that the quantizer has given, as int64."""
        scale, zero = self.along_axis(values.ndim)
        return np.rint(values / scale).astype(np.int64) + zero

    def values(self, codes: np.ndarray) -> np.ndarray:
        """Return the numbers of codes, as DequantizeLinear computes them."""
        scale, zero = self.along_axis(codes.ndim)
        return (codes - zero).astype(np.float32) * scale

    def along_axis(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scale and zero point in the shape in which they broadcast."""
        if self.axis is None:
            return self.scale, self.zero_point
        shape = [1] * rank
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


def read_quant(
    node: NodeProto, constants: Mapping[str, np.ndarray], to: str
) -> Quantization:
    """Read a Quant or IntQuant node.

    Args:
        node: The node.
        constants: Constant tensors by name.
        to: The format that it is to be written in.

    Returns:
        What it does.

    Raises:
        UnsupportedModelError: If no integer codes with one scale a tensor or an axis
            say it.
        ValueError: If the node has no meaning.
    """
    reader = NodeWriter(node, constants, {})
    given = reader.parameters(OPERATORS["Quant"])
    flags = reader.attributes("signed", "narrow")
    scale, zero = np.broadcast_arrays(given["scale"], given["zeropt"])
    _check_numbers(node, given, to)
    bits = given["bitwidth"].item()
    signed = bool(flags["signed"])
    if bits != int(bits) or bits < 2:
        raise refusal(
            node, to, "arbitrary precision",
            f"`bitwidth` must be an integer of at least 2. Received: bitwidth={bits:g}"
            + (", signed" if signed else ""),
            "Quantize to two bits (narrow for -1, 0, +1), or keep the model in QONNX.",
        )  # fmt: skip
    axis = _axis(node, scale, zero, to)
    shape = () if axis is None else (-1,)
    return Quantization(
        node,
        Width(int(bits), signed, bool(flags["narrow"])),
        scale.reshape(-1)[: 1 if axis is None else None].reshape(shape).astype("f4"),
        zero.reshape(-1)[: 1 if axis is None else None].reshape(shape).astype("i8"),
        axis,
        rounding_mode_of(node),
    )


def _check_numbers(node: NodeProto, given: Mapping[str, Any], to: str) -> None:
    """Refuse parameters with which numpy computes otherwise than QuantizeLinear."""
    scale, zero = given["scale"], given["zeropt"]
    # Only with powers of two does float32 give the numbers of double precision.
    is_single = np.result_type(scale, np.float32) == np.float32
    with np.errstate(over="ignore"):
        is_power = (np.frexp(scale)[0] == 0.5) & (scale.astype(np.float32) == scale)
    if not is_single and not np.all(is_power):
        raise refusal(
            node, to, "arbitrary precision",
            "`scale` must be of type float32 or a power of two. "
            f"Received: scale of type {scale.dtype}",
            "Store the scale as float32.",
        )  # fmt: skip
    if not np.all(zero == np.rint(zero)):
        raise refusal(
            node, to, "arbitrary precision",
            f"`zeropt` must hold integers. Received: zeropt={_short(zero)}",
            "Round the zero point, or keep the model in QONNX.",
        )  # fmt: skip


def _axis(node: NodeProto, scale: np.ndarray, zero: np.ndarray, to: str) -> int | None:
    """Return the axis along which the parameters differ, counted from the last."""
    long = [axis - scale.ndim for axis, size in enumerate(scale.shape) if size > 1]
    if len(long) > 1:
        raise refusal(
            node, to, "arbitrary precision",
            "`scale` and `zeropt` must be numbers or vary along one axis. "
            f"Received: shape {scale.shape}",
            "Use one scale a channel, or keep the model in QONNX.",
        )  # fmt: skip
    return long[0] if long else None


def _short(value: np.ndarray) -> str:
    return np.array2string(value, threshold=8)
