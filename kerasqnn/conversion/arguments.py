"""Constructor arguments of Keras layers out of saved configurations."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np

from ..layers import Clip
from .description import LayerDescription

# Keys of saved configurations that say nothing about what a layer computes here.
_SILENT = frozenset(
    {
        "batch_input_shape",
        "batch_shape",
        "build_config",
        "implementation",
        "fused",
        "kernel_range",
        "bias_range",
        "depthwise_range",
        "pointwise_range",
        "gamma_range",
        "beta_range",
        "quantization_config",
        "registered_name",
    }
)
# Options that the installed Keras lacks, and the values that change nothing.
_INERT: dict[str, tuple[Any, ...]] = {
    "groups": (1,),
    "lora_alpha": (None,),
    "lora_rank": (None,),
    "mask": (None,),
    "optional": (False,),
    "output_padding": (None,),
    "ragged": (False, None),
    "renorm": (False,),
    "renorm_clipping": (None, {}),
    "renorm_momentum": (0.99,),
    "sparse": (False, None),
    "time_major": (False,),
    "virtual_batch_size": (None,),
    "adjustment": (None,),
    "zero_output_for_mask": (False,),
}
_INITIALIZERS = frozenset(
    {
        "Constant",
        "GlorotNormal",
        "GlorotUniform",
        "HeNormal",
        "HeUniform",
        "Identity",
        "LecunNormal",
        "LecunUniform",
        "Ones",
        "Orthogonal",
        "RandomNormal",
        "RandomUniform",
        "TruncatedNormal",
        "VarianceScaling",
        "Zeros",
    }
)
_REGULARIZERS = frozenset({"L1", "L1L2", "L2", "OrthogonalRegularizer"})
_CONSTRAINTS = frozenset({"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"})
# As Keras 2 calls them, and as QKeras's get_config does.
_RENAMED = {"alpha": "negative_slope"}


def keras_arguments(
    layer: LayerDescription,
    keras_class: type,
    converted: Collection[str] = (),
    extra: Collection[str] = (),
) -> dict[str, Any]:
    """Return the arguments of a Keras class from the configuration of a layer.

    Args:
        layer: The layer.
        keras_class: The Keras class whose arguments they are.
        converted: Keys that the caller converts itself.
        extra: Keys that the target takes besides those of its Keras class.

    Raises:
        UnsupportedModelError: If the configuration has an option that the class lacks,
            or a dtype other than float32.
    """
    known = {*inspect.signature(keras_class).parameters, *extra}
    arguments: dict[str, Any] = {
        "name": layer.name,
        "trainable": bool(layer.config.get("trainable", True)),
    }
    for key, value in layer.config.items():
        if key in ("name", "trainable") or key in converted:
            continue
        if key == "dtype":
            _check_dtype(layer, value)
        elif key.endswith(("_initializer", "_regularizer", "_constraint")):
            if key in known:
                arguments[key] = _keras_object(layer, key, value)
            elif value is not None and not key.endswith("_initializer"):
                raise layer.refused(f"it has no {key}. Received: {key}={value!r}")
        elif key in known:
            arguments[key] = _checked(layer, key, value)
        elif _RENAMED.get(key) in known:
            arguments[_RENAMED[key]] = value
        elif key not in _SILENT and not _is_inert(key, value):
            raise layer.refused(
                f"its option {key!r} has no counterpart in kerasqnn. "
                f"Received: {key}={value!r}"
            )
    return arguments


def _is_inert(key: str, value: Any) -> bool:
    if key == "mask" and value is not None:  # of QConv2D's kernel
        return bool(np.all(np.asarray(value) == 1))
    return any(value == inert for inert in _INERT.get(key, ()))


def _checked(layer: LayerDescription, key: str, value: Any) -> Any:
    if key == "data_format" and value not in (None, "channels_last"):
        raise layer.refused(
            "only data_format='channels_last' is taken over, since QKeras's scales run "
            f"along other axes otherwise. Received: data_format={value!r}"
        )
    if key == "padding" and isinstance(value, str):
        return value.lower()  # QDepthwiseConv2D's default is "VALID"
    if key == "axis" and isinstance(value, list) and len(value) == 1:
        return value[0]  # BatchNormalization of Keras 2
    return tuple(value) if isinstance(value, list) else value


def _check_dtype(layer: LayerDescription, value: Any) -> None:
    if isinstance(value, Mapping):
        value = value["config"].get("name")
    integer = layer.class_name == "InputLayer" and str(value).startswith("int")
    if value not in (None, "float32") and not integer:
        raise layer.refused(
            f"only float32 layers are taken over. Received: dtype={value!r}"
        )


def _keras_object(layer: LayerDescription, key: str, value: Any) -> Any:
    """Return an initializer, regularizer or constraint of Keras's own.

    They act in training only. Classes are looked up in lists, never imported by the
    names in a file.
    """
    if value is None or not isinstance(value, str | Mapping):
        return None
    if isinstance(value, str):
        class_name = "".join(part.capitalize() for part in value.split("_"))
        config: Mapping[str, Any] = {}
    else:
        class_name = str(value["class_name"]).rpartition(">")[2]
        config = value.get("config") or {}
    if class_name == "QInitializer":  # scales the first random values only
        return _keras_object(layer, key, config["initializer"])
    if class_name == "Clip" and key.endswith("_constraint"):
        return Clip(config["min_value"], config["max_value"])
    for suffix, module, names in (
        ("_initializer", keras.initializers, _INITIALIZERS),
        ("_regularizer", keras.regularizers, _REGULARIZERS),
        ("_constraint", keras.constraints, _CONSTRAINTS),
    ):
        if key.endswith(suffix) and class_name in names:
            found = getattr(module, class_name)
            known = inspect.signature(found).parameters
            return found(**{k: v for k, v in config.items() if k in known})
    raise layer.refused(
        f"its {key} {class_name!r} has no counterpart. Received: {key}={value!r}"
    )
