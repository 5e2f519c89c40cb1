"""Random models, weights and inputs for the chain Keras = ONNX = hardware.

Everything comes from one `random.Random`: a script replays a case from its seed, and
hypothesis gives its own in tests, which it shrinks.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from kerasqnn import layers as ql

from .random_quantizers import (
    activation_quantizer,
    input_quantizer,
    kernel_quantizer,
    vector_quantizer,
)
from .random_values import fill_weights, random_inputs

# Names that C++, hls4ml or ONNX could trip over.
_NAMES = (
    "input", "i", "n", "t", "linear", "class", "int", "size", "int8", "main", "data",
    "Dense", "dense-1", "a.b", "2nd", "result", "accelerator", "input_1",
)  # fmt: skip


@dataclass
class Case:
    """A model and inputs for it."""

    model: keras.Model
    inputs: list[np.ndarray]

    @property
    def data(self) -> Any:
        """The inputs as `model.predict` takes them."""
        return self.inputs if len(self.inputs) > 1 else self.inputs[0]


def random_case(seed: int | random.Random, *, hardware: bool = False) -> Case:
    """Make a case.

    Args:
        seed: The source of everything, or a seed for one.
        hardware: Small models, most of which can be deployed.
    """
    rng = seed if isinstance(seed, random.Random) else random.Random(seed)
    net = Net(rng, hardware)
    model = net.build()
    numbers = np.random.default_rng(rng.getrandbits(32))
    fill_weights(model, rng, numbers)
    return Case(model, random_inputs(model, numbers, samples=48))


class Net:
    """A functional model that grows by random steps."""

    def __init__(self, rng: random.Random, hardware: bool) -> None:
        self.rng = rng
        self.hardware = hardware
        # Of the things that are refused, each only now and then.
        self.oddity = rng.choice([0.0, 0.0, 0.02, 0.1 if not hardware else 0.02])
        self._used: set[str] = set()

    def build(self) -> keras.Model:
        """Return a model of one or two inputs and outputs."""
        images = self.rng.random() < 0.5
        shape = self._input_shape(images)
        inputs = [
            keras.Input(shape, **self.name()) for _ in range(1 + self.chance(0.12))
        ]
        branches = [self._quantized_input(tensor) for tensor in inputs]
        x = branches[0] if len(branches) == 1 else self.merged(branches)
        middle = []
        if self.hardware:  # a chip needs a weight
            x = self.rng.choice([_conv if images else _dense, _normalization])(self, x)
        for _ in range(self.rng.randint(1, 3 if self.hardware else 5)):
            x = self.rng.choice(_STEPS[len(x.shape)])(self, x)
            middle.append(x)
        outputs = [self._finished(x)]
        if self.chance(0.12):
            outputs.append(self.rng.choice(middle[:-1] or middle))
        return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])

    # -- parts ------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < probability

    def odd(self) -> bool:
        """Return whether to do what is mostly refused."""
        return self.chance(self.oddity)

    def name(self) -> dict[str, str]:
        """Return a `name` argument, seldom."""
        name = self.rng.choice(_NAMES)
        if name in self._used or not self.chance(0.1):
            return {}
        self._used.add(name)
        return {"name": name}

    def _input_shape(self, images: bool) -> tuple[int, ...]:
        big = 0 if self.hardware else 3
        if not images:
            return (self.rng.randint(1, 6 + big),)
        size = self.rng.randint(3, 6 + big)
        other = size if self.chance(0.6) else self.rng.randint(3, 6 + big)
        return (size, other, self.rng.randint(1, 2))

    def _quantized_input(self, x: Any) -> Any:
        if self.odd():
            return x
        quantizer = input_quantizer(self.rng, self.odd())
        if self.chance(0.85):
            return ql.QuantInput(quantizer, **self.name())(x)
        return ql.QuantActivation(quantizer, **self.name())(x)

    def quantizer(self, *, unsigned: bool = False, channels: int = 1) -> Any:
        """Return a quantizer for an activation."""
        # QONNX has no wrapping overflow, hardware has.
        wraps = self.hardware and self.chance(0.1)
        return activation_quantizer(
            self.rng,
            odd=self.odd(),
            unsigned=unsigned,
            channels=channels,
            wraps=wraps,
        )

    def activation(self, channels: int) -> Any:
        """Return an `activation` argument: mostly a quantizer."""
        if self.odd():
            return self.rng.choice(["tanh", "sigmoid", "softmax", "elu"])
        if self.chance(0.15):
            return "relu"
        return self.quantizer(channels=channels) if self.chance(0.6) else None

    def quantized(self, x: Any, always: bool = False) -> Any:
        """Return the tensor, mostly behind a quantizer."""
        if always or self.chance(0.8):
            quantizer = self.quantizer(channels=x.shape[-1])
            return ql.QuantActivation(quantizer, **self.name())(x)
        return x

    def weighted(self, kind: str, units: int, **options: Any) -> keras.layers.Layer:
        """Return a dense layer (`kind="Dense"`) or a convolution (`"Conv2D"`)."""
        use_bias = self.chance(0.7)
        common = {"use_bias": use_bias, **self.name(), **options}
        if self.chance(0.08):
            plain = {"Dense": kl.Dense, "Conv2D": kl.Conv2D}[kind]
            activation = self.rng.choice([None, "relu"])
            return plain(units, activation=activation, **common)
        noisy = self.chance(0.2)
        classes = {
            "Dense": (ql.QuantDense, ql.NoisyQuantDense),
            "Conv2D": (ql.QuantConv2D, ql.NoisyQuantConv2D),
        }
        return classes[kind][noisy](
            units,
            activation=self.activation(units),
            kernel_quantizer=kernel_quantizer(self.rng, units, self.odd()),
            bias_quantizer=vector_quantizer(self.rng, self.odd()),
            **common,
        )

    def merged(self, tensors: list[Any]) -> Any:
        """Return the tensors, of one shape, merged into one."""
        merge = self.rng.choice(_MERGES)
        if merge is kl.Multiply:
            tensors = [self.quantized(t, always=True) for t in tensors]
        if merge is kl.Subtract:
            tensors = tensors[:2]
        return self.quantized(merge(**self.name())(tensors))

    def _finished(self, x: Any) -> Any:
        if len(x.shape) > 2 and self.chance(0.8):
            x = kl.Flatten()(x)
            x = self.weighted("Dense", self.rng.randint(1, 4))(x)
        if len(x.shape) == 2 and self.chance(0.15 if self.hardware else 0.03):
            x = kl.Softmax(**self.name())(x)
        return x


def _dense(net: Net, x: Any) -> Any:
    units = net.rng.randint(1, 5 if net.hardware else 9)
    return net.quantized(net.weighted("Dense", units)(x))


def _same_dense(net: Net, x: Any) -> Any:
    return net.quantized(net.weighted("Dense", x.shape[-1])(x))


def _conv(net: Net, x: Any, same: bool = False) -> Any:
    rows, columns = x.shape[1:3]
    rng = net.rng
    kernel = (rng.randint(1, min(3, rows)), rng.randint(1, min(3, columns)))
    options: dict[str, Any] = {"padding": rng.choice(["valid", "same"])}
    filters = rng.randint(1, 3 if net.hardware else 4)
    if same:
        options, filters = {"padding": "same"}, x.shape[-1]
    elif net.chance(0.3):
        options["strides"] = (rng.randint(1, 2), rng.randint(1, 2))
    if net.odd() and not same:
        options["groups"] = x.shape[-1]
        filters = x.shape[-1]
    if net.odd() and kernel == (2, 2) and "strides" not in options and rows > 3:
        options["dilation_rate"] = 2
    conv = net.weighted("Conv2D", filters, kernel_size=kernel, **options)
    return net.quantized(conv(x))


def _same_conv(net: Net, x: Any) -> Any:
    return _conv(net, x, same=True)


def _activation(net: Net, x: Any) -> Any:
    choice = net.rng.randrange(6)
    if choice == 0:
        return kl.ReLU(**net.name())(x)
    if choice == 1:
        return kl.Activation("relu", **net.name())(x)
    if choice == 2:
        x = kl.Activation("relu")(x)
        quantizer = net.quantizer(unsigned=True, channels=x.shape[-1])
        return ql.QuantActivation(quantizer, **net.name())(x)
    if choice == 3:  # two quantizers in a row
        return net.quantized(net.quantized(x, always=True), always=True)
    if net.odd():
        return kl.Activation(net.rng.choice(["tanh", "softmax", "hard_sigmoid"]))(x)
    return net.quantized(x, always=True)


def _normalization(net: Net, x: Any) -> Any:
    if net.chance(0.35):
        return net.quantized(kl.BatchNormalization(**net.name())(x))
    layer = ql.QuantBatchNormalization(
        center=net.chance(0.8),
        scale=net.chance(0.8),
        scale_quantizer=kernel_quantizer(net.rng, x.shape[-1], net.odd()),
        offset_quantizer=vector_quantizer(net.rng, net.odd()),
        noise="additive(0.0)" if net.chance(0.1) else None,
        **net.name(),
    )
    return net.quantized(layer(x))


def _nothing(net: Net, x: Any) -> Any:
    choice = net.rng.randrange(3)
    if choice == 0:
        return kl.Dropout(0.3, **net.name())(x)
    if choice == 1:
        noise = net.rng.choice(["additive(0.3)", "multiplicative(0.1)"])
        return ql.NoisePoint(noise, **net.name())(x)
    return kl.GaussianNoise(0.5, **net.name())(x)


def _pool(net: Net, x: Any) -> Any:
    rows, columns = x.shape[1:3]
    rng = net.rng
    if net.chance(0.25):
        layer = rng.choice([kl.GlobalMaxPooling2D, kl.GlobalAveragePooling2D])
        return layer(keepdims=net.chance(0.2), **net.name())(x)
    sizes = [1, 2, 2, 2, 4] if not net.odd() else [3]
    size = (min(rng.choice(sizes), rows), min(rng.choice(sizes), columns))
    strides = rng.choice([None, None, None, (1, 1), (2, 1)])
    padding = "same" if net.chance(0.15) else "valid"
    layer = rng.choice([kl.MaxPooling2D, kl.AveragePooling2D])
    x = layer(size, strides=strides, padding=padding, **net.name())(x)
    return net.quantized(x) if net.chance(0.5) else x


def _same_shape(net: Net, x: Any) -> Any:
    steps: list[Step] = [_activation, _normalization]
    steps += [_same_dense if len(x.shape) == 2 else _same_conv] * 2
    return net.rng.choice(steps)(net, x)


def _residual(net: Net, x: Any) -> Any:
    others = [_same_shape(net, x) for _ in range(1 + net.chance(0.15))]
    if net.odd():
        others = [x]
    return net.merged([x, *others])


def _two_readers(net: Net, x: Any) -> Any:
    """One tensor read by two quantizers."""
    return net.merged([net.quantized(x, always=True), net.quantized(x, always=True)])


def _concatenated(net: Net, x: Any) -> Any:
    others = [_same_shape(net, x) for _ in range(1 + net.chance(0.3))]
    axis = 1 if net.odd() else -1
    return net.quantized(kl.Concatenate(axis=axis, **net.name())([x, *others]))


def _shared(net: Net, x: Any) -> Any:
    """One layer called on two tensors."""
    kind, options = ("Dense", {})
    if len(x.shape) == 4:
        kind, options = "Conv2D", {"kernel_size": 2, "padding": "same"}
    layer = net.weighted(kind, net.rng.randint(1, 3), **options)
    return net.merged([layer(x), layer(net.quantized(x, always=True))])


def _nested(net: Net, x: Any) -> Any:
    """A model as a layer of the model, now and then called twice."""
    inner = keras.Input(x.shape[1:])
    y = _same_shape(net, inner)
    model = keras.Model(inner, y)
    x = model(x)
    return model(net.quantized(x, always=True)) if net.chance(0.3) else x


def _flatten(net: Net, x: Any) -> Any:
    if net.chance(0.5):
        return kl.Flatten(**net.name())(x)
    return kl.Reshape((x.shape[1] * x.shape[2] * x.shape[3],), **net.name())(x)


def _reshaped(net: Net, x: Any) -> Any:
    size = x.shape[-1]
    if size % 2 or not net.chance(0.3):
        return x
    shape = net.rng.choice([(1, 1, size), (2, size // 2, 1), (size // 2, 1, 2)])
    return kl.Reshape(shape, **net.name())(x)


Step = Callable[[Net, Any], Any]
_MERGES = (kl.Add, kl.Add, kl.Subtract, kl.Multiply, kl.Maximum, kl.Minimum)
_ANY: list[Step] = [
    _activation, _normalization, _nothing, _residual, _two_readers, _concatenated,
    _shared, _nested,
]  # fmt: skip
# By rank, the batch axis counted.
_STEPS: dict[int, list[Step]] = {
    2: [*_ANY, *[_dense] * 6, _reshaped],
    4: [*_ANY, *[_conv] * 4, _pool, _pool, _flatten],
}
