"""Makes an ONNX model of what a builder has collected."""

from __future__ import annotations

import onnx
from onnx import ModelProto, TensorProto, helper

from .._version import __version__
from ..errors import UnsupportedModelError
from ..qonnx.functions import DOMAIN_VERSION, OPSET, functions_for
from ..qonnx.operators import CHANNELS_LAST_DOMAIN, DOMAIN
from .builder import Builder
from .layouts import CHANNELS_LAST, Layout

_ELEMENT_TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}
_IMAGE_RANK = 4


class Boundary:
    """What inputs and outputs of the file look like.

    Args:
        builder: Where the nodes go.
        images: Layout of images; other tensors are as in Keras.
        batch_size: Size of the first axis, None for a symbolic one.
    """

    def __init__(self, builder: Builder, images: Layout, batch_size: int | None):
        self._builder, self._batch_size = builder, batch_size
        self._images = images
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def layout(self, tensor: str) -> Layout:
        """Return the layout of an input or output."""
        is_image = self._builder.rank(tensor) == _IMAGE_RANK
        return self._images if is_image else CHANNELS_LAST

    def add_input(self, tensor: str) -> None:
        """Add an input, transposed at once where windows work in another layout."""
        builder, layout = self._builder, self.layout(tensor)
        name = builder.unique(tensor)
        self._inputs.append(self._value_info(name, tensor))
        builder.define(tensor, name, layout)
        if _reaches_windows(builder, tensor):
            builder.prefer(tensor, builder.profile.windows)

    def add_output(self, tensor: str) -> None:
        """Add an output under the tensor's name."""
        builder = self._builder
        value = builder.value(tensor, self.layout(tensor))
        named = {v.name for v in [*self._inputs, *self._outputs]}
        if value in named:
            value = builder.node("Identity", [value], f"{tensor}/output")
        elif builder.profile.as_name(tensor) not in named:
            value = builder.named(value, tensor)
        self._outputs.append(self._value_info(value, tensor))

    def model(self, name: str) -> ModelProto:
        """Return the ONNX model of all nodes so far."""
        builder = self._builder
        functions = functions_for(builder.nodes)
        graph = helper.make_graph(
            builder.nodes, name, self._inputs, self._outputs, builder.initializers
        )
        versions = {"": OPSET, DOMAIN: DOMAIN_VERSION}
        for domain in sorted({n.domain for n in builder.nodes} - versions.keys()):
            # qonnx runs channels-last operators as the standard ones of that version.
            versions[domain] = OPSET if domain == CHANNELS_LAST_DOMAIN else 1
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(d, v) for d, v in versions.items()],
            functions=functions,
            producer_name="kerasqnn",
            producer_version=__version__,
            # The lowest with functions; with overloads where rounding modes mix.
            ir_version=10 if any(f.overload for f in functions) else 8,
        )
        return _with_shapes(model) if builder.profile.has_shapes else model

    def _value_info(self, name: str, tensor: str) -> onnx.ValueInfoProto:
        description = self._builder.tensor(tensor)
        if description.dtype not in _ELEMENT_TYPES:
            raise UnsupportedModelError(
                f"Tensor {tensor!r} has a type that is not exported. Allowed: "
                f"{', '.join(_ELEMENT_TYPES)}. Received: {description.dtype}"
            )
        batch, *others = description.shape
        sizes = [self._batch_size or batch or "batch"]
        sizes += [f"{name}_{i}" if d is None else d for i, d in enumerate(others, 1)]
        return helper.make_tensor_value_info(
            name,
            _ELEMENT_TYPES[description.dtype],
            self.layout(tensor).shape(sizes),
        )


def _reaches_windows(builder: Builder, tensor: str) -> bool:
    """Whether a convolution or pooling reads a tensor or what is made of it."""
    pending, seen = [tensor], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for operation in builder.graph.consumers(current):
            if operation.kind.endswith(("conv2d", "pool2d")):
                return True
            if operation.kind not in ("dense", "layer", "activation"):
                pending += operation.outputs
    return False


def _with_shapes(model: ModelProto) -> ModelProto:
    """Return the model with the shape of each tensor, constants included."""
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = model.graph
    graph.value_info.extend(
        helper.make_tensor_value_info(i.name, i.data_type, i.dims)
        for i in graph.initializer
    )
    return model
