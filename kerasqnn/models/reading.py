"""From a Keras model to a `Graph`: the only place that walks Keras's own graph."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import takewhile
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from ..errors import UnsupportedModelError
from ..quantizers import Quantizer, StatefulQuantizer, UniformQuantizer
from ..quantizers.functions import ClippedLinear, Function, LeakyReLU
from .graph import Graph, Operation, Parameter, Tensor
from .readers import reader_of, uses_masks

# Keras activations that one of our functions computes bit for bit.
_FUNCTIONS = {
    keras.activations.relu6: ClippedLinear(low=0.0, high=6.0),
    keras.activations.hard_tanh: ClippedLinear(low=-1.0, high=1.0),
    keras.activations.leaky_relu: LeakyReLU(0.2),
}


class Scope:
    """Collects the operations of one model while its layers are read."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.tensors: dict[str, Tensor] = {}
        self._names: set[str] = set()

    def unique(self, name: str) -> str:
        """Return `name`, with a number behind it if it is taken."""
        candidate, count = name, 0
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate

    def add(
        self,
        kind: str,
        name: str,
        inputs: Sequence[Tensor],
        shapes: Sequence[tuple[int | None, ...]],
        *,
        layer: str,
        dtype: str = "float32",
        weights: dict[str, Parameter] | None = None,
        **attributes: Any,
    ) -> list[Tensor]:
        """Append an operation and return its output tensors."""
        name = self.unique(name)
        suffixes = [""] if len(shapes) == 1 else [f":{i}" for i in range(len(shapes))]
        outputs = [
            Tensor(name + s, tuple(shape), dtype)
            for s, shape in zip(suffixes, shapes, strict=True)
        ]
        self.tensors.update({t.name: t for t in outputs})
        self.operations.append(
            Operation(
                name,
                kind,
                tuple(t.name for t in inputs),
                tuple(t.name for t in outputs),
                layer,
                attributes,
                weights or {},
            )
        )
        return outputs


def read_model(model: keras.Model) -> Graph:
    """Read a model once, for everything that needs to know what it computes.

    Args:
        model: A built Sequential or functional model; nested models, shared layers and
            several inputs and outputs are fine.

    Returns:
        The operations in an order in which they can run, with the weights as they are
        now. Dropout, linear activations and Keras's noise layers, which do nothing at
        inference, leave no trace; kerasqnn noise points do.

    Raises:
        TypeError: If `model` is no Keras model.
        UnsupportedModelError: If it is subclassed or not built, or a weight is not
            finite.
    """
    function = functional_of(model)
    scope = Scope()
    inputs = []
    for tensor in function.inputs:
        inputs += scope.add(
            "input", tensor.name, [], [tensor.shape], layer=tensor.name,
            dtype=keras.backend.standardize_dtype(tensor.dtype),
        )  # fmt: skip
    outputs = _read_function(function, inputs, scope, prefix="")
    graph = Graph(
        model.name,
        tuple(t.name for t in inputs),
        tuple(t.name for t in outputs),
        tuple(scope.operations),
        scope.tensors,
    )
    return _without_dead_operations(graph)


def functional_of(model: Any) -> Any:
    """Return what holds a model's graph, or raise where there is none to read."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "Expected a keras.Model (Sequential or functional). "
            f"Received: {model!r} of type {type(model).__name__}"
        )
    sequential = isinstance(model, keras.Sequential)
    if _has_own_call(type(model)) or not (
        sequential or hasattr(model, "_nodes_by_depth")
    ):
        raise UnsupportedModelError(
            f"Model {model.name!r} is a subclass of keras.Model, whose graph cannot be "
            "read. Build it with keras.Sequential or the functional API. "
            f"Received: {type(model).__name__}"
        )
    if sequential:
        if not model.built or model._functional is None:
            raise UnsupportedModelError(
                f"Model {model.name!r} has no fixed input shape yet. Start it with "
                "keras.Input(shape), or call it once on data."
            )
        return model._functional
    return model


def _has_own_call(model_class: type) -> bool:
    """Whether a subclass of Keras's model classes says itself what it computes."""
    below_keras = takewhile(
        lambda c: not c.__module__.startswith("keras."), model_class.mro()
    )
    return any({"call", "__call__"} & vars(c).keys() for c in below_keras)


def _read_function(
    function: Any, inputs: Sequence[Tensor], scope: Scope, prefix: str
) -> list[Tensor]:
    known = {id(k): t for k, t in zip(function.inputs, inputs, strict=True)}
    by_depth = function._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            if not node.operation or node.is_input:
                continue
            if any(id(t) not in known for t in node.input_tensors):
                continue
            arguments = [known[id(t)] for t in node.arguments.keras_tensors]
            outputs = _read_node(node, arguments, scope, prefix)
            known.update({id(k): t for k, t in zip(node.outputs, outputs, strict=True)})
    return [known[id(t)] for t in function.outputs]


def _read_node(
    node: Any, inputs: list[Tensor], scope: Scope, prefix: str
) -> list[Tensor]:
    operation = node.operation
    name = prefix + operation.name
    if isinstance(operation, keras.Model):
        return _read_function(functional_of(operation), inputs, scope, f"{name}/")
    _check_finite(operation, name)
    _check_unmasked(node, name)
    return reader_of(operation, node)(operation, inputs, Reading(scope, name, node))


def _caller(node: Any) -> Any:
    """Return a function that calls the node's operation on new tensors."""

    def call(*tensors: Any) -> Any:
        replaced = dict(
            zip((id(t) for t in node.arguments.keras_tensors), tensors, strict=True)
        )
        args, kwargs = node.arguments.fill_in(replaced)
        return tree.flatten(node.operation(*args, **kwargs))

    return call


def _check_finite(operation: Any, name: str) -> None:
    for weight in getattr(operation, "weights", []):
        value = np.asarray(ops.convert_to_numpy(weight))
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            raise UnsupportedModelError(
                f"Weight {weight.path!r} of layer {name!r} has NaN or infinite values. "
                "Retrain, for instance with a lower learning rate.",
                layer=name,
            )


def _check_unmasked(node: Any, name: str) -> None:
    """Refuse a layer that uses a mask, which flows beside the tensors that are read."""
    operation = node.operation
    masked = any(
        getattr(t, "_keras_mask", None) is not None
        for t in node.arguments.keras_tensors
    )
    if masked and uses_masks(operation):
        raise UnsupportedModelError(
            f"Layer {name!r} ({type(operation).__name__}) computes with the mask of "
            "its inputs, which cannot be read. Leave out what makes the mask, such as "
            "keras.layers.Masking or mask_zero=True of an embedding.",
            layer=name,
        )


def _without_dead_operations(graph: Graph) -> Graph:
    needed = set(graph.outputs)
    kept = []
    for operation in reversed(graph.operations):
        if operation.kind == "input" or needed.intersection(operation.outputs):
            needed.update(operation.inputs)
            kept.append(operation)
    return Graph(
        graph.name,
        graph.inputs,
        graph.outputs,
        tuple(reversed(kept)),
        {t: graph.tensors[t] for o in kept for t in o.outputs},
    )


class Reading:
    """What a reader gets to add the operations of one layer call."""

    def __init__(self, scope: Scope, name: str, node: Any) -> None:
        self._scope = scope
        self.name = name
        self.shapes = [tuple(t.shape) for t in node.outputs]
        self._node = node

    def add(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        *,
        part: str = "",
        shape: tuple[int | None, ...] | None = None,
        weights: dict[str, Parameter] | None = None,
        **attributes: Any,
    ) -> list[Tensor]:
        """Append an operation with the layer's output shape, or with another one."""
        return self._scope.add(
            kind,
            self.name + part,
            inputs,
            self.shapes[:1] if shape is None else [shape],
            layer=self.name,
            weights=weights,
            **attributes,
        )

    def with_shape(self, shape: tuple[int | None, ...]) -> Reading:
        """Return the same, but for results of another shape than the layer's."""
        other = copy(self)
        other.shapes = [shape]
        return other

    def as_layer(self, inputs: list[Tensor], reason: str) -> list[Tensor]:
        """Append the whole call as one operation, which Keras itself runs.

        Args:
            inputs: The tensors that it reads.
            reason: Why; a predicate of the layer, for messages.
        """
        return self._scope.add(
            "layer",
            self.name,
            inputs,
            self.shapes,
            layer=self.name,
            dtype=keras.backend.standardize_dtype(self._node.outputs[0].dtype),
            operation=self._node.operation,
            call=_caller(self._node),
            reason=reason,
        )

    def reshape(
        self, inputs: list[Tensor], target_shape: Sequence[int | None], part: str
    ) -> list[Tensor]:
        """Append a reshape; the target leaves out the batch axis."""
        target = tuple(target_shape)
        shape = (inputs[0].shape[0], *target)
        return self.add("reshape", inputs, part=part, shape=shape, target_shape=target)

    def finish(self, layer: Any, outputs: list[Tensor]) -> list[Tensor]:
        """Append the layer's noise point and activation, where it has them."""
        point = getattr(layer, "noise_point", None)
        if point is not None:
            outputs = self.add("noise", outputs, part="/noise", point=point)
        activation = getattr(
            layer, "final_activation", getattr(layer, "activation", None)
        )
        return self.activation(activation, outputs, "/activation")

    def activation(
        self, activation: Any, inputs: list[Tensor], part: str
    ) -> list[Tensor]:
        """Append an activation function or quantizer."""
        if isinstance(activation, (Quantizer, StatefulQuantizer)):
            *functions, last = activation.stages()
            for function in functions:
                inputs = self.activation(function, inputs, f"{part}/function")
            if isinstance(last, UniformQuantizer):
                return self.add("quantize", inputs, part=part, quantizer=last)
            activation = last
        if activation is None or activation is keras.activations.linear:
            return inputs
        if activation is keras.activations.relu:
            return self.add("relu", inputs, part=part)
        if activation is keras.activations.softmax:
            return self.add("softmax", inputs, part=part, axis=-1)
        if callable(activation) and not isinstance(activation, Function):
            activation = _FUNCTIONS.get(activation, activation)
        kind = activation.kind if isinstance(activation, Function) else "activation"
        return self.add(kind, inputs, part=part, function=activation)
