"""The model-level exporter."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper

from .._version import __version__
from ..errors import UnsupportedModelError, VerificationError
from ..models import Arithmetic, Graph, analyse, read_model
from ..models.noise_control import noise_switched_off
from ..models.random_inputs import random_inputs
from ..qonnx.functions import DOMAIN_VERSION, OPSET, functions_for
from ..qonnx.operators import DOMAIN
from . import function_handlers as function_handlers
from . import structure_handlers as structure_handlers
from .builder import Builder
from .handlers import handler_of
from .keras_layers import inline_keras_operation, refuse_quantized
from .other_libraries import as_kerasqnn

_ELEMENT_TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}
_CHECKED_SAMPLES = 32


def export_qonnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    exact: bool = True,
    check: bool = True,
) -> Path:
    """Write a model as QONNX: a file for qonnx, FINN, hls4ml and stock ONNX Runtime.

    Quantizers become `Quant` and `BipolarQuant` nodes (with bodies as model-local
    functions, so that ONNX Runtime runs them), weights lie on their grid, the batch is
    symbolic, images stay channels last at inputs and outputs. Noise points are left
    out, as in `model.predict` while they are off.

    Args:
        model: A built Sequential or functional model; one of QKeras or HGQ2 is taken
            over first, as `from_qkeras` and `from_hgq2` do.
        path: The `.onnx` file to write; replaced only when the export has succeeded.
        exact: Refuse a model whose float32 result would depend on the tool that runs
            it. With False such a model is exported too; outputs then agree up to
            float32 rounding, which a quantizer behind it can enlarge to one step.
        check: Run the file in ONNX Runtime on random inputs and demand the bits of
            `model.predict` (only for models that `exact=True` accepts).

    Returns:
        The path.

    Raises:
        UnsupportedModelError: If a layer cannot be exported, or not exactly; the
            message names the layer and a way out.
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
    proto, reproducible = _build(model, exact)
    handle, temporary = tempfile.mkstemp(suffix=".onnx", dir=path.parent)
    os.close(handle)
    try:
        onnx.save(proto, temporary)
        if check and reproducible:
            _check(model, proto)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def build_qonnx(model: keras.Model, *, exact: bool = True) -> onnx.ModelProto:
    """Return the model that `export_qonnx` writes, unchecked and in memory.

    Args:
        model: A built Sequential or functional model.
        exact: As in `export_qonnx`.

    Returns:
        The ONNX model.
    """
    return _build(model, exact)[0]


def _build(model: keras.Model, exact: bool) -> tuple[onnx.ModelProto, bool]:
    graph = read_model(as_kerasqnn(model)).without_noise()
    arithmetic = analyse(graph)
    reproducible = all(arithmetic.facts[t].reproducible for t in graph.outputs)
    for operation in graph:
        if operation.kind != "input" and handler_of(operation.kind) is None:
            refuse_quantized(operation)
    if exact:
        _require_reproducible(graph, arithmetic)
    builder = Builder(graph, arithmetic)
    for operation in graph:
        if operation.kind == "input":
            builder.define(operation.output, builder.unique(operation.name))
            continue
        handler = handler_of(operation.kind) or inline_keras_operation
        handler(operation, builder)
    return _model_proto(graph, builder, reproducible), reproducible


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


def _model_proto(graph: Graph, builder: Builder, exact: bool) -> onnx.ModelProto:
    outputs: list[onnx.ValueInfoProto] = []
    for tensor in graph.outputs:
        value = builder.value(tensor)
        taken = value in graph.inputs or value in [o.name for o in outputs]
        if taken:
            value = builder.node("Identity", [value], f"{tensor}/output")
        outputs.append(_value_info(value, graph, tensor))
    inputs = [_value_info(t, graph, t) for t in graph.inputs]
    functions = functions_for(builder.nodes)
    graph_proto = helper.make_graph(
        builder.nodes, graph.name, inputs, outputs, builder.initializers
    )
    opsets = [
        helper.make_opsetid("", OPSET),
        helper.make_opsetid(DOMAIN, DOMAIN_VERSION),
    ]
    for domain in sorted({n.domain for n in builder.nodes} - {"", DOMAIN}):
        opsets.append(helper.make_opsetid(domain, 1))
    proto = helper.make_model(
        graph_proto,
        opset_imports=opsets,
        functions=functions,
        producer_name="kerasqnn",
        producer_version=__version__,
        # The lowest version with functions; with overloads where rounding modes mix.
        ir_version=10 if any(f.overload for f in functions) else 8,
    )
    helper.set_model_props(proto, {"kerasqnn.exact": str(bool(exact)).lower()})
    return proto


def _value_info(name: str, graph: Graph, tensor: str) -> onnx.ValueInfoProto:
    description = graph.tensors[tensor]
    if description.dtype not in _ELEMENT_TYPES:
        raise UnsupportedModelError(
            f"Tensor {tensor!r} has a type that is not exported. Allowed: "
            f"{', '.join(_ELEMENT_TYPES)}. Received: {description.dtype}"
        )
    shape = [
        ("batch" if i == 0 else f"{name}_{i}") if d is None else d
        for i, d in enumerate(description.shape)
    ]
    return helper.make_tensor_value_info(name, _ELEMENT_TYPES[description.dtype], shape)


def _check(model: keras.Model, proto: onnx.ModelProto) -> None:
    """Compare the file in ONNX Runtime with `model.predict` on random inputs."""
    from ..qonnx.session import start

    inputs = random_inputs(model, _CHECKED_SAMPLES)
    if inputs is None:
        return
    # The file as others run it, with the functions in it.
    session = start(proto)
    feeds = {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)}
    with noise_switched_off(model):
        expected = keras.tree.flatten(
            model.predict(keras.tree.pack_sequence_as(model._inputs_struct
                          if hasattr(model, "_inputs_struct") else inputs[0], inputs),
                          batch_size=_CHECKED_SAMPLES, verbose=0)
        )  # fmt: skip
    names = [output.name for output in session.get_outputs()]
    for name, want, got in zip(names, expected, session.run(None, feeds), strict=True):
        different = int(np.sum(want != got))
        if different or want.shape != got.shape:
            raise VerificationError(
                f"Output {name!r} differs between model.predict and ONNX Runtime in "
                f"{different} of {want.size} numbers, which must not happen; nothing "
                "was written. Is a GPU or a fast-math mode in use? exact=False, "
                "check=False skips this test. Please report it with the model."
            )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
