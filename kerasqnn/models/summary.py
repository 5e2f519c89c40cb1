"""The table of a model's layers with their bits and costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import keras

from ..layers import NoisePoint
from .costs import (
    FLOAT_BITS,
    bits_of,
    cost_of_call,
    kernels_of,
    memory_bits,
    parameters,
    zeros,
)
from .graph import Graph, Operation
from .integer_reference import accumulators
from .reading import functional_of, read_model
from .tables import Table

_COLUMNS = (
    "name", "type", "output shape", "weight bits", "activation bits",
    "accumulator bits", "parameters", "memory KiB", "MACs", "BOPs", "QONNX BOPs",
    "EBOPs", "sparsity", "noise",
)  # fmt: skip
_SUMMED = ("parameters", "memory KiB", "MACs", "BOPs", "QONNX BOPs", "EBOPs")


class Summary(Table):
    """A row a layer, in network order, and `totals`; see `summary`."""


def summary(model: keras.Model) -> Summary:
    """Return what each layer of a model is and costs, for one sample.

    | column | |
    |---|---|
    | weight bits | of the kernel, 32 for floats |
    | activation bits | of the output, where a quantizer (or what it passes) gives it |
    | accumulator bits | two's complement bits that hold every partial sum, in any order, for every input and the weights as they are |
    | parameters | weights; noise and quantizer state aside |
    | memory KiB | of all weights at their bits |
    | MACs | products of an input and a weight |
    | BOPs | `MACs (p b_a b_w + b_a + b_w + log2(n k^2))`: `p` the share of nonzero weights, `b_a` and `b_w` the bits of input and weight, `n k^2` the products in one sum |
    | QONNX BOPs | `MACs p b_a b_w`, as `qonnx.util.inference_cost` |
    | EBOPs | sum over MACs of `b_a` and the bits of the weight from the highest to the lowest one set; none where one of them is a float |
    | sparsity | share of weights in kernels that are zero |
    | noise | kind, level and when, of a noise point |

    Floats count as 32 bits. Costs are those of dense layers and convolutions, summed
    over the calls of a shared layer; others have none. qonnx reports the same totals
    for the exported file, but for values with an `alpha` and ternary ones, which it
    takes for floats, and for what no quantizer follows, such as an average: there it
    reads the type in the file and counts fewer bits.

    Args:
        model: A built Sequential or functional model.

    Returns:
        A table: prints, shows in notebooks, `to_dataframe()`, `to_dict()`, `totals`.

    Raises:
        UnsupportedModelError: If the model has no readable graph.

    Example:

    >>> import keras, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((16,)),
    ...     kerasqnn.layers.QuantInput("quantized_bits(6,0,1)"),
    ...     kerasqnn.layers.QuantDense(
    ...         8, activation="quantized_relu(4,2)", use_bias=False,
    ...         kernel_quantizer="quantized_bits(4,0,1)",
    ...         kernel_initializer=keras.initializers.Constant(0.5)),
    ... ])
    >>> table = kerasqnn.summary(model)
    >>> row = table.to_dict()[1]
    >>> row["MACs"], row["QONNX BOPs"], row["memory KiB"], row["accumulator bits"]
    (128, 3072.0, 0.0625, 10)

    References:
        - BOPs: MLPerf Tiny on FPGAs (hls4ml, FINN). EBOPs: HGQ.
    """  # noqa: E501
    graph = read_model(model)
    widths = accumulators(graph.without_noise())
    rows = [_row(layer, path, graph, widths) for layer, path in walk_layers(model)]
    table = Summary(f"Summary of {model.name!r}", _COLUMNS, [r for r, _ in rows])
    counts = [c for _, c in rows]
    sums: dict[str, Any] = {"name": "total"}
    for column in _SUMMED:
        values = [r[_COLUMNS.index(column)] for r, _ in rows]
        known = [v for v in values if v is not None]
        sums[column] = sum(known) if known or column != "EBOPs" else None
    size = sum(c[1] for c in counts)
    # Of all kernels together.
    sums["sparsity"] = sum(c[0] for c in counts) / size if size else None
    table.totals = sums
    return table


def walk_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[Any, str]]:
    """Yield every layer with its path, those of nested models in their place."""
    for operation in functional_of(model).operations:
        path = prefix + operation.name
        if isinstance(operation, keras.Model):
            yield from walk_layers(operation, f"{path}/")
        elif not isinstance(operation, keras.layers.InputLayer):
            yield operation, path


def _row(
    layer: Any, path: str, graph: Graph, widths: dict[str, int]
) -> tuple[tuple[Any, ...], tuple[int, int]]:
    operations = [o for o in graph if o.layer == path and o.kind != "input"]
    is_call = re.compile(re.escape(path) + r"(_\d+)?").fullmatch
    calls = [o for o in operations if is_call(o.name)]
    costs = [c for c in (cost_of_call(layer, o, graph) for o in calls) if c]
    kernels = kernels_of(layer)
    zero, size = zeros(kernels)
    weights = max((k.bits for k in kernels), default=None)
    scales = [o.weights["scale"] for o in operations if "scale" in o.weights]
    if scales:
        quantizer = scales[0].quantizer
        weights = FLOAT_BITS if quantizer is None else quantizer.bits
    effective = [c.ebops for c in costs]
    width = max((widths[o.name] for o in operations if o.name in widths), default=None)
    row = (
        path,
        type(layer).__name__,
        _shape(layer, operations, graph),
        weights,
        bits_of(operations[-1].output, graph) if operations else None,
        width,
        parameters(layer),
        memory_bits(layer, operations) / 8192,
        sum(c.macs for c in costs) if costs else None,
        sum(c.bops for c in costs) if costs else None,
        sum(c.qonnx_bops for c in costs) if costs else None,
        None if None in effective or not costs else sum(e or 0 for e in effective),
        zero / size if size else None,
        _noise(layer),
    )
    return row, (zero, size)


def _shape(layer: Any, operations: list[Operation], graph: Graph) -> str:
    if operations:
        shape = graph.tensors[operations[-1].output].shape
    else:
        shape = tuple(layer._inbound_nodes[-1].outputs[0].shape)
    return str(shape)


def _noise(layer: Any) -> str | None:
    point = layer if isinstance(layer, NoisePoint) else None
    point = getattr(layer, "noise_point", None) or point
    if point is None:
        return None
    kind = type(point.noise).__name__.lower()
    return f"{kind} {point.level:g} ({point.when})"
