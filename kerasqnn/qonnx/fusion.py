"""Fewer nodes with the same numbers, where the grids of the tensors prove it."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from .constants import STANDARD_DOMAINS, fold_constants, has_subgraph, with_nodes
from .factor_moving import FactorMoving
from .inference import infer_values
from .pools_first import pools_first

_MATRIX_SUMS = frozenset({"MatMul", "Gemm"})
_IMAGE_SUMS = frozenset({"Conv", "ConvTranspose"})
#: Operators whose sums blocked channels or packed weights would add in another order.
_OTHER_SUMS = frozenset(
    "AveragePool GlobalAveragePool LpPool GlobalLpPool BatchNormalization LSTM GRU RNN "
    "InstanceNormalization".split()
)


@dataclass(frozen=True)
class Fused:
    """A model to run, and what is proven of its sums.

    Attributes:
        model: The model.
        exact_products: Every matrix product is exact in any order of its sums.
        exact_images: So is every convolution, and there are no averages.
    """

    model: ModelProto
    exact_products: bool
    exact_images: bool


def fuse(model: ModelProto) -> Fused:
    """Return an equal model with fewer nodes.

    Args:
        model: A model of standard operators, as `prepare` gives it.

    Returns:
        The model, whose inner tensors may be others, with what is proven of it.
    """
    nodes, constants = fold_constants(model)
    outputs = {o.name for o in model.graph.output}
    if any(has_subgraph(n) or n.domain not in STANDARD_DOMAINS for n in nodes):
        return Fused(with_nodes(model, nodes, constants), False, False)
    nodes = pools_first(nodes, constants, outputs)
    values = infer_values(nodes, constants)

    def exact(op_types: frozenset[str]) -> bool:
        sums = [n for n in nodes if n.op_type in op_types]
        return all(values[n.output[0]].step is not None for n in sums)

    others = any(n.op_type in _OTHER_SUMS for n in nodes)
    products = exact(_MATRIX_SUMS)
    images = products and exact(_IMAGE_SUMS) and not others
    moving = FactorMoving(nodes, dict(constants), values, outputs)
    moving.run()
    fused = with_nodes(model, moving.used(), moving.constants)
    return Fused(fused, products and not others, images)
