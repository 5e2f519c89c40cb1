"""2D convolutions with quantizers and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy, QuantizedLayer


@register_keras_serializable(package="kerasqnn")
class QuantConv2D(QuantizedLayer, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with quantized kernel and bias.

    Formula: `activation(noise(conv(inputs, kernel_quantizer(kernel)) +
    bias_quantizer(bias)))`. The stored weights stay float; the quantizers act at every
    call, with the gradients that each quantizer states. Without quantizers and noise
    the output is bit-identical to Keras's layer.

    Args:
        filters: Number of output channels; this and all following arguments up to
            `bias_constraint` are those of `keras.layers.Conv2D`.
        kernel_size: As Keras.
        strides: As Keras.
        padding: As Keras.
        data_format: As Keras.
        dilation_rate: As Keras.
        groups: As Keras.
        activation: A Keras activation, or a quantizer such as `"quantized_relu(4,2)"`.
        use_bias: As Keras.
        kernel_initializer: As Keras.
        bias_initializer: As Keras.
        kernel_regularizer: As Keras.
        bias_regularizer: As Keras.
        activity_regularizer: As Keras.
        kernel_constraint: As Keras.
        bias_constraint: As Keras.
        kernel_quantizer: Quantizer of the kernel, or None; scales one a channel run
            along the filters.
        bias_quantizer: Quantizer of the bias, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            the activation. The point is `layer.noise_point`.

    Input shape:
        `(batch, height, width, channels)` for `data_format="channels_last"`.

    Output shape:
        `(batch, new_height, new_width, filters)`.

    Raises:
        ValueError: If a string names no quantizer, noise or activation.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.QuantConv2D(4, 3, kernel_quantizer="binary")
    >>> layer(keras.ops.ones((1, 8, 8, 2))).shape
    TensorShape([1, 6, 6, 4])
    """

    quantizer_arguments = ("kernel_quantizer", "bias_quantizer")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output."""
        kernel = self._quantized(self.kernel_quantizer, self.kernel)
        x = self.convolution_op(inputs, kernel)
        if self.bias is not None:
            bias = self._quantized(self.bias_quantizer, self.bias)
            if self.data_format == "channels_first":
                bias = ops.reshape(bias, (1, self.filters, 1, 1))
            x = ops.add(x, bias)
        return self._finish(x, training)


@register_keras_serializable(package="kerasqnn")
class NoisyQuantConv2D(Noisy, QuantConv2D):
    """`QuantConv2D` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
