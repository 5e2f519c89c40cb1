"""Cases of the pooling layers."""

from __future__ import annotations

from typing import Any

from kerasqnn import layers

from .case import POINT, Case

_IMAGE = {1: (5, 2), 2: (5, 4, 2), 3: (3, 5, 4, 2)}
_GRID = {"output_quantizer": "quantized_bits(4,1,1)"}


def _pooling(name: str) -> dict[str, Case]:
    cls, rank = getattr(layers, name), int(name[-2])
    names = POINT if name.startswith("Noisy") else []
    required: dict[str, Any] = {} if "Global" in name else {"pool_size": 2}
    every: dict[str, Any] = {
        **(
            {"keepdims": True}
            if "Global" in name
            else {"pool_size": 2, "strides": (2, 1, 2)[:rank], "padding": "same"}
        ),
        "data_format": "channels_last",
    }
    full = {**every, **_GRID, "noise": "multiplicative(0.5)"}
    # On a CPU TensorFlow pools volumes in float32 and bfloat16 only.
    half = "mixed_bfloat16" if rank == 3 else "mixed_float16"
    options = {} if name.startswith("Noisy") else _GRID
    return {
        "plain" if options == {} else "quantized": Case(
            cls, {**required, **options}, _IMAGE[rank], names, half=half
        ),
        "full": Case(cls, full, _IMAGE[rank], POINT, half=half),
    }


CASES = {
    f"{noisy}Quant{reach}{kind}Pooling{rank}D": _pooling(
        f"{noisy}Quant{reach}{kind}Pooling{rank}D"
    )
    for kind in ("Average", "Max")
    for reach in ("", "Global")
    for rank in (1, 2, 3)
    for noisy in ("", "Noisy")
}
