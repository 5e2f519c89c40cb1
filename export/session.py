"""Running QONNX files in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

# ONNX Runtime folds a multiplication or addition behind a convolution or matrix product
# into its weights. That rounds differently where the factors are not powers of two, as
# in plain batch normalization, so these rewrites are off.
_INEXACT_OPTIMIZERS = [
    "ConvMulFusion",
    "ConvAddFusion",
    "ConvBNFusion",
    "MatMulScaleFusion",
    "MatMulAddFusion",
    "MatMulBatchNormalizationFusion",
]


class QONNXSession:
    """A QONNX model loaded in ONNX Runtime, with the bits of the Keras model.

    Args:
        model: Path of an `.onnx` file that `export_qonnx` wrote, or the model itself.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ONNX model, or calls QONNX operators without the
            functions that define them.
    """

    def __init__(self, model: str | os.PathLike[str] | onnx.ModelProto) -> None:
        import onnxruntime

        proto = model if isinstance(model, onnx.ModelProto) else _load(Path(model))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                proto.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_INEXACT_OPTIMIZERS,
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ValueError(f"ONNX Runtime refuses the model: {error}") from error
        self.input_names = [i.name for i in self._session.get_inputs()]
        self.output_names = [o.name for o in self._session.get_outputs()]

    def run(self, x: Any) -> Any:
        """Run the model on a batch.

        Args:
            x: Array with the batch axis first, or a list or a dictionary by input name
                for several inputs.

        Returns:
            Array, or a list of arrays for several outputs.

        Raises:
            ValueError: If number or shapes of the inputs do not fit.
        """
        outputs = self.run_flat(self._as_list(x))
        return outputs[0] if len(outputs) == 1 else outputs

    def run_flat(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on one array an input; always returns a list."""
        feeds = {}
        for given, value in zip(self._session.get_inputs(), inputs, strict=True):
            dtype = np.float32 if given.type == "tensor(float)" else None
            array = np.asarray(value, dtype)
            _check_shape(given, array)
            feeds[given.name] = array
        return list(self._session.run(None, feeds))

    def _as_list(self, x: Any) -> list[Any]:
        if isinstance(x, dict):
            if set(x) != set(self.input_names):
                raise ValueError(
                    f"Inputs must be named {', '.join(self.input_names)}. "
                    f"Received: {', '.join(map(str, x))}"
                )
            return [x[name] for name in self.input_names]
        inputs = list(x) if isinstance(x, (list, tuple)) else [x]
        if len(self.input_names) == 1 and len(inputs) != 1:
            inputs = [np.asarray(x)]
        if len(inputs) != len(self.input_names):
            raise ValueError(
                f"The model has {len(self.input_names)} inputs "
                f"({', '.join(self.input_names)}). Received: {len(inputs)} arrays"
            )
        return inputs


def run_qonnx(path: str | os.PathLike[str], x: Any) -> Any:
    """Run a QONNX file in ONNX Runtime; the session is kept for the next call.

    Args:
        path: The `.onnx` file.
        x: Array with the batch axis first, or a list or dictionary of them.

    Returns:
        Array, or a list of arrays for several outputs: the bits of `model.predict`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ONNX model or the inputs do not fit.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise FileNotFoundError(f"No such file. Received: path={str(path)!r}")
    status = file.stat()
    return _cached_session(str(file), status.st_mtime_ns, status.st_size).run(x)


@lru_cache(maxsize=16)
def _cached_session(path: str, modified: int, size: int) -> QONNXSession:
    return QONNXSession(path)


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise FileNotFoundError(f"No such file. Received: {str(path)!r}")
    try:
        proto = onnx.load(path)
    except Exception as error:  # protobuf raises several types of its own
        raise ValueError(f"{str(path)!r} is no ONNX model: {error}") from error
    if not proto.graph.node and not proto.graph.output:
        raise ValueError(f"{str(path)!r} holds no ONNX graph.")
    return proto


def _check_shape(given: Any, array: np.ndarray) -> None:
    fits = len(given.shape) == array.ndim and all(
        not isinstance(want, int) or want == have
        for want, have in zip(given.shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"Input {given.name!r} has the shape {tuple(given.shape)}. "
            f"Received: an array of shape {array.shape}"
        )
