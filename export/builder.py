"""Appends quantizers to an ONNX graph, in the form that its consumer takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import UnsupportedModelError
from ..models import Operation, Parameter
from ..qonnx.operators import DOMAIN
from ..quantizers import (
    Affine,
    Binary,
    FixedPoint,
    QuantizedReLU,
    Ternary,
    UniformQuantizer,
)
from .graph_builder import GraphBuilder
from .layouts import CHANNELS_LAST, Layout

_Arrange = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Quant:
    """The parameters of a Quant node."""

    step: np.ndarray
    bits: int
    is_signed: bool
    is_narrow: bool
    rounding: str = "ROUND"
    zero_point: float = 0.0

    @classmethod
    def of(
        cls, quantizer: UniformQuantizer, step: np.ndarray, rounding: str = "ROUND"
    ) -> _Quant:
        is_affine = isinstance(quantizer, Affine)
        is_signed = quantizer.signed and not is_affine
        is_narrow = is_signed and quantizer.code_min == -quantizer.code_max
        zero_point = quantizer.zero_point if isinstance(quantizer, Affine) else 0.0
        return cls(step, quantizer.bits, is_signed, is_narrow, rounding, zero_point)

    @classmethod
    def of_signs(cls, step: np.ndarray) -> _Quant:
        """Return two bits that hold -1 and +1, for consumers without BipolarQuant."""
        return cls(step, 2, is_signed=True, is_narrow=True)

    def on_one_step(self) -> _Quant:
        """Return the same numbers, and more, on the smallest step of all channels."""
        smallest, largest = np.min(self.step), np.max(self.step)
        if np.any(np.frexp(self.step)[0] != 0.5):
            return self
        more = int(np.log2(largest / smallest))
        step = np.asarray(smallest, np.float32)
        return replace(self, step=step, bits=self.bits + more)


class Builder(GraphBuilder):
    """A graph with weights and activations that are quantized."""

    def parameter(
        self, operation: Operation, name: str, arrange: _Arrange = lambda a: a
    ) -> str:
        """Append a weight and its quantizer; `arrange` gives the ONNX axis order."""
        parameter = operation.weights[name]
        full = f"{operation.name}/{name}"
        value = self.initializer(full, arrange(parameter.value))
        quantizer = parameter.quantizer
        if quantizer is None:
            return value
        step = _arranged_step(parameter, arrange)
        _check_on_grid(parameter, operation.layer)
        is_binary = isinstance(quantizer, Binary)
        if is_binary and self.profile.has_bipolar_weights:
            return self._bipolar(value, step, f"{full}/quant")
        quant = _Quant.of_signs(step) if is_binary else _Quant.of(quantizer, step)
        if self.profile.has_scalar_steps:
            quant = quant.on_one_step()
        return self._quant(value, quant, f"{full}/quant")

    def quantize(
        self,
        value: str,
        quantizer: UniformQuantizer,
        operation: Operation,
        layout: Layout = CHANNELS_LAST,
    ) -> str:
        """Append an activation quantizer; vectors in it lie along the channels."""
        rank = self.rank(operation.input)

        def along_channels(array: Any) -> np.ndarray:
            array = np.asarray(array, np.float32)
            return layout.along(array, -1, rank) if array.ndim else array

        name = operation.name
        step = along_channels(quantizer.step)
        if isinstance(quantizer, Binary):
            return self._bipolar_activation(value, step, name)
        if isinstance(quantizer, Ternary):
            return self._ternary(value, along_channels(quantizer.threshold), step, name)
        if isinstance(quantizer, Affine):
            return self._quant(value, _Quant.of(quantizer, step), name)
        if not isinstance(quantizer, FixedPoint):
            raise UnsupportedModelError(
                f"Layer {operation.layer!r}: QONNX has no operator for {quantizer!r}.",
                layer=operation.layer,
            )
        self._check_overflow(quantizer, operation)
        quant = _Quant.of(
            quantizer, along_channels(quantizer.grid_step), quantizer.rounding
        )
        needs_relu = isinstance(quantizer, QuantizedReLU)
        if self.profile.is_unsigned_after_relu:
            quant, needs_relu = self._with_sign_of_relu(value, quant)
        if needs_relu:
            value = self.node("Relu", [value], f"{name}/relu")
        value = self._quant(value, quant, name)
        if quantizer.alpha == 1.0:
            return value
        factor = self.initializer(f"{name}/alpha", along_channels(quantizer.alpha))
        return self.node("Mul", [value, factor], f"{name}/scaled")

    def _with_sign_of_relu(self, value: str, quant: _Quant) -> tuple[_Quant, bool]:
        """Return a Quant of the same numbers, and whether a Relu must come before it.

        Behind a Relu the negative codes of a signed Quant are not used.
        """
        producer = self.producer(value)
        if producer is None or producer.op_type != "Relu":
            return quant, not quant.is_signed
        bits = quant.bits - quant.is_signed
        return replace(quant, bits=bits, is_signed=False, is_narrow=False), False

    def _check_overflow(self, quantizer: FixedPoint, operation: Operation) -> None:
        if quantizer.overflow == "WRAP" and not self._stays_inside(operation):
            raise UnsupportedModelError(
                f"Layer {operation.layer!r}: QONNX has no wrapping overflow, and the "
                "values may leave the range. Use overflow='SAT', or more integer bits. "
                f"Received: {quantizer!r}",
                layer=operation.layer,
            )

    def _stays_inside(self, operation: Operation) -> bool:
        grid = self.arithmetic.facts[operation.input].grid
        quantizer = operation.attributes["quantizer"]
        half = quantizer.grid_step / 2
        factor = np.asarray(quantizer.alpha, np.float32)
        low, high = quantizer.min / factor - half, quantizer.max / factor + half
        return grid is not None and bool(
            np.all(grid.low > low) and np.all(grid.high < high)
        )

    def _quant(self, value: str, quant: _Quant, name: str) -> str:
        inputs = [
            value,
            self.initializer(f"{name}/scale", quant.step),
            self.initializer(f"{name}/zeropt", np.float32(quant.zero_point)),
            self.initializer(f"{name}/bitwidth", np.float32(quant.bits)),
        ]
        return self.node(
            "Quant",
            inputs,
            name,
            domain=DOMAIN,
            signed=int(quant.is_signed),
            narrow=int(quant.is_narrow),
            rounding_mode=quant.rounding,
        )

    def _bipolar(self, value: str, step: Any, name: str) -> str:
        scale = self.initializer(f"{name}/scale", step)
        return self.node("BipolarQuant", [value, scale], name, domain=DOMAIN)

    def _bipolar_activation(self, value: str, step: np.ndarray, name: str) -> str:
        if not self.profile.has_unit_bipolar or np.all(step == 1):
            return self._bipolar(value, step, name)
        sign = self._bipolar(value, np.float32(1), f"{name}/sign")
        return self.node("Mul", [sign, self.initializer(f"{name}/scale", step)], name)

    def _ternary(self, value: str, threshold: Any, step: Any, name: str) -> str:
        # Half the difference of two signs: +1 where x >= t, -1 where -x >= t, else 0.
        limit = self.initializer(f"{name}/threshold", threshold)
        above = self.node("Sub", [value, limit], f"{name}/above")
        negated = self.node("Neg", [value], f"{name}/negated")
        below = self.node("Sub", [negated, limit], f"{name}/below")
        plus = self._bipolar(above, step / 2, f"{name}/plus")
        minus = self._bipolar(below, step / 2, f"{name}/minus")
        return self.node("Sub", [plus, minus], name)


def _arranged_step(parameter: Parameter, arrange: _Arrange) -> np.ndarray:
    """Return the step of a weight along the axes in which it differs."""
    quantizer, shape = parameter.quantizer, parameter.value.shape
    step = np.asarray(1.0 if quantizer is None else quantizer.step)
    if not step.ndim:
        return step
    step = arrange(np.broadcast_to(step, shape))
    return step[tuple(slice(None) if _varies(step, i) else slice(0, 1)
                      for i in range(step.ndim))]  # fmt: skip


def _varies(array: np.ndarray, axis: int) -> bool:
    return bool(np.any(array != np.take(array, [0], axis=axis)))


def _check_on_grid(parameter: Parameter, layer: str) -> None:
    """Check that quantizing the stored weight again leaves it as it is."""
    quantizer, value = parameter.quantizer, parameter.value
    step = 1.0 if quantizer is None else quantizer.step
    if not np.array_equal(np.rint(value / step).astype(np.float32) * step, value):
        raise UnsupportedModelError(
            f"Layer {layer!r}: the products of `scale` and `alpha` round in float32, "
            "so that one Quant cannot give the same weights. Use one of them only. "
            f"Received: {quantizer!r}",
            layer=layer,
        )
