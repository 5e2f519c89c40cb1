"""Effective bit operations (EBOPs): what a model costs, to train against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from .. import layers as quant_layers
from ..errors import UnsupportedModelError
from ..models.reading import functional_of
from ..quantizers import Gradual, LearnedBits, Quantizer, StatefulQuantizer

# Layers whose outputs are their inputs, or some of them, or zeros.
_MOVING = (
    layers.Dropout,
    layers.Flatten,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.Permute,
    layers.Reshape,
    layers.ZeroPadding2D,
    quant_layers.NoisePoint,
)
_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_COUNTED = (layers.Dense, layers.EinsumDense, *_CONVOLUTIONS, *_DEPTHWISE)


def ebops(model: keras.Model) -> dict[str, float]:
    """Return the effective bit operations of each layer that multiplies with a kernel.

    The sum, over all multiplications of a value with a weight for one sample, of the
    product of their bits, signs not counted. A weight that is 0 for want of bits costs
    nothing. This is what `EBOPsPenalty` trains against; `kerasqnn.summary` looks at the
    codes of the trained weights, and counts the bits between their ones.

    Args:
        model: A built Sequential or functional model without nested ones. In front of
            every dense layer and convolution there must be a quantizer, with nothing
            but layers that move values in between.

    Returns:
        EBOPs by layer name.

    Raises:
        UnsupportedModelError: If the bits of an input or kernel are not known.

    Example:

    >>> import keras, kerasqnn
    >>> from kerasqnn.training import ebops
    >>> model = keras.Sequential([
    ...     keras.Input((3,)),
    ...     kerasqnn.layers.QuantInput("quantized_bits(8,0,keep_negative=0)"),
    ...     kerasqnn.layers.QuantDense(2, kernel_quantizer="quantized_bits(4,0,1)"),
    ... ])
    >>> list(ebops(model).values())  # 6 products of 8 and 3 bits
    [144.0]

    References:
        - Sun et al., HGQ: High Granularity Quantization for Real-time Neural Networks
          on FPGAs, 2024.
    """
    return {
        name: float(ops.convert_to_numpy(cost()))
        for name, cost in _costs(model).items()
    }


class EBOPsPenalty(keras.callbacks.Callback):
    """Adds `beta * EBOPs` to the loss, so that `LearnedBits` quantizers shrink.

    The penalty is a term of the loss, with gradients for all widths, while `fit` runs
    with this callback, and no part of the model. After each epoch `logs["ebops"]` holds
    the model's EBOPs.

    Args:
        beta: Weight of the penalty, at least 0, or a function from the epoch, counted
            from 0, to it.

    Raises:
        ValueError: If the model has no `LearnedBits`.
        UnsupportedModelError: As `ebops`.

    Example:

    >>> from kerasqnn.training import EBOPsPenalty
    >>> penalty = EBOPsPenalty(lambda epoch: 1e-6 * 1.1**epoch)
    """

    def __init__(self, beta: float | Callable[[int], float]) -> None:
        super().__init__()
        self.beta = beta
        self._carrier: LearnedBits | None = None

    def set_model(self, model: keras.Model) -> None:
        """Attach the penalty before the training step is traced."""
        super().set_model(model)
        learned = [q for q in model._flatten_layers() if isinstance(q, LearnedBits)]
        learned = [q for q in learned if q.built and q.trainable]
        if not learned:
            raise ValueError(
                f"Model {model.name!r} has no LearnedBits quantizer, whose bits a "
                "penalty could lessen."
            )
        carrier, costs = learned[0], _costs(model)
        self._carrier = carrier
        # A regularizer is called anew in every step; that of one variable does for all.
        carrier.fraction.regularizer = lambda _: (
            ops.convert_to_tensor(carrier.beta) * sum(cost() for cost in costs.values())
        )
        model.train_function = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set beta."""
        beta = self.beta(epoch) if callable(self.beta) else self.beta
        if not beta >= 0:
            raise ValueError(f"`beta` must be at least 0. Received: beta={beta!r}")
        if self._carrier is not None:
            self._carrier.beta.assign(beta)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report the EBOPs."""
        if logs is not None:
            getattr(self.model, "jax_state_sync", lambda: None)()
            logs["ebops"] = sum(ebops(self.model).values())

    def on_train_end(self, logs: Any = None) -> None:
        """Take the penalty away."""
        if self._carrier is not None:
            self._carrier.fraction.regularizer = None
            self._carrier.beta.assign(0.0)
            self.model.train_function = None


def _costs(model: keras.Model) -> dict[str, Callable[[], Any]]:
    """Return for each counted layer a function that computes its EBOPs."""
    functional = functional_of(model)
    costs: dict[str, Callable[[], Any]] = {}
    for layer in functional.layers:
        if isinstance(layer, keras.Model):
            raise _unknown(layer, "it is a nested model; take its layers themselves")
        if isinstance(layer, _COUNTED):
            nodes = [n for n in layer._inbound_nodes if _within(n, model)]
            costs[layer.name] = _sum([_cost(layer, node) for node in nodes])
    return costs


def _sum(costs: list[Callable[[], Any]]) -> Callable[[], Any]:
    return lambda: sum(cost() for cost in costs)


def _within(node: Any, model: keras.Model) -> bool:
    nodes = functional_of(model)._nodes_by_depth.values()
    return any(node is n for level in nodes for n in level)


def _cost(layer: Any, node: Any) -> Callable[[], Any]:
    (source,) = node.input_tensors
    inputs = _bits_of_tensor(source, layer)
    kernel_bits = _bits_of_kernel(layer)

    def cost() -> Any:
        x = ops.broadcast_to(inputs(), (1, *source.shape[1:]))
        return ops.sum(_multiply(layer, x, kernel_bits()))

    return cost


def _multiply(layer: Any, x: Any, kernel: Any) -> Any:
    """Return the layer's sums of products; padding has no bits."""
    if isinstance(layer, layers.Dense):
        return ops.matmul(x, kernel)
    if isinstance(layer, layers.EinsumDense):
        return ops.einsum(layer.equation, x, kernel)
    padding = layer.padding
    if padding == "causal":
        x = ops.pad(x, layer._compute_causal_padding())
        padding = "valid"
    convolve = ops.depthwise_conv if isinstance(layer, _DEPTHWISE) else ops.conv
    return convolve(
        x,
        kernel,
        strides=layer.strides,
        padding=padding,
        data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
    )


def _bits_of_kernel(layer: Any) -> Callable[[], Any]:
    names = ("kernel_quantizer", "depthwise_quantizer")
    quantizer = next((getattr(layer, n) for n in names if hasattr(layer, n)), None)
    if quantizer is None:
        raise _unknown(layer, "its kernel has no quantizer")
    return _bits_of(quantizer, lambda: layer.kernel)


def _bits_of_tensor(tensor: Any, reader: Any) -> Callable[[], Any]:
    history = tensor._keras_history
    layer = history.operation
    quantizer = getattr(layer, "quantizer", None)
    if quantizer is None:
        quantizer = getattr(
            layer, "final_activation", getattr(layer, "activation", None)
        )
    if isinstance(quantizer, (Quantizer, StatefulQuantizer)):
        return _bits_of(quantizer, None)
    if not isinstance(layer, _MOVING):
        raise _unknown(reader, f"its input, of {layer.name!r}, has no quantizer")
    (source,) = layer._inbound_nodes[history.node_index].input_tensors
    bits = _bits_of_tensor(source, reader)
    return lambda: layer(ops.broadcast_to(bits(), (1, *source.shape[1:])))


def _bits_of(quantizer: Any, values: Callable[[], Any] | None) -> Callable[[], Any]:
    if isinstance(quantizer, Gradual):
        return _bits_of(quantizer.quantizer, values)
    if isinstance(quantizer, LearnedBits):
        return lambda: quantizer.widths(None if values is None else values())
    bits = np.float32(max(1, quantizer.bits - bool(getattr(quantizer, "signed", True))))
    if values is None:
        return lambda: ops.convert_to_tensor(bits)
    return lambda: ops.full(values().shape, bits)


def _unknown(layer: Any, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The EBOPs of layer {layer.name!r} cannot be counted: {reason}. Give every "
        "kernel a quantizer, and put one in front of every layer that multiplies.",
        layer=layer.name,
    )
