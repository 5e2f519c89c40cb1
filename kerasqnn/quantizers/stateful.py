"""The base class of quantizers with variables."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import keras

from .quantizer import UniformQuantizer


class StatefulQuantizer(keras.layers.Layer):
    """A quantizer that learns or draws: a Keras layer, so that Keras keeps its state.

    It stands wherever a `Quantizer` does. The layer that holds it builds it with the
    shape of what it quantizes, before the first call; each layer needs one of its own.
    """

    @abstractmethod
    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the quantized inputs."""

    @abstractmethod
    def fixed(self, values: Any = None) -> UniformQuantizer | None:
        """Return the grid of inference as it is now; see `Quantizer.fixed`.

        `fixed(values).quantize(values)` has the bits of `self(values, training=False)`.
        """

    def stages(self) -> tuple[Any, ...]:
        """Return what an activation does, as functions and grids one after another."""
        return (self.fixed() or self,)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input shape."""
        return input_shape
