"""What all quantized layers share: quantizer arguments, the noise point, saving."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from .. import noise as noises
from .. import quantizers
from ..quantizers.parsing import AnyQuantizer, is_quantizer_string
from .noise_point import NoisePoint


def get_activation(identifier: Any) -> Any:
    """Return a Keras activation function, or a quantizer where one is named."""
    if (
        isinstance(identifier, AnyQuantizer)
        or is_quantizer_string(identifier)
        or type(identifier).__module__.partition(".")[0] == "qkeras"
        or (
            isinstance(identifier, dict)
            and str(identifier.get("registered_name")).startswith("kerasqnn>")
        )
    ):
        return quantizers.get(identifier)
    return keras.activations.get(identifier)


class _Signature:
    """Shows a class Keras's arguments in their order, then quantizers and noise."""

    def __get__(self, layer: Any, cls: type[QuantizedLayer]) -> inspect.Signature:
        # A layer is called as `call` says, a class with its own constructor as that.
        own_constructor = cls.__init__ is not QuantizedLayer.__init__
        if layer is not None or own_constructor or cls is QuantizedLayer:
            raise AttributeError("__signature__")
        own = cls.quantizer_arguments
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = list(inspect.signature(cls._keras_layer()).parameters.values())
        return inspect.Signature(
            [
                *parameters[:-1],
                *(inspect.Parameter(name, keyword, default=None) for name in own),
                inspect.Parameter("noise", keyword, default=cls.default_noise),
                parameters[-1],
            ]
        )


class QuantizedLayer(keras.layers.Layer):
    """Mixin, first in the bases: keeps quantizers and noise beside a Keras layer.

    A subclass names its quantizer arguments in `quantizer_arguments`; they are
    keyword-only, default to None, are kept as attributes of the same names and come
    back from `get_config`. The arguments before them are those of the Keras layer that
    the subclass extends, as the installed Keras has them; activations among them also
    take quantizers.
    """

    quantizer_arguments: tuple[str, ...] = ()
    default_noise: str | None = None
    noise_point: NoisePoint | None = None
    __signature__ = _Signature()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name, None) for name in self.quantizer_arguments}
        noise = kwargs.pop("noise", self.default_noise)
        arguments = inspect.signature(self._keras_layer()).bind(*args, **kwargs)
        for name, value in arguments.arguments.items():
            if name.endswith("activation"):
                arguments.arguments[name] = get_activation(value)
        super().__init__(*arguments.args, **arguments.kwargs)
        self._set_quantizers(noise, **own)

    @classmethod
    def _keras_layer(cls) -> type:
        """Return the Keras class that this one extends."""
        return next(c for c in cls.__mro__ if c.__module__.startswith("keras."))

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

    @property
    def final_activation(self) -> Any:
        """The activation or, in layers without one, the output quantizer; or None."""
        return getattr(self, "activation", getattr(self, "output_quantizer", None))

    def _quantized(self, quantizer: Any, value: Any) -> Any:
        value = ops.convert_to_tensor(value)
        return value if quantizer is None else quantizer(value)

    def _finish(self, x: Any, training: bool | None) -> Any:
        """Apply noise, then the activation: the order of every kerasqnn layer."""
        if self.noise_point is not None:
            x = self.noise_point(x, training=training)
        activation = self.final_activation
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


class Noisy:
    """Mixin, first in the bases: a quantized layer that always has a noise point.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """

    default_noise: str | None = "additive(0.0)"
