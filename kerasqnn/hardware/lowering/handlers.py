"""One small handler for each kind of operation: from the reading to hls4ml layers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...models import Grid, Operation
from ...models.evaluation import same_padding
from ...quantizers import FixedPoint, Quantizer
from .hardware_model import HardwareModel
from .preflight import OVERFLOW, ROUNDING

Handler = Callable[[Operation, "Lowering"], None]
_HANDLERS: dict[str, Handler] = {}

# Names that hls4ml reserves or renames, and C++ keywords that layer names could hit.
_RESERVED = {"input", "i", "n", "p", "u", "t", "linear", "accelerator"}


@dataclass
class Lowering:
    """The hls4ml layer list, and the names that lead back to the model.

    Attributes:
        model: The model that is lowered.
        layers: hls4ml layer dictionaries, in order.
        inputs: Names of the hls4ml input layers.
        outputs: Names of the hls4ml output layers.
        tensor_of: By hls4ml layer name, the tensor of the model that it computes.
    """

    model: HardwareModel
    layers: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    tensor_of: dict[str, str] = field(default_factory=dict)
    layer_of: dict[str, str] = field(default_factory=dict)

    def shape(self, tensor: str) -> list[int]:
        """Shape of a tensor without the batch axis."""
        return [int(d or 0) for d in self.model.chip.tensors[tensor].shape[1:]]

    def grid(self, tensor: str) -> Grid | None:
        """Grid of a tensor of the chip."""
        return self.model.arithmetic.facts[tensor].grid

    def add(
        self, class_name: str, name: str, inputs: list[str], tensor: str, **config: Any
    ) -> str:
        """Append a layer and return its name; `tensor` is what it computes."""
        name = self._unique(name)
        self.layers.append(
            {"name": name, "class_name": class_name, "inputs": inputs, **config}
        )
        self.tensor_of[name] = tensor
        self.layer_of[tensor] = name
        return name

    def read(self, operation: Operation) -> list[str]:
        """Names of the hls4ml layers that an operation reads."""
        return [self.layer_of[t] for t in operation.inputs]

    def class_of(self, name: str) -> str:
        """hls4ml class of a layer."""
        return next(lay["class_name"] for lay in self.layers if lay["name"] == name)

    def _unique(self, name: str) -> str:
        name = re.sub(r"\W+", "_", name).strip("_").lower() or "layer"
        if name in _RESERVED or name[0].isdigit():
            name = f"layer_{name}"
        candidate, count = name, 0
        while candidate in self.tensor_of:
            count += 1
            candidate = f"{name}_{count}"
        return candidate


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a handler for operation kinds."""

    def register(handler: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def lower(model: HardwareModel) -> Lowering:
    """Translate the chip's graph to hls4ml layers; `preflight.check` comes first."""
    lowering = Lowering(model)
    for operation in model.chip:
        _HANDLERS[operation.kind](operation, lowering)
    lowering.inputs = [lowering.layer_of[t] for t in model.chip.inputs]
    lowering.outputs = [lowering.layer_of[t] for t in model.chip.outputs]
    return lowering


def fixed_type(quantizer: Quantizer) -> tuple[int, int, int]:
    """Return `(signed, width, integer)` of `ap_[u]fixed<width, integer>`."""
    fractional = -int(np.log2(float(quantizer.step)))
    return int(quantizer.signed), quantizer.bits, quantizer.bits - fractional


@handles("input")
def _input(operation: Operation, lowering: Lowering) -> None:
    quantizer = lowering.model.input_quantizers[operation.output]
    signed, width, integer = fixed_type(quantizer)
    lowering.add(
        "InputLayer",
        operation.name,
        [],
        operation.output,
        input_shape=lowering.shape(operation.output),
        trusted=True,
        precision=f"{'' if signed else 'u'}fixed<{width},{integer}>",
    )


@handles("quantize")
def _quantize(operation: Operation, lowering: Lowering) -> None:
    quantizer: FixedPoint = operation.attributes["quantizer"]
    source = operation.input
    (layer,) = lowering.read(operation)
    # hls4ml folds a quantizer into the layer before it. That layer must not hold a
    # quantizer already, nor have another reader: a multiplication by one stands between.
    shared = len(lowering.model.chip.consumers(source)) > 1
    if (
        shared
        or source in lowering.model.chip.outputs
        or lowering.class_of(layer) in ("FixedPointQuantizer", "InputLayer", "Reshape")
    ):
        carrier = _scale(lowering, f"{operation.name}_carrier", layer, source, 1.0)
        lowering.layer_of[source], layer = layer, carrier
    bits, fractional = quantizer.bits, -int(np.log2(float(quantizer.grid_step)))
    kbi = (int(quantizer.signed), bits, bits - fractional)
    layer = lowering.add(
        "FixedPointQuantizer",
        operation.name,
        [layer],
        operation.output,
        mask_kbi=tuple(np.array([v], np.int16) for v in kbi),
        SAT=OVERFLOW[quantizer.overflow],
        RND=ROUNDING[quantizer.rounding],
        fusible=None,
        overrides={},
    )
    if quantizer.alpha != 1.0:
        _scale(
            lowering,
            f"{operation.name}_alpha",
            layer,
            operation.output,
            quantizer.alpha,
        )


def _scale(
    lowering: Lowering,
    name: str,
    layer: str,
    tensor: str,
    scale: Any,
    offset: Any = 0.0,
) -> str:
    """Append a multiplication and addition a channel."""
    shape = lowering.shape(tensor)
    channels = shape[-1]
    return lowering.add(
        "BatchNormalization",
        name,
        [layer],
        tensor,
        n_in=int(np.prod(shape)),
        n_filt=channels if len(shape) > 1 else -1,
        scale_data=np.broadcast_to(np.asarray(scale, np.float64), (channels,)).copy(),
        bias_data=np.broadcast_to(np.asarray(offset, np.float64), (channels,)).copy(),
    )


def _weights(operation: Operation) -> dict[str, Any]:
    kernel = operation.weights["kernel"].value.astype(np.float64)
    bias = operation.weights.get("bias")
    values = np.zeros(kernel.shape[-1]) if bias is None else bias.value
    return {"weight_data": kernel, "bias_data": values.astype(np.float64)}


@handles("dense")
def _dense(operation: Operation, lowering: Lowering) -> None:
    n_in, n_out = operation.weights["kernel"].value.shape
    lowering.add(
        "Dense",
        operation.name,
        lowering.read(operation),
        operation.output,
        data_format="channels_last",
        n_in=n_in,
        n_out=n_out,
        **_weights(operation),
    )


def _window(
    operation: Operation, lowering: Lowering, window: tuple[int, int], kind: str
) -> dict[str, Any]:
    """The geometry of a convolution (`kind="filt"`) or pooling (`kind="pool"`)."""
    height, width, channels = lowering.shape(operation.input)
    out_height, out_width, filters = lowering.shape(operation.output)
    a = operation.attributes
    pads = [(0, 0), (0, 0)]
    if a["padding"] == "same":
        sizes = (height, width)
        pads = [same_padding(sizes[i], window[i], a["strides"][i]) for i in (0, 1)]
    return {
        f"{kind}_height": window[0],
        f"{kind}_width": window[1],
        "stride_height": a["strides"][0],
        "stride_width": a["strides"][1],
        "pad_top": pads[0][0],
        "pad_bottom": pads[0][1],
        "pad_left": pads[1][0],
        "pad_right": pads[1][1],
        "in_height": height,
        "in_width": width,
        "out_height": out_height,
        "out_width": out_width,
        "n_chan": channels,
        "n_filt": filters,
        "data_format": "channels_last",
    }


@handles("conv2d")
def _conv2d(operation: Operation, lowering: Lowering) -> None:
    rows, columns = operation.weights["kernel"].value.shape[:2]
    lowering.add(
        "Conv2D",
        operation.name,
        lowering.read(operation),
        operation.output,
        **_window(operation, lowering, (rows, columns), "filt"),
        **_weights(operation),
    )


@handles("scale_offset")
def _scale_offset(operation: Operation, lowering: Lowering) -> None:
    _scale(
        lowering,
        operation.name,
        lowering.read(operation)[0],
        operation.output,
        operation.weights["scale"].value,
        operation.weights["offset"].value,
    )


@handles("relu")
def _relu(operation: Operation, lowering: Lowering) -> None:
    shape = lowering.shape(operation.output)
    lowering.add(
        "Activation",
        operation.name,
        lowering.read(operation),
        operation.output,
        activation="relu",
        n_in=int(np.prod(shape)),
    )


@handles("max_pool2d", "average_pool2d")
def _pool2d(operation: Operation, lowering: Lowering) -> None:
    maximum = operation.kind == "max_pool2d"
    lowering.add(
        "MaxPooling2D" if maximum else "AveragePooling2D",
        operation.name,
        lowering.read(operation),
        operation.output,
        **_window(operation, lowering, operation.attributes["pool_size"], "pool"),
    )


@handles("global_max_pool2d", "global_average_pool2d")
def _global_pool2d(operation: Operation, lowering: Lowering) -> None:
    """hls4ml's global average pooling is wrong: a full-size pooling and a flatten."""
    height, width, channels = lowering.shape(operation.input)
    maximum = operation.kind == "global_max_pool2d"
    name = lowering.add(
        "MaxPooling2D" if maximum else "AveragePooling2D",
        operation.name,
        lowering.read(operation),
        operation.output,
        pool_height=height,
        pool_width=width,
        stride_height=height,
        stride_width=width,
        pad_top=0,
        pad_bottom=0,
        pad_left=0,
        pad_right=0,
        in_height=height,
        in_width=width,
        out_height=1,
        out_width=1,
        n_chan=channels,
        n_filt=channels,
        data_format="channels_last",
    )
    if not operation.attributes["keepdims"]:
        lowering.add(
            "Reshape",
            f"{operation.name}_flatten",
            [name],
            operation.output,
            target_shape=[channels],
        )


@handles("reshape")
def _reshape(operation: Operation, lowering: Lowering) -> None:
    lowering.add(
        "Reshape",
        operation.name,
        lowering.read(operation),
        operation.output,
        target_shape=lowering.shape(operation.output),
    )


def _chain(
    operation: Operation, lowering: Lowering, class_name: str, **config: Any
) -> None:
    """A merge of any number of tensors as merges of two."""
    layer, *others = lowering.read(operation)
    for index, other in enumerate(others):
        last = index == len(others) - 1
        name = operation.name if last else f"{operation.name}_{index}"
        layer = lowering.add(
            class_name,
            name,
            [layer, other],
            operation.output,
            **{k: v(index) if callable(v) else v for k, v in config.items()},
        )


@handles("add", "subtract", "multiply", "maximum", "minimum")
def _merge(operation: Operation, lowering: Lowering) -> None:
    shape = lowering.shape(operation.output)
    _chain(operation, lowering, "Merge", op=operation.kind, output_shape=shape)


@handles("concatenate")
def _concatenate(operation: Operation, lowering: Lowering) -> None:
    shapes = [lowering.shape(t) for t in operation.inputs]
    rank = len(shapes[0])

    def shape_after(index: int) -> list[int]:
        channels = sum(s[-1] for s in shapes[: index + 2])
        return [*shapes[0][:-1], channels]

    _chain(
        operation,
        lowering,
        "Concatenate",
        op=f"concatenate{rank}d",
        axis=-1,
        output_shape=shape_after,
    )
