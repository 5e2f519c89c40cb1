"""What a quantizing node says, and the kerasqnn quantizer of the same codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import NodeProto

from ...quantizers import Affine, Binary, FixedPoint, QuantizedReLU, UniformQuantizer
from ..node_writer import NodeWriter
from ..operators import GENERAL_DOMAINS, OPERATORS, rounding_mode_of
from .refusal import refused

_LARGEST_BITS = 24
_LARGEST_INTEGER = 32


@dataclass(frozen=True)
class Quantization:
    """The parameters of a `Quant`, `IntQuant` or `BipolarQuant` node.

    Attributes:
        node: The node.
        scale: The scale, float32, such that it broadcasts with what is quantized.
        zero_point: The zero point, with the shape of `scale`.
        bits: Bit width; 1 and signed for `BipolarQuant`.
        signed: Whether there are negative codes.
        narrow: Whether the smallest signed or largest unsigned code is left out.
        rounding: Rounding mode.
    """

    node: NodeProto
    scale: np.ndarray
    zero_point: np.ndarray
    bits: float
    signed: bool
    narrow: bool
    rounding: str

    @classmethod
    def of(
        cls, node: NodeProto, constants: Mapping[str, np.ndarray]
    ) -> Quantization | None:
        """Read a node; None if it is no quantizer of uniform steps."""
        if node.domain not in GENERAL_DOMAINS:
            return None
        reader = NodeWriter(node, constants, {})
        if node.op_type == "BipolarQuant":
            scale = reader.parameters(OPERATORS["BipolarQuant"])["scale"]
            zero = np.zeros_like(scale)
            return cls(node, scale, zero, 1, True, False, "ROUND")
        if node.op_type not in ("Quant", "IntQuant"):
            return None
        given = reader.parameters(OPERATORS["Quant"])
        attributes = reader.attributes("signed", "narrow")
        scale, zero_point = np.broadcast_arrays(given["scale"], given["zeropt"])
        return cls(
            node,
            scale.astype(np.float32),
            zero_point,
            float(given["bitwidth"]),
            bool(attributes["signed"]),
            bool(attributes["narrow"]),
            rounding_mode_of(node),
        )

    def arranged(self, arrange: Callable[[np.ndarray], np.ndarray]) -> Quantization:
        """Return the parameters behind a change of the axes of what is quantized."""
        return replace(
            self, scale=arrange(self.scale), zero_point=arrange(self.zero_point)
        )

    def broadcast(self, shape: tuple[int, ...]) -> Quantization:
        """Return the parameters with one entry a number that is quantized."""
        return self.arranged(lambda array: np.broadcast_to(array, shape))

    def quantizer(self, *, of_weights: bool = False) -> UniformQuantizer:
        """Return the quantizer of these parameters.

        Args:
            of_weights: Whether it quantizes weights whose codes are compared with
                those of the file afterwards; then more than 24 bits are taken as 24.

        Raises:
            UnsupportedModelError: If kerasqnn has none with the same codes.
        """
        scale = self._along_channels(self.scale, "scale")
        bits = self._bits(of_weights)
        if np.any(self.zero_point):
            return self._affine(scale, bits)
        if self.signed and bits == 1:
            return Binary(_number_or_tuple(scale))
        if self.narrow and not self.signed:
            raise refused(
                self.node,
                "kerasqnn has no unsigned quantizer that leaves out the largest code",
                "Use narrow=0, or signed=1",
            )
        integer, factor = _split(scale, bits - self.signed)
        return FixedPoint(
            bits,
            integer,
            signed=self.signed,
            rounding=self.rounding,
            overflow="SAT_SYM" if self.narrow else "SAT",
            scale=factor,
        )

    def behind_relu(self) -> UniformQuantizer | None:
        """Return the quantizer that is this one with a ReLU before it, or None."""
        if self.signed or self.narrow or np.any(self.zero_point):
            return None
        grid = self.quantizer()
        if not isinstance(grid, FixedPoint) or grid.scale != 1.0:
            return None
        return QuantizedReLU(grid.bits, grid.integer, rounding=grid.rounding)

    def _bits(self, of_weights: bool) -> int:
        bits = self.bits
        if of_weights and bits > _LARGEST_BITS:
            return _LARGEST_BITS
        if bits != int(bits) or not 1 <= bits <= _LARGEST_BITS:
            raise refused(
                self.node,
                f"its bit width is {bits:g}",
                f"kerasqnn has whole numbers of bits from 1 to {_LARGEST_BITS}",
            )
        return int(bits)

    def _affine(self, scale: np.ndarray, bits: int) -> Affine:
        zero_point = self._along_channels(self.zero_point, "zero point")
        plain = not self.signed and not self.narrow and self.rounding == "ROUND"
        whole = np.all(zero_point == np.rint(zero_point))
        if not plain or not whole or scale.ndim or zero_point.ndim:
            raise refused(
                self.node,
                "it has a zero point besides zero, and signed or narrow codes, a "
                "rounding mode, or parameters a channel",
                "kerasqnn has unsigned codes with one scale and one whole zero point",
            )
        try:
            return Affine(bits, float(scale), int(zero_point))
        except ValueError as error:
            raise refused(self.node, str(error), "Quantize symmetrically") from error

    def _along_channels(self, array: np.ndarray, what: str) -> np.ndarray:
        """Return a number, or a vector along the last axis."""
        if array.size == 1 or np.all(array == array.flat[0]):
            return array.reshape(-1)[0]
        rows = array.reshape(-1, array.shape[-1])
        if np.any(rows != rows[0]):
            raise refused(
                self.node,
                f"its {what} varies along another axis than that of the outputs",
                "kerasqnn has one number, or one an output channel. "
                f"Received: {what} of shape {array.shape}",
            )
        return rows[0]


def _split(scale: np.ndarray, fractional: int) -> tuple[int, Any]:
    """Return integer bits and the factor that is left of a scale, 1 where it can be."""
    _, exponent = np.frexp(np.max(scale))
    limit = _LARGEST_INTEGER
    integer = int(np.clip(int(exponent) - 1 + fractional, -limit, limit))
    factor = scale.astype(np.float64) * 2.0 ** (fractional - integer)
    return integer, _number_or_tuple(factor)


def _number_or_tuple(values: np.ndarray) -> Any:
    values = np.asarray(values)
    return tuple(float(v) for v in values) if values.ndim else float(values)


def is_quantizer(node: NodeProto) -> bool:
    """Whether a node quantizes with uniform steps."""
    return node.domain in GENERAL_DOMAINS and node.op_type in (
        "Quant",
        "IntQuant",
        "BipolarQuant",
    )
