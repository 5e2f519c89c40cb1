"""The description of a model: operations, tensors, quantizers and noise points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..quantizers import UniformQuantizer


@dataclass(frozen=True)
class Tensor:
    """A value that flows between operations.

    Attributes:
        name: Unique name.
        shape: Shape with None for the batch (and any other unknown) dimension.
        dtype: Keras dtype name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Parameter:
    """A weight as the forward pass uses it.

    Attributes:
        value: float32 array, already quantized.
        quantizer: What quantized it, or None.
    """

    value: np.ndarray
    quantizer: UniformQuantizer | None = None


@dataclass(frozen=True)
class Operation:
    """One step of the computation.

    Attributes:
        name: Unique name, the Keras layer's with the names of nested models before it
            and, for the parts of one layer, `/noise` or `/activation` after it.
        kind: What is computed; the kinds stand in the table of `readers`.
        inputs: Names of the tensors read.
        outputs: Names of the tensors written.
        layer: Name of the Keras layer it comes from, for messages.
        attributes: What the kind needs besides weights.
        weights: Parameters by name.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layer: str
    attributes: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Parameter] = field(default_factory=dict)

    @property
    def input(self) -> str:
        """The only, or first, tensor read."""
        return self.inputs[0]

    @property
    def output(self) -> str:
        """The only, or first, tensor written."""
        return self.outputs[0]


@dataclass(frozen=True)
class Graph:
    """A model as operations in an order in which they can run.

    Attributes:
        name: The model's name.
        inputs: Names of the input tensors, in the model's order.
        outputs: Names of the output tensors, in the model's order.
        operations: The operations; `input` operations come first.
        tensors: Tensors by name.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    tensors: dict[str, Tensor]

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def operation(self, name: str) -> Operation:
        """Return the operation of that name."""
        return next(o for o in self.operations if o.name == name)

    def producer(self, tensor: str) -> Operation:
        """Return the operation that writes `tensor`."""
        return next(o for o in self.operations if tensor in o.outputs)

    def consumers(self, tensor: str) -> tuple[Operation, ...]:
        """Return the operations that read `tensor`."""
        return tuple(o for o in self.operations if tensor in o.inputs)

    def of_kind(self, *kinds: str) -> tuple[Operation, ...]:
        """Return the operations of the given kinds."""
        return tuple(o for o in self.operations if o.kind in kinds)

    def without(self, *names: str) -> Graph:
        """Return the graph with some one-input operations taken out.

        Readers of an operation's output then read its input.
        """
        alias: dict[str, str] = {}
        kept = []
        for operation in self.operations:
            inputs = tuple(alias.get(t, t) for t in operation.inputs)
            if operation.name in names:
                alias[operation.output] = inputs[0]
            else:
                kept.append(replace(operation, inputs=inputs))
        return replace(
            self,
            operations=tuple(kept),
            outputs=tuple(alias.get(t, t) for t in self.outputs),
        )

    def without_noise(self) -> Graph:
        """Return the graph as it runs when every noise point is off."""
        return self.without(*(o.name for o in self.of_kind("noise")))
