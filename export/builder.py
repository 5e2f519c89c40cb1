"""Assembles an ONNX graph: names, initializers, layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..errors import UnsupportedModelError
from ..models import Arithmetic, Graph, Operation, Parameter, Tensor
from ..qonnx.operators import DOMAIN
from ..quantizers import (
    Affine,
    Binary,
    FixedPoint,
    QuantizedReLU,
    Ternary,
    UniformQuantizer,
)

CHANNELS_LAST, CHANNELS_FIRST = "channels_last", "channels_first"
_PERMUTATION = {CHANNELS_FIRST: (0, 3, 1, 2), CHANNELS_LAST: (0, 2, 3, 1)}


class Builder:
    """Collects nodes and initializers while handlers translate operations.

    Keras images are channels last, ONNX convolutions channels first. Each tensor is
    stored in the layout its producer gives, and transposed once when a consumer wants
    the other one.
    """

    def __init__(self, graph: Graph, arithmetic: Arithmetic) -> None:
        self.graph = graph
        self.arithmetic = arithmetic
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._values: dict[str, dict[str, str]] = {}
        self._names: set[str] = set()

    # -- tensors of the model ----------------------------------------------------------

    def tensor(self, name: str) -> Tensor:
        """Return the description of a tensor of the model."""
        return self.graph.tensors[name]

    def layout(self, tensor: str) -> str:
        """Return a layout in which the tensor is already there."""
        return next(iter(self._values[tensor]))

    def define(self, tensor: str, value: str, layout: str = CHANNELS_LAST) -> None:
        """Say which ONNX value holds a tensor."""
        self._values[tensor] = {layout: value}

    def value(self, tensor: str, layout: str | None = CHANNELS_LAST) -> str:
        """Return the ONNX value of a tensor in a layout (None: whichever is there)."""
        there = self._values[tensor]
        if layout is None or len(self.tensor(tensor).shape) != 4:
            return next(iter(there.values()))
        if layout not in there:
            (source,) = there.values()
            there[layout] = self.node(
                "Transpose", [source], f"{tensor}/{layout}", perm=_PERMUTATION[layout]
            )
        return there[layout]

    # -- nodes -------------------------------------------------------------------------

    def unique(self, name: str) -> str:
        """Return `name`, numbered if it is taken."""
        candidate, count = name, 0
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate

    def node(
        self,
        op_type: str,
        inputs: list[str],
        name: str,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Append a node with one output and return the output's name."""
        name = self.unique(name)
        self.nodes.append(
            helper.make_node(
                op_type, inputs, [name], name=name, domain=domain, **attributes
            )
        )
        return name

    def initializer(self, name: str, value: Any) -> str:
        """Append a constant (float32 unless integer) and return its name."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = self.unique(name)
        # A 0-d array stays 0-d: qonnx wants scalar bit widths.
        array = np.ascontiguousarray(array).reshape(array.shape)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    # -- quantization ------------------------------------------------------------------

    def parameter(
        self, operation: Operation, name: str, arrange: Any = lambda a: a
    ) -> str:
        """Append a weight and its quantizer; `arrange` gives the ONNX axis order."""
        parameter = operation.weights[name]
        full = f"{operation.name}/{name}"
        value = self.initializer(full, arrange(parameter.value))
        quantizer = parameter.quantizer
        if quantizer is None:
            return value
        step = quantizer.step
        if step.ndim:
            step = arrange(np.broadcast_to(step, parameter.value.shape))
            step = step[tuple(slice(None) if _varies(step, i) else slice(0, 1)
                              for i in range(step.ndim))]  # fmt: skip
        _check_on_grid(parameter, operation.layer)
        if isinstance(quantizer, Binary):
            return self._bipolar(value, step, f"{full}/quant")
        return self._quant(value, step, quantizer, "ROUND", f"{full}/quant")

    def quantize(
        self, value: str, quantizer: UniformQuantizer, operation: Operation, shape: Any
    ) -> str:
        """Append an activation quantizer; vectors in it are reshaped to `shape`."""

        def along_channels(array: np.ndarray) -> np.ndarray:
            return array.reshape(shape) if array.ndim else array

        name = operation.name
        step = along_channels(quantizer.step)
        if isinstance(quantizer, Binary):
            return self._bipolar(value, step, name)
        if isinstance(quantizer, Ternary):
            threshold = along_channels(np.asarray(quantizer.threshold, np.float32))
            return self._ternary(value, threshold, step, name)
        if isinstance(quantizer, Affine):
            return self._quant(value, step, quantizer, "ROUND", name)
        if not isinstance(quantizer, FixedPoint):
            raise UnsupportedModelError(
                f"Layer {operation.layer!r}: QONNX has no operator for {quantizer!r}.",
                layer=operation.layer,
            )
        if quantizer.overflow == "WRAP" and not self._stays_inside(operation):
            raise UnsupportedModelError(
                f"Layer {operation.layer!r}: QONNX has no wrapping overflow, and the "
                "values may leave the range. Use overflow='SAT', or more integer bits. "
                f"Received: {quantizer!r}",
                layer=operation.layer,
            )
        if isinstance(quantizer, QuantizedReLU):
            value = self.node("Relu", [value], f"{name}/relu")
        grid_step = along_channels(quantizer.grid_step)
        value = self._quant(value, grid_step, quantizer, quantizer.rounding, name)
        if quantizer.alpha == 1.0:
            return value
        alpha = along_channels(np.asarray(quantizer.alpha, np.float32))
        factor = self.initializer(f"{name}/alpha", alpha)
        return self.node("Mul", [value, factor], f"{name}/scaled")

    def _stays_inside(self, operation: Operation) -> bool:
        grid = self.arithmetic.facts[operation.input].grid
        quantizer = operation.attributes["quantizer"]
        half = quantizer.grid_step / 2
        factor = np.asarray(quantizer.alpha, np.float32)
        low, high = quantizer.min / factor - half, quantizer.max / factor + half
        return grid is not None and bool(
            np.all(grid.low > low) and np.all(grid.high < high)
        )

    def _quant(
        self,
        value: str,
        step: Any,
        quantizer: UniformQuantizer,
        rounding: str,
        name: str,
    ) -> str:
        zero_point = quantizer.zero_point if isinstance(quantizer, Affine) else 0
        signed = quantizer.signed and not isinstance(quantizer, Affine)
        narrow = signed and quantizer.code_min == -quantizer.code_max
        inputs = [
            value,
            self.initializer(f"{name}/scale", step),
            self.initializer(f"{name}/zeropt", np.float32(zero_point)),
            self.initializer(f"{name}/bitwidth", np.float32(quantizer.bits)),
        ]
        return self.node(
            "Quant",
            inputs,
            name,
            domain=DOMAIN,
            signed=int(signed),
            narrow=int(narrow),
            rounding_mode=rounding,
        )

    def _bipolar(self, value: str, step: Any, name: str) -> str:
        scale = self.initializer(f"{name}/scale", step)
        return self.node("BipolarQuant", [value, scale], name, domain=DOMAIN)

    def _ternary(self, value: str, threshold: Any, step: Any, name: str) -> str:
        # Half the difference of two signs: +1 where x >= t, -1 where -x >= t, else 0.
        limit = self.initializer(f"{name}/threshold", threshold)
        above = self.node("Sub", [value, limit], f"{name}/above")
        negated = self.node("Neg", [value], f"{name}/negated")
        below = self.node("Sub", [negated, limit], f"{name}/below")
        plus = self._bipolar(above, step / 2, f"{name}/plus")
        minus = self._bipolar(below, step / 2, f"{name}/minus")
        return self.node("Sub", [plus, minus], name)


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
