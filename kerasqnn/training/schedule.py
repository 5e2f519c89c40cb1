"""When quantization sets in during training."""

from __future__ import annotations

from typing import Any

import keras

from ..quantizers import Gradual
from ..quantizers.quantizer import check_int


class QuantizationSchedule(keras.callbacks.Callback):
    """Lets the `Gradual` quantizers of a model set in late, at once or by degrees.

    Their strength is 0 before training step `start`, 1 from step `until`, and grows in
    proportion between; with `until=start` it jumps. Steps are batches, counted from the
    first `fit` of this callback on. Inference is always fully quantized, in validation
    too, and so is training afterwards.

    Args:
        start: Number of training steps in float.
        until: Step from which quantization is full; None for `start`.

    Raises:
        ValueError: If `until` is before `start`, or the model has no `Gradual`.

    Example:

    >>> import keras, numpy as np, kerasqnn
    >>> from kerasqnn.training import QuantizationSchedule
    >>> kernel = "Gradual('quantized_bits(4,0,1)')"
    >>> model = keras.Sequential([
    ...     keras.Input((3,)),
    ...     kerasqnn.layers.QuantDense(2, kernel_quantizer=kernel),
    ... ])
    >>> model.compile("sgd", "mse")
    >>> schedule = QuantizationSchedule(start=2, until=6)
    >>> x, y = np.ones((4, 3)), np.ones((4, 2))
    >>> _ = model.fit(x, y, batch_size=1, verbose=0, callbacks=[schedule])
    >>> model.layers[0].kernel_quantizer.strength
    0.25
    """

    def __init__(self, start: int = 0, until: int | None = None) -> None:
        super().__init__()
        self.start = check_int("start", start, 0, 2**62)
        self.until = (
            self.start if until is None else check_int("until", until, 0, 2**62)
        )
        if self.until < self.start:
            raise ValueError(
                "`until` must not be before `start`. "
                f"Received: start={start}, until={until}"
            )
        self.step = 0
        self._strength: float | None = None

    def strength(self, step: int) -> float:
        """Return the strength in a training step, counted from 0."""
        if step < self.start:
            return 0.0
        if step >= self.until:
            return 1.0
        return (step - self.start) / (self.until - self.start)

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the quantizers."""
        self._quantizers = [
            layer for layer in self.model._flatten_layers() if type(layer) is Gradual
        ]
        if not self._quantizers:
            raise ValueError(
                f"Model {self.model.name!r} has no quantizer that could set in late. "
                "Wrap them, as in kernel_quantizer=\"Gradual('quantized_bits(4,0,1)')\""
            )
        self._strength = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the strength of this step."""
        strength = self.strength(self.step)
        self.step += 1
        if strength == self._strength:
            return
        self._strength = strength
        # On JAX the variables of the model are behind those of the training loop.
        getattr(self.model, "jax_state_sync", lambda: None)()
        for quantizer in self._quantizers:
            quantizer.strength = strength
