"""Simple recurrent layers with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy
from ._recurrent import QuantizedRecurrent, _OwnCell
from ._recurrent_cell import QuantizedCell


@register_keras_serializable(package="kerasqnn")
class QuantSimpleRNNCell(QuantizedCell, keras.layers.SimpleRNNCell):
    """`keras.layers.SimpleRNNCell` with quantized weights and states: one time step.

    The formula is that of `QuantSimpleRNN`. For `keras.layers.RNN`, which quantizes the
    weights at every time step, where `QuantSimpleRNN` does it once a call.

    Args:
        *args: Those of `keras.layers.SimpleRNNCell`, in its order; `activation` may
            also be quantizers such as `"quantized_bits(6,0)"`.
        kernel_quantizer: Quantizer of the kernel, or None.
        recurrent_quantizer: Quantizer of the recurrent kernel, or None.
        bias_quantizer: Quantizer of the bias, or None.
        state_quantizer: Quantizer of the states that a step reads, or None.

    Input shape:
        `(batch, features)`, and the states, each `(batch, units)`.

    Output shape:
        `(batch, units)`, and the states.
    """

    def _step(
        self, inputs: Any, states: list[Any], weights: Any, training: bool
    ) -> tuple[Any, list[Any]]:
        kernel, recurrent, bias = weights
        (x,) = self._dropped_inputs(inputs, 1, training)
        (state,) = self._dropped_state(states[0], 1, training)
        x = ops.matmul(x, kernel)
        if bias is not None:
            x = ops.add(x, bias)
        output = self.activation(x + ops.matmul(state, recurrent))
        return output, [output]


@register_keras_serializable(package="kerasqnn")
class QuantSimpleRNN(QuantizedRecurrent, _OwnCell, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` with quantized weights and states.

    Formula of a time step, with `k`, `r`, `b` the quantized kernel, recurrent kernel
    and bias:

        h = activation(x @ k + b + state_quantizer(h) @ r)

    The state quantizer acts on what a step reads, the initial state too, so that every
    product has quantized factors; what the layer returns is the output itself, as in
    QKeras. For outputs on a grid make `activation` a quantizer. The weights are
    quantized once a call, with the gradients that each quantizer states; all steps run
    in Keras's loop over the cell, as its fused implementations (cuDNN) would read the
    float weights. Without quantizers the layer is Keras's, cuDNN included. With
    quantizers of fixed scale the bits are those of qkeras-v3's `QSimpleRNN`
    in inference.

    Noise acts once, on the layer's output after the last step (on the whole sequence
    with `return_sequences`): it is drawn anew for every number of it and does not enter
    the states.

    Args:
        *args: Those of `keras.layers.SimpleRNN`, in its order; `activation` may
            also be quantizers such as `"quantized_bits(6,0)"`.
        kernel_quantizer: Quantizer of the kernel, or None.
        recurrent_quantizer: Quantizer of the recurrent kernel, or None.
        bias_quantizer: Quantizer of the bias, or None.
        state_quantizer: Quantizer of the states that a step reads, or None.
        noise: A `kerasqnn.noise` source or string, or None. The point is
            `layer.noise_point`.

    Input shape:
        `(batch, steps, features)`.

    Output shape:
        `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; with
        `return_state` the states after it.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.QuantSimpleRNN(
    ...     3, kernel_quantizer="quantized_bits(4,0,1)",
    ...     recurrent_quantizer="quantized_bits(4,0,1)",
    ...     state_quantizer="quantized_bits(6,0)", return_sequences=True
    ... )
    >>> layer(keras.ops.ones((1, 5, 2))).shape
    TensorShape([1, 5, 3])
    """

    cell_class = QuantSimpleRNNCell


@register_keras_serializable(package="kerasqnn")
class NoisyQuantSimpleRNN(Noisy, QuantSimpleRNN):
    """`QuantSimpleRNN` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
