"""What the quantized attention layers share."""

from __future__ import annotations

from typing import Any

import keras

from .. import quantizers
from ..quantizers import QuantizedWeight
from ._quantized import QuantizedLayer
from .quant_einsum_dense import QuantEinsumDense

# Keras's attributes for the projections; the gate has an activation of its own.
_PROJECTIONS = {
    "_query_dense": "query_quantizer",
    "_key_dense": "key_quantizer",
    "_value_dense": "value_quantizer",
    "_gate_dense": None,
    "_output_dense": None,
}


class QuantizedAttention(QuantizedLayer):
    """Mixin, first in the bases, for Keras's attention layers with projections.

    Keras's `build` makes the projections; each is replaced by a `QuantEinsumDense`
    with the same arguments when it is assigned, before it has weights.
    """

    quantizer_arguments = (
        "kernel_quantizer",
        "bias_quantizer",
        "query_quantizer",
        "key_quantizer",
        "value_quantizer",
        "scores_quantizer",
        "probabilities_quantizer",
        "output_quantizer",
    )

    def _set_quantizers(self, noise: Any = None, **given: Any) -> None:
        super()._set_quantizers(noise, **given)
        if self._flash_attention and self._quantizes_scores:
            raise ValueError(
                "Flash attention computes no scores that could be quantized. Use "
                "flash_attention=False with `scores_quantizer` or "
                "`probabilities_quantizer`. "
                f"Received: flash_attention={self._flash_attention}"
            )

    @property
    def _quantizes_scores(self) -> bool:
        quantizers_ = (self.scores_quantizer, self.probabilities_quantizer)
        return any(q is not None for q in quantizers_)

    def _quantized_shape(self, argument: str, input_shape: Any) -> Any:
        if argument == "output_quantizer":
            return (None, *self.compute_output_shape(input_shape, input_shape)[1:])
        if argument in ("scores_quantizer", "probabilities_quantizer"):
            return (None,) * (len(input_shape) + 1)
        return None  # the projections build theirs

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PROJECTIONS and type(value) is keras.layers.EinsumDense:
            value = self._projection(name, value)
        super().__setattr__(name, value)

    def _projection(self, name: str, dense: Any) -> QuantEinsumDense:
        config = dense.get_config()
        for own in ("kernel_quantizer", "bias_quantizer"):
            config[own] = quantizers.copy(getattr(self, own))
        # Not a copy, which would draw another seed than Keras's layer does.
        config["kernel_initializer"] = dense.kernel_initializer
        config["bias_initializer"] = dense.bias_initializer
        projection = QuantEinsumDense.from_config(config)
        argument = _PROJECTIONS[name]
        if argument is not None and getattr(self, argument) is not None:
            projection.activation = getattr(self, argument)
        return projection

    def _quantized_weights(self) -> dict[str, QuantizedWeight]:
        return {
            f"{name.strip('_').removesuffix('_dense')}/{weight}": value
            for name in _PROJECTIONS
            if (projection := getattr(self, name, None)) is not None
            for weight, value in projection.quantized_weights().items()
        }

    def _masked_softmax(self, scores: Any, attention_mask: Any = None) -> Any:
        scores = self._quantized(self.scores_quantizer, scores)
        probabilities = super()._masked_softmax(scores, attention_mask)
        return self._quantized(self.probabilities_quantizer, probabilities)

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return the attended values, and the probabilities if asked for."""
        # Asked for the scores, Keras computes them step by step, not in one kernel.
        outputs = super().call(
            query,
            value,
            key=key,
            query_mask=query_mask,
            value_mask=value_mask,
            key_mask=key_mask,
            attention_mask=attention_mask,
            return_attention_scores=return_attention_scores or self._quantizes_scores,
            training=training,
            use_causal_mask=use_causal_mask,
        )
        if not isinstance(outputs, tuple):
            return self._finish(outputs, training)
        attended, probabilities = outputs
        attended = self._finish(attended, training)
        return (attended, probabilities) if return_attention_scores else attended
