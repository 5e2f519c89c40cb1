"""Keras layers without a handler: converted alone by tf2onnx and inlined."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from ..errors import UnsupportedModelError
from ..models import Operation
from ..models.floating_point import why_floating_point
from ..qonnx.functions import OPSET
from .builder import Builder


def inline_keras_operation(operation: Operation, builder: Builder) -> None:
    """Convert one Keras layer or activation function with tf2onnx and inline it.

    Raises:
        UnsupportedModelError: If the backend is not TensorFlow, or if tf2onnx fails or
            logs an error.
    """
    model = _convert(operation, builder)
    _inline(model, operation, builder)


def refuse_quantized(operation: Operation) -> None:
    """Refuse a layer without a handler that holds quantizers, which would be lost.

    Raises:
        UnsupportedModelError: If the layer, or one inside it, is a quantized one.
    """
    layer = operation.attributes.get("operation", operation.attributes.get("function"))
    layers = layer._flatten_layers() if isinstance(layer, keras.Layer) else [layer]
    for inner in layers:
        if type(inner).__module__.partition(".")[0] in ("kerasqnn", "qkeras", "hgq"):
            raise UnsupportedModelError(
                f"Layer {operation.layer!r} ({type(layer).__name__}) holds quantizers "
                f"that no handler exports: it {why_floating_point(operation)}. Use "
                "kerasqnn's dense layers, merges, "
                "convolutions and poolings of one or two dimensions, "
                "QuantBatchNormalization and QuantActivation, directly in the model, "
                "in float32, channels last and with fixed shapes.",
                layer=operation.layer,
            )


def _convert(operation: Operation, builder: Builder) -> ModelProto:
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedModelError(
            f"Layer {operation.layer!r} has no handler of its own and goes through "
            "tf2onnx, which needs KERAS_BACKEND=tensorflow. "
            f"Received: {keras.backend.backend()}",
            layer=operation.layer,
        )
    import tensorflow as tf
    import tf2onnx

    call = operation.attributes.get("call") or operation.attributes["function"]
    tensors = [builder.tensor(t) for t in operation.inputs]
    signature = [
        tf.TensorSpec(t.shape, t.dtype, name=f"input_{i}")
        for i, t in enumerate(tensors)
    ]
    with _errors_of("tf2onnx") as errors:
        try:
            model, _ = tf2onnx.convert.from_function(
                tf.function(lambda *x: call(*x), autograph=False),
                input_signature=signature,
                opset=OPSET,
            )
        except Exception as error:
            raise _failed(operation, str(error)) from error
    if errors:
        raise _failed(operation, "; ".join(errors))
    return model


def _failed(operation: Operation, text: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"tf2onnx cannot convert layer {operation.layer!r}: {text}",
        layer=operation.layer,
    )


@contextmanager
def _errors_of(logger_name: str) -> Iterator[list[str]]:
    """Collect what a library logs as an error, without showing it."""
    errors: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                errors.append(record.getMessage())

    logger = logging.getLogger(logger_name)
    collector, level = Collector(), logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.ERROR)
    try:
        yield errors
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)


def _inline(model: ModelProto, operation: Operation, builder: Builder) -> None:
    graph = model.graph
    names: dict[str, str] = {"": ""}
    for value, tensor in zip(graph.input, operation.inputs, strict=True):
        names[value.name] = builder.value(tensor)
    for initializer in graph.initializer:
        fresh = builder.unique(f"{operation.name}/{initializer.name}")
        names[initializer.name] = fresh
        copied = type(initializer)()
        copied.CopyFrom(initializer)
        copied.name = fresh
        builder.initializers.append(copied)
    for node in graph.node:
        builder.nodes.append(_renamed(node, names, operation.name, builder))
    for value, tensor in zip(graph.output, operation.outputs, strict=True):
        builder.define(tensor, names[value.name])


def _renamed(
    node: NodeProto, names: dict[str, str], prefix: str, builder: Builder
) -> NodeProto:
    copied = NodeProto()
    copied.CopyFrom(node)
    copied.name = builder.unique(f"{prefix}/{node.name}")
    for output in node.output:
        names[output] = builder.unique(f"{prefix}/{output}") if output else ""
    del copied.input[:], copied.output[:]
    copied.input.extend(names.get(n, n) for n in node.input)
    copied.output.extend(names[n] for n in node.output)
    for attribute in copied.attribute:
        if attribute.type == AttributeProto.GRAPH:
            _rename_outer(attribute.g, names)
    return copied


def _rename_outer(graph: GraphProto, names: dict[str, str]) -> None:
    """Rename what a subgraph reads from the graph around it."""
    own: set[Any] = {i.name for i in graph.initializer} | {i.name for i in graph.input}
    own |= {o for n in graph.node for o in n.output}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name not in own and name in names:
                node.input[index] = names[name]
