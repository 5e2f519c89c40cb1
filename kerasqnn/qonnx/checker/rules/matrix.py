"""Mends of matrix products, where every sum is exact."""

from __future__ import annotations

from onnx import helper

from ...inference import infer_grids
from ..draft import Draft
from ..facts import Facts, flag_of
from ..registry import Hit


def on_grid(facts: Facts) -> set[str]:
    """Return the tensors that float32 computes exactly, whatever the order of sums."""
    try:
        return set(infer_grids(facts.model))
    except ValueError:
        return set()


def split_gemm(draft: Draft, hit: Hit) -> None:
    """Replace a Gemm of alpha and beta 1 by MatMul and Add."""
    node = hit.node
    if node is None:
        return
    base, output = node.name or node.output[0], node.output[0]
    nodes = []
    right = node.input[1]
    if flag_of(node, "transB"):
        value = draft.facts.value(right)
        if value is not None:
            right = draft.constant(f"{right}_transposed", value.T.copy())
        else:  # behind a quantizer, whose scales may be per row
            name = draft.name(f"{right}_transposed")
            nodes.append(
                helper.make_node("Transpose", [right], [name], perm=[1, 0],
                                 name=draft.name(f"{base}_Transpose"))
            )  # fmt: skip
            right = name
    has_bias = len(node.input) > 2 and node.input[2]
    product = draft.name(f"{output}_product") if has_bias else output
    nodes.append(
        helper.make_node("MatMul", [node.input[0], right], [product],
                         name=draft.name(f"{base}_MatMul"))
    )  # fmt: skip
    if has_bias:
        nodes.append(
            helper.make_node("Add", [product, node.input[2]], [output],
                             name=draft.name(f"{base}_Add"))
        )  # fmt: skip
    draft.replace(node, *nodes)
