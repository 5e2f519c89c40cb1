"""What all quantized layers share: quantizer arguments, the noise point, saving."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

import keras
import numpy as np
from keras import ops

from .. import noise as noises
from .. import quantizers
from ..quantizers import QuantizedWeight, StatefulQuantizer
from ..quantizers.parsing import AnyQuantizer, is_quantizer_string
from ._degenerate_kernels import warn_of_degenerate_kernels
from ._weights import values_of, weight_of
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


def build_quantizer(
    quantizer: StatefulQuantizer,
    shape: Any,
    layer: Any,
    argument: str,
    values: Callable[[], np.ndarray | None] | None = None,
) -> None:
    """Build a quantizer that has variables for the layer that holds it.

    Args:
        quantizer: Not built yet.
        shape: Of what it quantizes.
        layer: The layer.
        argument: The layer's argument that is the quantizer.
        values: Returns the values of the weight that it quantizes, if it is one.

    Raises:
        ValueError: If it has been built: it belongs to another layer.
    """
    if quantizer.built:
        raise ValueError(
            f"Layer {layer.name!r} cannot share the quantizer {quantizer.name!r}: what "
            "it learns belongs to one tensor. Give each argument a quantizer of its "
            f"own, or a string. Received: {argument}={quantizer!r}"
        )
    if values is None:
        quantizer.build(tuple(shape))
    else:
        quantizer.build_for_weight(tuple(shape), values)


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
                *(
                    inspect.Parameter(name, keyword, default=default)
                    for name, default in cls.option_defaults.items()
                ),
                *(inspect.Parameter(name, keyword, default=None) for name in own),
                *(
                    [inspect.Parameter("noise", keyword, default=cls.default_noise)]
                    if cls.takes_noise
                    else []
                ),
                parameters[-1],
            ]
        )


class _Build:
    """Keras's `build` with its own arguments, and then that of the quantizers."""

    def __get__(self, layer: QuantizedLayer | None, cls: type[QuantizedLayer]) -> Any:
        if layer is None:
            return self
        build: Callable[..., None] = super(QuantizedLayer, layer).build

        @wraps(build)
        def build_with_quantizers(*args: Any, **kwargs: Any) -> None:
            build(*args, **kwargs)
            layer._build_quantizers(next(iter([*args, *kwargs.values()]), None))
            warn_of_degenerate_kernels(layer)

        # Keras closes a layer whose `build` is marked so before it has its quantizers.
        vars(build_with_quantizers).pop("_is_default", None)
        return build_with_quantizers


class QuantizedLayer(keras.layers.Layer):
    """Mixin, first in the bases: keeps quantizers and noise beside a Keras layer.

    A subclass names its quantizer arguments in `quantizer_arguments`; they are
    keyword-only, default to None, are kept as attributes of the same names and come
    back from `get_config`. The arguments before them are those of the Keras layer that
    the subclass extends, as the installed Keras has them; activations among them also
    take quantizers.
    """

    quantizer_arguments: tuple[str, ...] = ()
    option_defaults: Mapping[str, Any] = {}  # other keyword-only arguments
    takes_noise = True
    default_noise: str | None = None
    noise_point: NoisePoint | None  # no default here: torch would find that one first
    __signature__ = _Signature()
    build = _Build()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name, None) for name in self.quantizer_arguments}
        options = {n: kwargs.pop(n, d) for n, d in self.option_defaults.items()}
        noise = kwargs.pop("noise", self.default_noise) if self.takes_noise else None
        arguments = inspect.signature(self._keras_layer()).bind(*args, **kwargs)
        for name, value in arguments.arguments.items():
            if name.endswith("activation"):
                arguments.arguments[name] = get_activation(value)
        super().__init__(*arguments.args, **arguments.kwargs)
        self._set_quantizers(noise, **own)
        self._set_options(**options)

    @classmethod
    def _keras_layer(cls) -> type:
        """Return the Keras class that this one extends."""
        return next(c for c in cls.__mro__ if c.__module__.startswith("keras."))

    def _set_quantizers(self, noise: Any = None, **given: Any) -> None:
        for name in self.quantizer_arguments:
            setattr(self, name, quantizers.get(given[name]))
        self._set_noise(noise)

    def _set_noise(self, noise: Any) -> None:
        source = noises.get(noise)
        if self.quantization_mode and (self.is_quantized or source is not None):
            raise ValueError(
                "A layer with kerasqnn quantizers or noise needs a float dtype policy; "
                "Keras's integer policies would bypass them. "
                f"Received: dtype={self.dtype_policy.name!r}"
            )
        self.noise_point = (
            None
            if source is None
            else NoisePoint(source, name="noise", dtype=self.dtype_policy)
        )

    def _set_options(self, **options: Any) -> None:
        """Keep the arguments of `option_defaults`."""

    def _build_quantizers(self, input_shape: Any) -> None:
        arguments = inspect.signature(self._keras_layer()).parameters
        activations = [n for n in arguments if n.endswith("activation")]
        for name in (*self.quantizer_arguments, *activations):
            quantizer = getattr(self, name, None)
            if isinstance(quantizer, StatefulQuantizer):
                shape = self._quantized_shape(name, input_shape)
                if shape is not None:
                    values = partial(self._values_to_quantize, name)
                    weight = shape[:1] != (None,)
                    build_quantizer(
                        quantizer, shape, self, name, values if weight else None
                    )

    def start_quantizers(self) -> None:
        """Let quantizers that training has not set yet start from the weights.

        Done when the layer is built; do it again where float weights are assigned to a
        built layer that is used before it is trained.
        """
        for name in self.quantizer_arguments:
            quantizer = getattr(self, name)
            if isinstance(quantizer, StatefulQuantizer):
                values = self._values_to_quantize(name)
                if values is not None:
                    quantizer.start_from(values)

    def _values_to_quantize(self, argument: str) -> np.ndarray | None:
        """Return the values of the weight that a quantizer quantizes, if any."""
        return values_of(weight_of(self, argument))

    def _quantized_shape(self, argument: str, input_shape: Any) -> Any:
        """Return the shape of what a quantizer quantizes.

        Args:
            argument: Name of the quantizer's argument.
            input_shape: The first argument of `build`.

        Returns:
            The weight's shape, or an activation's with None for the batch; None where
            the layer has no such weight, or leaves the quantizer to another layer.
        """
        stem = argument.removesuffix("_quantizer")
        if stem in ("activation", "output"):
            return (None, *self.compute_output_shape(input_shape)[1:])
        weight = weight_of(self, argument)
        if weight is None and not hasattr(self, stem):
            raise ValueError(
                f"{type(self).__name__} takes no quantizer with variables as "
                f"`{argument}`. Received: {argument}={getattr(self, argument)!r}"
            )
        return None if weight is None else tuple(weight.shape)

    def quantized_weights(self) -> dict[str, QuantizedWeight]:
        """Return the weights that have a quantizer, as inference uses them.

        Returns:
            By name (`"kernel"`, `"bias"`, ...): values, codes, scale, zero point and
            bits as numpy arrays; folded layers give the folded kernel and bias.

        Raises:
            ValueError: If the layer is not built.

        Example:

        >>> import kerasqnn
        >>> layer = kerasqnn.layers.QuantDense(
        ...     1, kernel_quantizer="quantized_bits(4,0,1)", kernel_initializer="ones")
        >>> layer.build((None, 2))
        >>> kernel = layer.quantized_weights()["kernel"]
        >>> kernel.codes.tolist(), float(kernel.scale), int(kernel.bits)
        ([[7], [7]], 0.125, 4)
        """
        if not self.built:
            raise ValueError(
                f"Layer {self.name!r} has no weights before it is built. Call it, or "
                "`build`, first."
            )
        return self._quantized_weights()

    def _quantized_weights(self) -> dict[str, QuantizedWeight]:
        found = {}
        for argument in self.quantizer_arguments:
            quantizer = getattr(self, argument)
            weight = weight_of(self, argument)
            if quantizer is not None and weight is not None:
                name = argument.removesuffix("_quantizer")
                found[name] = QuantizedWeight.of(weight, quantizer)
        return found

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
        if isinstance(quantizer, StatefulQuantizer):
            # It may still be a variable, which the quantizer reads in float32.
            return ops.cast(quantizer(value), value.dtype)
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
        if self.takes_noise:
            point = self.noise_point
            config["noise"] = noises.serialize(None if point is None else point.noise)
        return config


class Noisy:
    """Mixin, first in the bases: a quantized layer that always has a noise point.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """

    default_noise: str | None = "additive(0.0)"
