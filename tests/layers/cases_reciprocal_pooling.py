"""Contract cases of pooling that multiplies by a quantized reciprocal."""

from __future__ import annotations

from kerasqnn import layers

from .case import POINT, Case

_AVERAGE = {"average_quantizer": "quantized_bits(6,0,keep_negative=0)"}
_IMAGE = (5, 4, 2)


def _pooling(name: str) -> dict[str, Case]:
    cls = getattr(layers, name)
    names = POINT if name.startswith("Noisy") else []
    options = {"keepdims": True} if "Global" in name else {"pool_size": (2, 3)}
    full = {
        **options,
        **_AVERAGE,
        **({} if "Global" in name else {"strides": (2, 1), "padding": "same"}),
        "data_format": "channels_last",
        "output_quantizer": "quantized_bits(5,2)",
        "noise": "multiplicative(0.5)",
    }
    return {
        "quantized": Case(cls, {**options, **_AVERAGE}, _IMAGE, names),
        "full": Case(cls, full, _IMAGE, POINT),
    }


CASES = {
    f"{noisy}QuantReciprocal{reach}AveragePooling2D": _pooling(
        f"{noisy}QuantReciprocal{reach}AveragePooling2D"
    )
    for reach in ("", "Global")
    for noisy in ("", "Noisy")
}
