"""What hls4ml would get wrong is refused here, by layer name and with a way out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...errors import UnsupportedModelError
from ...models import Operation
from ...models.arithmetic import FLOAT32_BITS, FLOAT64_BITS
from ...quantizers import FixedPoint
from .hardware_model import HardwareModel

# QONNX rounding mode -> ap_fixed rounding mode.
ROUNDING = {
    "ROUND": "RND_CONV",
    "FLOOR": "TRN",
    "DOWN": "TRN_ZERO",
    "HALF_UP": "RND_INF",
    "HALF_DOWN": "RND_ZERO",
}
OVERFLOW = {"SAT": "SAT", "SAT_SYM": "SAT_SYM", "WRAP": "WRAP"}
MAX_BITS = 60

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
            raise UnsupportedModelError(
                f"Layer {operation.layer!r} cannot be deployed: {problem}",
                layer=operation.layer,
            )
    if backend == "VivadoAccelerator":
        _check_accelerator(model)
    if not any(o.weights for o in model.chip):
        raise UnsupportedModelError(
            f"Model {model.graph.name!r} has no dense, convolution or normalization "
            "layer, so there is nothing to put on the chip."
        )


def _check_accelerator(model: HardwareModel) -> None:
    ends = f"{len(model.chip.inputs)} inputs and {len(model.chip.outputs)} outputs"
    if len(model.chip.inputs) != 1 or len(model.chip.outputs) != 1:
        raise UnsupportedModelError(
            "The VivadoAccelerator backend takes one input and one output; use "
            f"backend='Vitis' for the bare IP. Received: {ends}"
        )
    for tensor in (*model.chip.inputs, *model.chip.outputs):
        grid = _chip_grid(tensor, model)
        if grid is not None and grid.bits > FLOAT32_BITS:
            raise UnsupportedModelError(
                f"Tensor {tensor!r} needs {grid.bits} bits, more than the 24 that the "
                "32-bit float words of the AXI stream hold. Quantize the output with "
                "QuantActivation, or use backend='Vitis'."
            )


def _chip_grid(tensor: str, model: HardwareModel):  # type: ignore[no-untyped-def]
    if tensor in model.input_quantizers:
        tensor = model.graph.consumers(tensor)[0].output
    return model.arithmetic.facts[tensor].grid


def _check_values(operation: Operation, model: HardwareModel) -> str | None:
    """Every tensor on the chip must be a fixed-point number of known range."""
    grid = _chip_grid(operation.output, model)
    if grid is None:
        return (
            "its values lie on no power-of-two grid. Quantize its input and weights with "
            "power-of-two steps (for `alpha` and `scale` too)."
        )
    width = model.arithmetic.accumulator_bits.get(operation.name, 0)
    if width > MAX_BITS or grid.bits > FLOAT64_BITS:
        return (
            f"its sums need {max(width, grid.bits)} bits, more than the {FLOAT64_BITS} "
            "that can be verified. Use fewer bits."
        )
    if not np.any(grid.magnitude):
        return "its output is always zero. Retrain, or remove it."
    return None


@_checks("input")
def _input(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    quantizer = model.input_quantizers[operation.output]
    shape = model.chip.tensors[operation.output].shape[1:]
    plain = isinstance(quantizer, FixedPoint) and quantizer.alpha == 1.0
    if not plain or quantizer.step.ndim or not quantizer.is_power_of_two:
        return (
            "the quantizer of an input must be fixed point with one power-of-two step "
            f"and no `alpha`. Received: {quantizer!r}"
        )
    if None in shape or len(shape) not in (1, 3):
        return (
            "inputs must have a fixed shape of one axis or (height, width, channels). "
            f"Received: {shape}"
        )
    return None


def _unknown(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    what = operation.attributes.get("operation", operation.attributes.get("function"))
    name = getattr(what, "__name__", type(what).__name__) if what else operation.kind
    if operation.kind == "softmax":
        return "softmax is exact only in floating point. Only a final one can be cut."
    return (
        f"{name} has no bit-exact hardware. Use kerasqnn's quantized layers, in float32 "
        "and channels last, with fixed-point activations."
    )


@_checks("quantize")
def _quantize(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    quantizer = operation.attributes["quantizer"]
    if not isinstance(quantizer, FixedPoint):
        return (
            f"{type(quantizer).__name__} activations have no hardware yet. Use "
            "fixed point, such as 'quantized_bits(2,1)'. Weights may be binary or ternary."
        )
    if quantizer.grid_step.ndim:
        return "activations must have one `scale`. Per-channel scales fit weights only."
    if quantizer.rounding not in ROUNDING:
        return (
            f"ap_fixed cannot round with {quantizer.rounding!r}. Allowed: "
            f"{', '.join(ROUNDING)}."
        )
    return None


@_checks("dense")
def _dense(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    rank = len(model.chip.tensors[operation.input].shape)
    if rank != 2:
        return f"dense layers take vectors. Flatten first. Received: {rank} axes"
    return None


@_checks("conv2d")
def _conv2d(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    a = operation.attributes
    if a["groups"] != 1:
        return f"hls4ml computes grouped convolutions wrongly. Received: {a['groups']}"
    if a["dilation"] != (1, 1):
        return f"hls4ml has no dilated convolution. Received: {a['dilation']}"
    return None


@_checks("scale_offset")
def _scale_offset(
    operation: Operation, model: HardwareModel, io_type: str
) -> str | None:
    rank = len(model.chip.tensors[operation.input].shape)
    if operation.attributes["axis"] != rank - 1:
        return "batch normalization must run along the last axis."
    return None


@_checks("max_pool2d", "average_pool2d", "global_max_pool2d", "global_average_pool2d")
def _pool(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    a = operation.attributes
    if a.get("padding", "valid") == "same":
        shape = model.chip.tensors[operation.input].shape[1:3]
        pairs = zip(shape, a["pool_size"], a["strides"], strict=True)
        if any(((size or 0) - pool) % step for size, pool, step in pairs):
            return "hls4ml pads pooling with zeros. Use padding='valid'."
    return None


@_checks("reshape")
def _reshape(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    target = operation.attributes["target_shape"]
    if len(target) != 1 or target[0] is None:
        return f"only flattening is supported. Received: target shape {target}"
    return None


@_checks("add", "subtract", "multiply", "maximum", "minimum")
def _merge(operation: Operation, model: HardwareModel, io_type: str) -> str | None:
    shapes = {model.chip.tensors[t].shape for t in operation.inputs}
    if len(shapes) > 1:
        return f"its inputs must have one shape. Received: {sorted(map(str, shapes))}"
    if len(set(operation.inputs)) < len(operation.inputs):
        return "it reads one tensor twice. Multiply by a constant instead."
    return None


@_checks("concatenate")
def _concatenate(
    operation: Operation, model: HardwareModel, io_type: str
) -> str | None:
    rank = len(model.chip.tensors[operation.input].shape)
    if operation.attributes["axis"] != rank - 1:
        return "only concatenation along the last axis is supported."
    if len(set(operation.inputs)) < len(operation.inputs):
        return "it reads one tensor twice."
    return None
