"""Which numbers each tensor can hold, and where float32 computes them exactly.

A tensor is *on a grid* when every value is an integer times a power of two, within
bounds known from the actual weights and the quantizers before it. Float32 computes sums
and products on a grid exactly, in any order and in any tool, while the integers stay
within 24 bits; that is what makes one model give the same bits everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import function_rules as function_rules
from . import structure_rules as structure_rules
from .arithmetic_rules import RULES, no_grid
from .graph import Graph
from .grids import FLOAT32_BITS, Facts


@dataclass(frozen=True)
class Arithmetic:
    """The facts of all tensors of a graph.

    Attributes:
        facts: Facts by tensor name.
        accumulator_bits: By operation name, the bits (sign excluded) that the largest
            partial sum needs in the worst case, from actual weights and input range.
    """

    facts: dict[str, Facts]
    accumulator_bits: dict[str, int]

    @property
    def wide_operations(self) -> dict[str, int]:
        """Operations whose exact result float32 cannot hold, with their bits."""
        return {
            name: bits
            for name, bits in self.accumulator_bits.items()
            if bits > FLOAT32_BITS
        }


def analyse(graph: Graph) -> Arithmetic:
    """Return what is known of every tensor, from the weights and the quantizers.

    Args:
        graph: A graph; noise points count as off.

    Returns:
        The facts and worst-case accumulator widths.
    """
    facts: dict[str, Facts] = {}
    widths: dict[str, int] = {}
    for operation in graph:
        inputs = [facts[t] for t in operation.inputs]
        rule = RULES.get(operation.kind, no_grid)
        shapes = [graph.tensors[t] for t in operation.inputs]
        out, width = rule(operation, inputs, shapes)
        if width is not None:
            widths[operation.name] = width
        facts.update(dict.fromkeys(operation.outputs, out))
    return Arithmetic(facts, widths)
