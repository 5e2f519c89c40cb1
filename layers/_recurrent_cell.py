"""What all quantized recurrent cells share: weights quantized once, states always."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import keras
from keras import tree

from ._quantized import QuantizedLayer

RECURRENT_QUANTIZERS = (
    "kernel_quantizer",
    "recurrent_quantizer",
    "bias_quantizer",
    "state_quantizer",
)


class QuantizedCell(QuantizedLayer):
    """Mixin, first in the bases, for Keras's recurrent cells.

    Without quantizers a cell is Keras's. With one, `_step` computes what Keras's cell
    does, in its order, from quantized weights and states.
    """

    quantizer_arguments = RECURRENT_QUANTIZERS
    takes_noise = False  # a loop over time steps cannot draw new numbers at every one

    def _set_options(self, **options: Any) -> None:
        self._held = SimpleNamespace(weights=None)

    def _quantized_shape(self, argument: str, input_shape: Any) -> Any:
        if argument == "state_quantizer" or argument.endswith("activation"):
            quantizer = getattr(self, argument)
            if quantizer.changes_in_training and keras.backend.backend() == "jax":
                raise ValueError(
                    f"On JAX the loop over time steps of layer {self.name!r} cannot "
                    f"change variables, as `{argument}` would. Allowed: a quantizer "
                    "that keeps its own in training. "
                    f"Received: {argument}={quantizer!r}"
                )
            return (None, self.units)
        return super()._quantized_shape(argument, input_shape)

    def _weights_of_step(self) -> tuple[Any, Any, Any]:
        bias = self.bias
        return (
            self._quantized(self.kernel_quantizer, self.kernel),
            self._quantized(self.recurrent_quantizer, self.recurrent_kernel),
            None if bias is None else self._quantized(self.bias_quantizer, bias),
        )

    @contextmanager
    def holding_weights(self) -> Iterator[None]:
        """Quantize the weights once for all the calls inside, not at every time step.

        As Keras's cells do with a dropout mask, the cell keeps them meanwhile.
        """
        self._held.weights = self._weights_of_step()
        try:
            yield
        finally:
            self._held.weights = None

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """Return the output and the new states of one time step."""
        if not self.is_quantized:
            return super().call(inputs, states, training=training)
        weights = self._held.weights or self._weights_of_step()
        old = [self._quantized(self.state_quantizer, s) for s in tree.flatten(states)]
        output, new = self._step(inputs, old, weights, training)
        return output, new if tree.is_nested(states) else new[0]

    @abstractmethod
    def _step(
        self, inputs: Any, states: list[Any], weights: Any, training: bool
    ) -> tuple[Any, list[Any]]:
        """Return output and states from quantized kernel, recurrent kernel and bias."""

    def _dropped_inputs(self, inputs: Any, count: int, training: bool) -> list[Any]:
        """Return the inputs behind dropout, `count` times, with a mask for each."""
        if not (training and 0.0 < self.dropout < 1.0):
            return [inputs] * count
        masks = self.get_dropout_mask(inputs)
        return [inputs * mask for mask in (masks if count > 1 else [masks])]

    def _dropped_state(self, state: Any, count: int, training: bool) -> list[Any]:
        if not (training and 0.0 < self.recurrent_dropout < 1.0):
            return [state] * count
        masks = self.get_recurrent_dropout_mask(state)
        return [state * mask for mask in (masks if count > 1 else [masks])]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, Keras's and kerasqnn's."""
        config = super().get_config()
        if hasattr(self, "implementation"):
            config["implementation"] = self.implementation
        return config
