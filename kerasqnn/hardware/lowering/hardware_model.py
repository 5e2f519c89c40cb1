"""What goes onto the chip: the graph without noise, softmax and input quantizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from ...errors import UnsupportedModelError
from ...models import Arithmetic, Graph, Grid, Operation, analyse, read_model
from ...models.floating_point import why_floating_point
from ...quantizers import FixedPoint, Quantizer, StatefulQuantizer, UniformQuantizer
from ...quantizers.functions import Function

_CUT = "Left out the final softmax"


@dataclass(frozen=True)
class HardwareModel:
    """A model, divided between host and chip.

    Attributes:
        graph: All of it from the float input on, without noise and final softmax.
        chip: The part on the chip: `graph` without the quantizers of the inputs.
        arithmetic: The facts of all tensors of `graph`.
        input_quantizers: By input tensor, the quantizer that the host applies.
        notes: What was left out, in sentences for the user.
    """

    graph: Graph
    chip: Graph
    arithmetic: Arithmetic
    input_quantizers: dict[str, UniformQuantizer]
    notes: tuple[str, ...]

    @property
    def is_cut(self) -> bool:
        """Whether a final softmax was left out."""
        return any(note.startswith(_CUT) for note in self.notes)

    def grid(self, tensor: str) -> Grid | None:
        """Grid of a tensor of the chip, where inputs are quantized, or None."""
        if tensor in self.input_quantizers:
            tensor = self.graph.consumers(tensor)[0].output
        return self.arithmetic.facts[tensor].grid

    def known_grid(self, tensor: str) -> Grid:
        """Grid of a tensor that `preflight.check` has found to have one."""
        grid = self.grid(tensor)
        if grid is None:
            raise ValueError(f"Tensor {tensor!r} lies on no grid.")
        return grid


def prepare(model: keras.Model) -> HardwareModel:
    """Read a model and take out what does not belong on the chip.

    Raises:
        UnsupportedModelError: If an input has no quantizer, or more than one.
    """
    notes = []
    graph = read_model(model)
    noise = graph.of_kind("noise")
    if noise:
        names = ", ".join(o.name for o in noise)
        notes.append(f"Left out the noise points {names}: hardware has its own noise.")
    graph = graph.without_noise()
    softmax = [o for o in graph.of_kind("softmax") if _is_final(o, graph)]
    if softmax:
        names = ", ".join(o.layer for o in softmax)
        notes.append(
            f"{_CUT} of {names}: the hardware returns the logits, "
            "whose largest is the same class."
        )
        graph = graph.without(*(o.name for o in softmax))
    quantizers = {t: _input_quantizer(t, graph) for t in graph.inputs}
    input_operations = [
        o.name
        for o in graph.of_kind("quantize")
        if graph.producer(o.input).kind == "input"
    ]
    arithmetic = analyse(graph)
    idle = [*_idle_quantizers(graph, arithmetic), *_idle_reshapes(graph)]
    chip = graph.without(*input_operations, *idle)
    return HardwareModel(graph, chip, arithmetic, quantizers, tuple(notes))


def as_image(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return a shape on the chip, without the batch: a sequence is one row."""
    return (1, *shape) if len(shape) == 2 else tuple(shape)


def _idle_reshapes(graph: Graph) -> list[str]:
    """Names of the reshapes between a sequence and its image."""
    return [
        o.name
        for o in graph.of_kind("reshape")
        if as_image(graph.tensors[o.input].shape[1:])
        == as_image(graph.tensors[o.output].shape[1:])
    ]


def _is_final(operation: Operation, graph: Graph) -> bool:
    return operation.output in graph.outputs and not graph.consumers(operation.output)


def _input_quantizer(tensor: str, graph: Graph) -> UniformQuantizer:
    readers = graph.consumers(tensor)
    hint = (
        "Put one QuantInput right after the input, such as "
        "QuantInput('quantized_bits(8,0,keep_negative=0)') for numbers from 0 to 1."
    )
    for reader in readers:
        why = _why_not_rounded(reader)
        if why:
            raise UnsupportedModelError(
                f"Layer {reader.layer!r} cannot be deployed: it {why}, where the host "
                f"only rounds the input {tensor!r} to a grid. {hint}",
                layer=reader.layer,
            )
        if reader.kind != "quantize":
            raise UnsupportedModelError(
                f"Layer {reader.layer!r} reads the input {tensor!r} without a "
                f"quantizer, so that its fixed-point type is unknown. {hint}",
                layer=reader.layer,
            )
    found = {o.attributes["quantizer"] for o in readers}
    if tensor in graph.outputs or len(found) != 1:
        raise UnsupportedModelError(
            f"Input {tensor!r} must have exactly one quantizer. {hint} "
            f"Received: {len(found)} different ones",
            layer=tensor,
        )
    (quantizer,) = found
    return quantizer


def _why_not_rounded(operation: Operation) -> str:
    """Say what a quantizer of an input does besides rounding it."""
    function = operation.attributes.get("function")
    if isinstance(function, Function):
        return f"starts with a {type(function).__name__}"
    is_quantizer = isinstance(function, (Quantizer, StatefulQuantizer))
    return (
        why_floating_point(operation) if is_quantizer or operation.kind == "layer"
        else ""
    )  # fmt: skip


def _idle_quantizers(graph: Graph, arithmetic: Arithmetic) -> list[str]:
    """Names of the quantizers whose input already lies on their grid."""
    idle = []
    for operation in graph.of_kind("quantize"):
        grid = arithmetic.facts[operation.input].grid
        quantizer: UniformQuantizer = operation.attributes["quantizer"]
        if (
            grid is None
            or not isinstance(quantizer, FixedPoint)
            or quantizer.alpha != 1.0
            or quantizer.step.ndim
            or not quantizer.is_power_of_two
        ):
            continue
        inside = np.all(grid.low >= quantizer.min) and np.all(
            grid.high <= quantizer.max
        )
        if inside and grid.step >= quantizer.step:
            idle.append(operation.name)
    return idle
