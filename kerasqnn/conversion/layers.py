"""Layers of QKeras and Keras as kerasqnn's: one entry a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from .. import layers
from ..errors import unknown_name
from .arguments import keras_arguments
from .description import LayerDescription
from .quantizers import activation, quantizer

Weights = tuple[str, ...]
_KERNEL = ("kernel", "bias")
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class Entry:
    """How the layers of one class are taken over.

    Attributes:
        target: The class that they become.
        weights: Names of the weights, in the order of Keras; some may be absent.
        quantizers: QKeras's quantizer arguments, and whether QKeras turns `alpha=None`
            in them into `"auto_po2"`; the target has arguments of the same names, but
            for those in `renamed`.
        renamed: The target's name of an argument.
        activations: Arguments that are activations.
        extra: Other arguments of the target.
        check: Raises where an option of the layer cannot be taken over.
    """

    target: type
    weights: Weights = ()
    quantizers: Mapping[str, bool] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    activations: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    check: Callable[[LayerDescription], None] | None = None

    def convert(self, layer: LayerDescription) -> Any:
        """Return the new layer, without its weights."""
        if self.check is not None:
            self.check(layer)
        own = {*self.quantizers, *self.activations, *self.extra}
        arguments = keras_arguments(layer, _keras_class(self.target), own)
        for name in self.activations:
            arguments[name] = activation(layer, name)
        for name, is_scaled in self.quantizers.items():
            arguments[self.renamed.get(name, name)] = quantizer(
                layer, name, is_scaled=is_scaled
            )
        arguments |= {k: layer.config[k] for k in self.extra if k in layer.config}
        return self.target(**arguments)


def entry_of(layer: LayerDescription) -> Entry:
    """Return how a layer is taken over.

    Raises:
        UnsupportedModelError: If it is not, by its name.
    """
    table = {"qkeras": QKERAS_LAYERS, "keras": KERAS_LAYERS}.get(layer.package, {})
    name = layer.class_name.rpartition(">")[2]
    if name in table:
        return table[name]
    if not table:
        raise layer.refused(f"it is a layer of {layer.package!r}, not of QKeras")
    raise layer.refused(unknown_name("layer", name, table))


def _keras_class(target: type) -> type:
    return next(c for c in target.__mro__ if c.__module__.startswith("keras."))


def _qactivation(layer: LayerDescription) -> None:
    if layer.config.get("activation") is None:
        raise layer.refused("it has no activation")


def _weighted(target: type, *weights: str, check: Any = None) -> Entry:
    """Return the entry of a QKeras layer with one quantizer a weight."""
    return Entry(
        target,
        weights,
        {
            f"{name.removesuffix('_kernel')}_quantizer": name != "bias"
            for name in weights
        },
        activations=("activation",),
        check=check,
    )


QKERAS_LAYERS: dict[str, Entry] = {
    "QDense": _weighted(layers.QuantDense, *_KERNEL),
    "QConv1D": _weighted(layers.QuantConv1D, *_KERNEL),
    "QConv2D": _weighted(layers.QuantConv2D, *_KERNEL),
    "QConv2DTranspose": _weighted(layers.QuantConv2DTranspose, *_KERNEL),
    "QDepthwiseConv2D": _weighted(
        layers.QuantDepthwiseConv2D, "depthwise_kernel", "bias"
    ),
    "QSeparableConv1D": _weighted(
        layers.QuantSeparableConv1D, "depthwise_kernel", "pointwise_kernel", "bias"
    ),
    "QSeparableConv2D": _weighted(
        layers.QuantSeparableConv2D, "depthwise_kernel", "pointwise_kernel", "bias"
    ),
    "QActivation": Entry(
        layers.QuantActivation, activations=("activation",), check=_qactivation
    ),
}

_SAME = (
    "Add Average AveragePooling1D AveragePooling2D Concatenate Cropping1D Cropping2D "
    "Dropout ELU Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D "
    "GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D LeakyReLU "
    "MaxPooling1D MaxPooling2D Maximum Minimum Multiply Permute ReLU RepeatVector "
    "Reshape Softmax SpatialDropout1D SpatialDropout2D Subtract UpSampling1D "
    "UpSampling2D ZeroPadding1D ZeroPadding2D"
)
KERAS_LAYERS: dict[str, Entry] = (
    {name: Entry(getattr(keras.layers, name)) for name in _SAME.split()}
    | {
        "Activation": Entry(keras.layers.Activation, activations=("activation",)),
        "BatchNormalization": Entry(keras.layers.BatchNormalization, _NORMALIZATION),
        "Embedding": Entry(keras.layers.Embedding, ("embeddings",)),
    }
    | {
        name: Entry(getattr(keras.layers, name), weights, activations=("activation",))
        for name, weights in {
            "Conv1D": _KERNEL,
            "Conv2D": _KERNEL,
            "Conv2DTranspose": _KERNEL,
            "Dense": _KERNEL,
            "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel", "bias"),
            "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
        }.items()
    }
)
