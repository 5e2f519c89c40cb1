"""What a model is, whatever kind of file or object it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UnsupportedModelError


@dataclass(frozen=True)
class Reference:
    """One output tensor of one call of a layer.

    Attributes:
        layer: Name of the layer.
        call: Which of its calls, from 0.
        output: Which of the outputs of that call, from 0.
    """

    layer: str
    call: int
    output: int


@dataclass(frozen=True)
class Call:
    """One use of a layer in the graph.

    Attributes:
        inputs: A `Reference`, or a list of them, as the layer is called.
        arguments: The keyword arguments of the call.
    """

    inputs: Any
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def references(self) -> Iterator[Reference]:
        """Return the inputs one after another."""
        yield from self.inputs if isinstance(self.inputs, list) else [self.inputs]


@dataclass(frozen=True)
class LayerDescription:
    """One layer.

    Attributes:
        class_name: Name of its class.
        package: The library that the class belongs to: `"qkeras"` or `"keras"`.
        name: The layer's name.
        config: Its constructor arguments, as parsed JSON; quantizers may be live
            objects where the model is live.
        calls: Its uses in the graph; none in a sequential model.
        weights: Its weights by their names or, in `.keras` files, numbers; those of a
            part of the layer under `part/name`.
        is_keras2: Whether it is of Keras 2, and so of QKeras 0.9.
        model: What a model in place of a layer holds; its own weights are with its
            layers.
    """

    class_name: str
    package: str
    name: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...]
    weights: Mapping[str, np.ndarray]
    is_keras2: bool = False
    model: ModelDescription | None = None

    def refused(self, reason: str) -> UnsupportedModelError:
        """Return the error for a layer that cannot be taken over."""
        return UnsupportedModelError(
            f"Layer {self.name!r} ({self.class_name}): {reason}", self.name
        )


@dataclass(frozen=True)
class ModelDescription:
    """A model: its layers in the order of the file, and how they are connected.

    Attributes:
        name: The model's name.
        layers: Its layers.
        inputs: A `Reference` or a list of them; None in a sequential model.
        outputs: As `inputs`.
        input_shape: Shape of a batch, where the file says it for the model.
    """

    name: str
    layers: tuple[LayerDescription, ...]
    inputs: Any = None
    outputs: Any = None
    input_shape: Any = None

    @property
    def is_sequential(self) -> bool:
        """Whether the layers are called one after another."""
        return self.inputs is None
