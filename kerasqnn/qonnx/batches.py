"""Whether a model of a fixed batch may run on batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from .constants import constants_of, has_subgraph
from .operators import attributes_of
from .shapes import infer_shapes

_ANY_OPERANDS = frozenset(
    "Abs Add BatchNormalization Cast Ceil Clip Div Elu Erf Exp Floor Greater "
    "GreaterOrEqual HardSigmoid HardSwish Identity LeakyRelu Less LessOrEqual Log Max "
    "Min Mul Neg Not PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Softplus "
    "Softsign Sqrt Sub Sum Tanh Where And Or".split()
)
_CONSTANT_REST = frozenset(
    "Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool "
    "LpPool".split()
)


@dataclass(frozen=True)
class _Facts:
    """What is known of a model whose batch is fixed."""

    batch: int
    constants: Mapping[str, np.ndarray]
    shapes: Mapping[str, tuple[int, ...]]

    def batched(self, node: NodeProto) -> list[str]:
        """Return the inputs of a node that depend on the model's input."""
        return [name for name in node.input if name and name not in self.constants]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a tensor, None where it is not known."""
        value = self.constants.get(name)
        return self.shapes.get(name) if value is None else value.shape


def fixed_batch(model: ModelProto) -> int:
    """Return the size that all inputs and outputs fix as their first axis, or 0.

    An input of one axis has no batch.
    """
    if any(len(i.type.tensor_type.shape.dim) < 2 for i in model.graph.input):
        return 0
    sizes = set()
    for value in [*model.graph.input, *model.graph.output]:
        dimensions = value.type.tensor_type.shape.dim
        sizes.add(dimensions[0].dim_value if dimensions else 0)
    return sizes.pop() if len(sizes) == 1 else 0


def with_any_batch(model: ModelProto) -> ModelProto | None:
    """Return the model with a symbolic batch, if each operator works sample by sample.

    Args:
        model: A model of standard operators whose batch is fixed.

    Returns:
        The model, or None where an operator may mix samples.
    """
    batch = fixed_batch(model)
    if any(has_subgraph(node) for node in model.graph.node):
        return None
    graph = infer_shapes(model)
    if graph is None:  # then the batch stays as it is
        return None
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in [*graph.input, *graph.value_info, *graph.output]
    }
    shapes |= {i.name: tuple(i.dims) for i in graph.initializer}
    facts = _Facts(batch, _constant_tensors(model), shapes)
    replaced: dict[str, np.ndarray] = {}
    for node in model.graph.node:
        if not facts.batched(node):
            continue
        if not _keeps_samples(node, facts, replaced):
            return None
    return _relaxed(model, replaced)


def _constant_tensors(model: ModelProto) -> Mapping[str, Any]:
    """Return all tensors that do not depend on an input; None where not evaluated."""
    constants: dict[str, Any] = {i.name: None for i in model.graph.initializer}
    constants |= constants_of(model.graph)
    for node in model.graph.node:
        if all(name in constants for name in node.input if name):
            for name in node.output:
                constants.setdefault(name, None)
    return constants


def _keeps_samples(node: NodeProto, facts: _Facts, replaced: dict) -> bool:
    """Whether row i of the outputs depends on row i of the inputs only."""
    tensors = [*facts.batched(node), *node.output]
    for name in tensors:
        shape = facts.shapes.get(name)
        if not shape or shape[0] != facts.batch or 0 in shape:
            return False
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in _ANY_OPERANDS:
        rank = len(facts.shapes[node.output[0]])
        ranks_fit = all(len(facts.shapes[n]) == rank for n in facts.batched(node))
        return ranks_fit and _operands_broadcast(node, facts, rank)
    if node.op_type in _CONSTANT_REST:
        return facts.batched(node) == [node.input[0]]
    rule = _RULES.get(node.op_type)
    return rule is not None and rule(node, facts, replaced)


def _operands_broadcast(node: NodeProto, facts: _Facts, rank: int) -> bool:
    """Whether no constant operand has a row for each sample."""
    for name in set(node.input) - set(facts.batched(node)) - {""}:
        shape = facts.shape(name)
        if shape is None or (len(shape) == rank and shape[0] != 1):
            return False
    return True


def _matmul(node: NodeProto, facts: _Facts, replaced: dict) -> bool:
    if facts.batched(node) != [node.input[0]] or attributes_of(node).get("transA", 0):
        return False
    left, right = (facts.shape(name) for name in node.input[:2])
    # Matrices on the right with more axes are one a sample, or give another axis.
    return len(left or ()) >= 2 and len(right or ()) == 2


def _reshape(node: NodeProto, facts: _Facts, replaced: dict) -> bool:
    target = facts.constants.get(node.input[1])
    if target is None or attributes_of(node).get("allowzero", 0):
        return False
    if target[0] == facts.batch:
        replaced[node.input[1]] = np.array([-1 if -1 not in target[1:] else 0,
                                            *target[1:]])  # fmt: skip
    return target[0] in (facts.batch, 0, -1)


def _axis_not_first(node: NodeProto, facts: _Facts, replaced: dict) -> bool:
    axis = attributes_of(node).get("axis", -1)
    rank = len(facts.shapes[facts.batched(node)[0]])
    return facts.batched(node) == list(node.input) and axis % rank != 0


def _linear_quantization(node: NodeProto, facts: _Facts, replaced: dict) -> bool:
    axis, rank = attributes_of(node).get("axis", 1), len(facts.shapes[node.input[0]])
    is_scalar = facts.shape(node.input[1]) == ()
    return facts.batched(node) == [node.input[0]] and (is_scalar or axis % rank != 0)


def _constant_axes(node: NodeProto, facts: _Facts, replaced: dict) -> bool:
    axes: Any = attributes_of(node).get("axes")
    if axes is None and len(node.input) > 1:
        axes = facts.constants.get(node.input[1])
    if axes is None:
        return False
    rank = len(facts.shapes[node.input[0]])
    if node.op_type == "Unsqueeze":
        rank += len(axes)
    return all(int(axis) % rank != 0 for axis in axes)


def _gather(node: NodeProto, facts: _Facts, replaced: dict) -> bool:
    axis = attributes_of(node).get("axis", 0)
    if facts.batched(node) == [node.input[1]]:  # a table: an entry a number
        return axis == 0
    return facts.batched(node) == [node.input[0]] and axis > 0


def _pad(node: NodeProto, facts: _Facts, replaced: dict) -> bool:
    pads = facts.constants.get(node.input[1]) if len(node.input) > 1 else None
    return pads is not None and len(node.input) < 4 and not pads[0] and not pads[
        len(pads) // 2
    ]  # fmt: skip


_RULES: dict[str, Callable[[NodeProto, _Facts, dict], bool]] = {
    "MatMul": _matmul,
    "Gemm": _matmul,
    "Reshape": _reshape,
    "Concat": _axis_not_first,
    "Softmax": _axis_not_first,
    "LogSoftmax": _axis_not_first,
    "ArgMax": _axis_not_first,
    "Squeeze": _constant_axes,
    "Unsqueeze": _constant_axes,
    "ReduceSum": _constant_axes,
    "ReduceMean": _constant_axes,
    "ReduceMax": _constant_axes,
    "QuantizeLinear": _linear_quantization,
    "DequantizeLinear": _linear_quantization,
    "Gather": _gather,
    "Pad": _pad,
    "Transpose": lambda node, *_: attributes_of(node).get("perm", [1])[0] == 0,
    "Flatten": lambda node, *_: attributes_of(node).get("axis", 1) == 1,
}


def _relaxed(
    model: ModelProto, replaced: Mapping[str, np.ndarray]
) -> ModelProto | None:
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    if any(set(readers[name]) != {"Reshape"} for name in replaced):
        return None
    relaxed = ModelProto()
    relaxed.CopyFrom(model)
    graph = relaxed.graph
    for name, value in replaced.items():
        kept = [i for i in graph.initializer if i.name != name]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        for node in list(graph.node):
            if name in node.output:
                graph.node.remove(node)
        graph.initializer.append(numpy_helper.from_array(value.astype(np.int64), name))
    for tensor in [*graph.input, *graph.output]:
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]
    return relaxed
