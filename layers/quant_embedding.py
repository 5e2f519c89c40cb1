"""Embeddings with a quantized table and noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.saving import register_keras_serializable

from ._quantized import Noisy, QuantizedLayer


@register_keras_serializable(package="kerasqnn")
class QuantEmbedding(QuantizedLayer, keras.layers.Embedding):
    """`keras.layers.Embedding` with a quantized table.

    Formula: `noise(take(embeddings_quantizer(embeddings), inputs))`. The stored table
    stays float; the whole of it is quantized at every call, so that quantizers whose
    scale depends on all values see all of them. Rows that are not looked up get no
    gradient. Without quantizer and noise the output is bit-identical to Keras's layer.

    Args:
        *args: Those of `keras.layers.Embedding`, in its order.
        embeddings_quantizer: Quantizer of the table, or None; scales one a channel run
            along the output axis.
        noise: A `kerasqnn.noise` source or string, or None; acts on the rows that are
            looked up. The point is `layer.noise_point`.

    Input shape:
        `(batch, ...)`, integers from 0 to `input_dim - 1`.

    Output shape:
        `(batch, ..., output_dim)`.

    Raises:
        ValueError: If a string names no quantizer or noise.

    Example:

    >>> import keras, kerasqnn
    >>> layer = kerasqnn.layers.QuantEmbedding(10, 4, embeddings_quantizer="binary")
    >>> layer(keras.ops.array([[1, 7]])).shape
    TensorShape([1, 2, 4])
    """

    quantizer_arguments = ("embeddings_quantizer",)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the rows that the inputs name."""
        if self.embeddings_quantizer is None:
            return self._finish(super().call(inputs), training)
        table = self._quantized(self.embeddings_quantizer, self.embeddings)
        rows = ops.take(table, ops.cast(inputs, "int32"), axis=0)
        return self._finish(ops.cast(rows, self.compute_dtype), training)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output's shape and dtype, which training does not change."""
        return super().compute_output_spec(inputs)


@register_keras_serializable(package="kerasqnn")
class NoisyQuantEmbedding(Noisy, QuantEmbedding):
    """`QuantEmbedding` that always has a noise point; see there.

    `noise` defaults to additive noise of level 0: an inactive point, ready to be set
    through `layer.noise_point.level`.
    """
