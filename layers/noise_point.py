"""The layer that injects noise, and whose noise can be changed while the model runs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ..errors import unknown_name
from ..noise import NoiseSource
from ..noise import get as get_noise
from ..noise import serialize as serialize_noise
from ..noise.sources import DrawnSeed, is_number

_SWITCHES = {
    "training": (True, False),
    "inference": (False, True),
    "always": (True, True),
    "never": (False, False),
}


@register_keras_serializable(package="kerasqnn")
class NoisePoint(keras.layers.Layer):
    """One place in the network where noise is injected.

    Noise is drawn anew for every element, sample and forward pass, from the layer's own
    `SeedGenerator`. The level and the mode live in non-trainable variables: setting
    `level` or `when` changes a compiled model at once, without retracing, and is saved
    with the weights. While the point is off the output is the input, bit for bit.

    Args:
        noise: A `kerasqnn.noise` source or a string such as `"additive(0.1)"`. Gives
            the kind of noise, the first level, when it acts, and the seed.

    Input shape:
        Any.

    Output shape:
        That of the input.

    Raises:
        TypeError: If `noise` is no noise source.

    Example:

    >>> import keras, kerasqnn
    >>> point = kerasqnn.layers.NoisePoint("additive(0.5)")
    >>> float(point(keras.ops.zeros((1,)))[0])
    0.0
    >>> point.when = "always"
    >>> float(point(keras.ops.zeros((1,)))[0]) != 0.0
    True

    References:
        - Walking Noise: noise at one operation at a time, the midpoint noise level.
    """

    def __init__(self, noise: NoiseSource | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        source = get_noise(noise)
        if source is None:
            raise TypeError(
                "`noise` must be a kerasqnn.noise source or a string such as "
                "'additive(0.1)'. Received: noise=None"
            )
        self.noise = source
        self.supports_masking = True
        self.seed_generator = keras.random.SeedGenerator(source.seed)
        during_training, during_inference = _SWITCHES[source.when]
        self._level = self._state("level", source.level, "float32")
        self._on_in_training = self._state("on_in_training", during_training, "bool")
        self._on_in_inference = self._state("on_in_inference", during_inference, "bool")
        self.built = True

    def _state(self, name: str, value: Any, dtype: str) -> Any:
        return self.add_weight(
            name=name,
            shape=(),
            dtype=dtype,
            initializer=lambda shape, dtype: ops.cast(value, dtype),
            trainable=False,
            autocast=False,
        )

    @property
    def level(self) -> float:
        """Noise level in units of the activation; settable at any time, at least 0."""
        return float(ops.convert_to_numpy(self._level))

    @level.setter
    def level(self, value: float) -> None:
        if not is_number(value) or value < 0:
            raise ValueError(
                "`level` must be a finite number of at least 0. "
                f"Received: level={value!r} for noise point {self.name!r}"
            )
        self._level.assign(float(value))

    @property
    def when(self) -> str:
        """`"training"`, `"inference"`, `"always"` or `"never"`; always settable."""
        switches = (
            bool(ops.convert_to_numpy(self._on_in_training)),
            bool(ops.convert_to_numpy(self._on_in_inference)),
        )
        return next(name for name, s in _SWITCHES.items() if s == switches)

    @when.setter
    def when(self, value: str) -> None:
        if value not in _SWITCHES:
            raise ValueError(unknown_name("`when`", value, _SWITCHES))
        during_training, during_inference = _SWITCHES[value]
        self._on_in_training.assign(during_training)
        self._on_in_inference.assign(during_inference)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the inputs, with noise where the point is on."""
        seed = DrawnSeed(self.seed_generator.next())
        switch = self._on_in_training if training else self._on_in_inference
        on = ops.logical_and(switch, self._level > 0)
        return ops.cond(
            on,
            lambda: self.noise.apply(inputs, self._level, seed),
            lambda: ops.copy(inputs),
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "noise": serialize_noise(self.noise)}
