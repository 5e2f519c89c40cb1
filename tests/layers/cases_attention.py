"""Cases of the attention layers."""

from __future__ import annotations

from typing import Any

from kerasqnn import layers

from .case import KEPT, POINT, Case

_REQUIRED: dict[str, dict[str, Any]] = {
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 4},
    "GroupQueryAttention": {
        "head_dim": 4,
        "num_query_heads": 4,
        "num_key_value_heads": 2,
    },
}
_EVERY: dict[str, dict[str, Any]] = {
    "MultiHeadAttention": {
        "value_dim": 3,
        "output_shape": (2, 3),
        "attention_axes": (1,),
    },
    "GroupQueryAttention": {},
}
_COMMON = {
    "dropout": 0.5,
    "use_bias": True,
    "sliding_window": 2,
    "flash_attention": False,
    "use_gate": True,
    "seed": 3,
}
_GRIDS = {
    "kernel_quantizer": "quantized_bits(5,1,1)",
    "bias_quantizer": "quantized_bits(5,1,1)",
    "query_quantizer": "quantized_bits(6,2,1)",
    "key_quantizer": "quantized_bits(6,2,1)",
    "value_quantizer": "quantized_bits(6,2,1)",
    "scores_quantizer": "quantized_bits(8,3,1)",
    "probabilities_quantizer": "quantized_bits(6,0,keep_negative=0)",
    "output_quantizer": "quantized_bits(8,3,1)",
}


def _attention(name: str) -> dict[str, Case]:
    cls, kind = getattr(layers, name), name.rpartition("Quant")[2]
    point = POINT if name.startswith("Noisy") else []
    required = _REQUIRED[kind]
    weights = ["kernel", "bias"] * 4
    half = "mixed_bfloat16"  # JAX has no float16 attention on a CPU
    shapes = {"query": (3, 4), "value": (5, 4)}
    full = {**required, **_EVERY[kind], **_COMMON, **KEPT, **_GRIDS}
    gated = ["kernel", "bias"] * 5
    return {
        "plain": Case(cls, required, shapes, [*point, *weights], half=half),
        "quantized": Case(
            cls, {**required, **_GRIDS}, shapes, [*point, *weights], half=half
        ),
        "full": Case(
            cls,
            {**full, "noise": "combined(0.25, 0.5)"},
            shapes,
            [*POINT, *gated],
            half=half,
        ),
    }


CASES = {
    f"{prefix}{kind}": _attention(f"{prefix}{kind}")
    for kind in _REQUIRED
    for prefix in ("Quant", "NoisyQuant")
}
