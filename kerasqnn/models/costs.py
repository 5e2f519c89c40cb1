"""What a layer costs: multiplications, bit operations, memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..layers._weights import weight_of
from ..quantizers import Quantizer, UniformQuantizer
from .graph import Graph, Operation
from .readers.registry import parameter
from .rewriting import array, list_weights

FLOAT_BITS = 32
# A tensor has its input's bits behind them.
_MOVES = {
    "reshape", "max_pool2d", "global_max_pool2d", "concatenate", "noise",
    "zero_padding", "permute",
}  # fmt: skip
_CONVOLUTIONS = (
    keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D, keras.layers.SeparableConv2D,
)  # fmt: skip
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


@dataclass(frozen=True)
class Kernel:
    """A weight that is multiplied with inputs.

    Attributes:
        values: As the forward pass uses them.
        bits: Bit width, 32 for floats.
        fan_in: Products in one sum.
        quantizer: What quantized it, or None.
    """

    values: np.ndarray
    bits: int
    fan_in: int
    quantizer: UniformQuantizer | None

    @property
    def density(self) -> float:
        """Share of weights that are not zero."""
        return float(np.count_nonzero(self.values) / self.values.size)

    @property
    def enclosed_bits(self) -> int | None:
        """Sum over all weights of the bits from the highest to the lowest one set."""
        if self.quantizer is None:
            return None
        steps = self.quantizer.step.astype(np.float64)
        codes = np.abs(np.rint(self.values / steps)).astype(np.int64)
        odd = codes // np.maximum(codes & -codes, 1)
        return int(np.sum(np.frexp(odd.astype(np.float64))[1]))


@dataclass(frozen=True)
class Cost:
    """What one call of a layer takes, summed over its kernels.

    Attributes:
        macs: Multiplications, those with a zero weight included.
        bops: Bit operations by the MLPerf Tiny paper.
        qonnx_bops: Bit operations as `qonnx.util.inference_cost` counts them.
        ebops: Effective bit operations, None where something is a float.
    """

    macs: int
    bops: float
    qonnx_bops: float
    ebops: int | None


def weight_quantizer(layer: Any, weight: Any) -> Any:
    """Return the quantizer of a layer's weight, or None."""
    for argument in getattr(layer, "quantizer_arguments", ()):
        if weight_of(layer, argument) is weight:
            return getattr(layer, argument)
    return None


def kernels_of(layer: Any) -> list[Kernel]:
    """Return the kernels of a dense or convolution layer; of others none."""
    if not isinstance(layer, (keras.layers.Dense, *_CONVOLUTIONS, *_TRANSPOSED)):
        return []
    kernels = []
    for weight in list_weights(layer):
        if "kernel" not in weight.name:
            continue
        quantizer = weight_quantizer(layer, weight)
        read = parameter(weight, quantizer)
        shape = read.value.shape
        depthwise = "Depthwise" in type(layer).__name__ or "depthwise" in weight.name
        fan_in = math.prod(shape[:-2] if depthwise else shape[:-1])
        if isinstance(layer, _TRANSPOSED):  # (..., outputs, inputs)
            fan_in = math.prod(shape[:-2]) * shape[-1]
        bits = FLOAT_BITS if quantizer is None else getattr(quantizer, "bits", None)
        if bits is None:  # widths of its own for each part: those of the widest
            bits = FLOAT_BITS if read.quantizer is None else read.quantizer.bits
        kernels.append(Kernel(read.value, bits, fan_in, read.quantizer))
    return kernels


def cost_of_call(layer: Any, operation: Operation, graph: Graph) -> Cost | None:
    """Return the cost of one call, or None for a layer without kernels."""
    kernels = kernels_of(layer)
    if not kernels:
        return None
    given = graph.tensors[operation.input].shape
    shape = given if isinstance(layer, _TRANSPOSED) else _output_shape(operation, graph)
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    inner = shape[2:] if first else shape[1:-1]
    positions = math.prod(d or 1 for d in inner)
    input_bits = bits_of(operation.input, graph)
    macs, bops, qonnx, ebops = 0, 0.0, 0.0, 0
    for kernel in kernels:
        count = positions * kernel.values.size
        product = (input_bits or FLOAT_BITS) * kernel.bits
        additions = (input_bits or FLOAT_BITS) + kernel.bits + math.log2(kernel.fan_in)
        macs += count
        bops += count * (kernel.density * product + additions)
        qonnx += count * kernel.density * product
        effective = kernel.enclosed_bits
        if effective is None or input_bits is None or ebops is None:
            ebops = None  # type: ignore[assignment]
        else:
            ebops += positions * effective * input_bits
        input_bits = None if len(kernels) > 1 else input_bits  # between two kernels
    return Cost(macs, bops, qonnx, ebops)


def _output_shape(operation: Operation, graph: Graph) -> tuple[int | None, ...]:
    return graph.tensors[operation.output].shape


def bits_of(tensor: str, graph: Graph) -> int | None:
    """Return the bits of the quantizer that a tensor comes from, None for floats."""
    producer = graph.producer(tensor)
    if producer.kind == "quantize":
        return int(producer.attributes["quantizer"].bits)
    if producer.kind == "activation":
        function = producer.attributes["function"]
        return int(function.bits) if isinstance(function, Quantizer) else None
    if producer.kind in _MOVES:
        bits = [bits_of(t, graph) for t in producer.inputs]
        return None if None in bits else max(b for b in bits if b is not None)
    return None


def memory_bits(layer: Any, operations: list[Operation]) -> int:
    """Return the bits that a layer's weights take at inference."""
    read = [p for o in operations for p in o.weights.values()]
    if read:
        calls = len([o for o in operations if o.weights])
        each = [p.value.size * _bits(p.quantizer) for p in read]
        return sum(each) // calls  # shared weights are stored once
    return sum(
        int(np.prod(w.shape)) * _bits(weight_quantizer(layer, w))
        for w in list_weights(layer)
    )


def _bits(quantizer: Any) -> int:
    return FLOAT_BITS if quantizer is None else int(quantizer.bits)


def zeros(kernels: list[Kernel]) -> tuple[int, int]:
    """Return how many weights are zero, of how many."""
    size = sum(k.values.size for k in kernels)
    return size - sum(int(np.count_nonzero(k.values)) for k in kernels), size


def parameters(layer: Any) -> int:
    """Return the number of weights, without the state of noise and quantizers."""
    weights = [w for w in list_weights(layer) if "seed" not in w.path]
    return sum(int(array(w).size) for w in weights)
