"""Stand-alone quantizers in a model: of the input, and of any activation."""

from __future__ import annotations

from typing import Any

import keras
from keras.saving import register_keras_serializable

from .. import quantizers
from ..quantizers import StatefulQuantizer
from ._quantized import build_quantizer, get_activation


@register_keras_serializable(package="kerasqnn")
class QuantActivation(keras.layers.Activation):
    """`keras.layers.Activation` that also takes a quantizer.

    Args:
        activation: A quantizer, a string such as `"quantized_relu(4,2)"`, or a Keras
            activation.

    Input shape:
        Any.

    Output shape:
        That of the input.

    Raises:
        ValueError: If the string names no quantizer and no activation.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.QuantActivation("quantized_relu(2,1)")
    >>> [float(v) for v in layer(keras.ops.array([-1.0, 0.7, 5.0]))]
    [0.0, 0.5, 1.5]
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(get_activation(activation), **kwargs)

    def build(self, input_shape: Any) -> None:
        """Build the quantizer, where it has variables."""
        _build(self, "activation", input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the activation of the inputs."""
        return super().call(inputs)


def _build(layer: Any, argument: str, input_shape: Any) -> None:
    quantizer = getattr(layer, argument)
    if isinstance(quantizer, StatefulQuantizer):
        build_quantizer(quantizer, (None, *input_shape[1:]), layer, argument)


@register_keras_serializable(package="kerasqnn")
class QuantInput(keras.layers.Layer):
    """Puts the model's input on the grid of a quantizer.

    The grid is what the hardware receives: on a board the host (or an ADC) applies this
    quantizer, and the codes are what crosses to the accelerator.

    Args:
        quantizer: A quantizer or a string such as
            `"quantized_bits(8,0,keep_negative=0)"`.

    Input shape:
        Any.

    Output shape:
        That of the input.

    Raises:
        ValueError: If the string names no quantizer.
        TypeError: If `quantizer` is None or no quantizer.
    """

    def __init__(self, quantizer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        resolved = quantizers.get(quantizer)
        if resolved is None:
            raise TypeError(
                "`quantizer` must be a quantizer or a string such as "
                "'quantized_bits(8,0,keep_negative=0)'. Received: quantizer=None"
            )
        self.quantizer = resolved
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Build the quantizer, where it has variables."""
        _build(self, "quantizer", input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the quantized inputs."""
        return self.quantizer(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        config = super().get_config()
        return {**config, "quantizer": quantizers.serialize(self.quantizer)}
