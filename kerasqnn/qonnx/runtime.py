"""ONNX Runtime with the numbers that a file means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx import ModelProto

from .files import refuse_external

# ONNX Runtime folds a multiplication or addition behind a convolution or matrix product
# into its weights, and blocks the channels of convolutions. Both change the order of
# sums, which matters where float32 rounds them, so these rewrites are off. Those of the
# second and third list are on where all sums are exact.
_INEXACT_OPTIMIZERS = (
    "ConvMulFusion",
    "ConvBNFusion",
    "MatMulScaleFusion",
    "MatMulBatchNormalizationFusion",
)
_REORDERING_PRODUCTS = ("MatMulAddFusion",)
_REORDERING_IMAGES = ("ConvAddFusion", "NchwcTransformer")
OPTIMIZATIONS = ("all", "extended", "basic", "none")


def start(
    model: ModelProto,
    threads: int = 0,
    optimization: str = "all",
    folder: Path | None = None,
    *,
    exact_products: bool = False,
    exact_images: bool = False,
) -> Any:
    """Start ONNX Runtime on a model as it is, without rewrites that change numbers.

    Args:
        model: A model of standard operators, or with functions for the others.
        threads: As in `QONNXSession`.
        optimization: As in `QONNXSession`.
        folder: Where `load_model` found the external data that it left in its files.
        exact_products: The sums of matrix products may be reordered: all are exact.
        exact_images: Those of convolutions too.

    Returns:
        The `onnxruntime.InferenceSession`.

    Raises:
        ValueError: If ONNX Runtime refuses the model, or it has external data and there
            is no `folder`.
    """
    import onnxruntime

    if folder is None:
        refuse_external(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    options.intra_op_num_threads = threads
    levels = onnxruntime.GraphOptimizationLevel
    name = {"none": "DISABLE_ALL"}.get(optimization, f"ENABLE_{optimization.upper()}")
    options.graph_optimization_level = getattr(levels, f"ORT_{name}")
    # Its fused operators for QuantizeLinear and DequantizeLinear round otherwise.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    disabled = list(_INEXACT_OPTIMIZERS)
    if not exact_products:
        disabled += _REORDERING_PRODUCTS
    if not exact_images:
        disabled += _REORDERING_IMAGES
    # Products with weights that it has repacked add in another order.
    packed = exact_products and exact_images
    options.add_session_config_entry("session.disable_prepacking", str(int(not packed)))
    if folder is not None:
        where = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(where, str(folder.resolve()))
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=disabled,
        )
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(f"ONNX Runtime refuses the model: {error}") from error


def execute(session: Any, names: list[str] | None, feeds: dict[str, Any]) -> Any:
    """Run a session that `start` has started.

    Raises:
        ValueError: If ONNX Runtime cannot run it.
    """
    try:
        return session.run(names, feeds)
    except Exception as error:  # as above
        raise ValueError(f"ONNX Runtime cannot run the model: {error}") from error
