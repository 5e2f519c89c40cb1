"""Cases of embeddings and of layer normalization."""

from __future__ import annotations

from typing import Any

from kerasqnn import layers

from .case import POINT, Case

_TABLE: dict[str, Any] = {"input_dim": 6, "output_dim": 3}
_TABLE_FULL: dict[str, Any] = {
    **_TABLE,
    "embeddings_initializer": "he_normal",
    "embeddings_regularizer": "l1",
    "embeddings_constraint": "max_norm",
    "mask_zero": True,
    "weights": None,
    "embeddings_quantizer": "quantized_bits(4,1,1)",
    "noise": "additive(0.5)",
}
_GRIDS: dict[str, Any] = {
    "gamma_quantizer": "quantized_bits(6,2,1)",
    "beta_quantizer": "quantized_bits(6,2,1)",
    "output_quantizer": "quantized_bits(6,2,1)",
}
_NORMALIZATION: dict[str, Any] = {
    "axis": [1, 2],
    "epsilon": 0.25,
    "center": True,
    "scale": True,
    "beta_initializer": "ones",
    "gamma_initializer": "random_normal",
    "beta_regularizer": "l1",
    "gamma_regularizer": "l2",
    "beta_constraint": "non_neg",
    "gamma_constraint": "max_norm",
    **_GRIDS,
    "noise": "multiplicative(0.5)",
}


def _embedding(name: str) -> dict[str, Case]:
    cls, point = getattr(layers, name), POINT if name.startswith("Noisy") else []
    names = ["embeddings", *point]
    quantized = {**_TABLE, "embeddings_quantizer": "binary"}
    return {
        "plain": Case(cls, _TABLE, (4,), names, below=6),
        "quantized": Case(cls, quantized, (2, 4), names, below=6),
        "full": Case(cls, _TABLE_FULL, (4,), ["embeddings", *POINT], below=6),
    }


def _normalization(name: str) -> dict[str, Case]:
    cls, point = getattr(layers, name), POINT if name.startswith("Noisy") else []
    names = ["gamma", "beta", *point]
    return {
        # Mean and variance are no grid numbers, and compilers order their sums.
        "plain": Case(cls, {}, (3, 4), names, rtol=1e-6),
        "quantized": Case(cls, _GRIDS, (3, 4), names),
        "no-parameters": Case(
            cls, {**_GRIDS, "center": False, "scale": False}, (4,), point
        ),
        "full": Case(cls, _NORMALIZATION, (3, 4), ["gamma", "beta", *POINT]),
    }


CASES = {
    **{n: _embedding(n) for n in ("QuantEmbedding", "NoisyQuantEmbedding")},
    **{
        n: _normalization(n)
        for n in ("QuantLayerNormalization", "NoisyQuantLayerNormalization")
    },
}
