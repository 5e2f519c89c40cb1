"""Random small QONNX graphs of standard operators, the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kerasqnn.qonnx.operators import DOMAIN

MODES = "ROUND ROUND ROUND ROUND FLOOR CEIL HALF_UP UP DOWN HALF_DOWN".split()
_UNARY = "Relu Relu Neg Abs Round Floor Identity".split()
_BINARY = "Mul Mul Add Add Sub Div Max Min".split()
_SPECIAL = (np.inf, -np.inf, 1e38, -3e38, 1e-45, 1e-38, 2.0**24 + 2, -0.0)


class RandomGraph:
    """A graph that grows operator by operator; shapes are those of one sample."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        channels, features = self.rng.choice([2, 4]), self.rng.integers(1, 7)
        self.shape = (
            (int(features),) if self.rng.random() < 0.5 else (int(channels), 5, 5)
        )
        self.values: list[tuple[str, tuple[int, ...]]] = [("x", self.shape)]
        if self.rng.random() < 0.7:
            self.quantize()
        steps = (
            self.quantize, self.quantize, self.unary, self.clip, self.binary,
            self.product, self.product, self.pool, self.merge, self.view,
        )  # fmt: skip
        for _ in range(int(self.rng.integers(2, 10))):
            steps[self.rng.integers(len(steps))]()
        if not self.nodes:
            self.unary()

    def constant(self, array: Any) -> str:
        name, array = f"c{len(self.constants)}", np.asarray(array)
        array = array if array.dtype == np.int64 else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op_type: str, inputs: list[str], shape: Any, **options: Any) -> str:
        name = f"t{len(self.nodes)}"
        node = helper.make_node(op_type, inputs, [name], name=f"n_{name}", **options)
        self.nodes.append(node)
        self.values.append((name, tuple(map(int, shape))))
        return name

    def pick(self, *ranks: int) -> tuple[str, tuple[int, ...]]:
        """A tensor of one of the ranks, mostly the last; the input if there is none."""
        pool = [v for v in self.values if not ranks or len(v[1]) in ranks]
        pool = pool or self.values[:1]
        last = self.rng.random() < 0.75
        return pool[-1] if last else pool[self.rng.integers(len(pool))]

    def number(self) -> float:
        kind = self.rng.random()
        if kind < 0.6:
            return float(2.0 ** self.rng.integers(-6, 5) * self.rng.choice([1, -1]))
        return 0.0 if kind < 0.7 else float(self.rng.normal() * 3)

    def scale(self) -> float:
        odd = self.rng.choice([0.3, 1 / 3, 3.0, 2.0**-40, 2.0**30])
        power = 2.0 ** self.rng.integers(-5, 3)
        return float(power if self.rng.random() < 0.75 else odd)

    def quantize(self, tensor: Any = None) -> str:
        name, shape = tensor or self.pick()
        if self.rng.random() < 0.1:
            scale = self.constant(self.scale())
            return self.add("BipolarQuant", [name, scale], shape, domain=DOMAIN)
        scales: Any = self.scale()
        if self.rng.random() < 0.25:  # one a channel
            scales = [self.scale() for _ in range(shape[0])]
            scales = np.reshape(scales, (shape[0], *(1,) * (len(shape) - 1)))
        zero = self.rng.choice([1, 3, -2, 0.5]) if self.rng.random() < 0.2 else 0.0
        parameters = scales, zero, self.rng.choice([2, 3, 4, 5, 8, 12, 24])
        return self.add(
            "Quant", [name, *map(self.constant, parameters)], shape, domain=DOMAIN,
            signed=int(self.rng.random() < 0.6), narrow=int(self.rng.random() < 0.2),
            rounding_mode=str(self.rng.choice(MODES)),
        )  # fmt: skip

    def weights(self, *shape: int) -> str:
        rng = self.rng
        values = rng.integers(-8, 9, shape) * 2.0 ** rng.integers(-5, 3)
        values = rng.normal(size=shape) if rng.random() < 0.15 else values
        name = self.constant(values)
        if rng.random() < 0.4:
            name = self.quantize((name, shape))
            self.values.pop()
        return name

    def unary(self) -> None:
        name, shape = self.pick()
        self.add(str(self.rng.choice(_UNARY)), [name], shape)

    def clip(self) -> None:
        name, shape = self.pick()
        low, high = sorted((self.number(), self.number()))
        bounds = [
            self.constant(b) if self.rng.random() < 0.8 else "" for b in (low, high)
        ]
        self.add("Clip", [name, *bounds], shape)

    def binary(self) -> None:
        name, shape = self.pick()
        op_type = str(self.rng.choice(_BINARY))
        operand = (
            () if self.rng.random() < 0.5 else (shape[0], *(1,) * (len(shape) - 1))
        )
        values = [self.number() for _ in range(int(np.prod(operand)))]
        values = np.reshape(values, operand)
        if op_type == "Div":
            values = np.where(values == 0, 2.0, values)
        inputs = [name, self.constant(values)]
        left = op_type not in ("Div", "Sub") and self.rng.random() < 0.3
        self.add(op_type, inputs[::-1] if left else inputs, shape)

    def product(self) -> None:
        name, shape = self.pick()
        rng, biased = self.rng, self.rng.random() < 0.5
        units = int(rng.integers(1, 6))
        if len(shape) == 3:
            group, size = int(rng.choice([1, shape[0]])), int(rng.integers(1, 4))
            size, pad, stride = (
                min(size, *shape[1:]),
                int(size > 1),
                int(rng.integers(1, 3)),
            )
            filters = units * group
            inputs = [name, self.weights(filters, shape[0] // group, size, size)]
            inputs += [self.weights(filters)] if biased else []
            sides = [(n + 2 * pad - size) // stride + 1 for n in shape[1:]]
            self.add("Conv", inputs, (filters, *sides), kernel_shape=[size] * 2,
                     pads=[pad] * 4, strides=[stride] * 2, group=group)  # fmt: skip
        elif rng.random() < 0.4:
            inputs = [name, self.weights(units, shape[0])]
            inputs += [self.weights(units)] if biased else []
            self.add("Gemm", inputs, (units,), transB=1)
        else:
            made = self.add("MatMul", [name, self.weights(shape[0], units)], (units,))
            if biased:
                self.add("Add", [made, self.weights(units)], (units,))

    def pool(self) -> None:
        name, shape = self.pick(3)
        if len(shape) == 3 and min(shape[1:]) >= 2:
            pad, stride = int(self.rng.integers(0, 2)), int(self.rng.integers(1, 3))
            sides = [(n + 2 * pad - 2) // stride + 1 for n in shape[1:]]
            self.add("MaxPool", [name], (shape[0], *sides), kernel_shape=[2, 2],
                     pads=[pad] * 4, strides=[stride] * 2)  # fmt: skip

    def merge(self) -> None:
        name, shape = self.pick()
        same = [v for v in self.values if v[1] == shape]
        other, _ = same[self.rng.integers(len(same))]
        if shape[0] <= 6 and self.rng.random() < 0.3:
            self.add("Concat", [name, other], (2 * shape[0], *shape[1:]), axis=1)
        else:
            self.add(str(self.rng.choice(["Add", "Sub", "Mul", "Max"])), [other, name],
                     shape)  # fmt: skip

    def view(self) -> None:
        name, shape = self.pick(3)
        if len(shape) == 3 and self.rng.random() < 0.5:
            self.add("Flatten", [name], (int(np.prod(shape)),))
        elif len(shape) == 3:
            order = [int(i) for i in self.rng.permutation(3)]
            perm = [0, *(i + 1 for i in order)]
            self.add("Transpose", [name], [shape[i] for i in order], perm=perm)

    def model(self) -> ModelProto:
        """The graph up to its last tensor, sometimes with one inside as an output."""
        outputs = [self.values[-1]]
        if len(self.values) > 3 and self.rng.random() < 0.3:
            outputs.append(self.values[int(self.rng.integers(1, len(self.values) - 1))])
        used, kept = {name for name, _ in outputs}, []
        for node in reversed(self.nodes):
            if node.output[0] in used:
                used.update(node.input)
                kept.append(node)

        def info(name: str, shape: tuple[int, ...]) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])

        graph = helper.make_graph(
            kept[::-1], "random", [info("x", self.shape)], [info(*o) for o in outputs],
            [c for c in self.constants if c.name in used],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def inputs(self, count: int = 24) -> np.ndarray:
        """Numbers of all sizes, many on a grid; special ones in the second half."""
        rng, shape = self.rng, (count, *self.shape)
        x = rng.normal(size=shape) * np.exp2(rng.integers(-6, 7, shape))
        x = np.where(rng.random(shape) < 0.4, np.rint(x * 8) / 16, x)
        places = rng.random(shape) < 0.04
        places[: count // 2] = False
        x[places] = rng.choice(_SPECIAL, places.sum())
        return x.astype(np.float32)
