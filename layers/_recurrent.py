"""What all quantized recurrent layers share: the cell, the noise, saving."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import tree

from ._quantized import QuantizedLayer
from ._recurrent_cell import RECURRENT_QUANTIZERS, QuantizedCell


class _OwnCell(keras.layers.RNN):
    """Mixin, before Keras's recurrent layer: its constructor with a cell of our own."""

    cell_class: type[QuantizedCell]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        arguments = inspect.signature(self._keras_layer()).bind(*args, **kwargs)
        arguments.apply_defaults()
        given = arguments.arguments
        common = given.pop("kwargs")
        names = inspect.signature(self.cell_class).parameters
        of_cell = {name: given.pop(name) for name in names if name in given}
        if "implementation" in common:
            of_cell["implementation"] = common.pop("implementation")
        cell = self.cell_class(
            **of_cell,
            dtype=common.get("dtype"),
            trainable=common.get("trainable", True),
            name="cell",
        )
        self.use_cudnn = given.pop("use_cudnn", False)
        if self.use_cudnn not in ("auto", True, False):
            raise ValueError(
                "`use_cudnn` must be 'auto', True or False. "
                f"Received: use_cudnn={self.use_cudnn!r}"
            )
        keras.layers.RNN.__init__(self, cell, **given, **common)
        self.input_spec = keras.InputSpec(ndim=3)


def _of_cell(name: str) -> property:
    return property(lambda layer: getattr(layer.cell, name))


class QuantizedRecurrent(QuantizedLayer):
    """Mixin, first in the bases, for Keras's recurrent layers; the cell quantizes."""

    quantizer_arguments = RECURRENT_QUANTIZERS
    kernel_quantizer = _of_cell("kernel_quantizer")
    recurrent_quantizer = _of_cell("recurrent_quantizer")
    bias_quantizer = _of_cell("bias_quantizer")
    state_quantizer = _of_cell("state_quantizer")
    final_activation = None  # the cell's activation acts inside

    def _set_quantizers(self, noise: Any = None, **given: Any) -> None:
        self.cell._set_quantizers(**given)
        self._set_noise(noise)
        if self.is_quantized and self.use_cudnn is True:
            raise ValueError(
                "cuDNN would bypass the quantizers. Allowed with quantizers: "
                "use_cudnn='auto' or False. Received: use_cudnn=True"
            )
        if self._may_use_cudnn:  # as Keras's layer says: XLA has no cuDNN kernels
            self.supports_jit = False

    @property
    def _may_use_cudnn(self) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and self.use_cudnn in (True, "auto")
            and not (self.is_quantized or self.unroll)
            and self.cell.use_bias
            and self.cell.activation is keras.activations.tanh
            and self.cell.recurrent_activation is keras.activations.sigmoid
        )

    def _build_quantizers(self, input_shape: Any) -> None:
        """Leave it to the cell."""

    def call(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
    ) -> Any:
        """Return the outputs and, with `return_state`, the states."""
        outputs = super().call(
            sequences, initial_state=initial_state, mask=mask, training=training
        )
        if not self.return_state:
            return self._finish(outputs, training)
        output, *states = outputs
        return self._finish(output, training), *states

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> Any:
        """Return what Keras's loop over the time steps returns.

        With quantizers it is always the loop over the cell: Keras's fused
        implementations read the float weights.
        """
        if not self.is_quantized:
            return super().inner_loop(
                sequences, initial_state, mask=mask, training=training
            )
        if tree.is_nested(mask):
            mask = mask[0]
        with self.cell.holding_weights():
            return keras.layers.RNN.inner_loop(
                self, sequences, initial_state, mask=mask, training=training
            )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, Keras's and kerasqnn's."""
        config = super().get_config()
        config["seed"] = self.cell.seed
        if hasattr(self.cell, "implementation"):
            config["implementation"] = self.cell.implementation
        if "use_cudnn" in inspect.signature(self._keras_layer()).parameters:
            config["use_cudnn"] = self.use_cudnn
        return config
