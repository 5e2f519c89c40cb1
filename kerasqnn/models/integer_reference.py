"""Running a model in integers alone, and the accumulators that this takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import UnsupportedModelError
from ..quantizers.quantizer import without_denormals
from . import integer_functions as integer_functions
from . import integer_quotients as integer_quotients
from . import integer_structure as integer_structure
from .activation_ranges import input_arrays
from .arithmetic_rules import RULES
from .floating_point import why_floating_point
from .graph import Graph, Operation
from .grids import Facts
from .integer_operations import STEPS
from .integers import Integers, Quotients, from_float32, quantize_float
from .reading import read_model

# What a quantizer may do with an input in float32, before its grid.
_ELEMENTWISE = ("clipped_linear", "leaky_relu", "hard_swish", "step_function")


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
            width = _compute(operation, floats, tensors)
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
        width = _compute(operation, floats, tensors)
        if width is not None:
            widths[operation.name] = width
    for output in graph.outputs:
        layer = graph.producer(output).layer
        if output not in tensors:
            raise _unquantized(layer)
        _check_divisor(tensors[output], layer)
    return IntegerReference(tuple(tensors[t] for t in graph.outputs), tensors, widths)


def _compute(
    operation: Operation, floats: dict[str, np.ndarray], tensors: dict[str, Integers]
) -> int | None:
    """Add what an operation computes to the tensors; return its accumulator's bits."""
    layer, kind = operation.layer, operation.kind
    step = STEPS.get(kind)
    if step is None:
        raise UnsupportedModelError(
            f"Layer {layer!r} {why_floating_point(operation)}, and has no integer "
            "evaluation; leave it out of the model, or put it behind the integer part.",
            layer=layer,
        )
    if any(t in floats for t in operation.inputs):
        _compute_on_input(operation, floats, tensors)
        return None
    given = [tensors[t] for t in operation.inputs]
    if kind != "quantize":
        for tensor in given:
            _check_divisor(tensor, layer)
    tensors[operation.output], width = step(operation, *given)
    return width


def _check_divisor(tensor: Integers, layer: str) -> None:
    if isinstance(tensor, Quotients):
        raise UnsupportedModelError(
            f"Layer {layer!r} gets or gives out numbers divided by {tensor.divisor}, "
            "which lie on no power-of-two grid; put a quantizer behind the division.",
            layer=layer,
        )


def _unquantized(layer: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"Layer {layer!r} gets or is an input that no quantizer puts on a grid; put a "
        "QuantInput behind the input.",
        layer=layer,
    )


def _compute_on_input(
    operation: Operation, floats: dict[str, np.ndarray], tensors: dict[str, Integers]
) -> None:
    """Put an input on its quantizer's grid, behind the functions that it starts with.

    In float32, in the model and in what feeds a chip.
    """
    kind, output, layer = operation.kind, operation.output, operation.layer
    if kind == "quantize":
        quantizer = operation.attributes["quantizer"]
        tensors[output] = quantize_float(floats[operation.input], quantizer, layer)
        return
    if kind not in _ELEMENTWISE:
        raise _unquantized(layer)
    facts, _ = RULES[kind](operation, [Facts(None)], [])
    if not facts.reproducible:
        raise UnsupportedModelError(
            f"Layer {layer!r} has no integer evaluation: {facts.reason}.", layer=layer
        )
    function: Any = operation.attributes["function"]
    values = function._forward(np, without_denormals(floats[operation.input]))
    if kind == "step_function":
        levels = np.concatenate([values.ravel(), np.float32(function.levels)])
        codes, exponent = from_float32(levels, layer)
        ends = codes[values.size :]
        codes = codes[: values.size].reshape(values.shape)
        tensors[output] = Integers(codes, exponent, ends.min(), ends.max())
    else:
        floats[output] = values
