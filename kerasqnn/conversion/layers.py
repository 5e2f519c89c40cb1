"""Layers of QKeras and Keras as kerasqnn's: one entry a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from .. import layers
from ..errors import UnsupportedModelError, unknown_name
from ..quantizers.parsing import AnyQuantizer
from .arguments import keras_arguments
from .description import LayerDescription
from .quantizers import activation, check_fixed_scale, quantizer

Weights = tuple[str, ...]
_KERNEL = ("kernel", "bias")
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")


# Quantizers of what is computed rather than stored.
_OF_VALUES = ("average_quantizer", "inverse_quantizer", "state_quantizer")


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
        extra: Other arguments that the target has under the same names.
        dropped: Keys of the configuration that say nothing, or that `options` reads.
        options: What else the target gets; raises where the layer is refused.
    """

    target: type
    weights: Weights = ()
    quantizers: Mapping[str, bool] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    activations: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    options: Callable[[LayerDescription], Mapping[str, Any]] | None = None

    def convert(self, layer: LayerDescription) -> Any:
        """Return the new layer, without its weights."""
        own = {*self.quantizers, *self.activations, *self.dropped}
        arguments = keras_arguments(layer, _keras_class(self.target), own, self.extra)
        for name in self.activations:
            arguments[self.renamed.get(name, name)] = activation(layer, name)
        for name, is_scaled in self.quantizers.items():
            found = quantizer(layer, name, is_scaled=is_scaled)
            if name in _OF_VALUES:
                check_fixed_scale(layer, name, found)
            arguments[self.renamed.get(name, name)] = found
        if self.options is not None:
            arguments |= self.options(layer)
        return self.target(**arguments)


def entry_of(layer: LayerDescription) -> Entry:
    """Return how a layer is taken over.

    Raises:
        UnsupportedModelError: If it is not, by its name.
    """
    tables: dict[str, Mapping[str, Any]] = {
        "qkeras": QKERAS_LAYERS,
        "keras": KERAS_LAYERS,
    }
    table = tables.get(layer.package, {})
    name = layer.class_name.rpartition(">")[2]
    if name in table:
        found = table[name]
        return found if isinstance(found, Entry) else found(layer)
    if not table:
        raise layer.refused(f"it is a layer of {layer.package!r}, not of QKeras")
    raise layer.refused(unknown_name("layer", name, table))


def _keras_class(target: type) -> type:
    return next(c for c in target.__mro__ if c.__module__.startswith("keras."))


def _weighted(target: type, *weights: str) -> Entry:
    """Return the entry of a QKeras layer with one quantizer a weight."""
    return Entry(
        target,
        weights,
        {
            f"{name.removesuffix('_kernel')}_quantizer": name != "bias"
            for name in weights
        },
        activations=("activation",),
    )


def _folded(target: type, kernel: str) -> Entry:
    """Return the entry of a QKeras layer with batch normalization folded in."""
    plain = _weighted(target, kernel, "bias")
    weights = (kernel, "bias", *(f"batchnorm/{n}" for n in _NORMALIZATION))
    own: Iterable[str] = target.option_defaults  # type: ignore[attr-defined]
    return replace(
        plain,
        weights=(*weights, "batchnorm/iteration"),
        extra=tuple(name for name in own if name != "inverse"),
        dropped=("axis", "synchronized"),
        options=_fold,
    )


def _recurrent(target: type, *extra: str) -> Entry:
    """Return the entry of a QKeras recurrent layer."""
    return Entry(
        target,
        ("kernel", "recurrent_kernel", "bias"),
        {
            "kernel_quantizer": True,
            "recurrent_quantizer": True,
            "bias_quantizer": False,
            "state_quantizer": False,
        },
        activations=("activation", "recurrent_activation")[: 1 + bool(extra)],
        extra=extra,
        options=_stateless,
    )


def _stateless(layer: LayerDescription) -> Mapping[str, Any]:
    if layer.config.get("stateful"):
        raise layer.refused(
            "it keeps its states between batches. Received: stateful=True"
        )
    without = layer.config.get("recurrent_quantizer") is None
    if layer.is_keras2 and layer.class_name == "QGRU" and without:
        raise layer.refused(
            "QKeras 0.9 takes the kernel for the recurrent kernel where the latter has "
            "no quantizer. Received: recurrent_quantizer=None"
        )
    return {}


@dataclass(frozen=True)
class BidirectionalEntry(Entry):
    """How a wrapper of a layer and its twin is taken over."""

    def convert(self, layer: LayerDescription) -> Any:
        """Return the new layer, without its weights."""
        inner = ("layer", "backward_layer")
        arguments = keras_arguments(layer, self.target, inner)
        for name in inner:
            if layer.config.get(name) is not None:
                arguments[name] = self._convert_side(layer, name)
        return self.target(**arguments)

    def _convert_side(self, layer: LayerDescription, side: str) -> Any:
        part = layer.config[side]
        described = replace(
            layer,
            class_name=str(part["class_name"]),
            name=str(part["config"]["name"]),
            config=part["config"],
        )
        try:
            return entry_of(described).convert(described)
        except UnsupportedModelError as error:
            raise layer.refused(f"{side}: {error}") from error


def _fold(layer: LayerDescription) -> Mapping[str, Any]:
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, 1 if layer.class_name == "QDenseBatchnorm" else 3):
        raise layer.refused(
            f"it normalizes along another axis than the last. Received: axis={axis!r}"
        )
    is_depthwise = layer.class_name == "QDepthwiseConv2DBatchnorm"
    return {"inverse": "rsqrt" if is_depthwise else "reciprocal"}


def _inverse(layer: LayerDescription) -> Mapping[str, Any]:
    return {"inverse": "rsqrt" if layer.is_keras2 else "reciprocal"}


def _pooling(plain: type, reciprocal: type) -> Callable[[LayerDescription], Entry]:
    """Return how to choose the layer of a QKeras average pooling."""

    def entry(layer: LayerDescription) -> Entry:
        is_plain = layer.config.get("average_quantizer") is None
        return Entry(
            plain if is_plain else reciprocal,
            quantizers={} if is_plain else {"average_quantizer": False},
            activations=("activation",),
            renamed={"activation": "output_quantizer"},
            dropped=("average_quantizer",),
            options=_quantized_output,
        )

    return entry


def _quantized_output(layer: LayerDescription) -> Mapping[str, Any]:
    found = activation(layer)
    if callable(found) and not isinstance(found, AnyQuantizer):
        found = found.__name__
    if isinstance(found, str) and found != "linear":
        raise layer.refused(
            "its activation is a function; kerasqnn's pooling layers take quantizers "
            f"only. Received: activation={found!r}"
        )
    return {"output_quantizer": None} if isinstance(found, str) else {}


QKERAS_LAYERS: dict[str, Entry | Callable[[LayerDescription], Entry]] = {
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
    "QConv2DBatchnorm": _folded(layers.QuantConv2DBatchNorm, "kernel"),
    "QDenseBatchnorm": _folded(layers.QuantDenseBatchNorm, "kernel"),
    "QDepthwiseConv2DBatchnorm": _folded(
        layers.QuantDepthwiseConv2DBatchNorm, "depthwise_kernel"
    ),
    "QActivation": Entry(layers.QuantActivation, activations=("activation",)),
    "QSimpleRNN": _recurrent(layers.QuantSimpleRNN),
    "QLSTM": _recurrent(layers.QuantLSTM, "implementation"),
    "QGRU": _recurrent(layers.QuantGRU, "implementation"),
    "QBidirectional": BidirectionalEntry(
        keras.layers.Bidirectional,
        tuple(
            f"{side}/{name}"
            for side in ("forward_layer", "backward_layer")
            for name in ("kernel", "recurrent_kernel", "bias")
        ),
        {
            "kernel_quantizer": True,
            "recurrent_quantizer": True,
            "bias_quantizer": False,
        },
    ),
    "QBatchNormalization": Entry(
        layers.QuantBatchNormalization,
        _NORMALIZATION,
        {
            "gamma_quantizer": True,
            "variance_quantizer": True,
            "beta_quantizer": False,
            "mean_quantizer": False,
            "inverse_quantizer": False,
        },
        renamed={"inverse_quantizer": "scale_quantizer"},
        options=_inverse,
    ),
    "QAveragePooling2D": _pooling(
        layers.QuantAveragePooling2D, layers.QuantReciprocalAveragePooling2D
    ),
    "QGlobalAveragePooling2D": _pooling(
        layers.QuantGlobalAveragePooling2D,
        layers.QuantReciprocalGlobalAveragePooling2D,
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


def _normalization(layer: LayerDescription) -> Entry:
    """Return the layer with the bits of Keras's, of which Keras 2 has two."""
    axis = layer.config.get("axis")
    on_images = layer.is_keras2 and axis in ([3], 3)
    if layer.is_keras2 and not on_images and axis not in ([1], [2], 1, 2):
        raise layer.refused(
            "whether Keras 2 computes it by a fused kernel depends on its input. "
            f"Received: axis={axis!r}"
        )
    return Entry(
        layers.CenteredBatchNormalization
        if on_images
        else keras.layers.BatchNormalization,
        _NORMALIZATION,
    )


KERAS_LAYERS: dict[str, Entry | Callable[[LayerDescription], Entry]] = {
    "Activation": Entry(keras.layers.Activation, activations=("activation",)),
    "BatchNormalization": _normalization,
    "Embedding": Entry(keras.layers.Embedding, ("embeddings",)),
}
KERAS_LAYERS |= {name: Entry(getattr(keras.layers, name)) for name in _SAME.split()}
KERAS_LAYERS |= {
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
