"""A quantizer that sets in during training, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from keras.saving import register_keras_serializable

from .quantizer import UniformQuantizer
from .stateful import StatefulQuantizer, read, widened


@register_keras_serializable(package="kerasqnn")
class Gradual(StatefulQuantizer):
    """A quantizer that in training acts only as far as its strength says.

    Formula, in training with `strength` below 1:

        y = x + strength * (quantizer(x) - x)

    and otherwise, in inference always, `y = quantizer(x)`. So inference, export and
    hardware see the quantizer alone; training starts from the float model. The strength
    is a variable, 1 at first; `kerasqnn.training.QuantizationSchedule` moves it.

    Gradient: that of the formula.

    Plot:

    .. plot::

        from kerasqnn.quantizers import Gradual, plot_quantizer
        quantizer = Gradual("FixedPoint(3, 1)")
        quantizer.build((None, 1))
        quantizer.strength = 0.5
        plot_quantizer(quantizer)

    Args:
        quantizer: A quantizer or a string such as `"quantized_bits(4,0,1)"`.
        **kwargs: Those of `keras.layers.Layer`, such as `name`.

    Raises:
        ValueError: If the string names no quantizer.
        TypeError: If `quantizer` is None or no quantizer.

    Example:

    >>> import keras
    >>> from kerasqnn.quantizers import Gradual
    >>> quantizer = Gradual("quantized_bits(2,0,1)")
    >>> x = keras.ops.array([0.2])
    >>> quantizer.build(x.shape)
    >>> quantizer.strength = 0.0
    >>> round(float(quantizer(x, training=True)[0]), 3), float(quantizer(x)[0])
    (0.2, 0.0)
    """

    def __init__(self, quantizer: Any, **kwargs: Any) -> None:
        from .parsing import get  # which knows this class

        super().__init__(**kwargs)
        resolved = get(quantizer)
        if resolved is None:
            raise TypeError(
                "`quantizer` must be a quantizer or a string such as "
                "'quantized_bits(4,0,1)'. Received: quantizer=None"
            )
        self.quantizer = resolved

    def build(self, input_shape: Any) -> None:
        """Make the variable of the strength, and build the quantizer."""
        self._strength = self._scalar_or_vector("strength", (), 1.0, trainable=False)
        if not isinstance(self.quantizer, StatefulQuantizer):
            return
        if self._weight is None:
            self.quantizer.build(input_shape)
        else:
            self.quantizer.build_for_weight(input_shape, self._weight)

    def start_from(self, values: np.ndarray) -> None:
        """Let the quantizer start from a weight's values."""
        if isinstance(self.quantizer, StatefulQuantizer):
            self.quantizer.start_from(values)

    @property
    def changes_in_training(self) -> bool:  # type: ignore[override]
        """Whether a call in training assigns the quantizer's variables."""
        return getattr(self.quantizer, "changes_in_training", False)

    @property
    def bits(self) -> int:
        """Bit width of the quantizer."""
        return self.quantizer.bits

    @property
    def strength(self) -> float:
        """How far the quantizer acts in training, 0 to 1; settable at any time."""
        self._check_built()
        return float(ops.convert_to_numpy(self._strength))

    @strength.setter
    def strength(self, value: float) -> None:
        if not 0.0 <= value <= 1.0:
            raise ValueError(
                f"`strength` must be from 0 to 1. Received: strength={value!r}"
            )
        self._check_built()
        self._strength.assign(float(value))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the inputs, quantized as far as the strength says."""
        x, dtype = widened(inputs)
        y = self.quantizer(x)
        if training:
            strength = ops.cast(read(self._strength), x.dtype)
            y = ops.where(strength < 1.0, x + strength * (y - x), y)
        return ops.cast(y, dtype)

    def fixed(self, values: Any = None) -> UniformQuantizer | None:
        """Return the grid of the quantizer."""
        return self.quantizer.fixed(values)

    def stages(self) -> tuple[Any, ...]:
        """Return those of the quantizer."""
        return self.quantizer.stages()

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        from .parsing import serialize

        return {**super().get_config(), "quantizer": serialize(self.quantizer)}

    def __repr__(self) -> str:
        return f"Gradual({repr(self.quantizer)!r})"
