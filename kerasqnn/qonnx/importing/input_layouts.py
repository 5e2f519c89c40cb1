"""Which inputs of a file are images with the channels first."""

from __future__ import annotations

from .graph_view import GraphView
from .quantization import is_quantizer
from .windows import is_channels_last

_IMAGE_OPERATORS = frozenset(
    "Conv MaxPool AveragePool GlobalMaxPool GlobalAveragePool "
    "BatchNormalization".split()
)
_ELEMENTWISE = frozenset(
    "Add Sub Mul Div Max Min Relu LeakyRelu Elu Clip Sigmoid Tanh Softplus Softsign "
    "Identity Dropout Cast Pad Concat Ternary".split()
)


def is_channels_first(name: str, rank: int, view: GraphView) -> bool:
    """Whether a tensor gets to an operator that wants channels first as it is."""
    if rank < 3:
        return False
    pending, seen = [name], {name}
    while pending:
        for node in view.consumers(pending.pop()):
            if node.op_type in _IMAGE_OPERATORS:
                if not is_channels_last(node) and node.input[0] in seen:
                    return True
            elif node.op_type in _ELEMENTWISE or is_quantizer(node):
                found = set(node.output) - seen
                seen |= found
                pending += found
    return False
