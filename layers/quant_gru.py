"""GRU layers with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy
from ._recurrent import QuantizedRecurrent, _OwnCell
from ._recurrent_cell import QuantizedCell


@register_keras_serializable(package="kerasqnn")
class QuantGRUCell(QuantizedCell, keras.layers.GRUCell):
    """`keras.layers.GRUCell` with quantized weights and states: one time step.

    The formula is that of `QuantGRU`. For `keras.layers.RNN`, which quantizes the
    weights at every time step, where `QuantGRU` does it once a call.

    Args:
        *args: Those of `keras.layers.GRUCell`, in its order; `activation` and
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
        (state,) = states
        recurrent = weights[1][:, 2 * self.units :]
        gates = self._gates if self.implementation == 1 else self._fused_gates
        x, inner, dropped = gates(inputs, state, weights, training)
        update = self.recurrent_activation(x[0] + inner[0])
        reset = self.recurrent_activation(x[1] + inner[1])
        if self.reset_after:
            candidate = reset * inner[2]
        else:
            candidate = ops.matmul(reset * dropped, recurrent)
        candidate = self.activation(x[2] + candidate)
        output = update * state + (1 - update) * candidate
        return output, [output]

    def _biases(self, bias: Any) -> tuple[Any, Any]:
        """Return the biases of the products with inputs and state."""
        if bias is None or not self.reset_after:
            return bias, None
        return bias[0], bias[1]

    def _gates(self, inputs: Any, state: Any, weights: Any, training: bool) -> Any:
        """Return both products, gate by gate, and the state behind dropout."""
        kernel, recurrent, bias = weights
        biases = self._biases(bias)
        inputs = self._dropped_inputs(inputs, 3, training)
        states = self._dropped_state(state, 3, training)
        x: list[Any] = []
        inner: list[Any] = []
        for gate in range(3):
            own = slice(gate * self.units, (gate + 1) * self.units)
            products = (
                ops.matmul(inputs[gate], kernel[:, own]),
                ops.matmul(states[gate], recurrent[:, own]),
            )
            for parts, product, b in zip((x, inner), products, biases, strict=True):
                parts.append(product if b is None else product + b[own])
        return x, inner, states[2]

    def _fused_gates(
        self, inputs: Any, state: Any, weights: Any, training: bool
    ) -> Any:
        """Return the same from one product each."""
        kernel, recurrent, bias = weights
        if not self.reset_after:
            recurrent = recurrent[:, : 2 * self.units]
        (inputs,) = self._dropped_inputs(inputs, 1, training)
        products = ops.matmul(inputs, kernel), ops.matmul(state, recurrent)
        x, inner = (
            p if b is None else ops.add(p, b)
            for p, b in zip(products, self._biases(bias), strict=True)
        )
        parts = [slice(g * self.units, (g + 1) * self.units) for g in range(3)]
        return ops.split(x, 3, axis=-1), [inner[:, part] for part in parts], state


@register_keras_serializable(package="kerasqnn")
class QuantGRU(QuantizedRecurrent, _OwnCell, keras.layers.GRU):
    """`keras.layers.GRU` with quantized weights and states.

    Formula of a time step, with `k`, `r`, `b` the quantized kernel, recurrent kernel
    and bias:

        q = state_quantizer(h)
        z = recurrent_activation(x @ k_z + b_z + q @ r_z)
        s = recurrent_activation(x @ k_s + b_s + q @ r_s)
        g = activation(x @ k_g + b_g + s * (q @ r_g))
        h = z * q + (1 - z) * g

    with `(s * q) @ r_g` in the third line for `reset_after=False`, and with
    `reset_after=True` a second bias beside each `@ r`.

    The state quantizer acts on what a step reads, the initial state too, so that every
    product has quantized factors; what the layer returns is the output itself, as in
    QKeras. For outputs on a grid make `activation` a quantizer. The weights are
    quantized once a call, with the gradients that each quantizer states; all steps run
    in Keras's loop over the cell, as its fused implementations (cuDNN) would read the
    float weights. Without quantizers the layer is Keras's, cuDNN included. With
    quantizers of fixed scale the bits are those of qkeras-v3's `QGRU`, whose
    default is `implementation=1`, in inference.

    Noise acts once, on the layer's output after the last step (on the whole sequence
    with `return_sequences`): it is drawn anew for every number of it and does not enter
    the states.

    Args:
        *args: Those of `keras.layers.GRU`, in its order; `activation` and
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
    >>> layer = kerasqnn.layers.QuantGRU(
    ...     3, kernel_quantizer="quantized_bits(4,0,1)",
    ...     recurrent_quantizer="quantized_bits(4,0,1)",
    ...     state_quantizer="quantized_bits(6,0)", return_sequences=True
    ... )
    >>> layer(keras.ops.ones((1, 5, 2))).shape
    TensorShape([1, 5, 3])
    """

    cell_class = QuantGRUCell


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGRU(Noisy, QuantGRU):
    """`QuantGRU` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
