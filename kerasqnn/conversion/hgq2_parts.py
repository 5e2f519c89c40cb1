"""HGQ2's layers taken apart: the quantizers of inputs and output on their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from keras import tree

from .description import Call, LayerDescription, ModelDescription, Reference

QUANTIZER, INPUT_QUANTIZER = "Quantizer", "InputQuantizer"


def taken_apart(description: ModelDescription) -> ModelDescription:
    """Return a description in which HGQ2's layers quantize neither inputs nor outputs.

    The quantizers are layers of their own, of class `"Quantizer"` or, at an input of
    the model, `"InputQuantizer"`, with the keys `"argument"` and `"part"` of what
    `hgq2_quantizers` needs in their configurations.
    """
    return _Parts(description).description()


class _Parts:
    def __init__(self, description: ModelDescription) -> None:
        self._given = description
        self._names = {layer.name for layer in description.layers}
        self._inputs = {
            layer.name
            for layer in description.layers
            if layer.class_name == "InputLayer"
        }
        self._outputs: dict[str, str] = {}  # layer -> the quantizer of its output

    def description(self) -> ModelDescription:
        layers = [part for layer in self._given.layers for part in self._split(layer)]
        if self._given.is_sequential:
            kinds = [layer.class_name for layer in layers]
            first = 1 if "InputLayer" in kinds[:1] else 0
            if QUANTIZER in kinds[first : first + 1]:
                layers[first] = replace(layers[first], class_name=INPUT_QUANTIZER)
            return replace(self._given, layers=tuple(layers))
        own = set(self._outputs.values())
        layers = [x if x.name in own else self._rewired(x) for x in layers]
        return replace(
            self._given,
            layers=tuple(layers),
            outputs=self._redirected(self._given.outputs),
        )

    def _split(self, layer: LayerDescription) -> Iterator[LayerDescription]:
        if layer.model is not None:
            raise layer.refused("models within a model are not taken over from HGQ2.")
        if layer.package != "hgq":
            yield layer
            return
        if layer.class_name == QUANTIZER:
            config = {**layer.config, "argument": "config", "part": "quantizer"}
            kind = self._kind(layer.calls)
            yield replace(layer, config=config, class_name=kind)
            return
        calls = list(layer.calls)
        for quantizer, index in self._of_inputs(layer):
            yield quantizer
            calls = [_with_input(c, n, quantizer, index) for n, c in enumerate(calls)]
        output = self._of_output(layer)
        yield replace(layer, calls=tuple(calls))
        if output is not None:
            self._outputs[layer.name] = output.name
            yield output

    def _of_inputs(
        self, layer: LayerDescription
    ) -> Iterator[tuple[LayerDescription, int | None]]:
        """Return the quantizers of the inputs, and which input of a list is whose."""
        if layer.config.get("iq_conf") is not None:
            calls = tuple(Call(c.inputs) for c in layer.calls)
            yield self._quantizer(layer, "iq_conf", "iq/quantizer", "iq", calls), None
        for index, config in enumerate(layer.config.get("iq_confs") or ()):
            number = f"_{index}" if index else ""
            argument = f"iq_confs[{index}]"
            part = f"iq/quantizers/quantizer{number}/quantizer"
            calls = tuple(Call(c.inputs[index]) for c in layer.calls)
            with_own = replace(layer, config={**layer.config, argument: config})
            name = f"iq{number}"
            yield self._quantizer(with_own, argument, part, name, calls), index

    def _of_output(self, layer: LayerDescription) -> LayerDescription | None:
        if layer.config.get("oq_conf") is None:
            return None
        calls = tuple(
            Call(Reference(layer.name, n, 0)) for n in range(len(layer.calls))
        )
        return self._quantizer(layer, "oq_conf", "oq/quantizer", "oq", calls)

    def _quantizer(
        self,
        layer: LayerDescription,
        argument: str,
        part: str,
        suffix: str,
        calls: tuple[Call, ...],
    ) -> LayerDescription:
        name = f"{layer.name}_{suffix}"
        while name in self._names:
            name += "_"
        self._names.add(name)
        config = {
            "dtype": layer.config.get("dtype"),
            argument: layer.config[argument],
            "argument": argument,
            "part": part,
        }
        kind = self._kind(calls) if suffix != "oq" else QUANTIZER
        return replace(layer, class_name=kind, name=name, config=config, calls=calls)

    def _kind(self, calls: tuple[Call, ...]) -> str:
        sources = {r.layer for call in calls for r in call.references()}
        return INPUT_QUANTIZER if sources & self._inputs else QUANTIZER

    def _rewired(self, layer: LayerDescription) -> LayerDescription:
        calls = (replace(c, inputs=self._redirected(c.inputs)) for c in layer.calls)
        return replace(layer, calls=tuple(calls))

    def _redirected(self, references: Any) -> Any:
        """Return references to the quantizers of outputs instead of the layers."""

        def redirect(reference: Reference) -> Reference:
            target = self._outputs.get(reference.layer)
            return reference if target is None else replace(reference, layer=target)

        return tree.map_structure(redirect, references)


def _with_input(
    call: Call, number: int, quantizer: LayerDescription, index: int | None
) -> Call:
    reference = Reference(quantizer.name, number, 0)
    if index is None:
        return replace(call, inputs=reference)
    inputs = list(call.inputs)
    inputs[index] = reference
    return replace(call, inputs=inputs)
