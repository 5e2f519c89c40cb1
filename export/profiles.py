"""What each consumer of an exported file takes, as data, and rules that refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import NodeProto

from ..errors import UnsupportedModelError
from .layouts import CHANNELS_FIRST, CHANNELS_LAST, Layout
from .target_rules import FINN_RULES, HLS4ML_RULES, Rule

if TYPE_CHECKING:
    from .builder import Builder

_QUANTIZERS = frozenset({"Quant", "BipolarQuant"})
# Words that C++ or hls4ml takes for something else.
_RESERVED = frozenset(
    "alignas alignof and asm auto bitand bitor bool break case catch char class compl "
    "concept const continue decltype default delete do double else enum explicit "
    "export extern false float for friend goto i if inline input int linear long main "
    "mutable n namespace new noexcept not nullptr operator or p private protected "
    "public register requires return short signed sizeof static std struct switch t "
    "template this throw true try typedef typeid typename u union unsigned using "
    "virtual void volatile while xor".split()
)


@dataclass(frozen=True)
class Profile:
    """What the consumer of a file takes.

    Attributes:
        title: What messages call the consumer.
        layout: Layout of images at inputs and outputs that it needs, None for any.
        windows: Layout in which convolutions and poolings work.
        operators: Names of the operators that it knows, None for any.
        way_out: What to do instead, for messages.
        rules: What it demands of single nodes.
        has_identifiers: Whether names must be those of C++.
        has_shapes: Whether the shape of each tensor must be in the file.
        has_bias_in_convolution: Whether a convolution takes its bias as third input.
        has_scalar_steps: Whether a weight has one step for all channels.
        has_bipolar_weights: Whether weights may be a BipolarQuant.
        has_unit_bipolar: Whether the BipolarQuant of an activation has the scale 1.
        is_unsigned_after_relu: Whether an activation's Quant is unsigned behind a Relu
            of its own, and signed elsewhere.
    """

    title: str
    layout: Layout | None = None
    windows: Layout = CHANNELS_FIRST
    operators: frozenset[str] | None = None
    way_out: str = ""
    rules: tuple[Rule, ...] = ()
    has_identifiers: bool = False
    has_shapes: bool = False
    has_bias_in_convolution: bool = True
    has_scalar_steps: bool = False
    has_bipolar_weights: bool = True
    has_unit_bipolar: bool = False
    is_unsigned_after_relu: bool = False

    def takes(self, op_type: str) -> bool:
        """Whether the consumer knows an operator."""
        return self.operators is None or op_type in self.operators

    def as_name(self, name: str) -> str:
        """Return a name as the consumer takes it."""
        if not self.has_identifiers:
            return name
        name = re.sub(r"[^0-9a-zA-Z]+", "_", name).strip("_")
        is_word = name and not name[0].isdigit() and name not in _RESERVED
        return name if is_word else f"layer_{name}"

    def check(self, builder: Builder) -> None:
        """Refuse what the consumer does not take.

        Args:
            builder: The finished nodes.

        Raises:
            UnsupportedModelError: If it does not take a node; names the layer.
        """
        for node in builder.nodes:
            reason = self._objection(node, builder)
            if reason:
                layer = builder.origins[node.name].layer
                raise UnsupportedModelError(
                    f"Layer {layer!r} cannot be exported for {self.title}: {reason}",
                    layer=layer,
                )

    def _objection(self, node: NodeProto, builder: Builder) -> str:
        if not self.takes(node.op_type):
            return f"it has no operator {node.op_type}. {self.way_out}"
        return next(filter(None, (rule(node, builder) for rule in self.rules)), "")


PROFILES = {
    "qonnx": Profile("qonnx"),
    "hls4ml": Profile(
        "hls4ml",
        layout=CHANNELS_LAST,
        windows=CHANNELS_LAST,
        operators=_QUANTIZERS.union(
            "Add Concat Conv Flatten LeakyRelu MatMul MaxPool Mul Relu Reshape Sub "
            "Elu Selu Sigmoid Softmax Softplus Softsign Tanh Max Min".split()
        ),
        way_out="kerasqnn.deploy goes to hls4ml without a file and takes more.",
        rules=HLS4ML_RULES,
        has_identifiers=True,
        has_shapes=True,
        has_scalar_steps=True,
        has_bipolar_weights=False,
        has_unit_bipolar=True,
    ),
    "finn": Profile(
        "FINN",
        layout=CHANNELS_FIRST,
        operators=_QUANTIZERS.union(
            "Add Concat Conv Flatten GlobalAveragePool MatMul MaxPool Mul Relu Reshape "
            "Sub".split()
        ),
        way_out="Use convolutions, dense layers, ReLU, max pooling and quantizers.",
        rules=FINN_RULES,
        has_bias_in_convolution=False,
        has_unit_bipolar=True,
        is_unsigned_after_relu=True,
    ),
}
