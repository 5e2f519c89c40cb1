"""The list of hls4ml layers that grows while operations are lowered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...models import Grid, Operation
from ...quantizers import FixedPoint
from .hardware_model import HardwareModel, as_image
from .types import FixedType, type_of_grid, type_of_quantizer

# Layers whose last step assigns a number with all its bits to the output type, which
# then rounds and saturates: a quantizer behind them costs no layer of its own.
_ASSIGNING = {
    "dense", "conv2d", "scale_offset", "relu", "max_pool2d", "average_pool2d",
    "add", "subtract", "multiply",
}  # fmt: skip
_MAX_STREAM_READERS = 7
# Names that hls4ml refuses or changes.
_RESERVED = {"input", "i", "n", "p", "u", "t", "linear"}


@dataclass
class Lowering:
    """The hls4ml layer list with all types, and the names that lead back to the model.

    Every type is given, so that hls4ml has none to infer.

    Attributes:
        model: The model that is lowered.
        io_type: `"io_stream"` or `"io_parallel"`.
        layers: hls4ml layer dictionaries, in order.
        types: By hls4ml layer name, its types by hls4ml's name for them.
        inputs: Names of the hls4ml input layers.
        outputs: Names of the hls4ml output layers.
        tensor_of: By hls4ml layer name, the tensor of the model that it computes;
            layers within an operation are not in it.
        origin_of: By hls4ml layer name, the Keras layer that it starts with.
    """

    model: HardwareModel
    io_type: str
    layers: list[dict[str, Any]] = field(default_factory=list)
    types: dict[str, dict[str, FixedType]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    tensor_of: dict[str, str] = field(default_factory=dict)
    origin_of: dict[str, str] = field(default_factory=dict)
    _layer_of: dict[str, str] = field(default_factory=dict)

    # -- what is known of the model ----------------------------------------------------

    def shape(self, tensor: str) -> list[int]:
        """Shape of a tensor without the batch axis, a sequence's as an image's."""
        return [
            int(d or 0) for d in as_image(self.model.chip.tensors[tensor].shape[1:])
        ]

    def grid(self, tensor: str) -> Grid:
        """Grid of a tensor of the chip."""
        return self.model.known_grid(tensor)

    def read(self, operation: Operation) -> list[str]:
        """Names of the hls4ml layers that an operation reads."""
        return [self._layer_of[t] for t in operation.inputs]

    def quantizer_after(self, operation: Operation) -> Operation | None:
        """Return the quantizer that an operation's own assignment can stand for."""
        readers = self.model.chip.consumers(operation.output)
        if (
            operation.kind not in _ASSIGNING
            or len(readers) != 1
            or readers[0].kind != "quantize"
            or operation.output in self.model.chip.outputs
        ):
            return None
        quantizer = readers[0].attributes["quantizer"]
        if not isinstance(quantizer, FixedPoint) or quantizer.grid_step.ndim:
            return None
        result = type_of_quantizer(quantizer, float(quantizer.grid_step))
        source = type_of_grid(self.grid(operation.output))
        return readers[0] if source.reaches(result) else None

    # -- what is added -----------------------------------------------------------------

    def add(
        self,
        class_name: str,
        name: str,
        inputs: list[str],
        operation: Operation,
        types: dict[str, FixedType],
        *,
        tensor: str | None = None,
        **config: Any,
    ) -> str:
        """Append a layer and return its name.

        Args:
            class_name: hls4ml class.
            name: Wished name.
            inputs: Names of the hls4ml layers that it reads.
            operation: What it belongs to.
            types: Its types; `"result"` is one of them.
            tensor: The tensor of the model that it computes, if any.
            **config: What the hls4ml class needs.
        """
        name = self._unique(name)
        self.layers.append(
            {"name": name, "class_name": class_name, "inputs": inputs, **config}
        )
        self.types[name] = types
        self.origin_of[name] = operation.layer
        if tensor is not None:
            self.tensor_of[name] = tensor
            self._layer_of[tensor] = name
        return name

    def finish(
        self,
        class_name: str,
        operation: Operation,
        inputs: list[str],
        types: dict[str, FixedType] | None = None,
        **config: Any,
    ) -> str:
        """Append the layer that computes an operation's output, quantized if it can be.

        Args:
            class_name: hls4ml class.
            operation: The operation.
            inputs: Names of the hls4ml layers that it reads.
            types: Its types without that of the result.
            **config: What the hls4ml class needs.
        """
        result = type_of_grid(self.grid(operation.output))
        tensor: str | None = operation.output
        quantize = self.quantizer_after(operation)
        if quantize is not None:
            quantizer: FixedPoint = quantize.attributes["quantizer"]
            result = type_of_quantizer(quantizer, float(quantizer.grid_step))
            tensor = quantize.output if quantizer.alpha == 1.0 else None
        name = self.add(
            class_name,
            operation.name,
            inputs,
            operation,
            {**(types or {}), "result": result},
            tensor=tensor,
            **config,
        )
        self._layer_of[operation.output] = name
        return name

    def cast(
        self,
        operation: Operation,
        name: str,
        layer: str,
        result: FixedType,
        tensor: str | None = None,
    ) -> str:
        """Append an assignment to a type."""
        size = int(np.prod(self.shape(operation.input)))
        return self.add(
            "Activation", name, [layer], operation, {"result": result},
            tensor=tensor, activation="linear", n_in=size,
        )  # fmt: skip

    def close(self) -> None:
        """Note inputs and outputs; called once, at the end."""
        chip = self.model.chip
        self.inputs = [self._layer_of[t] for t in chip.inputs]
        self.outputs = [self._layer_of[t] for t in chip.outputs]
        if self.io_type != "io_stream":
            return
        read = [name for layer in self.layers for name in layer["inputs"]]
        read += self.outputs
        for name in set(read):
            if read.count(name) > _MAX_STREAM_READERS:
                origin = self.origin_of[name]
                raise UnsupportedModelError(
                    f"Layer {origin!r} cannot be deployed: its output has "
                    f"{read.count(name)} readers, and hls4ml copies a stream to at "
                    f"most {_MAX_STREAM_READERS}. Use io_type='io_parallel'.",
                    layer=origin,
                )

    def _unique(self, name: str) -> str:
        name = re.sub(r"[^0-9a-zA-Z]+", "_", name).strip("_").lower()
        if not name or name in _RESERVED or name[0].isdigit():
            name = f"layer_{name}"
        candidate, count = name, 0
        while candidate in self.types:
            count += 1
            candidate = f"{name}_{count}"
        return candidate
