"""The base class of quantizers with variables."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from ..errors import QuantizationWarning
from .quantizer import UniformQuantizer


class StatefulQuantizer(keras.layers.Layer):
    """A quantizer that learns or draws: a Keras layer, so that Keras keeps its state.

    It stands wherever a `Quantizer` does. The layer that holds it builds it with the
    shape of what it quantizes, before the first call; each layer needs one of its own.
    The shape of an activation has None for the batch, that of a weight has not.

    Computed in float32 or better, whatever the dtype policies; the result has the dtype
    of the inputs.
    """

    changes_in_training = False  # whether a call in training assigns its variables
    _weight: Callable[[], np.ndarray | None] | None = None  # while it is built

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # half precision would leave the grid
        self.supports_masking = True

    @abstractmethod
    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the quantized inputs."""

    @abstractmethod
    def fixed(self, values: Any = None) -> UniformQuantizer | None:
        """Return the grid of inference as it is now; see `Quantizer.fixed`.

        `fixed(values).quantize(values)` has the bits of `self(values, training=False)`.
        """

    def build_for_weight(
        self, shape: tuple[int, ...], values: Callable[[], np.ndarray | None]
    ) -> None:
        """Build the quantizer of a weight, from whose values it may start.

        Args:
            shape: The weight's shape.
            values: Returns the values, or None where there are none yet. It is called
                when Keras gives the variables their first values.
        """
        self._weight = values
        try:
            self.build(shape)
        finally:
            self._weight = None

    def start_from(self, values: np.ndarray) -> None:
        """Start anew from a weight's values, unless training has set the start."""

    def _check_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"Quantizer {self.name!r} has no variables before it is built. Build "
                "the layer that holds it, or call it once."
            )

    def stages(self) -> tuple[Any, ...]:
        """Return what an activation does, as functions and grids one after another."""
        return (self.fixed() or self,)

    def get_build_config(self) -> None:
        """Return None: the layer that holds a quantizer builds it, loaded ones too."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input shape."""
        return input_shape

    def _scalar_or_vector(
        self,
        name: str,
        shape: Any,
        value: float,
        *,
        trainable: bool,
        of_weight: Callable[[np.ndarray], Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Add a float32 variable, which starts from the weight that it is built for.

        Args:
            name: Of the variable.
            shape: Of the variable.
            value: At first, where there is no weight, or `of_weight` is None.
            trainable: Of the variable.
            of_weight: Computes the first value from those of the weight.
            **kwargs: Those of `add_weight`.
        """
        weight = self._weight

        def first(shape: Any, dtype: Any = None) -> Any:
            values = None if weight is None or of_weight is None else weight()
            found = value if values is None else of_weight(values)  # type: ignore[misc]
            return ops.full(shape, found, dtype=dtype)

        return self.add_weight(
            name=name,
            shape=shape,
            initializer=first,
            dtype="float32",
            autocast=False,
            trainable=trainable,
            **kwargs,
        )

    def __repr__(self) -> str:
        config = self.get_config()
        common = keras.layers.Layer.get_config(self)
        arguments = (f"{k}={v!r}" for k, v in config.items() if k not in common)
        return f"{type(self).__name__}({', '.join(arguments)})"


def warn_of_no_start(quantizer: StatefulQuantizer) -> None:
    """Warn that a grid follows from no data, which serves only by chance."""
    warnings.warn(
        f"Quantizer {quantizer.name!r} has seen no values in training but zeros, so "
        "that its grid is that of FixedPoint(bits, 0), whatever the values are. Train "
        f"for a batch first, or use a fixed quantizer: {quantizer!r}",
        QuantizationWarning,
        stacklevel=3,
    )


def read(variable: Any) -> Any:
    """Return the value of a float32 variable as a tensor of its own."""
    # TensorFlow's convert_to_tensor returns the variable, and its custom_gradient, when
    # executing eagerly, refuses a function that reads variables itself.
    return ops.cast(ops.convert_to_tensor(variable), "float32")


def widened(inputs: Any) -> tuple[Any, str]:
    """Return a tensor in float32 (or float64), and the dtype of the quantized one."""
    tensor = ops.convert_to_tensor(inputs)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if not keras.backend.is_float_dtype(dtype):
        dtype = keras.config.floatx()
    return ops.cast(tensor, dtype if dtype == "float64" else "float32"), dtype


def with_gradients(
    forward: Callable[..., Any],
    gradients: Callable[..., tuple[Any, ...]],
    *tensors: Any,
) -> Any:
    """Return `forward(*tensors)`, with gradients of its own for every tensor.

    Args:
        forward: Computes the result.
        gradients: Computes the gradients from the tensors and the upstream gradient.
        *tensors: All that `forward` reads and that has a gradient.
    """

    @ops.custom_gradient
    def function(*arguments: Any) -> tuple[Any, Any]:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = args
            return gradients(*arguments, upstream)

        return forward(*arguments), gradient

    return function(*tensors)


def sum_to(values: Any, like: Any) -> Any:
    """Return the sums of `values` over the axes that broadcasting `like` added."""
    axes = tuple(range(len(values.shape) - len(like.shape)))
    return ops.sum(values, axis=axes) if axes else values
