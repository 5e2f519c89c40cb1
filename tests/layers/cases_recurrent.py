"""Cases of the recurrent layers."""

from __future__ import annotations

from typing import Any

from kerasqnn import layers

from .case import KEPT, POINT, Case

_QUANTIZERS = {
    "kernel_quantizer": "quantized_bits(4,0,1)",
    "recurrent_quantizer": "quantized_bits(4,0,1)",
    "bias_quantizer": "quantized_bits(6,2,1)",
    "state_quantizer": "quantized_bits(5,0)",
    "activation": "quantized_bits(5,0)",
}
_EVERY: dict[str, Any] = {
    "units": 3,
    "use_bias": True,
    "recurrent_initializer": "glorot_normal",
    "recurrent_regularizer": "l2",
    "recurrent_constraint": "max_norm",
    "dropout": 0.25,
    "recurrent_dropout": 0.5,
    "seed": 3,
    "return_sequences": True,
    "return_state": False,
    "go_backwards": True,
    "stateful": False,
}
_OWN: dict[str, dict[str, Any]] = {
    "SimpleRNN": {"unroll": True, "go_backwards": False},  # Keras fails on torch
    "LSTM": {"unroll": False, "unit_forget_bias": False, "use_cudnn": False},
    "GRU": {"unroll": False, "reset_after": False, "use_cudnn": False},
}
_WEIGHTS = ["kernel", "recurrent_kernel", "bias"]


def _recurrent(kind: str, cls: type) -> dict[str, Case]:
    noisy = cls.__name__.startswith("Noisy")
    gate = (
        {} if kind == "SimpleRNN" else {"recurrent_activation": "quantized_bits(5,1)"}
    )
    names = [*_WEIGHTS, *(POINT if noisy else [])]
    full = {**KEPT, **_EVERY, **_OWN[kind], **_QUANTIZERS, **gate}
    cases = {
        # Not on a grid, and TensorFlow fuses products and sums of a traced loop.
        "plain": Case(cls, {"units": 3}, (3, 2), names, rtol=1e-6),
        "full": Case(
            cls, {**full, "noise": "combined(0.25, 0.5)"}, (3, 2), [*_WEIGHTS, *POINT]
        ),
    }
    if not noisy:
        quantized = {"units": 3, **_QUANTIZERS, **gate}
        cases["quantized"] = Case(cls, quantized, (3, 2), names)
    return cases


CASES = {
    cls.__name__: _recurrent(kind, cls)
    for kind in _OWN
    for cls in (getattr(layers, f"Quant{kind}"), getattr(layers, f"NoisyQuant{kind}"))
}
