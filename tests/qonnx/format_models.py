"""Random QONNX models for the tests of formats."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper

from kerasqnn.qonnx.operators import DOMAIN

from .models import model_of


class Builder:
    """Draws a model with steps that are powers of two, so that all sums are exact.

    Args:
        seed: Of the random numbers.
        most: Largest bit width.
        channelwise: Whether weights have a scale a channel.
    """

    def __init__(self, seed: int, most: int = 8, channelwise: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self._most, self._channelwise = most, channelwise

    def node(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """Append a node of standard ONNX."""
        output = f"{op_type.lower()}{len(self.nodes)}"
        node = helper.make_node(op_type, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, value: Any) -> str:
        """Append an initializer."""
        self.constants[name] = np.asarray(value)
        return name

    def quant(self, x: str, scale: Any = None, bits: int | None = None,
              signed: int | None = None, narrow: int | None = None,
              zeropt: Any = 0.0, mode: str = "ROUND") -> str:  # fmt: skip
        """Append a Quant node; what is not given is drawn."""
        rng = self.rng
        output = f"quant{len(self.nodes)}"
        scale = 2.0 ** rng.integers(-4, 0) if scale is None else scale
        bits = int(rng.integers(2, self._most + 1)) if bits is None else bits
        given = {"scale": scale, "zeropt": zeropt, "bitwidth": bits}
        inputs = [
            self.constant(f"{output}_{k}", np.float32(v)) for k, v in given.items()
        ]
        attributes = {
            "signed": int(rng.integers(2)) if signed is None else signed,
            "narrow": int(rng.integers(2)) if narrow is None else narrow,
            "rounding_mode": mode,
        }
        self.nodes.append(
            helper.make_node("Quant", [x, *inputs], [output], name=output,
                             domain=DOMAIN, **attributes)
        )  # fmt: skip
        return output

    def weight(self, shape: tuple[int, ...], axis: int) -> str:
        """Append a constant on its grid and the Quant node that reads it."""
        sizes = [n if i == axis else 1 for i, n in enumerate(shape)]
        drawn = self.rng.integers(-4, 0, sizes if self._channelwise else ())
        scale = np.exp2(drawn.astype(np.float32))
        bits, narrow = int(self.rng.integers(2, 7)), int(self.rng.integers(2))
        low, high = -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
        values = self.rng.integers(low, high + 1, shape).astype(np.float32) * scale
        name = self.constant(f"w{len(self.nodes)}", values)
        return self.quant(name, scale, bits, signed=1, narrow=narrow)

    def bias(self, size: int, step: float = 2.0**-8) -> str:
        """Append a bias of 16 bits and its Quant node."""
        values = self.rng.integers(-200, 200, size).astype(np.float32) * step
        name = self.constant(f"b{len(self.nodes)}", np.float32(values))
        return self.quant(name, step, 16, signed=1, narrow=0)

    def model(self, output: str, shape: list[Any], result: list[Any],
              opset: int = 13) -> ModelProto:  # fmt: skip
        """Return the model."""
        return model_of(self.nodes, self.constants, tuple(shape), output=output,
                        output_shape=tuple(result), opset=opset)  # fmt: skip


def mlp(seed: int, opset: int = 13, **options: Any) -> ModelProto:
    """Two dense layers; the second on the quantized rectified first."""
    b = Builder(seed, **options)
    h = b.node("MatMul", [b.quant("x", signed=1), b.weight((6, 5), 1)])
    h = b.node("Relu", [b.node("Add", [h, b.bias(5)])])
    h = b.node("MatMul", [b.quant(h, signed=0), b.weight((5, 3), 1)])
    return b.model(b.node("Add", [h, b.bias(3)]), ["n", 6], ["n", 3], opset)


def cnn(seed: int, opset: int = 13, **options: Any) -> ModelProto:
    """Convolutions, pooling, quantizers in a row, a dense layer."""
    b = Builder(seed, **options)
    window = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1],
              "dilations": [1, 1], "group": 1}  # fmt: skip
    h = b.quant("x", signed=1)
    h = b.node("Conv", [h, b.weight((4, 2, 3, 3), 0), b.bias(4)], **window)
    h = b.quant(b.node("Relu", [h]), signed=0)
    h = b.node("MaxPool", [h], kernel_shape=[2, 2], strides=[2, 2])
    h = b.quant(b.quant(h))  # ONNX Runtime would merge the two
    h = b.quant(b.node("AveragePool", [h], kernel_shape=[2, 2]))
    h = b.node("MatMul", [b.node("Flatten", [h]), b.weight((16, 3), 1)])
    return b.model(h, ["n", 2, 6, 6], ["n", 3], opset)


def residual(seed: int, opset: int = 13, **options: Any) -> ModelProto:
    """Sums, products and concatenations of quantized tensors; a channel a scale."""
    b = Builder(seed, **options)
    x = b.quant("x", signed=1)
    h = b.quant(b.node("MatMul", [x, b.weight((6, 6), 1)]))
    h = b.quant(b.node("Add", [h, x]), np.exp2(b.rng.integers(-3, 0, (1, 6))))
    h = b.quant(b.node("Mul", [h, x]))
    h = b.quant(b.node("Concat", [h, x], axis=1))
    h = b.node("MatMul", [h, b.weight((12, 4), 1)])
    return b.model(b.quant(h), ["n", 6], ["n", 4], opset)


FAMILIES = {"mlp": mlp, "cnn": cnn, "residual": residual}


# A step of 1/4 is a multiple of every product of two steps that are drawn.


def quantized_mlp(seed: int, opset: int = 13, **options: Any) -> ModelProto:
    """Dense layers with and without bias; all that products give is quantized."""
    b = Builder(seed, **options)
    h = b.node("MatMul", [b.quant("x", signed=1), b.weight((6, 5), 1)])
    h = b.quant(b.node("Relu", [b.node("Add", [h, b.bias(5, 0.25)])]))
    h = b.quant(b.node("MatMul", [h, b.weight((5, 8), 1)]))
    h = b.node("Gemm", [h, b.weight((3, 8), 0), b.bias(3, 0.25)], transB=1)
    return b.model(b.quant(h), ["n", 6], ["n", 3], opset)


def quantized_cnn(seed: int, opset: int = 13, **options: Any) -> ModelProto:
    """Convolutions of several kinds, pooling, a dense layer."""
    b = Builder(seed, **options)
    window = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1]}
    h = b.quant("x", signed=1)
    h = b.node("Conv", [h, b.weight((4, 2, 3, 3), 0), b.bias(4, 0.25)],
               pads=[1] * 4, group=1, **window)  # fmt: skip
    h = b.quant(b.node("Relu", [h]))
    h = b.node("MaxPool", [h], kernel_shape=[2, 2], strides=[2, 2], pads=[1] * 4)
    h = b.quant(b.node("Conv", [h, b.weight((4, 1, 3, 3), 0)], pads=[1] * 4, group=4,
                       **window))  # fmt: skip
    h = b.node("Flatten", [b.quant(b.node("AveragePool", [h], kernel_shape=[2, 2]))])
    return b.model(b.quant(b.node("MatMul", [h, b.weight((36, 3), 1)])),
                   ["n", 2, 6, 6], ["n", 3], opset)  # fmt: skip


def quantized_residual(seed: int, opset: int = 13, **options: Any) -> ModelProto:
    """A sum and a concatenation of quantized tensors between products."""
    b = Builder(seed, **options)
    x = b.quant("x", signed=1)
    h = b.quant(b.node("MatMul", [x, b.weight((6, 6), 1)]))
    h = b.quant(b.node("Add", [h, x]))
    h = b.quant(b.node("Concat", [h, x], axis=1))
    h = b.quant(b.node("MatMul", [h, b.weight((12, 4), 1)]))
    return b.model(h, ["n", 6], ["n", 4], opset)


QUANTIZED_FAMILIES = {
    "mlp": quantized_mlp,
    "cnn": quantized_cnn,
    "residual": quantized_residual,
}


def inputs(model: ModelProto, count: int = 64) -> np.ndarray:
    """Random numbers, ties, huge numbers and infinities."""
    rng = np.random.default_rng(1)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = rng.normal(0, 2, (count, *shape[1:]))
    x[: count // 2] = np.round(x[: count // 2] * 32) / 32
    x = x.astype(np.float32)
    x.flat[:4] = [np.inf, -np.inf, 3e38, -1e-45]
    return x
