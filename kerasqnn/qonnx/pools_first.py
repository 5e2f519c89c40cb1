"""Pooling before what keeps the order of numbers, where there is less to do then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto

from .constants import copy_of
from .operators import attributes_of, may_pool_padding

_INCREASING = frozenset({"Round", "Floor", "Ceil", "Relu", "Clip"})


def pools_first(
    nodes: Sequence[NodeProto], constants: Mapping[str, np.ndarray], outputs: set[str]
) -> list[NodeProto]:
    """Pool before what keeps the order of numbers: there is less to do then."""
    changed = [copy_of(node) for node in nodes]
    places = {name: i for i, node in enumerate(changed) for name in node.output}
    readers = Counter(name for node in changed for name in node.input)
    for index, node in enumerate(changed):
        pool = node
        while pool.op_type in ("MaxPool", "GlobalMaxPool") and len(pool.output) == 1:
            name = pool.input[0]
            position = places.get(name)
            if position is None or readers[name] > 1 or name in outputs:
                break
            before = changed[position]
            empty = may_pool_padding(attributes_of(pool))
            if empty or not _keeps_order(before, constants):
                break
            moved, kept = copy_of(pool), copy_of(before)
            moved.input[0], moved.output[0] = before.input[0], name
            kept.input[0], kept.output[0] = name, pool.output[0]
            changed[position], changed[index] = moved, kept
            pool, index = moved, position
    return changed


def _keeps_order(node: NodeProto, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether a node is an increasing function of its first input alone."""
    operands = [constants.get(name) for name in node.input[1:]]
    if any(array is None or array.size != 1 or array.ndim for array in operands):
        return False
    if node.op_type == "Mul":
        return operands[0] is not None and bool(operands[0] > 0)
    return node.op_type in _INCREASING
