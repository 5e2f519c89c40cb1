"""What `quantize_model` is told: from what a user types to one entry a layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras

from .. import layers as quant_layers
from ..errors import unknown_name
from ..quantizers.quantizer import check_int

WIDTHS = ("weights", "bias", "activations", "input")
_LETTERS = dict(zip("wbai", WIDTHS, strict=True))
_ANY = "*"

ACTIVATIONS = (
    keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU,
    keras.layers.ELU, keras.layers.PReLU, keras.layers.Softmax,
)  # fmt: skip
# By argument name: a quantizer, a number of bits, or None. "activation" may hold a
# dictionary by function name, in which "*" stands for all functions but linear.
Entry = dict[str, Any]


def twin(cls: type) -> type | None:
    """Return the quantized class of a Keras layer class: `Quant` and its name."""
    candidate = getattr(quant_layers, f"Quant{cls.__name__}", None)
    if isinstance(candidate, type) and cls in candidate.__mro__:
        return candidate
    return None


def is_activation(layer: Any) -> bool:
    """Whether a layer has, or is, an activation."""
    return function_name(layer) is not None or isinstance(layer, ACTIVATIONS)


def function_name(layer: Any) -> str | None:
    """Return the name of a layer's activation function, or None where it has none."""
    if isinstance(layer, keras.layers.ReLU):
        plain = layer.max_value is None and not layer.negative_slope
        return "relu" if plain and not layer.threshold else None
    if isinstance(layer, ACTIVATIONS[2:]):
        return type(layer).__name__.lower().replace("leakyrelu", "leaky_relu")
    function = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.RNN):  # quantizers there are its own business
        return None
    return None if function is None else getattr(function, "__name__", "other")


@dataclass(frozen=True)
class Settings:
    """A configuration, checked.

    Attributes:
        widths: Bits by `WIDTHS`, for layers without an entry.
        entries: Entries by layer class name.
    """

    widths: dict[str, Any]
    entries: dict[str, Entry]

    @property
    def input(self) -> Any:
        """Quantizer or bits of the inputs, or None."""
        return self.widths.get("input")

    def entry(self, layer: Any) -> Entry | None:
        """Return what is to be done with a layer, or None."""
        own = self.entries.get(type(layer).__name__)
        general = self._general(layer)
        if own is None and general is None:
            return None
        activations = self.entries.get("Activation", {})
        return {**(general or {}), **activations, **(own or {})}

    def _general(self, layer: Any) -> Entry | None:
        cls = twin(type(layer))
        if not {"weights", "bias", "activations"} & set(self.widths):
            return None
        entry: Entry = {"activation": {_ANY: self.widths.get("activations")}}
        for argument in getattr(cls, "quantizer_arguments", ()):
            entry[argument] = self.widths.get(_width_of(argument))
        return entry


def _width_of(argument: str) -> str:
    if argument.startswith(("bias", "scale", "offset", "gamma", "beta")):
        return "bias"
    if argument.startswith(("output", "activation", "state")):
        return "activations"
    return "weights"


def read_config(config: Any) -> Settings:
    """Check and unify a `config` argument of `quantize_model`."""
    if isinstance(config, str):
        return Settings(_with_bias(_letters(config)), {})
    if not isinstance(config, Mapping):
        raise TypeError(
            "`config` must be a string such as 'w4a4', or a dictionary of bit widths "
            f"({', '.join(WIDTHS)}) or of layer classes. Received: config={config!r}"
        )
    widths, entries = {}, {}
    for key, value in config.items():
        if key in WIDTHS:
            if value is not None:
                widths[key] = _bits(key, value) if key != "input" else value
        elif key in ("Input", "InputLayer", "QuantInput"):
            widths["input"] = value
        else:
            name, entry = _class_name(key), _entry(value)
            plain = not isinstance(entry.get("activation"), Mapping)
            if name in ("Activation", "ReLU") and plain:
                entry = {"activation": {"relu": entry.get("activation")}}
            entries["Activation" if name == "ReLU" else name] = entry
    return Settings(_with_bias(widths), entries)


def _letters(text: str) -> dict[str, Any]:
    pairs = re.findall(r"([wbai])(\d+)", text)
    once = len(dict(pairs)) == len(pairs)
    if not pairs or not once or "".join(map("".join, pairs)) != text.strip():
        raise ValueError(
            "`config` as a string gives bits of weights, bias, activations and input, "
            "each once at most, such as 'w4a4' or 'w4b8a6i8'. "
            f"Received: config={text!r}"
        )
    return {_LETTERS[letter]: _bits(letter, int(bits)) for letter, bits in pairs}


def _bits(name: str, value: Any) -> int:
    return check_int(name, value, 1, 24)


def _with_bias(widths: dict[str, Any]) -> dict[str, Any]:
    if "weights" in widths and "bias" not in widths:
        return {**widths, "bias": max(8, widths["weights"])}
    return widths


def _class_name(key: str) -> str:
    for name in (key, key.removeprefix("Quant"), key.removeprefix("Q")):
        cls = getattr(keras.layers, name, None)
        if isinstance(cls, type) and issubclass(cls, keras.layers.Layer):
            return name
    known = [n for n in dir(keras.layers) if hasattr(quant_layers, f"Quant{n}")]
    raise ValueError(unknown_name("key in `config`", key, [*known, *WIDTHS]))


def _entry(value: Any) -> Entry:
    if isinstance(value, Mapping):
        functions = {
            k for k in value if k == _ANY or callable(getattr(keras.activations, k, 0))
        }
        if functions and functions == set(value):
            return {"activation": dict(value)}
        return dict(value)
    return {"activation": value}


def read_per_layer(per_layer: Any) -> dict[str, Settings | Entry | None]:
    """Check a `per_layer` argument: None skips, a string gives widths."""
    if per_layer is None:
        return {}
    if not isinstance(per_layer, Mapping):
        raise TypeError(
            "`per_layer` must be a dictionary by layer name. "
            f"Received: per_layer={per_layer!r}"
        )
    read: dict[str, Settings | Entry | None] = {}
    for name, value in per_layer.items():
        simple = isinstance(value, Mapping) and set(value) <= set(WIDTHS)
        if value is None:
            read[name] = None
        elif simple or (isinstance(value, str) and "(" not in value):
            read[name] = read_config(value)
        else:
            read[name] = _entry(value)
    return read


def matching(path: str, patterns: Any) -> str | None:
    """Return the pattern that a layer's path matches, an exact one first."""
    if path in patterns:
        return path
    return next((p for p in patterns if fnmatchcase(path, p)), None)


def check_patterns(argument: str, patterns: Any, paths: list[str]) -> None:
    """Raise ValueError for a pattern that matches no layer."""
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in paths):
            what = f"layer in `{argument}`"
            raise ValueError(unknown_name(what, pattern, set(paths)))


def for_function(choice: Any, function: str) -> Any:
    """Return the quantizer or bits for an activation function, or None.

    One that is given without a function's name is for relu, and for linear where it
    has negative codes.
    """
    if isinstance(choice, Mapping):
        fallback = None if function == "linear" else choice.get(_ANY)
        return choice.get(function, fallback)
    return choice
