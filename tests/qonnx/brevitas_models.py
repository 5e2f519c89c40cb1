"""Models as Brevitas exports them, written by hand with its idioms.

Weights as PyTorch has them, outputs first, quantized before a Transpose or in a Gemm of
transB=1; images and convolutions with channels first; scales as arrays of any rank; the
domain `onnx.brevitas` in old files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kerasqnn.qonnx.operators import DOMAIN


class Writer:
    """Collects nodes and constants; every method returns the name of an output."""

    def __init__(self, seed: int = 0, domain: str = DOMAIN) -> None:
        self.numbers = np.random.default_rng(seed)
        self.domain = domain
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def node(
        self, op_type: str, *inputs: str, domain: str = "", **attributes: Any
    ) -> str:
        """Append a node."""
        output = f"/{op_type}_{len(self.nodes)}_output_0"
        name = f"/features/{op_type}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                op_type, list(inputs), [output], name=name, domain=domain, **attributes
            )
        )
        return output

    def constant(self, value: Any) -> str:
        """Add an initializer."""
        name = f"onnx::{len(self.constants)}"
        array = np.asarray(value)
        self.constants[name] = (
            array.astype(np.float32) if array.dtype.kind == "f" else array
        )
        return name

    def random(self, *shape: int) -> str:
        """Add floats that lie on no grid, as training leaves them."""
        return self.constant(self.random_values(*shape))

    def random_values(self, *shape: int) -> np.ndarray:
        """Draw the floats of `random`."""
        return self.numbers.normal(0, 0.6, shape).astype(np.float32)

    def quant(
        self,
        x: str,
        scale: Any,
        bits: float = 4,
        *,
        zero_point: float = 0,
        signed: int = 1,
        narrow: int = 0,
        rounding_mode: str = "ROUND",
    ) -> str:
        """Append a Quant node."""
        parameters = [np.float32(scale), np.float32(zero_point), np.float32(bits)]
        return self.node(
            "Quant",
            x,
            *(self.constant(p) for p in parameters),
            domain=self.domain,
            signed=signed,
            narrow=narrow,
            rounding_mode=rounding_mode,
        )

    def model(
        self,
        y: str,
        shape: tuple[Any, ...],
        output_shape: tuple[Any, ...],
        opset: int = 13,
    ) -> ModelProto:
        """Return the model from `x` to `y`."""
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "torch_jit",
            [value("x", TensorProto.FLOAT, shape)],
            [value(y, TensorProto.FLOAT, output_shape)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(self.domain, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def mlp(domain: str = DOMAIN, scale: float = 0.25) -> ModelProto:
    """Two layers: Gemm, and MatMul behind a Transpose with a quantized bias."""
    w = Writer(1, domain)
    x = w.quant("x", scale, 8)
    weight = w.quant(w.random(6, 5), np.full((6, 1), scale), narrow=1)
    x = w.node("Gemm", x, weight, w.constant(np.arange(6) / 8), transB=1)
    x = w.quant(w.node("Relu", x), scale, signed=0)
    weight = w.node(
        "Transpose", w.quant(w.random(3, 6), scale, 3, narrow=1), perm=[1, 0]
    )
    x = w.node("MatMul", x, weight)
    bias = w.quant(w.random(3), scale * scale, 32)
    x = w.node("Add", bias, x)
    return w.model(x, (1, 5), (1, 3))


def conv(w: Writer, x: str, shape: tuple[int, ...], pad: int, **attributes: Any) -> str:
    """Append a convolution of a quantized kernel with a scale an output."""
    scales = 2.0 ** w.numbers.integers(-3, 0, (shape[0], 1, 1, 1))
    weight = w.quant(w.random(*shape), scales, narrow=1)
    options = {"group": 1, "strides": [1, 1], "dilations": [1, 1]} | attributes
    size = list(shape[2:])
    return w.node("Conv", x, weight, kernel_shape=size, pads=[pad] * 4, **options)


def activation(w: Writer, x: str, scale: float = 0.5) -> str:
    """Append a ReLU and its unsigned quantizer."""
    return w.quant(w.node("Relu", x), scale, signed=0)


def cnn(norm: str = "product") -> ModelProto:
    """Padding and stride, a normalization, a depthwise convolution, a pooling."""
    w = Writer(2)
    x = w.quant("x", 0.125, 8)
    x = conv(w, x, (4, 2, 3, 3), 1, strides=[2, 2])
    if norm == "product":
        x = w.node("Mul", x, w.quant(w.random(1, 4, 1, 1), 0.125, 5))
        x = w.node("Add", x, w.quant(w.random(1, 4, 1, 1), 0.0625, 6))
    else:
        variance = w.constant(w.numbers.uniform(0.3, 2, 4))
        parameters = [w.random(4), w.random(4), w.random(4), variance]
        x = w.node("BatchNormalization", x, *parameters, epsilon=1e-5)
    x = activation(w, x)
    x = conv(w, x, (4, 1, 3, 3), 1, group=4)  # a scale for each channel
    x = activation(w, w.node("Add", x, w.constant(np.float32([[[0.25]]]))))
    x = w.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = w.node("Flatten", x, axis=1)
    weight = w.quant(w.random(3, 16), 0.125)
    x = w.node("Gemm", x, weight, transB=1)
    return w.model(x, (1, 2, 8, 8), (1, 3))


def resnet() -> ModelProto:
    """A residual block whose summands share one quantizer; a global average."""
    w = Writer(3)
    x = activation(w, conv(w, w.quant("x", 0.125, 8), (4, 3, 3, 3), 1))
    shortcut = w.quant(x, 0.5, 6)
    branch = activation(w, conv(w, x, (4, 4, 3, 3), 1))
    branch = w.quant(conv(w, branch, (4, 4, 1, 1), 0), 0.5, 6)
    x = activation(w, w.node("Add", branch, shortcut))
    x = w.node("Concat", x, shortcut, axis=1)
    x = w.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = w.quant(x, 0.25, 5, rounding_mode="FLOOR")
    x = w.node("GlobalAveragePool", x)
    shape = w.constant(np.array([1, -1]))
    x = w.node("Reshape", x, shape)
    x = w.node("MatMul", x, w.quant(w.random(8, 2), 0.25))
    return w.model(x, (1, 3, 8, 8), (1, 2))
