"""Readers of recurrent layers of fixed length: the loop over time steps, unrolled."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ... import layers as quant_layers
from ...quantizers.functions import ClippedLinear
from ...quantizers.parsing import AnyQuantizer
from ..graph import Parameter, Tensor
from .registry import parameter, reads
from .sequences import OPEN_LENGTH, has_fixed_length

_ZERO = ClippedLinear(low=0.0, high=0.0)


@reads(
    quant_layers.QuantSimpleRNN,
    quant_layers.NoisyQuantSimpleRNN,
    quant_layers.QuantLSTM,
    quant_layers.NoisyQuantLSTM,
    quant_layers.QuantGRU,
    quant_layers.NoisyQuantGRU,
)
def _recurrent(layer: Any, inputs: list[Tensor], reading: Any) -> list[Tensor]:
    reason = _why_a_loop(layer, inputs)
    if reason:
        return reading.as_layer(inputs, reason)
    kind = type(layer.cell).__name__
    loop_class = _SimpleRNN if "RNN" in kind else _LSTM if "LSTM" in kind else _GRU
    outputs = loop_class(layer.cell, inputs, reading).run(layer.go_backwards)
    if not layer.return_sequences:
        return reading.finish(layer, outputs[-1])
    units = layer.cell.units
    steps = [
        reading.reshape(h, (1, units), f"/{i}/output")[0] for i, h in enumerate(outputs)
    ]
    return reading.finish(layer, reading.add("concatenate", steps, axis=1))


def _why_a_loop(layer: Any, inputs: list[Tensor]) -> str:
    """Say why a layer cannot be unrolled."""
    cell = layer.cell
    activations = [cell.activation, getattr(cell, "recurrent_activation", None)]
    if len(inputs) > 1 or layer.return_state or layer.stateful:
        return "takes or returns states, or keeps them between batches"
    if not has_fixed_length(inputs):
        return OPEN_LENGTH
    if not all(a is None or isinstance(a, AnyQuantizer) for a in activations):
        return "has an activation in floating point between its time steps"
    return ""


class _Loop:
    """Adds the operations of all time steps."""

    states = 1

    def __init__(self, cell: Any, inputs: list[Tensor], reading: Any) -> None:
        self.cell, self.reading, self.step = cell, reading, 0
        self.batch, self.length = inputs[0].shape[0], inputs[0].shape[1] or 0
        kernel = parameter(cell.kernel, cell.kernel_quantizer)
        self.recurrent = parameter(cell.recurrent_kernel, cell.recurrent_quantizer)
        self.bias = (
            None if cell.bias is None else parameter(cell.bias, cell.bias_quantizer)
        )
        self.width = kernel.value.shape[-1]
        shape = (self.batch, self.length, self.width)
        weights = {"kernel": kernel, **self.input_bias()}
        self.products = self._add("dense", inputs, "inputs", shape, weights=weights)

    def input_bias(self) -> dict[str, Parameter]:
        return {"bias": self.bias} if self.bias else {}

    def run(self, backwards: bool) -> list[list[Tensor]]:
        """Return the output of each time step, in the order in which they run."""
        first = self.take(self.products, 0, 1, 1, "first")
        first = self.reading.reshape(first, (self.width,), "/start")
        first = self.part(first, 0, "start")
        zero = self.add("clipped_linear", first, "zero", function=_ZERO)
        states, outputs = [zero] * self.states, []
        times = range(self.length)
        for self.step in reversed(times) if backwards else times:
            taken = self.take(self.products, self.step, self.step + 1, 1, "input")
            x = self.reading.reshape(taken, (self.width,), f"/{self.step}/products")
            old = [
                self.activate(self.cell.state_quantizer, s, f"state_{i}")
                for i, s in enumerate(states)
            ]
            states = self.advance(x, old)
            outputs.append(states[0])
        return outputs

    def advance(self, x: Any, states: list[Any]) -> list[Any]:
        """Return the new states; the first is the output."""
        raise NotImplementedError

    # -- operations --------------------------------------------------------------------

    def _add(self, kind: str, x: Any, name: str, shape: Any, **options: Any) -> Any:
        return self.reading.add(
            kind, x, part=f"/{self.step}/{name}", shape=shape, unrolled=True, **options
        )

    def add(self, kind: str, x: Any, name: str, width: int = 0, **options: Any) -> Any:
        shape = (self.batch, width or self.cell.units)
        return self._add(kind, x, name, shape, **options)

    def take(self, x: Any, start: int, stop: int, axis: int, name: str) -> Any:
        shape = list(x[0].shape)
        shape[axis] = stop - start
        place = {"axis": axis, "start": start, "stop": stop}
        return self._add("slice", x, name, tuple(shape), **place)

    def part(self, x: Any, gate: int, name: str) -> Any:
        units = self.cell.units
        return self.take(x, gate * units, (gate + 1) * units, 1, f"{name}_{gate}")

    def activate(self, activation: Any, x: Any, name: str) -> Any:
        shaped = self.reading.with_shape((self.batch, self.cell.units))
        return shaped.activation(activation, x, f"/{self.step}/{name}")

    def multiply(self, a: Any, b: Any, name: str) -> Any:
        return self.add("multiply", [*a, *b], name)

    def product(
        self, state: Any, weights: dict[str, Parameter], name: str = "recurrent"
    ) -> Any:
        width = weights["kernel"].value.shape[-1]
        return self.add("dense", state, name, width, weights=weights)

    def gate(self, x: Any, name: str) -> Any:
        return self.activate(self.cell.recurrent_activation, x, name)


class _SimpleRNN(_Loop):
    def advance(self, x: Any, states: list[Any]) -> list[Any]:
        total = self.add(
            "add", [*x, *self.product(states[0], {"kernel": self.recurrent})], "sum"
        )
        return [self.activate(self.cell.activation, total, "output")]


class _LSTM(_Loop):
    states = 2

    def advance(self, x: Any, states: list[Any]) -> list[Any]:
        total = self.add(
            "add",
            [*x, *self.product(states[0], {"kernel": self.recurrent})],
            "sum",
            self.width,
        )
        given, kept, fresh, shown = (self.part(total, g, "gate") for g in range(4))
        fresh = self.activate(self.cell.activation, fresh, "candidate")
        carry = self.add(
            "add",
            [
                *self.multiply(self.gate(kept, "forget"), states[1], "kept"),
                *self.multiply(self.gate(given, "input_gate"), fresh, "new"),
            ],
            "carry",
        )
        shown = self.gate(shown, "output_gate")
        active = self.activate(self.cell.activation, carry, "active")
        return [self.multiply(shown, active, "output"), carry]


class _GRU(_Loop):
    def input_bias(self) -> dict[str, Parameter]:
        if self.bias and self.cell.reset_after:
            return {"bias": _part(self.bias, self.bias.value[0])}
        return super().input_bias()

    def advance(self, x: Any, states: list[Any]) -> list[Any]:
        (state,) = states
        units, kernel = self.cell.units, self.recurrent
        weights = {"kernel": kernel}
        if not self.cell.reset_after:
            weights["kernel"] = _part(kernel, kernel.value[:, : 2 * units])
        elif self.bias:
            weights["bias"] = _part(self.bias, self.bias.value[1])
        inner = self.product(state, weights)
        update, reset = (
            self.gate(
                self.add("add", [*self.part(x, g, "x"), *self.part(inner, g, "h")], n),
                f"{n}_gate",
            )
            for g, n in enumerate(("update", "reset"))
        )
        if self.cell.reset_after:
            remembered = self.multiply(reset, self.part(inner, 2, "h"), "remembered")
        else:
            last = _part(kernel, kernel.value[:, 2 * units :])
            remembered = self.multiply(reset, state, "kept")
            remembered = self.product(remembered, {"kernel": last}, "remembered")
        total = self.add("add", [*self.part(x, 2, "x"), *remembered], "sum")
        fresh = self.activate(self.cell.activation, total, "candidate")
        # z * h + (1 - z) * g, in as many bits and without a constant.
        change = self.add("subtract", [*state, *fresh], "change")
        change = self.multiply(update, change, "changed")
        return [self.add("add", [*fresh, *change], "output")]


def _part(whole: Parameter, value: np.ndarray) -> Parameter:
    """Return a part of a weight; without its quantizer where that has vectors."""
    quantizer = whole.quantizer
    if quantizer is not None and np.ndim(quantizer.step):
        quantizer = None
    return dataclasses.replace(whole, value=value, quantizer=quantizer)
