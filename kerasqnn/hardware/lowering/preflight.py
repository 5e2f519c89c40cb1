"""What hls4ml would get wrong is refused here, by layer name and with a way out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...errors import UnsupportedModelError
from ...models import Operation
from ...models.floating_point import why_floating_point
from ...models.grids import FLOAT32_BITS, FLOAT64_BITS
from ...quantizers import Affine, Binary, FixedPoint, Ternary
from ...quantizers.functions import FUNCTIONS
from .hardware_model import HardwareModel, as_image
from .types import ROUNDING

_SHAPES = "one axis, (steps, channels) or (height, width, channels)"
Check = Callable[[Operation, HardwareModel, str], str | None]
_CHECKS: dict[str, Check] = {}


def _checks(*kinds: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        _CHECKS.update(dict.fromkeys(kinds, check))
        return check

    return register


def check(model: HardwareModel, io_type: str, backend: str) -> None:
    """Refuse a model that the hardware flow cannot reproduce bit for bit.

    Args:
        model: The model, divided between host and chip.
        io_type: `"io_stream"` or `"io_parallel"`.
        backend: hls4ml backend.

    Raises:
        UnsupportedModelError: Naming the layer, the reason and a way out.
    """
    for operation in model.chip:
        check_kind = _CHECKS.get(operation.kind, _unknown)
        problem = check_kind(operation, model, io_type)
        problem = problem or _check_values(operation, model)
        if problem:
            layer = operation.layer
            if operation.kind == "input":
                layer = model.graph.consumers(operation.output)[0].layer
            raise UnsupportedModelError(
                f"Layer {layer!r} cannot be deployed: {problem}", layer=layer
            )
    _check_outputs(model)
    if backend == "VivadoAccelerator":
        _check_accelerator(model)
        _check_driver(model)
    if not any(o.weights for o in model.chip):
        raise UnsupportedModelError(
            f"Model {model.graph.name!r} has no dense, convolution or normalization "
            "layer, so there is nothing to put on the chip."
        )


def _check_outputs(model: HardwareModel) -> None:
    for index, tensor in enumerate(model.chip.outputs):
        layer = model.chip.producer(tensor).layer
        problem = ""
        if tensor in model.chip.inputs:
            problem = "an output of the model is its quantized input"
        elif tensor in model.chip.outputs[:index]:
            problem = "two outputs of the model are one tensor in hardware"
        if problem:
            raise UnsupportedModelError(
                f"Layer {layer!r} cannot be deployed: {problem}. Leave it out of the "
                "model's outputs.",
                layer=layer,
            )


def _check_accelerator(model: HardwareModel) -> None:
    for what, ends in (("input", model.chip.inputs), ("output", model.chip.outputs)):
        layers = [model.chip.producer(t).layer for t in ends]
        if len(ends) > 1:
            raise UnsupportedModelError(
                f"The VivadoAccelerator backend takes one {what}; use backend='Vitis' "
                f"for the bare IP. Received: {len(ends)} {what}s, of the layers "
                f"{', '.join(map(repr, layers))}",
                layer=layers[1],
            )
        grid = model.grid(ends[0])
        if grid is not None and grid.bits > FLOAT32_BITS:
            raise UnsupportedModelError(
                f"The {what} of layer {layers[0]!r} needs {grid.bits} bits, more than "
                "the 24 that the 32-bit float words of the AXI stream hold. Quantize "
                "it with QuantActivation, or use backend='Vitis'.",
                layer=layers[0],
            )


def _check_driver(model: HardwareModel) -> None:
    """The PYNQ driver quantizes the input itself."""
    (tensor,) = model.chip.inputs
    quantizer = model.input_quantizers[tensor]
    plain = isinstance(quantizer, FixedPoint) and quantizer.alpha == 1.0
    if not plain or quantizer.step.ndim:
        layer = model.graph.consumers(tensor)[0].layer
        raise UnsupportedModelError(
            f"Layer {layer!r} cannot be deployed: the PYNQ driver quantizes to fixed "
            "point with one `scale` and no `alpha`. Use such an input quantizer, or "
            f"backend='Vitis' for the bare IP. Received: {quantizer!r}",
            layer=layer,
        )


def _check_values(operation: Operation, model: HardwareModel) -> str | None:
    """Every tensor on the chip must be a fixed-point number of known range."""
    grid = model.grid(operation.output)
    if grid is None:
        facts = model.arithmetic.facts[operation.output]
        if facts.blame == operation.name:
            return f"{facts.reason}."
        return (
            "its values lie on no power-of-two grid. Quantize its input and weights "
            "with power-of-two steps (for `alpha` and `scale` too)."
        )
    width = model.arithmetic.accumulator_bits.get(operation.name, 0)
    if max(width, grid.bits) > FLOAT64_BITS:
        return (
            f"its sums need {max(width, grid.bits)} bits, more than the {FLOAT64_BITS} "
            "that can be verified. Use fewer bits."
        )
    return None


@_checks("input")
def _input(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    shape = model.chip.tensors[operation.output].shape[1:]
    if None in shape or len(shape) not in (1, 2, 3):
        return f"inputs must have a fixed shape of {_SHAPES}. Received: {shape}"
    quantizer = model.input_quantizers.get(operation.output)
    return _zero_point(quantizer) if isinstance(quantizer, Affine) else None


def _zero_point(quantizer: Affine) -> str:
    return (
        "hls4ml ignores zero points. Use FixedPoint, LearnedStepSize or PACT. "
        f"Received: {quantizer!r}"
    )


def _unknown(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    if operation.kind == "softmax":
        return "softmax is exact only in floating point. Only a final one can be cut."
    why = f"it {why_floating_point(operation)}, which"
    if operation.kind in FUNCTIONS:
        why = type(operation.attributes["function"]).__name__
    return (
        f"{why} has no bit-exact hardware. Use kerasqnn's quantized layers, in "
        "float32 and channels last, with fixed-point activations."
    )


@_checks("slice")
def _slice(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    return "its loop over time steps is not lowered. Use convolutions of sequences."


@_checks("zero_padding", "permute", "reciprocal_pool2d", "global_reciprocal_pool2d")
def _not_lowered(
    operation: Operation, model: HardwareModel, io_type: str
) -> str | None:
    if operation.kind == "zero_padding":
        return "padding is done by convolutions. Give them padding='same' instead."
    if operation.kind == "permute":
        return "tensors keep their axes. Permute what the chip receives instead."
    return "pooling by a reciprocal is not lowered. Use QuantAveragePooling2D."


@_checks("table_softmax")
def _table_softmax(
    operation: Operation, model: HardwareModel, io_type: str
) -> str | None:
    return (
        "a softmax from tables has no bit-exact hardware. Take it off the layer, and "
        "apply its `quantize` to what the chip returns."
    )


@_checks("quantize")
def _quantize(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    quantizer = operation.attributes["quantizer"]
    if isinstance(quantizer, (Binary, Ternary)):
        return None
    if isinstance(quantizer, Affine):
        return _zero_point(quantizer)
    if not isinstance(quantizer, FixedPoint):
        return f"{type(quantizer).__name__} has no hardware. Use FixedPoint."
    if quantizer.rounding not in ROUNDING:
        return (
            f"ap_fixed cannot round with {quantizer.rounding!r}. Allowed: "
            f"{', '.join(ROUNDING)}."
        )
    return None


@_checks("dense", "relu", "global_max_pool2d", "global_average_pool2d")
def _always(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    return None


@_checks("conv2d")
def _conv2d(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    a = operation.attributes
    rows, columns = operation.weights["kernel"].value.shape[:2]
    height = as_image(model.chip.tensors[operation.input].shape[1:])[0]
    skips = a["strides"][0] > 1 and height != 1
    if io_type == "io_stream" and rows == 1 < columns and skips:
        return (
            "in streams, hls4ml forgets the row stride of kernels of one row. Use "
            f"io_type='io_parallel'. Received: strides={a['strides']}"
        )
    return None


@_checks("scale_offset")
def _scale_offset(
    operation: Operation, model: HardwareModel, io_type: str
) -> str | None:
    rank = len(model.chip.tensors[operation.output].shape)
    if operation.attributes["axis"] != rank - 1:
        return "batch normalization must run along the last axis."
    return None


@_checks("max_pool2d", "average_pool2d")
def _pool(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    a = operation.attributes
    before, after = (
        as_image(model.chip.tensors[t].shape[1:])[:2]
        for t in (operation.input, operation.output)
    )
    axes = list(zip(before, after, a["pool_size"], a["strides"], strict=True))
    grid = model.grid(operation.input)
    if (
        a["padding"] == "same"
        and any((o or 0) * s - s + p > (size or 0) for size, o, p, s in axes)
        and (grid is None or np.any(grid.low < 0))
    ):
        return (
            "its padding counts as zeros in hardware, which is right only for numbers "
            "of at least zero. Put a ReLU before it, or use padding='valid'."
        )
    if io_type == "io_stream" and any(
        pool != stride and out != 1 for _, out, pool, stride in axes
    ):
        return (
            "in streams, hls4ml pools only with `strides` equal to `pool_size`. Use "
            f"io_type='io_parallel'. Received: pool_size={a['pool_size']}, "
            f"strides={a['strides']}"
        )
    return None


@_checks("reshape")
def _reshape(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    target = operation.attributes["target_shape"]
    last = model.chip.tensors[operation.input].shape[-1] or 0
    if None in target or len(target) not in (1, 2, 3):
        return f"tensors must have a shape of {_SHAPES}. Received: target {target}"
    if io_type == "io_stream" and last % target[-1] and target[-1] % last:
        return (
            f"the words of a stream cannot go from {last} to {target[-1]} numbers. Use "
            "io_type='io_parallel'."
        )
    return None


@_checks("add", "subtract", "multiply", "maximum", "minimum")
def _merge(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    shapes = {as_image(model.chip.tensors[t].shape[1:]) for t in operation.inputs}
    if len(shapes) > 1:
        return f"its inputs must have one shape. Received: {sorted(map(str, shapes))}"
    return None


@_checks("concatenate")
def _concatenate(
    operation: Operation, model: HardwareModel, io_type: str
) -> str | None:
    rank = len(model.chip.tensors[operation.output].shape)
    if operation.attributes["axis"] != rank - 1:
        return "only concatenation along the last axis is supported."
    return None
