"""What becomes of each layer when a model is quantized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from .. import layers as quant_layers
from .. import quantizers
from ..errors import unknown_name
from ..layers._weights import weight_of
from ..quantizers import Binary, StatefulQuantizer
from ..quantizers import calibrate as calibrate_values
from .activation_ranges import Ranges
from .graph import Graph, Operation
from .quantize_config import (
    ACTIVATIONS,
    Entry,
    Settings,
    for_function,
    function_name,
    is_activation,
    matching,
    twin,
)
from .readers.normalization import inference_scale_and_offset
from .rewriting import array, copy_of, list_weights, with_config

# Their results lie on the grid of their inputs.
_KEEP_THE_GRID = {
    "reshape", "max_pool2d", "global_max_pool2d", "concatenate", "maximum", "minimum",
    "zero_padding", "permute",
}  # fmt: skip
_WRAPPERS = (keras.layers.TimeDistributed, keras.layers.Bidirectional)
# What puts a sum on a new grid behind it anyway.
_QUANTIZED_BEHIND = {"relu", "activation", "quantize", "scale_offset"}


class Plan:
    """Decides layer by layer, and keeps the rows of the report."""

    def __init__(
        self,
        graph: Graph,
        settings: Settings,
        overrides: dict[str, Settings | Entry | None],
        skip: tuple[str, ...],
        ranges: Ranges,
    ) -> None:
        self._graph, self._settings = graph, settings
        self._overrides, self._skip = overrides, skip
        self._ranges = ranges
        self.rows: list[tuple[Any, ...]] = []
        self.paths: list[str] = []
        self.classes: list[str] = []

    # -- what rewriting asks -----------------------------------------------------------

    def quantize_input(self, name: str) -> Any:
        """Return the layer behind an input, or None."""
        choice = self._settings.input
        dtype = self._graph.tensors[name].dtype
        behind = [o.kind for o in self._graph.consumers(name)]
        if choice is None or set(behind) == {"quantize"}:
            return None
        if dtype != "float32":
            self._row(name, "Input", "Input", "", f"holds {dtype}")
            return None
        quantizer = self._quantizer(choice)
        if quantizer is None:
            quantizer = self._ranges.quantizer(name, choice, None)
        layer = quant_layers.QuantInput(quantizer, name=f"{name}_quantizer")
        self._row(name, "Input", "QuantInput", _short(quantizer), "")
        return layer

    def replace(self, layer: Any, path: str) -> list[Any]:
        """Return what takes a layer's place."""
        self.paths.append(path)
        self.classes.append(type(layer).__name__)
        if isinstance(layer, _WRAPPERS) and not self._is_skipped(layer, path):
            return self._wrapper(layer, path)
        entry, reason = self._entry(layer, path)
        if entry is None:
            return self._keep(layer, path, reason)
        function = function_name(layer)
        if isinstance(layer, ACTIVATIONS):
            return self._activation_layer(layer, path, entry, function)
        cls = twin(type(layer))
        if cls is None:
            return self._keep(layer, path, "kerasqnn has no quantized counterpart")
        _check_arguments(path, cls, entry)
        chosen = {
            argument: self._argument(layer, path, argument, entry.get(argument))
            for argument in cls.quantizer_arguments  # type: ignore[attr-defined]
        }
        inside, behind, note = self._activation(layer, path, entry, function)
        if inside is not None:
            chosen["activation"] = inside
        chosen = {k: q for k, q in chosen.items() if q is not None}
        if not chosen and behind is None:
            return self._keep(layer, path, note or self._why_nothing(entry))
        new = with_config(cls, layer, **chosen) if chosen else copy_of(layer)
        became = type(new).__name__ + (" + QuantActivation" if behind else "")
        shown = {**chosen, **({"behind": behind} if behind else {})}
        text = ", ".join(
            f"{k.removesuffix('_quantizer')} {_short(q)}" for k, q in shown.items()
        )
        self._row(path, type(layer).__name__, became, text, note)
        return [new] if behind is None else [new, _behind(layer, behind)]

    # -- parts -------------------------------------------------------------------------

    def _row(self, *values: str) -> None:
        self.rows.append(values)

    def _keep(self, layer: Any, path: str, reason: str) -> list[Any]:
        name = type(layer).__name__
        self._row(path, name, name, "", reason)
        return [copy_of(layer)]

    def _operations(self, path: str) -> list[Operation]:
        return [o for o in self._graph if o.layer == path and o.kind != "input"]

    def _last(self, path: str) -> Operation | None:
        """Return the last operation of a layer, or of the wrapper that holds it."""
        while path and not self._operations(path):
            path = path.rpartition("/")[0]
        return self._operations(path)[-1] if path else None

    def _is_output(self, path: str) -> bool:
        last = self._last(path)
        return last is not None and last.output in self._graph.outputs

    def _is_skipped(self, layer: Any, path: str) -> bool:
        return bool(matching(path, self._skip)) or type(layer).__name__ in self._skip

    def _entry(self, layer: Any, path: str) -> tuple[Entry | None, str]:
        """Return what to do with a layer, or None and why nothing."""
        if not isinstance(layer, keras.layers.Layer):
            return None, "an operation, not a layer"
        if type(layer).__module__.startswith(quant_layers.__name__):
            return None, "is a kerasqnn layer already"
        if self._is_skipped(layer, path):
            return None, "in skip"
        settings = self._settings
        pattern = matching(path, self._overrides)
        entry: Entry | None = None
        if pattern is not None:
            override = self._overrides[pattern]
            if override is None:
                return None, "None in per_layer"
            if isinstance(override, Settings):
                settings = override
            else:
                entry = {**(settings.entry(layer) or {}), **override}
        kinds = {o.kind for o in self._operations(path)}
        moves = kinds <= _KEEP_THE_GRID and not is_activation(layer)
        if entry is None and moves:
            if kinds or not list_weights(layer):
                return None, "keeps the grid of its input"
        entry = settings.entry(layer) if entry is None else entry
        if entry is None and is_activation(layer):
            entry = settings.entries.get("Activation")
        return entry, f"no entry for {type(layer).__name__} in config"

    def _quantizer(self, choice: Any) -> Any:
        """Return a quantizer that is given as such, None for a number of bits."""
        if isinstance(choice, (int, np.integer)) and not isinstance(choice, bool):
            return None
        quantizer = quantizers.get(choice)
        if isinstance(quantizer, StatefulQuantizer):  # each layer needs one of its own
            return copy_of(quantizer)
        return quantizer

    def _argument(self, layer: Any, path: str, argument: str, choice: Any) -> Any:
        if choice is None:
            return None
        quantizer = self._quantizer(choice)
        if argument == "output_quantizer":
            if quantizer is None and not self._quantizes_sums(path):
                return None
            return quantizer or self._ranges.quantizer(path, choice, None)
        values = _values(layer, argument)
        if values is None:  # a bias that the layer does not have
            return quantizer
        return quantizer or _weight_quantizer(values, int(choice), self._ranges.method)

    def _quantizes_sums(self, path: str) -> bool:
        """Whether a layer's output needs a quantizer, none following anyway."""
        last = self._last(path)
        if last is None or self._is_output(path):
            return False
        kinds = {o.kind for o in self._graph.consumers(last.output)}
        return not kinds <= _QUANTIZED_BEHIND

    def _why_nothing(self, entry: Entry) -> str:
        if entry.get("output_quantizer") is not None:
            return "an output, or a quantizer follows"
        return "config gives it no quantizer"

    def _activation(
        self, layer: Any, path: str, entry: Entry, function: str | None
    ) -> tuple[Any, Any, str]:
        """Return the quantizer that is the activation, the one behind it, and why."""
        choice = entry.get("activation")
        if function is None or choice is None:
            return None, None, ""
        by_name = isinstance(choice, Mapping) and function in choice
        chosen = for_function(choice, function)
        if chosen is None:
            note = "" if function == "linear" else f"{function} stays in float"
            return None, None, note
        quantizer = self._quantizer(chosen)
        if quantizer is not None:
            linear = function == "linear"
            fits = function == "relu" or (linear and _is_signed(quantizer))
            if fits or by_name:
                return quantizer, None, ""
            if linear:
                return None, None, "its linear output would lose negative values"
            return None, None, f"{function} stays in float"
        if function == "relu":
            return self._ranges.relu(path, int(chosen)), None, ""
        if function == "linear":
            return self._ranges.quantizer(path, chosen, None), None, ""
        if not by_name and self._is_output(path):
            return None, None, f"{function} at the model's output stays in float"
        return None, self._ranges.quantizer(path, chosen, None), ""

    def _wrapper(self, layer: Any, path: str) -> list[Any]:
        """Return a wrapper around what its layer becomes."""
        rows = len(self.rows)
        config = layer.get_config()
        parts = {"layer": getattr(layer, "forward_layer", None) or layer.layer}
        if config.get("backward_layer"):
            parts["backward_layer"] = layer.backward_layer
        for name, held in parts.items():
            inner, *behind = self.replace(held, f"{path}/{held.name}")
            if behind:  # one layer is all that a wrapper holds
                del self.rows[rows:]
                note = f"a quantizer behind {held.name!r} has no place in it"
                return self._keep(layer, path, note)
            config[name] = keras.layers.serialize(inner)
        return [type(layer).from_config(config)]

    def _activation_layer(
        self, layer: Any, path: str, entry: Entry, function: str | None
    ) -> list[Any]:
        if function is None:  # a ReLU with a slope, a threshold or a limit
            function = "other"
        if isinstance(entry.get("activation"), Mapping) and function == "other":
            entry = {"activation": for_function(entry["activation"], "relu")}
        inside, behind, note = self._activation(layer, path, entry, function)
        if inside is None and behind is None:
            return self._keep(layer, path, note or "no quantizer for its function")
        name = type(layer).__name__
        if inside is not None:
            text = f"activation {_short(inside)}"
            self._row(path, name, "QuantActivation", text, note)
            return [quant_layers.QuantActivation(inside, name=layer.name)]
        text = f"behind {_short(behind)}"
        self._row(path, name, f"{name} + QuantActivation", text, note)
        return [copy_of(layer), _behind(layer, behind)]


def _is_signed(quantizer: Any) -> bool:
    grid = quantizer.fixed()
    return grid is None or grid.code_min < 0


def _behind(layer: Any, quantizer: Any) -> Any:
    return quant_layers.QuantActivation(quantizer, name=f"{layer.name}_quantizer")


def _short(quantizer: Any) -> str:
    """Return how to make a quantizer, without what is left at its default."""
    if not isinstance(quantizer, quantizers.Quantizer):
        return type(quantizer).__name__
    defaults = {"signed": True, "rounding": "ROUND", "overflow": "SAT", "scale": 1.0,
                "alpha": 1.0, "gradient": "tanh"}  # fmt: skip
    shown = [
        repr(v) if k in ("bits", "integer") else f"{k}={v!r}"
        for k, v in quantizer.get_config().items()
        if defaults.get(k, ...) != v
    ]
    return f"{type(quantizer).__name__}({', '.join(shown)})"


def _check_arguments(path: str, cls: Any, entry: Entry) -> None:
    allowed = (*cls.quantizer_arguments, "activation")
    for name in entry:
        if name not in allowed:
            raise ValueError(unknown_name(f"argument of layer {path!r}", name, allowed))


def _values(layer: Any, argument: str) -> np.ndarray | None:
    """Return the float values that a quantizer argument acts on, None without any."""
    base = argument.removesuffix("_quantizer")
    if isinstance(layer, keras.layers.BatchNormalization):
        scale, offset = inference_scale_and_offset(layer)
        return {"scale": scale, "offset": offset}.get(base)
    weight = weight_of(layer, argument)
    return None if weight is None else array(weight)


def _weight_quantizer(values: np.ndarray, bits: int, method: str) -> Any:
    if bits == 1:
        mean = float(np.mean(np.abs(values))) or 1.0
        return Binary(alpha=2.0 ** round(np.log2(mean)))
    return calibrate_values(values, bits, signed=True, method=method)
