"""Running QONNX files in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from .batches import fixed_batch, with_any_batch
from .files import as_model
from .fusion import fuse
from .preparation import prepare, with_outputs
from .runtime import OPTIMIZATIONS, execute, start
from .structure import tensors_of
from .tensor_data import is_external


@dataclass(frozen=True)
class _Input:
    """An input, kept because asking ONNX Runtime takes longer than a small model."""

    name: str
    dtype: type[np.floating] | None
    shape: tuple[Any, ...]
    fixed: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, given: Any, any_batch: bool) -> _Input:
        fixed = tuple(
            (axis, size)
            for axis, size in enumerate(given.shape)
            if isinstance(size, int) and (axis or not any_batch)
        )
        dtype = np.float32 if given.type == "tensor(float)" else None
        return cls(given.name, dtype, tuple(given.shape), fixed)

    def array(self, value: Any) -> np.ndarray:
        """Return an input as the array that is fed."""
        array = np.asarray(value, self.dtype)
        shape = array.shape
        if len(shape) == len(self.shape):
            for axis, size in self.fixed:
                if shape[axis] != size:
                    break
            else:
                return array
        raise ValueError(
            f"Input {self.name!r} has the shape {self.shape}. "
            f"Received: an array of shape {shape}"
        )


class QONNXSession:
    """A QONNX model in ONNX Runtime, with the numbers of qonnx's executor.

    All operators of qonnx's registries but `GenericPartition` (`Quant`, `Trunc` of both
    versions, `FloatQuant`, `MultiThreshold`, ...) are replaced by a few standard ones
    in which their constant parameters are folded, also in the subgraphs of `If`, `Loop`
    and `Scan`; channels-last operators by standard ones between transpositions. All
    domains under which tools wrote them, old opsets, missing imports, int64 parameters
    and parameters listed as inputs are read, external data within the folder of the
    file too. Numbers equal those of qonnx's executor (minus zero equals zero).

    Args:
        model: Path of an `.onnx` file, or the model itself.
        threads: Threads within one operator; 0 lets ONNX Runtime choose. They do not
            change the numbers.
        optimization: `"all"`, `"extended"`, `"basic"` or `"none"`: how far ONNX Runtime
            rewrites the graph. Does not change the numbers either.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ONNX model, or holds an operator or a parameter
            that has no meaning, or is broken, hostile or too large (100,000 nodes,
            2^30 elements of a tensor).

    Example:

    >>> import kerasqnn, numpy as np
    >>> from onnx import parser
    >>> model = parser.parse_model('''
    ...   <ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>
    ...   small (float[N, 3] x) => (float[N, 3] y)
    ...   <float scale = {0.5}, float zero = {0.0}, float bits = {4.0}> {
    ...     y = qonnx.custom_op.general.Quant
    ...       <signed = 1, narrow = 0, rounding_mode = "ROUND">(x, scale, zero, bits)
    ...   }''')
    >>> session = kerasqnn.QONNXSession(model)
    >>> session.run(np.array([[0.3, -9.0, 1.75]])).tolist()
    [[0.5, -4.0, 2.0]]
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelProto,
        *,
        threads: int = 0,
        optimization: str = "all",
    ) -> None:
        if optimization not in OPTIMIZATIONS:
            raise ValueError(
                f"`optimization` must be one of {', '.join(OPTIMIZATIONS)}. "
                f"Received: optimization={optimization!r}"
            )
        self._threads, self._optimization = threads, optimization
        self._folder = None if isinstance(model, ModelProto) else Path(model).parent
        original = as_model(model)
        self._names = _tensor_names(original)
        fixed = prepare(original)
        self._batch = fixed_batch(fixed)
        relaxed = with_any_batch(fixed) if self._batch else None
        self._model = relaxed or fixed
        self._loops = bool(self._batch) and relaxed is None
        self._session = self._start(self._model, fused=optimization != "none")
        self._inputs = [_Input.of(i, self._loops) for i in self._session.get_inputs()]
        self.input_names = [i.name for i in self._inputs]
        self.output_names = [o.name for o in self._session.get_outputs()]
        # The most common kind of model, for which nothing is to be arranged.
        one = len(self.input_names) == len(self.output_names) == 1
        self._is_plain = one and not self._batch

    def _start(self, model: ModelProto, fused: bool = False) -> Any:
        given = self._threads, self._optimization, self._folder
        # Initializers that stay in their files are not looked at.
        if not fused or any(is_external(tensor) for tensor in tensors_of(model)):
            return start(model, *given)
        result = fuse(model)
        return start(
            result.model,
            *given,
            exact_products=result.exact_products,
            exact_images=result.exact_images,
        )

    def run(self, x: Any) -> Any:
        """Run the model on a batch of any size.

        Args:
            x: Array with the batch axis first, or a list or a dictionary by input name
                for several inputs.

        Returns:
            Array, or a list of arrays for several outputs.

        Raises:
            ValueError: If number or shapes of the inputs do not fit.
        """
        if self._is_plain and isinstance(x, np.ndarray):
            feeds = {self.input_names[0]: self._inputs[0].array(x)}
            return execute(self._session, self.output_names, feeds)[0]
        outputs = self.run_flat(self._as_list(x))
        return outputs[0] if len(outputs) == 1 else outputs

    def run_flat(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on one array an input; always returns a list."""
        return self._run(self._session, inputs)

    def tensors(self, x: Any, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Run the model and return tensors inside it.

        Args:
            x: As in `run`.
            names: Names of the tensors; all that are computed, and the inputs, if None.

        Returns:
            Arrays by name.

        Raises:
            ValueError: If there is no tensor of a name.
        """
        if names is not None:
            names = list(names)
            unknown = sorted(set(names) - set(self._names) - set(self.input_names))
            if unknown:
                raise ValueError(
                    f"`names` must be names of tensors of the model. "
                    f"Received: {', '.join(map(repr, unknown))}. "
                    f"Allowed: {', '.join([*self.input_names, *self._names])}"
                )
        inputs = self._as_list(x)
        values = dict(zip(self.input_names, map(np.asarray, inputs), strict=True))
        values |= zip(self._names, self._run(self._watching, inputs), strict=True)
        return values if names is None else {name: values[name] for name in names}

    @cached_property
    def _watching(self) -> Any:
        return self._start(with_outputs(self._model, self._names))

    def _run(self, session: Any, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        feeds = {
            given.name: given.array(value)
            for given, value in zip(self._inputs, inputs, strict=True)
        }
        if self._batch and not len(next(iter(feeds.values()))):
            # Reshape cannot infer a size without a sample.
            one = {n: np.zeros((self._batch, *a.shape[1:]), a.dtype)
                   for n, a in feeds.items()}  # fmt: skip
            return [value[:0] for value in execute(session, None, one)]
        if not self._loops or len(next(iter(feeds.values()))) == self._batch:
            names = self.output_names if session is self._session else None
            return execute(session, names, feeds)
        return self._run_in_parts(session, feeds)

    def _run_in_parts(self, session: Any, feeds: dict[str, np.ndarray]) -> list[Any]:
        """Run a model whose batch cannot be changed part by part."""
        (count,) = {len(array) for array in feeds.values()}
        # The last sample fills up the last part.
        order = np.minimum(np.arange(-(-count // self._batch) * self._batch), count - 1)
        parts = [
            execute(session, None, {name: array[rows] for name, array in feeds.items()})
            for rows in order.reshape(-1, self._batch)
        ]
        return [np.concatenate(values)[:count] for values in zip(*parts, strict=True)]

    def _as_list(self, x: Any) -> list[Any]:
        if isinstance(x, np.ndarray) and len(self.input_names) == 1:
            return [x]
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


def _tensor_names(model: ModelProto) -> list[str]:
    """Return the names of the tensors that the nodes of a model compute."""
    return [name for node in model.graph.node for name in node.output if name]
