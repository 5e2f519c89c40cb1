"""Attention with quantized projections, scores and probabilities, and noise."""

from __future__ import annotations

import keras
from keras.saving import register_keras_serializable

from ._attention import QuantizedAttention
from ._quantized import Noisy


@register_keras_serializable(package="kerasqnn")
class QuantMultiHeadAttention(QuantizedAttention, keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention` with quantizers along the way.

    Formula, a head at a time; each projection is a `QuantEinsumDense` with weights of
    its own, `x @ kernel_quantizer(kernel) + bias_quantizer(bias)`:

        q = query_quantizer(projection(query))
        k = key_quantizer(projection(key))
        v = value_quantizer(projection(value))
        p = probabilities_quantizer(softmax(scores_quantizer(q / sqrt(key_dim) @ k^T)))
        y = output_quantizer(noise(projection(dropout(p) @ v)))

    Masked places count as in Keras. The softmax is computed in float32, so that two
    tools may differ in its last bit; export and hardware refuse the layer. Without
    quantizers and noise the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.MultiHeadAttention`, in its order.
        kernel_quantizer: Quantizer of the kernels of all projections, or None.
        bias_quantizer: Quantizer of their biases, or None.
        query_quantizer: Quantizer of the projected query, or None.
        key_quantizer: Quantizer of the projected key, or None.
        value_quantizer: Quantizer of the projected value, or None.
        scores_quantizer: Quantizer of the scores before masking and softmax, or None.
        probabilities_quantizer: Quantizer of the softmax, or None.
        output_quantizer: Quantizer of the output, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, ..., channels)`: query, value and, if given, key.

    Output shape:
        That of the query, its last axis as `output_shape` says.

    Raises:
        ValueError: If a string names no quantizer or noise, or if
            `flash_attention=True` meets a quantizer of scores or probabilities.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantMultiHeadAttention(Noisy, QuantMultiHeadAttention):
    """`QuantMultiHeadAttention` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """


@register_keras_serializable(package="kerasqnn")
class QuantGroupQueryAttention(QuantizedAttention, keras.layers.GroupQueryAttention):
    """`keras.layers.GroupQueryAttention` with quantizers along the way.

    Formula, a head at a time; each projection is a `QuantEinsumDense` with weights of
    its own, `x @ kernel_quantizer(kernel) + bias_quantizer(bias)`:

        q = query_quantizer(projection(query))
        k = key_quantizer(projection(key))
        v = value_quantizer(projection(value))
        p = probabilities_quantizer(softmax(scores_quantizer(q / sqrt(head_dim) @ k^T)))
        y = output_quantizer(noise(projection(dropout(p) @ v)))

    Masked places count as in Keras. The softmax is computed in float32, so that two
    tools may differ in its last bit; export and hardware refuse the layer. Without
    quantizers and noise the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.GroupQueryAttention`, in its order.
        kernel_quantizer: Quantizer of the kernels of all projections, or None.
        bias_quantizer: Quantizer of their biases, or None.
        query_quantizer: Quantizer of the projected query, or None.
        key_quantizer: Quantizer of the projected key, or None.
        value_quantizer: Quantizer of the projected value, or None.
        scores_quantizer: Quantizer of the scores before masking and softmax, or None.
        probabilities_quantizer: Quantizer of the softmax, or None.
        output_quantizer: Quantizer of the output, or None.
        noise: A `kerasqnn.noise` source or string, or None; acts on the output before
            it is quantized. The point is `layer.noise_point`.

    Input shape:
        `(batch, steps, channels)`: query, value and, if given, key.

    Output shape:
        That of the query.

    Raises:
        ValueError: If a string names no quantizer or noise, or if
            `flash_attention=True` meets a quantizer of scores or probabilities.
    """


@register_keras_serializable(package="kerasqnn")
class NoisyQuantGroupQueryAttention(Noisy, QuantGroupQueryAttention):
    """`QuantGroupQueryAttention` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
