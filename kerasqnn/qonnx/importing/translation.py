"""Builds the Keras model while handlers translate one node after another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers
from onnx import NodeProto

from .graph_view import GraphView
from .quantization import Quantization, is_quantizer
from .refusal import refused
from .values import Activation, Weight, channels_last

# Nodes that move the entries of a constant and keep its quantizer.
_MOVES = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


@dataclass(frozen=True)
class Step:
    """Layers that stand for some nodes.

    Attributes:
        inputs: Names in the file of the tensors that they read.
        output: Name in the file of what they compute.
        magnitude: Largest sum of absolute weights for an output; None where the layers
            add up nothing, so that float32 leaves no freedom.
        terms: Largest number of terms of a sum.
    """

    inputs: tuple[str, ...]
    output: str
    magnitude: float | None = None
    terms: int = 0


class Translation:
    """The tensors of the file that have been translated, and how more are.

    Args:
        view: The graph.
        constants: What the constant tensors of the graph are, computed.
        batch: The size of the batch that the file fixes, or 0.
    """

    def __init__(
        self, view: GraphView, constants: Mapping[str, np.ndarray], batch: int
    ) -> None:
        self.view = view
        self.batch = batch
        self.steps: list[Step] = []
        self._computed = constants
        self._activations: dict[str, Activation] = {}
        self._weights: dict[str, Weight] = {}
        self._absorbed: set[int] = set()
        self._names: set[str] = set()

    # -- names -------------------------------------------------------------------------

    def unique(self, name: str) -> str:
        """Return a name for a layer, as near to that in the file as Keras takes it."""
        stem = re.sub(r"[^A-Za-z0-9_.\-]+", "_", name).strip("_") or "node"
        candidate, count = stem, 0
        while candidate in self._names:
            count += 1
            candidate = f"{stem}_{count}"
        self._names.add(candidate)
        return candidate

    def name(self, node: NodeProto) -> str:
        """Return a name for the layer of a node."""
        return self.unique(node.name or node.output[0])

    # -- tensors -----------------------------------------------------------------------

    def is_weight(self, name: str) -> bool:
        """Whether a tensor does not depend on the input."""
        return name in self._computed

    def weight(self, name: str) -> Weight:
        """Return a constant tensor."""
        if name not in self._weights:
            self._weights[name] = self._read_weight(name)
        return self._weights[name]

    def activation(self, name: str, node: NodeProto) -> Activation:
        """Return a tensor that depends on the input, for a node that reads it."""
        if name in self._activations:
            return self._activations[name]
        if self.is_weight(name):
            raise refused(
                node,
                f"its input {name!r} is constant",
                "Fold the constants of the file first",
            )
        raise refused(
            node,
            f"its input {name!r} is computed by no node before it",
            "Sort the nodes, as ONNX demands",
        )

    def known(self) -> dict[str, Activation]:
        """Return all tensors that depend on the input by name."""
        return dict(self._activations)

    def define(
        self,
        node: NodeProto,
        value: Activation,
        *inputs: str,
        magnitude: float | None = None,
        terms: int = 0,
    ) -> None:
        """Say what a node's output is, and of which tensors it has been computed."""
        self._activations[node.output[0]] = value
        if inputs:
            step = Step(inputs, node.output[0], magnitude, terms)
            self.steps.append(step)

    def define_input(self, name: str, value: Activation) -> None:
        """Say what an input of the file is."""
        self._activations[name] = value

    # -- nodes -------------------------------------------------------------------------

    def absorb(self, node: NodeProto) -> None:
        """Say that a node has been translated together with one before it."""
        self._absorbed.add(id(node))

    def is_absorbed(self, node: NodeProto) -> bool:
        """Whether a node has been translated already."""
        return id(node) in self._absorbed

    def call(self, node: NodeProto, layer: Any, inputs: Any) -> Any:
        """Call a layer; its errors name the node."""
        try:
            return layer(inputs)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise refused(
                node, f"Keras refuses the layer: {error}", "Change the node"
            ) from error

    # -- layouts -----------------------------------------------------------------------

    def with_axes(
        self, value: Activation, axes: tuple[int, ...], name: str
    ) -> Activation:
        """Return a tensor whose Keras axes are the given ones of the file."""
        value = self.unfolded(value, name)
        if value.axes == axes:
            return value
        order = tuple(value.axes.index(a) for a in axes[1:])
        layer = layers.Permute(order, name=self.unique(f"{name}/permute"))
        return Activation(layer(value.tensor), axes)

    def as_in_file(self, value: Activation, name: str) -> Activation:
        """Return a tensor in the order of the file."""
        return self.with_axes(value, tuple(range(value.rank)), name)

    def as_channels_last(self, value: Activation, name: str) -> Activation:
        """Return a tensor that is channels first in the file, channels last."""
        return self.with_axes(value, channels_last(value.rank), name)

    def unfolded(self, value: Activation, name: str) -> Activation:
        """Return a flattened image in the order in which the file flattens it."""
        if value.image is None:
            return value
        shape = self.unique(f"{name}/image")
        image = layers.Reshape(value.image.shape, name=shape)(value.tensor)
        unflattened = Activation(image, value.image.axes)
        tensor = self.as_in_file(unflattened, name).tensor
        flat = layers.Flatten(name=self.unique(f"{name}/flat"))
        return Activation.plain(flat(tensor))

    # -- weights -----------------------------------------------------------------------

    def _read_weight(self, name: str) -> Weight:
        node, value = self.view.producer(name), self._computed[name]
        plain = Weight(value, value)
        if node is None or not node.input:
            return plain
        source = node.input[0]
        if is_quantizer(node):
            quantization = Quantization.of(node, self._computed)
            stored = self.weight(source)
            if quantization is None or stored.quantization is not None:
                return plain
            if quantization.scale.ndim > stored.value.ndim:
                return plain
            shape = stored.value.shape
            return Weight(stored.value, value, quantization.broadcast(shape))
        if node.op_type not in _MOVES or not self.weight(source).quantization:
            return plain
        return self._moved(self.weight(source), node, value)

    def _moved(self, source: Weight, node: NodeProto, value: np.ndarray) -> Weight:
        if node.op_type != "Transpose":
            return source.arranged(lambda a: a.reshape(value.shape))
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        return source.arranged(lambda a: a.transpose(order))


def assign(node: NodeProto, variable: Any, weight: Weight, quantizer: Any) -> None:
    """Give a layer's variable the floats of the file, if the quantizer fits them.

    Raises:
        UnsupportedModelError: If the quantizer makes other values of them.
    """
    stored = np.asarray(weight.stored, np.float32)
    if quantizer is not None:
        made = quantizer.quantize(stored)
        different = int(np.sum(made != weight.value))
        if different:
            raise refused(
                weight.quantization.node if weight.quantization else node,
                f"{quantizer!r} makes other values of {different} of {stored.size} "
                "weights than the file",
                "Store weights that lie on the grid",
            )
    variable.assign(np.ascontiguousarray(stored))


def weight_quantizer(weight: Weight) -> Any:
    """Return the quantizer of a weight whose last axis is that of the outputs."""
    quantization = weight.quantization
    return None if quantization is None else quantization.quantizer(of_weights=True)
