"""Handlers of the functions of activations: single ONNX operators in the same order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from ..models import Operation
from ..quantizers import FixedPoint
from ..quantizers.functions import ClippedLinear, HardSwish, Lookup, StepFunction
from ..quantizers.quantized_softmax import TableSoftmax
from .builder import Builder
from .handlers import handles
from .layouts import CHANNELS_LAST, Layout


class _Chain:
    """Appends one node after another to the value of an operation's input."""

    def __init__(
        self, operation: Operation, builder: Builder, layout: Layout | None = None
    ) -> None:
        self._operation, self._builder = operation, builder
        self.layout = layout or builder.layout(operation.input)
        self.value = builder.value(operation.input, self.layout)

    def constant(self, name: str, value: Any) -> str:
        return self._builder.initializer(f"{self._operation.name}/{name}", value)

    def node(self, op_type: str, *others: str, **attributes: Any) -> None:
        name = f"{self._operation.name}/{op_type.lower()}"
        inputs = [self.value, *others]
        self.value = self._builder.node(op_type, inputs, name, **attributes)

    def look_up(self, table: Lookup, part: str = "") -> None:
        self.node("Div", self.constant(f"{part}step", np.float32(table.step)))
        self.node("Sub", self.constant(f"{part}first", np.float32(table.first)))
        self.node("Cast", to=TensorProto.INT64)
        index = self.value
        levels = np.array(table.levels, np.float32)
        self.value = self.constant(f"{part}levels", levels)
        self.node("Gather", index, axis=0)

    def quantize(self, grid: FixedPoint, part: str) -> None:
        operation = replace(self._operation, name=f"{self._operation.name}/{part}")
        self.value = self._builder.quantize(self.value, grid, operation)

    def finish(self) -> None:
        self._builder.define(self._operation.output, self.value, self.layout)


@handles("clipped_linear")
def _clipped_linear(operation: Operation, builder: Builder) -> None:
    function: ClippedLinear = operation.attributes["function"]
    chain = _Chain(operation, builder)
    if function.slope != 1.0:
        chain.node("Mul", chain.constant("slope", np.float32(function.slope)))
    if function.offset:
        chain.node("Add", chain.constant("offset", np.float32(function.offset)))
    if function.high is not None:
        chain.node("Min", chain.constant("high", np.float32(function.high)))
    if function.low is not None:
        chain.node("Max", chain.constant("low", np.float32(function.low)))
    chain.finish()


@handles("leaky_relu")
def _leaky_relu(operation: Operation, builder: Builder) -> None:
    chain = _Chain(operation, builder)
    chain.node("LeakyRelu", alpha=operation.attributes["function"].slope)
    chain.finish()


@handles("hard_swish")
def _hard_swish(operation: Operation, builder: Builder) -> None:
    function: HardSwish = operation.attributes["function"]
    chain = _Chain(operation, builder)
    x, bound = chain.value, chain.constant("bound", np.float32(function.bound))
    chain.node("Add", chain.constant("shift", np.float32(function.shift)))
    chain.node("Min", bound)
    chain.node("Max", chain.constant("zero", np.float32(0)))
    chain.node("Mul", x)
    chain.node("Div", bound)
    chain.finish()


@handles("step_function")
def _step_function(operation: Operation, builder: Builder) -> None:
    """Count the thresholds that are reached, and look the level up."""
    function: StepFunction = operation.attributes["function"]
    chain = _Chain(operation, builder)
    last = chain.constant("axis", np.array([-1], np.int64))
    levels = chain.constant("levels", np.array(function.levels, np.float32))
    chain.node("Unsqueeze", last)
    thresholds = np.array(function.thresholds, np.float32)
    chain.node("GreaterOrEqual", chain.constant("thresholds", thresholds))
    chain.node("Cast", to=TensorProto.INT64)
    chain.node("ReduceSum", last, keepdims=0)
    index = chain.value
    chain.value = levels
    chain.node("Gather", index, axis=0)
    chain.finish()


@handles("lookup")
def _lookup(operation: Operation, builder: Builder) -> None:
    chain = _Chain(operation, builder)
    chain.look_up(operation.attributes["function"])
    chain.finish()


@handles("table_softmax")
def _table_softmax(operation: Operation, builder: Builder) -> None:
    function: TableSoftmax = operation.attributes["function"]
    chain = _Chain(operation, builder, CHANNELS_LAST)
    x = chain.value
    chain.node("ReduceMax", axes=[-1], keepdims=1)
    chain.node("Sub", x)
    chain.quantize(function.difference, "difference")
    chain.look_up(function.exp_table, "exp/")
    powers = chain.value
    chain.node("ReduceSum", chain.constant("axis", np.array([-1], np.int64)))
    chain.quantize(function.sum, "sum")
    chain.look_up(function.inverse_table, "inverse/")
    chain.node("Mul", powers)
    chain.finish()
