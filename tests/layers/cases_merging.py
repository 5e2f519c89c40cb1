"""Cases of the layers that merge tensors."""

from __future__ import annotations

from typing import Any

from kerasqnn import layers

from .case import POINT, Case

_GRID = {"output_quantizer": "quantized_bits(6,3,1)"}
_EVERY: dict[str, dict[str, Any]] = {
    "Concatenate": {"axis": 1},
    "Dot": {"axes": 2, "normalize": False},
}


def _merging(name: str) -> dict[str, Case]:
    cls, kind = getattr(layers, name), name.rpartition("Quant")[2]
    names = POINT if name.startswith("Noisy") else []
    required = {"axes": 2} if kind == "Dot" else {}
    two = [(3, 4), (3, 4)]
    shapes = two if kind in ("Average", "Dot", "Subtract") else [*two, (3, 4)]
    every = _EVERY.get(kind, {})
    last = [(3, 4), (2, 4)] if kind == "Dot" else two
    options = {} if name.startswith("Noisy") else _GRID
    return {
        "plain" if options == {} else "quantized": Case(
            cls, {**required, **options}, shapes, names
        ),
        "full": Case(cls, {**every, **_GRID, "noise": "additive(0.5)"}, last, POINT),
    }


CASES = {
    f"{prefix}{kind}": _merging(f"{prefix}{kind}")
    for kind in (
        "Add",
        "Subtract",
        "Multiply",
        "Average",
        "Maximum",
        "Minimum",
        "Concatenate",
        "Dot",
    )
    for prefix in ("Quant", "NoisyQuant")
}
