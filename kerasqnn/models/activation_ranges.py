"""Which values the tensors of a float model take on data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from ..errors import unknown_name
from ..quantizers import Calibration, FixedPoint, QuantizedReLU
from ..quantizers.calibration import METHODS
from .evaluation import evaluate
from .graph import Graph, Operation
from .rewriting import array

_BATCH = 256


class Ranges:
    """Grids for the inputs and the outputs of layers, from data.

    Args:
        model: The float model.
        graph: Its reading.
        data: Inputs as `model.predict` takes them, or None.
        method: How to choose; see `Calibration.quantizer`.
    """

    def __init__(
        self, model: keras.Model, graph: Graph, data: Any, method: str
    ) -> None:
        if method not in METHODS:
            raise ValueError(unknown_name("`method`", method, METHODS))
        self.method = method
        self._watches: dict[str, Calibration] = {}
        self._final = _final_tensors(graph)
        self._has_data = data is not None
        if data is not None:
            self._run(graph, input_arrays(model, graph, data))

    def _run(self, graph: Graph, inputs: list[np.ndarray]) -> None:
        def watch(operation: Operation, tensor: Any) -> Any:
            if operation.output in self._final:
                name = operation.layer
                self._watches.setdefault(name, Calibration()).update(array(tensor))
            return tensor

        graph = graph.without_noise()
        for start in range(0, len(inputs[0]), _BATCH):
            batch = [
                keras.ops.convert_to_tensor(x[start : start + _BATCH]) for x in inputs
            ]
            values = dict(zip(graph.inputs, batch, strict=True))
            evaluate(graph.operations, values, watch)

    def quantizer(self, path: str, bits: int, signed: bool | None) -> FixedPoint:
        """Return a grid for the output of a layer, or for an input."""
        if not self._has_data:
            raise ValueError(
                f"The range of the values at layer {path!r} is not known. Give "
                "`calibration=x`, inputs of the model, or a quantizer in place of the "
                f"number of bits. Received: {bits} bits, calibration=None"
            )
        watched = path
        while watched and watched not in self._watches:  # in a wrapper
            watched = watched.rpartition("/")[0]
        if not watched:
            raise ValueError(
                f"Layer {path!r} passes its input on and has no values of its own to "
                f"watch; give it a quantizer. Received: {bits} bits"
            )
        return self._watches[watched].quantizer(
            int(bits), signed=signed, method=self.method
        )

    def relu(self, path: str, bits: int) -> QuantizedReLU:
        """Return a quantized ReLU for the output of a layer."""
        grid = self.quantizer(path, bits, False)
        return QuantizedReLU(bits, grid.integer)


def _final_tensors(graph: Graph) -> set[str]:
    """Return the outputs of layers, those of their inner parts left out."""
    final = set(graph.outputs)
    for operation in graph:
        parts = (f"{operation.layer}/activation", f"{operation.layer}/noise")
        inner = any(o.layer == operation.layer and o.name.startswith(parts)
                    for o in graph.consumers(operation.output))  # fmt: skip
        if not inner:
            final.add(operation.output)
    return final


def input_arrays(model: keras.Model, graph: Graph, data: Any) -> list[np.ndarray]:
    """Return one array an input, in the graph's order.

    Args:
        model: The model, for its input names.
        graph: Its reading.
        data: An array, a list of arrays, or a dictionary of them by input name.
    """
    if isinstance(data, Mapping):
        missing = [n for n in graph.inputs if n not in data]
        if missing:
            raise ValueError(unknown_name("input", missing[0], data))
        data = [data[name] for name in graph.inputs]
    elif not isinstance(data, (list, tuple)) or len(graph.inputs) == 1:
        single = isinstance(data, (list, tuple)) and len(data) == 1
        data = [data[0] if single and np.ndim(data[0]) > 1 else data]
    if len(data) != len(graph.inputs):
        raise ValueError(
            f"Model {model.name!r} has {len(graph.inputs)} inputs. "
            f"Received: {len(data)} arrays"
        )
    tensors = [graph.tensors[name] for name in graph.inputs]
    arrays = [np.asarray(x, t.dtype) for x, t in zip(data, tensors, strict=True)]
    for x, tensor in zip(arrays, tensors, strict=True):
        fits = x.ndim == len(tensor.shape) and all(
            d in (None, n) for d, n in zip(tensor.shape[1:], x.shape[1:], strict=True)
        )
        if not fits or not len(x):
            raise ValueError(
                f"Input {tensor.name!r} needs arrays of shape {tensor.shape}. "
                f"Received: shape {x.shape}"
            )
    return arrays
