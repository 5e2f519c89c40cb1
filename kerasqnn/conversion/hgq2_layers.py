"""Layers of HGQ2, taken apart, as kerasqnn's: one entry a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from .. import layers
from ..errors import unknown_name
from .arguments import keras_arguments
from .description import LayerDescription
from .hgq2_parts import INPUT_QUANTIZER, QUANTIZER
from .hgq2_quantizers import activation_quantizer, quantized_weight

Weights = Mapping[str, np.ndarray]
Raw = Callable[[LayerDescription, Weights], Weights]

# What HGQ2's layers take besides Keras's, and what is read elsewhere.
_OWN = (
    "activation allow_heterogeneous_input allow_heterogeneous_table argument beta0 "
    "bq_conf ebops_factor enable_ebops enable_iq enable_oq iq_conf iq_confs kq_conf "
    "oq_conf parallelization_factor part"
).split()


@dataclass(frozen=True)
class Entry:
    """How the layers of one class are taken over.

    Attributes:
        target: The class that they become.
        weights: Names of the weights in the order in which Keras saves them; those
            that are absent, and HGQ2's own `beta` and `ebops`, are left out.
        raw: The weights before they are quantized, from those that are saved.
        quantized: Of each of these: the configuration of its quantizer, and where the
            variables of this lie.
        dropped: Keys of the configuration that say nothing here.
        given: Arguments of the target instead of those of the layer.
    """

    target: type
    weights: tuple[str, ...] = ()
    raw: Raw = lambda layer, weights: weights
    quantized: Mapping[str, tuple[str, str]] | None = None
    dropped: tuple[str, ...] = ()
    given: Mapping[str, Any] | None = None


def _saved(layer: LayerDescription, entry: Entry) -> dict[str, np.ndarray]:
    """Return the layer's own weights by name."""
    own = {k: v for k, v in layer.weights.items() if k.isdigit()}
    values = [own[key] for key in sorted(own, key=int)]
    if layer.config.get("enable_ebops"):  # a float and an integer, after the trained
        place = next((n for n, v in enumerate(values) if v.dtype == np.uint32), 0)
        del values[max(place - 1, 0) : place + 1]
    config = layer.config
    absent = {
        "bias": config.get("use_bias") is False or config.get("bias_axes", "") is None,
        "gamma": config.get("scale") is False,
        "beta": config.get("center") is False,
    }
    names = [name for name in entry.weights if not absent.get(name)]
    if len(values) != len(names):
        raise layer.refused(
            f"its weights are not those that HGQ2 saves. Allowed: {names}. "
            f"Received: {len(values)} arrays"
        )
    return dict(zip(names, values, strict=True))


def _weights(
    layer: LayerDescription, entry: Entry
) -> dict[str, tuple[np.ndarray, Any, np.ndarray, bool]]:
    """Return the weights to set, their quantizers, and what these must make of them.

    With each: whether it is the quantized weight, on a grid of its own.
    """
    if entry.quantized is None:
        return {}
    found = {}
    for name, value in entry.raw(layer, _saved(layer, entry)).items():
        argument, part = entry.quantized[name]
        kept, quantizer = quantized_weight(layer, argument, part, value)
        exact = kept if quantizer is None else quantizer.quantize(kept)
        found[name] = (kept, quantizer, exact, kept is not value)
    return found


def convert(layer: LayerDescription) -> Any:
    """Return the new layer of one of HGQ2's, without its weights.

    Raises:
        UnsupportedModelError: If it has no exact counterpart.
    """
    if layer.class_name in (QUANTIZER, INPUT_QUANTIZER):
        return _quantizer_layer(layer)
    entry = _entry_of(layer)
    keras_class = next(
        c for c in entry.target.__mro__ if c.__module__.startswith("keras.")
    )
    converted = {*_OWN, *entry.dropped, *(entry.given or ())}
    arguments = keras_arguments(layer, keras_class, converted) | dict(entry.given or {})
    if "activation" in layer.config:
        arguments["activation"] = _activation(layer)
    for name, (_, quantizer, *_) in _weights(layer, entry).items():
        arguments[f"{name}_quantizer"] = quantizer
    return entry.target(**arguments)


def set_weights(layer: LayerDescription, new: Any) -> None:
    """Give a built layer its weights, and check that it quantizes them as HGQ2.

    Raises:
        UnsupportedModelError: If a shape, or a quantized value, is another.
    """
    if layer.class_name in (QUANTIZER, INPUT_QUANTIZER):
        return
    weights = _weights(layer, _entry_of(layer))
    is_normalization = isinstance(new, layers.QuantBatchNormalization)
    names = {"scale": "gamma", "offset": "beta"} if is_normalization else {}
    for name, (value, *_) in weights.items():
        variable = getattr(new, names.get(name, name))
        if tuple(variable.shape) != value.shape:
            raise layer.refused(
                f"its weight {name!r} has another shape. Allowed: "
                f"{tuple(variable.shape)}. Received: {value.shape}"
            )
        variable.assign(value)
    if is_normalization:
        new.moving_mean.assign(ops.zeros_like(new.moving_mean))
        variance = np.full(new.moving_variance.shape, _variance_for_one(new.epsilon))
        new.moving_variance.assign(variance)
        computed = dict(
            zip(("scale", "offset"), new.inference_scale_and_offset(), strict=True)
        )
    else:
        computed = {
            name: ops.convert_to_numpy(new._quantized(quantizer, getattr(new, name)))
            for name, (_, quantizer, *_) in weights.items()
        }
    for name, (_, _, exact, _) in weights.items():
        if not np.array_equal(computed[name], exact):
            raise layer.refused(f"its {name} is not quantized as HGQ2 does it")


def on_new_grids(layer: LayerDescription) -> list[str]:
    """Return the names of weights that became their quantized values on one grid."""
    if layer.class_name in (QUANTIZER, INPUT_QUANTIZER):
        return []
    weights = _weights(layer, _entry_of(layer))
    return [name for name, (_, _, _, is_new) in weights.items() if is_new]


def _entry_of(layer: LayerDescription) -> Entry:
    if layer.class_name not in HGQ2_LAYERS:
        raise layer.refused(unknown_name("layer", layer.class_name, HGQ2_LAYERS))
    return HGQ2_LAYERS[layer.class_name]


def _quantizer_layer(layer: LayerDescription) -> Any:
    keras_arguments(layer, keras.layers.Layer, layer.config.keys() - {"dtype"})
    argument, part = layer.config["argument"], layer.config["part"]
    quantizer = activation_quantizer(layer, argument, part)
    if layer.class_name == INPUT_QUANTIZER and quantizer is not None:
        return layers.QuantInput(quantizer, name=layer.name)
    return layers.QuantActivation(quantizer, name=layer.name)


def _activation(layer: LayerDescription) -> Any:
    value = layer.config["activation"]
    if isinstance(value, Mapping) and str(value.get("module")).startswith("keras"):
        value = value.get("config")
    if value is None or hasattr(keras.activations, str(value)):
        return value
    raise layer.refused(
        "its activation is none of Keras's functions. "
        f"Received: activation={layer.config['activation']!r}"
    )


# -- weights that HGQ2 computes before it quantizes them ------------------------------


def _divided(gamma: Any, variance: Any, epsilon: float) -> tuple[Any, Any]:
    """Return `gamma / sqrt(variance + epsilon)` eagerly and as in traced functions.

    TensorFlow turns the division into a product with `rsqrt` when it traces.
    """
    shifted = ops.add(ops.convert_to_tensor(variance), epsilon)
    gamma = ops.convert_to_tensor(gamma)
    return ops.divide(gamma, ops.sqrt(shifted)), ops.multiply(gamma, ops.rsqrt(shifted))


def _one_of(layer: LayerDescription, argument: str, part: str, both: list[Any]) -> Any:
    """Return the first of two weights, if they are quantized to the same values."""
    first, second = (np.asarray(ops.convert_to_numpy(v)) for v in both)
    quantized = []
    for value in (first, second):
        kept, quantizer = quantized_weight(layer, argument, part, value)
        quantized.append(kept if quantizer is None else quantizer.quantize(kept))
    if not np.array_equal(quantized[0], quantized[1]):
        raise layer.refused(
            f"{argument}: a value lies so near the middle of two codes that HGQ2 "
            "rounds it differently in eager and in traced calls."
        )
    return first


def _normalization(layer: LayerDescription, weights: Weights) -> Weights:
    mean, variance = weights["moving_mean"], weights["moving_variance"]
    # HGQ2 adds 1 where there is no beta.
    beta = weights.get("beta", np.float32(1))
    gamma = weights.get("gamma", np.ones_like(variance))
    scales = _divided(gamma, variance, float(layer.config["epsilon"]))
    offsets = [ops.subtract(beta, ops.multiply(mean, s)) for s in scales]
    return {
        "scale": _one_of(layer, "kq_conf", "kq/quantizer", list(scales)),
        "offset": _one_of(layer, "bq_conf", "bq/quantizer", offsets),
    }


def _folded_einsum(layer: LayerDescription, weights: Weights) -> Weights:
    equation = str(layer.config["equation"])
    axes = str(layer.config["bias_axes"])
    kernel_axes = equation.partition(",")[2].partition("->")[0].strip()
    order = "".join(axis for axis in kernel_axes if axis in axes)
    kernel, bias = weights["kernel"], weights["bias"]
    epsilon = keras.config.epsilon()
    scales = _divided(weights["gamma"], weights["moving_variance"], epsilon)
    fused = f"{kernel_axes},{order}->{kernel_axes}"
    kernels = [ops.einsum(fused, kernel, s) for s in scales]
    mean = ops.negative(ops.convert_to_tensor(weights["moving_mean"]))
    offsets = [ops.reshape(ops.multiply(mean, s), bias.shape) for s in scales]
    return {
        "kernel": _one_of(layer, "kq_conf", "kq/quantizer", kernels),
        "bias": _one_of(
            layer, "bq_conf", "bq/quantizer", [ops.add(bias, o) for o in offsets]
        ),
    }


def _variance_for_one(epsilon: float) -> np.float32:
    """Return the variance to which float32 adds `epsilon` and gets 1."""
    start = np.float32(1 - epsilon)
    near = (start, *(np.nextafter(start, np.float32(v)) for v in (0, 2)))
    return next((v for v in near if v + np.float32(epsilon) == 1), start)


_KERNEL = {
    "kernel": ("kq_conf", "kq/quantizer"),
    "bias": ("bq_conf", "bq/quantizer"),
}
_STATISTICS = ("moving_mean", "moving_variance")
HGQ2_LAYERS: dict[str, Entry] = {
    name: Entry(getattr(layers, target), ("kernel", "bias"), quantized=_KERNEL)
    for name, target in {
        "QDense": "QuantDense",
        "QConv1D": "QuantConv1D",
        "QConv2D": "QuantConv2D",
        "QConv3D": "QuantConv3D",
        "QEinsumDense": "QuantEinsumDense",
    }.items()
}
HGQ2_LAYERS |= {
    "QBatchNormalization": Entry(
        layers.QuantBatchNormalization,
        ("gamma", "beta", *_STATISTICS),
        _normalization,
        {"scale": _KERNEL["kernel"], "offset": _KERNEL["bias"]},
        given={"scale": True, "center": True, "trainable": False},
    ),
    "QEinsumDenseBatchnorm": Entry(
        layers.QuantEinsumDense,
        ("kernel", "bias", "gamma", *_STATISTICS),
        _folded_einsum,
        _KERNEL,
    ),
    "QUnaryFunctionLUT": Entry(keras.layers.Activation),
}
HGQ2_LAYERS |= {
    f"Q{name}": Entry(getattr(layers, f"Quant{name}"))
    for name in (
        "Add AveragePooling1D AveragePooling2D AveragePooling3D Dot "
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
        "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D MaxPooling1D "
        "MaxPooling2D MaxPooling3D Maximum Minimum Multiply Subtract"
    ).split()
}
