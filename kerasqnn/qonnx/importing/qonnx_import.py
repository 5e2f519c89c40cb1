"""The importer: from a QONNX file to a Keras model."""

from __future__ import annotations

import os
import warnings
from typing import Any

import keras
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from ...errors import UnsupportedModelError, unknown_name
from ..batches import fixed_batch
from ..constants import STANDARD_DOMAINS, constants_of, fold_constants
from ..files import as_model
from ..formats import convert_qonnx
from ..operators import CHANNELS_LAST_DOMAIN
from ..preparation import prepare, standardize
from ..session import QONNXSession
from . import activations as activations
from . import convolutions as convolutions
from . import functions as functions
from . import merging as merging
from . import normalization as normalization
from . import pooling as pooling
from . import structure as structure
from . import weighted as weighted
from .graph_view import GraphView
from .input_layouts import is_channels_first
from .patterns import JOINED_DOMAIN, joined
from .quantization import is_quantizer
from .refusal import refused
from .registry import imported_operators, importer_of
from .translation import Translation
from .values import Activation, channels_last
from .verification import require_reproducible, verify

LAYOUTS = ("channels_last", "as_in_file")


def import_qonnx(
    model: str | os.PathLike[str] | ModelProto,
    *,
    name: str | None = None,
    layout: str | None = None,
    exact: bool = True,
    check: bool = True,
) -> keras.Model:
    """Return a trainable Keras model of kerasqnn layers with the bits of a QONNX file.

    Files of any origin are read: of `export_qonnx`, Brevitas, the old QKeras exporter,
    FINN; QCDQ too. Quantizers of weights become `kernel_quantizer`, `bias_quantizer`,
    ... of the layers, those of activations `QuantInput` and `QuantActivation`. Weights
    stay the floats of the file, so that training can go on; layers have the names of
    nodes.

    A batch normalization that the file writes as a product and a sum has no statistics
    any more: it becomes a `QuantBatchNormalization` with `trainable=False`, which
    training leaves as it is.

    Args:
        model: Path of an `.onnx` file, or the model itself.
        name: Name of the Keras model; that of the graph if None.
        layout: What becomes of inputs and outputs with channels first, which
            convolutions in ONNX have: `"channels_last"`, as Keras has them;
            `"as_in_file"`, behind a `Permute` layer; None: channels last, with a
            warning that says so. Kernels, and dense layers behind flattened images, are
            rearranged.
        exact: Refuse a file whose float32 result depends on the tool that runs it, such
            as one whose scales are no powers of two. With False such a file is imported
            too; each layer then agrees up to float32 rounding, which a quantizer behind
            it can enlarge to one step.
        check: Compare `model.predict` with `QONNXSession` on random inputs: all bits,
            or, where they depend on the tool, each layer up to float32 rounding.

    Returns:
        The model, functional, not compiled.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsupportedModelError: If a node has no exact counterpart; the message names the
            node and a way out.
        VerificationError: If the check finds a difference.
        ValueError: If the file is no ONNX model, or an argument is unknown.

    Example:

    >>> import keras, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     kerasqnn.layers.QuantInput("quantized_bits(6,0,1)"),
    ...     kerasqnn.layers.QuantDense(2, kernel_quantizer="quantized_bits(4,0,1)"),
    ... ])
    >>> path = kerasqnn.export_qonnx(model, "small.onnx")
    >>> imported = kerasqnn.import_qonnx(path)
    >>> imported.layers[-1].kernel_quantizer == model.layers[-1].kernel_quantizer
    True

    References:
        - QONNX: arbitrary-precision quantized networks in ONNX.
    """
    if layout not in (None, *LAYOUTS):
        raise ValueError(unknown_name("`layout`", layout, LAYOUTS))
    standard = standardize(_in_qonnx(as_model(model)))
    session = QONNXSession(standard)  # which refuses what is no ONNX
    translation = _translate(standard, layout)
    known = translation.known()
    inputs = [known[value.name] for value in standard.graph.input]
    outputs = _outputs(standard, translation, layout)
    built = keras.Model(
        _one_or_list([value.tensor for value in inputs]),
        _one_or_list([value.tensor for value in outputs]),
        name=(name or standard.graph.name).replace("/", "_") or None,
    )
    reproducible = require_reproducible(built, exact)
    if check:
        verify(built, session, translation, inputs, outputs, reproducible)
    if layout is None:
        _warn_of_layouts(standard, inputs)
    return built


def _in_qonnx(model: ModelProto) -> ModelProto:
    """Return a model in QCDQ as one in QONNX."""
    is_qcdq = any(node.op_type == "DequantizeLinear" for node in model.graph.node)
    return convert_qonnx(model, "qonnx") if is_qcdq else model


def _one_or_list(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _translate(model: ModelProto, layout: str | None) -> Translation:
    graph = model.graph
    # Parameters of quantizers are no tensors of the expanded model any more.
    constants = constants_of(graph) | fold_constants(prepare(model))[1]
    outputs = [value.name for value in graph.output]
    view = joined(GraphView(graph.node, outputs, constants))
    translation = Translation(view, constants, fixed_batch(model))
    for value in graph.input:
        translation.define_input(value.name, _input(value, translation, layout))
    for node in view.nodes:
        if node.output[0] in constants or translation.is_absorbed(node):
            continue
        handler = importer_of(node.op_type) if _is_known(node) else None
        if handler is None:
            domain = f" of the domain {node.domain!r}" if node.domain else ""
            raise refused(
                node,
                f"no kerasqnn layer stands for {node.op_type}{domain}",
                f"Operators that are imported: {', '.join(imported_operators())}",
            )
        handler(node, translation)
    return translation


def _is_known(node: NodeProto) -> bool:
    """Whether the domain of a node is the one in which its operator is imported."""
    if node.domain == CHANNELS_LAST_DOMAIN:
        return node.op_type in ("Conv", "MaxPool")
    if node.op_type == "Ternary":
        return node.domain == JOINED_DOMAIN
    return is_quantizer(node) or node.domain in STANDARD_DOMAINS


def _input(
    value: ValueInfoProto, translation: Translation, layout: str | None
) -> Activation:
    kind = value.type.tensor_type
    if kind.elem_type != TensorProto.FLOAT or len(kind.shape.dim) < 2:
        raise UnsupportedModelError(
            f"Input {value.name!r} cannot be imported: inputs are of float32, with an "
            "axis of the batch and at least one more.",
            layer=value.name,
        )
    shape = [d.dim_value or None for d in kind.shape.dim]
    axes = tuple(range(len(shape)))
    first = is_channels_first(value.name, len(shape), translation.view)
    if first and layout != "as_in_file":
        axes = channels_last(len(shape))
    tensor = keras.Input(
        [shape[axis] for axis in axes[1:]], name=translation.unique(value.name)
    )
    return Activation(tensor, axes)


def _outputs(
    model: ModelProto, translation: Translation, layout: str | None
) -> list[Activation]:
    known, outputs = translation.known(), []
    for value in model.graph.output:
        name = value.name
        if name not in known:
            raise UnsupportedModelError(
                f"Output {name!r} does not depend on an input. Leave it out.", name
            )
        output = translation.unfolded(known[name], name)
        if layout == "as_in_file":
            output = translation.as_in_file(output, name)
        outputs.append(output)
    return outputs


def _warn_of_layouts(model: ModelProto, inputs: list[Activation]) -> None:
    for value, given in zip(model.graph.input, inputs, strict=True):
        if given.axes != tuple(range(given.rank)):
            warnings.warn(
                f"Input {value.name!r} has its channels first in the file, "
                f"{given.shape}; the Keras model takes them last, "
                f"{tuple(given.tensor.shape)}. Say layout='channels_last' or "
                "layout='as_in_file' to choose.",
                stacklevel=3,
            )
