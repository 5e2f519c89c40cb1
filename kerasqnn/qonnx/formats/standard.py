"""A model that is to be converted, and what is known of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import onnx
from onnx import ModelProto, NodeProto
from onnx import version_converter as converter

from ...models.grids import Grid
from ..constants import STANDARD_DOMAINS, constants_of, fold_constants
from ..inference import infer_values
from ..operators import GENERAL_DOMAINS, describe
from ..preparation import prepare, standardize
from ..shapes import infer_shapes
from ..structure import bodies_of

_LINEAR = ("QuantizeLinear", "DequantizeLinear")


class Standard:
    """A model as one writer would write it, its QONNX operators as they are.

    Args:
        model: The model as loaded; left as it is.
        opset: The opset that it is to have; its own, at least 13, if None.

    Raises:
        ValueError: If the model has no meaning, or cannot have that opset.
    """

    def __init__(self, model: ModelProto, opset: int | None) -> None:
        self.model = _with_opset(standardize(model), opset)
        self.versions = {i.domain: i.version for i in self.model.opset_import}
        self._prepared = prepare(self.model)
        _refuse_inner(self.model)

    @property
    def nodes(self) -> Sequence[NodeProto]:
        """Its nodes, in an order in which they can run."""
        return self.model.graph.node

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return _opset_of(self.model)

    @cached_property
    def constants(self) -> Mapping[str, np.ndarray]:
        """What does not depend on the inputs, by tensor name."""
        return constants_of(self.model.graph) | self._folded[1]

    @cached_property
    def _folded(self) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
        return fold_constants(self._prepared)

    @cached_property
    def grids(self) -> Mapping[str, Grid]:
        """The grids of tensors, by name; absent where nothing is certain."""
        known = infer_values(*self._folded)
        grids = {name: values.grid for name, values in known.items()}
        return {name: grid for name, grid in grids.items() if grid is not None}

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes by tensor name, 0 for an unknown size; absent if unknown."""
        graph = infer_shapes(self._prepared) or self._prepared.graph
        shapes = {
            v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
            for v in [*graph.input, *graph.value_info, *graph.output]
            if v.type.tensor_type.HasField("shape")
        }
        return shapes | {name: value.shape for name, value in self.constants.items()}


def _refuse_inner(model: ModelProto) -> None:
    """Refuse quantizers in branches and loops, which are not rewritten."""
    graph = model.graph
    for node in (
        n for body in bodies_of(model) if body is not graph for n in body.node
    ):
        if node.domain in GENERAL_DOMAINS or node.op_type in _LINEAR:
            raise ValueError(
                f"{describe(node)}: quantizers must not lie in subgraphs (If, Loop, "
                "Scan). Unroll the loop or fold the branch. "
                f"Received: {node.op_type}"
            )


def _opset_of(model: ModelProto) -> int:
    return next(i.version for i in model.opset_import if i.domain in STANDARD_DOMAINS)


def _with_opset(model: ModelProto, opset: int | None) -> ModelProto:
    current = _opset_of(model)
    if opset is None or opset == current:
        return model
    if (
        not isinstance(opset, int)
        or not current < opset <= onnx.defs.onnx_opset_version()
    ):
        raise ValueError(
            f"`opset` must be an integer from {current}, the model's, to "
            f"{onnx.defs.onnx_opset_version()}. Received: opset={opset!r}"
        )
    try:
        return converter.convert_version(model, opset)
    except Exception as error:  # the converter raises RuntimeError and its own types
        raise ValueError(
            f"The model's opset {current} cannot be converted to {opset}: {error}"
        ) from error
