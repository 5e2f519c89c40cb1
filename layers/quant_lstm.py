"""LSTM layers with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy
from ._recurrent import QuantizedRecurrent, _OwnCell
from ._recurrent_cell import QuantizedCell


@register_keras_serializable(package="kerasqnn")
class QuantLSTMCell(QuantizedCell, keras.layers.LSTMCell):
    """`keras.layers.LSTMCell` with quantized weights and states: one time step.

    The formula is that of `QuantLSTM`. For `keras.layers.RNN`, which quantizes the
    weights at every time step, where `QuantLSTM` does it once a call.

    Args:
        *args: Those of `keras.layers.LSTMCell`, in its order; `activation` and
            `recurrent_activation` may
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
        state, carry = states
        if self.implementation == 1:
            gates = self._gates(inputs, state, weights, training)
        else:
            kernel, recurrent, bias = weights
            (x,) = self._dropped_inputs(inputs, 1, training)
            x = ops.add(ops.matmul(x, kernel), ops.matmul(state, recurrent))
            gates = ops.split(x if bias is None else ops.add(x, bias), 4, axis=1)
        carry, output_gate = self._compute_carry_and_output_fused(gates, carry)
        output = output_gate * self.activation(carry)
        return output, [output, carry]

    def _gates(self, inputs: Any, state: Any, weights: Any, training: bool) -> Any:
        """Return the gates, each by products of its own."""
        kernel, recurrent, bias = weights
        inputs = self._dropped_inputs(inputs, 4, training)
        state = self._dropped_state(state, 4, training)
        gates = []
        for gate, part in enumerate(ops.split(kernel, 4, axis=1)):
            own = slice(gate * self.units, (gate + 1) * self.units)
            x = ops.matmul(inputs[gate], part)
            if bias is not None:
                x = x + bias[own]
            gates.append(x + ops.matmul(state[gate], recurrent[:, own]))
        return gates


@register_keras_serializable(package="kerasqnn")
class QuantLSTM(QuantizedRecurrent, _OwnCell, keras.layers.LSTM):
    """`keras.layers.LSTM` with quantized weights and states.

    Formula of a time step, with `k`, `r`, `b` the quantized kernel, recurrent kernel
    and bias:

        i, f, g, o = split(x @ k + state_quantizer(h) @ r + b)
        c = recurrent_activation(f) * state_quantizer(c)
            + recurrent_activation(i) * activation(g)
        h = recurrent_activation(o) * activation(c)

    The state quantizer acts on what a step reads, the initial state too, so that every
    product has quantized factors; what the layer returns is the output itself, as in
    QKeras. For outputs on a grid make `activation` a quantizer. The weights are
    quantized once a call, with the gradients that each quantizer states; all steps run
    in Keras's loop over the cell, as its fused implementations (cuDNN) would read the
    float weights. Without quantizers the layer is Keras's, cuDNN included. With
    quantizers of fixed scale the bits are those of qkeras-v3's `QLSTM`, whose
    default is `implementation=1`, in inference.

    Noise acts once, on the layer's output after the last step (on the whole sequence
    with `return_sequences`): it is drawn anew for every number of it and does not enter
    the states.

    Args:
        *args: Those of `keras.layers.LSTM`, in its order; `activation` and
            `recurrent_activation` may
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
        ValueError: If a string names no quantizer, noise or activation, or quantizers
            are combined with `use_cudnn=True`.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.QuantLSTM(
    ...     3, kernel_quantizer="quantized_bits(4,0,1)",
    ...     recurrent_quantizer="quantized_bits(4,0,1)",
    ...     state_quantizer="quantized_bits(6,0)", return_sequences=True
    ... )
    >>> layer(keras.ops.ones((1, 5, 2))).shape
    TensorShape([1, 5, 3])
    """

    cell_class = QuantLSTMCell


@register_keras_serializable(package="kerasqnn")
class NoisyQuantLSTM(Noisy, QuantLSTM):
    """`QuantLSTM` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
