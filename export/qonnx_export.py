"""The model-level exporter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import keras
import onnx

from ..errors import UnsupportedModelError, unknown_name
from ..models import Arithmetic, Graph, analyse, read_model
from ..qonnx.formats import convert_qonnx
from ..quantizers.quantizer import check_int
from . import function_handlers as function_handlers
from . import structure_handlers as structure_handlers
from .assembly import Boundary
from .builder import Builder
from .comparison import check_predictions
from .handlers import handler_of
from .keras_layers import inline_keras_operation, refuse_quantized
from .layouts import CHANNELS_LAST, LAYOUTS, Layout
from .metadata import describe_model
from .other_libraries import as_kerasqnn
from .profiles import PROFILES, Profile
from .writing import replacing

#: Targets to which the QONNX model is converted.
_FORMATS = ("qcdq", "qop")
TARGETS = (*PROFILES, *_FORMATS)


def export_qonnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    target: str = "qonnx",
    layout: str | None = None,
    batch_size: int | None = None,
    exact: bool = True,
    check: bool = True,
) -> Path:
    """Write a model as QONNX: a file for qonnx, FINN, hls4ml and stock ONNX Runtime.

    Quantizers become `Quant` and `BipolarQuant` nodes (with bodies as model-local
    functions, so that ONNX Runtime runs them), and weights lie on their grid. Noise
    points are left out, as in `model.predict` while they are off. Nodes, inputs and
    outputs have the names of the Keras layers; tensors are annotated with qonnx's data
    types. Equal models give equal files. Weights that do not fit into one file (2 GiB)
    go to another one beside it.

    Consumers differ in what they take; `target` writes the file as one of them wants
    it, with the same numbers, or refuses the layer that it cannot take:

    - `"qonnx"`: anything that QONNX can say.
    - `"hls4ml"`: for hls4ml's ONNX front end as it is: channels-last convolutions and
      poolings, names that C++ takes, shapes of all tensors, one power-of-two scale a
      quantizer (weights of several steps are written on the smallest), ROUND and FLOOR.
      A layer that a quantizer and something else read is refused: hls4ml gives both
      the quantized numbers.
      Bit for bit with `io_type="io_parallel"`. With `io_type="io_stream"`
      convolutions, max pooling, sums and a dense layer behind Flatten agree too, but
      not a quantizer or ReLU behind Flatten: hls4ml leaves the stream in packets of
      one pixel there and reads only the first ("leftover data"). Put them before
      Flatten, or use `deploy`.
    - `"finn"`: activations of at most 8 bits, one scale each, that round half to even;
      an unsigned Quant behind a Relu and signed elsewhere (rewritten where they are
      not), biases of convolutions in a node of their own. FINN's own thresholds round
      ties up.
    - `"qcdq"`: QuantizeLinear, Clip, DequantizeLinear; see `convert_qonnx`.
    - `"qop"`: QLinearConv, QLinearMatMul and Clip on integers, where inputs, weights
      and outputs are all quantized; see `convert_qonnx`.

    Args:
        model: A built Sequential or functional model; one of QKeras or HGQ2 is taken
            over first, as `from_qkeras` and `from_hgq2` do.
        path: The `.onnx` file to write; replaced only when the export has succeeded.
        target: `"qonnx"`, `"hls4ml"`, `"finn"`, `"qcdq"` or `"qop"`.
        layout: Of images at inputs and outputs, `"channels_last"` or
            `"channels_first"`; the target's if None: `"channels_first"` for FINN, else
            `"channels_last"`. No transposition is left inside: at most one stands at an
            input or output, and the rows of a dense kernel behind Flatten are
            reordered instead.
        batch_size: Size of the batch in the file, symbolic if None.
        exact: Refuse a model whose float32 result would depend on the tool that runs
            it. With False such a model is exported too; outputs then agree up to
            float32 rounding, which a quantizer behind it can enlarge to one step.
        check: Run the file in ONNX Runtime on random inputs and demand the bits of
            `model.predict` (only for models that `exact=True` accepts).

    Returns:
        The path.

    Raises:
        UnsupportedModelError: If a layer cannot be exported, not exactly, or not for
            the target; the message names the layer and a way out.
        ValueError: If an argument is not one of the allowed.
        VerificationError: If the check finds different bits. Nothing is written then.
        OSError: If the file cannot be written.

    Example:

    >>> import keras, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     kerasqnn.layers.QuantInput("quantized_bits(6,0,1)"),
    ...     kerasqnn.layers.QuantDense(2, kernel_quantizer="quantized_bits(4,0,1)"),
    ... ])
    >>> path = kerasqnn.export_qonnx(model, "small.onnx")

    References:
        - QONNX: arbitrary-precision quantized networks in ONNX.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The folder {str(path.parent)!r} does not exist. "
            f"Received: path={str(path)!r}"
        )
    options = _Options.of(target, layout, batch_size, exact)
    export = _build(model, options)
    with replacing(path, export.proto) as folder:
        if check and export.is_reproducible:
            check_predictions(model, export.proto, export.layouts, batch_size, folder)
    return path


def build_qonnx(
    model: keras.Model,
    *,
    target: str = "qonnx",
    layout: str | None = None,
    batch_size: int | None = None,
    exact: bool = True,
) -> onnx.ModelProto:
    """Return the model that `export_qonnx` writes, unchecked and in memory.

    Args:
        model: A built Sequential or functional model.
        target: As in `export_qonnx`.
        layout: As in `export_qonnx`.
        batch_size: As in `export_qonnx`.
        exact: As in `export_qonnx`.

    Returns:
        The ONNX model.
    """
    return _build(model, _Options.of(target, layout, batch_size, exact)).proto


@dataclass(frozen=True)
class _Options:
    """What the arguments of an export ask for."""

    target: str
    profile: Profile
    images: Layout
    batch_size: int | None
    exact: bool

    @classmethod
    def of(
        cls, target: str, layout: str | None, batch_size: int | None, exact: bool
    ) -> _Options:
        if target not in TARGETS:
            raise ValueError(unknown_name("target", target, TARGETS))
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(unknown_name("layout", layout, LAYOUTS))
        if batch_size is not None:
            check_int("batch_size", batch_size, 1, 2**31 - 1)
        profile = PROFILES.get(target, PROFILES["qonnx"])
        needed = profile.layout or CHANNELS_LAST
        images = needed if layout is None else LAYOUTS[layout]
        if profile.layout is not None and images != profile.layout:
            allowed = next(k for k, v in LAYOUTS.items() if v == profile.layout)
            raise ValueError(
                f"`layout` must be {allowed!r} for target={target!r}. "
                f"Received: layout={layout!r}"
            )
        return cls(target, profile, images, batch_size, exact)


@dataclass(frozen=True)
class _Export:
    """An ONNX model, and what the check needs to know of it."""

    proto: onnx.ModelProto
    is_reproducible: bool
    layouts: tuple[list[Layout], list[Layout]]


def _build(model: keras.Model, options: _Options) -> _Export:
    graph = read_model(as_kerasqnn(model)).without_noise()
    _check_batch(graph, options.batch_size)
    arithmetic = analyse(graph)
    reproducible = all(arithmetic.facts[t].reproducible for t in graph.outputs)
    for operation in graph:
        if operation.kind != "input" and handler_of(operation.kind) is None:
            refuse_quantized(operation)
    if options.exact:
        _require_reproducible(graph, arithmetic)
    builder = Builder(graph, arithmetic, options.profile)
    boundary = Boundary(builder, options.images, options.batch_size)
    for operation in graph:
        before = len(builder.nodes)
        if operation.kind == "input":
            boundary.add_input(operation.output)
        else:
            handler = handler_of(operation.kind) or inline_keras_operation
            handler(operation, builder)
        builder.belong_to(operation, before)
    for tensor in graph.outputs:
        before = len(builder.nodes)
        boundary.add_output(tensor)
        builder.belong_to(graph.producer(tensor), before)
    options.profile.check(builder)
    proto = boundary.model(graph.name)
    if options.target in _FORMATS:
        proto = convert_qonnx(proto, options.target)
    describe_model(proto, graph, reproducible)
    layouts = (
        [boundary.layout(t) for t in graph.inputs],
        [boundary.layout(t) for t in graph.outputs],
    )
    return _Export(proto, reproducible, layouts)


def _check_batch(graph: Graph, batch_size: int | None) -> None:
    fixed = {graph.tensors[t].shape[0] for t in graph.inputs} - {None}
    if batch_size is not None and fixed - {batch_size}:
        raise ValueError(
            f"`batch_size` must be {fixed.pop()}, which the model fixes, or None. "
            f"Received: batch_size={batch_size}"
        )


def _require_reproducible(graph: Graph, arithmetic: Arithmetic) -> None:
    for output in graph.outputs:
        facts = arithmetic.facts[output]
        if not facts.reproducible:
            raise UnsupportedModelError(
                f"Model {graph.name!r} does not give the same bits in every tool: "
                f"{facts.reason}. Pass exact=False to export it all the same, equal up "
                "to float32 rounding.",
                layer=facts.blame and graph.operation(facts.blame).layer,
            )
