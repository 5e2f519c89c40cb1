"""What all quantized layers share: quantizer arguments, the noise point, saving."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from .. import noise as noises
from .. import quantizers
from ..quantizers.parsing import is_quantizer_string
from .noise_point import NoisePoint


def get_activation(identifier: Any) -> Any:
    """Return a Keras activation function, or a quantizer where one is named."""
    if (
        is_quantizer_string(identifier)
        or type(identifier).__module__.partition(".")[0] == "qkeras"
        or (
            isinstance(identifier, dict)
            and str(identifier.get("registered_name")).startswith("kerasqnn>")
        )
    ):
        return quantizers.get(identifier)
    return keras.activations.get(identifier)


class QuantizedLayer(keras.layers.Layer):
    """Mixin, first in the bases: keeps quantizers and noise beside a Keras layer.

    A subclass names its quantizer arguments in `quantizer_arguments`; they are kept as
    attributes of the same names and come back from `get_config`.
    """

    quantizer_arguments: tuple[str, ...] = ()
    noise_point: NoisePoint | None = None

    def _set_quantizers(self, noise: Any = None, **given: Any) -> None:
        for name in self.quantizer_arguments:
            setattr(self, name, quantizers.get(given[name]))
        source = noises.get(noise)
        if self.quantization_mode and (self.is_quantized or source is not None):
            raise ValueError(
                "A layer with kerasqnn quantizers or noise needs a float dtype policy; "
                "Keras's integer policies would bypass them. "
                f"Received: dtype={self.dtype_policy.name!r}"
            )
        if source is not None:
            self.noise_point = NoisePoint(source, name="noise", dtype=self.dtype_policy)

    @property
    def is_quantized(self) -> bool:
        """Whether any quantizer argument is set."""
        return any(getattr(self, name) is not None for name in self.quantizer_arguments)

    def _quantized(self, quantizer: Any, value: Any) -> Any:
        value = ops.convert_to_tensor(value)
        return value if quantizer is None else quantizer(value)

    def _finish(self, x: Any, training: bool | None) -> Any:
        """Apply noise, then the activation: the order of every kerasqnn layer."""
        if self.noise_point is not None:
            x = self.noise_point(x, training=training)
        activation = getattr(self, "activation", None)
        return x if activation is None else activation(x)

    def quantize(self, mode: Any = None, **kwargs: Any) -> Any:
        """Refuse Keras's post-training quantization where a quantizer is set.

        Raises:
            ValueError: If the layer has a quantizer: Keras would bypass it.
        """
        if self.is_quantized:
            raise ValueError(
                f"Layer {self.name!r} has kerasqnn quantizers, which Keras's "
                f"`quantize` would bypass. Received: mode={mode!r}"
            )
        return super().quantize(mode, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, Keras's and kerasqnn's."""
        config = super().get_config()
        for name in self.quantizer_arguments:
            config[name] = quantizers.serialize(getattr(self, name))
        point = self.noise_point
        config["noise"] = noises.serialize(None if point is None else point.noise)
        return config
