"""Running a model in integers alone, and the accumulators that this takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import UnsupportedModelError
from . import integer_functions as integer_functions
from .activation_ranges import input_arrays
from .graph import Graph, Operation
from .integer_operations import STEPS
from .integers import Integers, quantize_float
from .reading import read_model


@dataclass(frozen=True, repr=False)
class IntegerReference:
    """What `integer_reference` returns.

    Attributes:
        outputs: The model's outputs in its order: codes (int64), step, float64 values.
        tensors: The same for every tensor, by name.
        accumulator_bits: By operation name: bits, sign included, of the smallest
            two's complement number that holds every partial sum, in any order, for
            every possible input and the weights as they are.
    """

    outputs: tuple[Integers, ...]
    tensors: dict[str, Integers]
    accumulator_bits: dict[str, int]

    def __repr__(self) -> str:
        shapes = ", ".join(str(o.codes.shape) for o in self.outputs)
        return (
            f"<IntegerReference: codes of shape {shapes}, "
            f"accumulator bits {self.accumulator_bits}>"
        )

    @property
    def values(self) -> np.ndarray | list[np.ndarray]:
        """Outputs as `model.predict` has them: one float64 array, or a list."""
        values = [o.values for o in self.outputs]
        return values if len(values) > 1 else values[0]

    @property
    def codes(self) -> np.ndarray | list[np.ndarray]:
        """The outputs' int64 codes: one array, or a list."""
        codes = [o.codes for o in self.outputs]
        return codes if len(codes) > 1 else codes[0]


def integer_reference(model: keras.Model, x: Any) -> IntegerReference:
    """Evaluate a quantized model in int64, exactly.

    Every tensor is int64 codes times one power of two; sums, products, shifts, rounding
    and saturation are those of integers. The result is that of ideal hardware. Keras
    computes the same as long as its float32 sums are exact, that is up to 24 bits; for
    wider layers this is the reference. Inputs are put on the grid of their quantizer in
    float32, as in the model; noise counts as off.

    Args:
        model: A built Sequential or functional model in which every value lies on a
            power-of-two grid: quantized inputs, weights, and activations.
        x: Inputs as `model.predict` takes them: an array, or a list or dictionary of
            arrays.

    Returns:
        Outputs as codes and as values, and the accumulator width of each operation.

    Raises:
        UnsupportedModelError: For an operation that has no exact integers, or needs
            more than 62 bits; names the layer.
        ValueError: If `x` does not fit the model.

    Example:

    >>> import keras, numpy as np, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((3,)),
    ...     kerasqnn.layers.QuantInput("quantized_bits(4,3)"),
    ...     kerasqnn.layers.QuantDense(
    ...         1, kernel_quantizer="quantized_bits(3,2)", use_bias=False,
    ...         kernel_initializer="ones", name="sum"),
    ... ])
    >>> result = kerasqnn.integer_reference(model, np.array([[1.0, 2.0, -4.0]]))
    >>> int(result.codes[0, 0]), result.outputs[0].step
    (-1, 1.0)
    >>> result.accumulator_bits  # from 3 * -8 to 3 * 7
    {'sum': 6}

    References:
        - FINN: accumulator minimisation from actual weights.
    """
    graph = read_model(model).without_noise()
    inputs = input_arrays(model, graph, x)
    return _run(graph, dict(zip(graph.inputs, inputs, strict=True)))


def accumulators(graph: Graph) -> dict[str, int]:
    """Return the accumulator bits of every operation that has integer inputs.

    Args:
        graph: A graph without noise; operations in floating point are passed over.

    Returns:
        Bits by operation name, as in `IntegerReference`.
    """
    widths: dict[str, int] = {}
    tensors: dict[str, Integers] = {}
    floats: dict[str, np.ndarray] = {}
    for operation in graph:
        if operation.kind == "input":  # no samples: bounds are all that is wanted
            shape = graph.tensors[operation.output].shape
            floats[operation.output] = np.zeros((0, *(d or 1 for d in shape[1:])))
            continue
        try:
            tensors[operation.output], width = _compute(operation, floats, tensors)
        except (KeyError, UnsupportedModelError):
            continue
        if width is not None:
            widths[operation.name] = width
    return widths


def _run(graph: Graph, floats: dict[str, np.ndarray]) -> IntegerReference:
    tensors: dict[str, Integers] = {}
    widths: dict[str, int] = {}
    for operation in graph:
        if operation.kind == "input":
            continue
        result, width = _compute(operation, floats, tensors)
        tensors[operation.output] = result
        if width is not None:
            widths[operation.name] = width
    missing = [t for t in graph.outputs if t not in tensors]
    if missing:
        raise _unquantized(missing[0])
    return IntegerReference(tuple(tensors[t] for t in graph.outputs), tensors, widths)


def _compute(
    operation: Operation, floats: dict[str, np.ndarray], tensors: dict[str, Integers]
) -> tuple[Integers, int | None]:
    step = STEPS.get(operation.kind)
    if step is None:
        raise UnsupportedModelError(
            f"Layer {operation.layer!r} ({operation.kind}) computes in floating "
            "point and has no integer evaluation; leave it out of the model, or "
            "put it behind the integer part.",
            layer=operation.layer,
        )
    if any(t in floats for t in operation.inputs):
        return _quantized_input(operation, floats), None
    return step(operation, *(tensors[t] for t in operation.inputs))


def _unquantized(layer: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"Layer {layer!r} gets or is an input that no quantizer puts on a grid; put a "
        "QuantInput behind the input.",
        layer=layer,
    )


def _quantized_input(operation: Operation, floats: dict[str, np.ndarray]) -> Integers:
    if operation.kind != "quantize":
        raise _unquantized(operation.layer)
    quantizer = operation.attributes["quantizer"]
    return quantize_float(floats[operation.input], quantizer, operation.layer)
