"""Cases of the layers with folded batch normalization."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kerasqnn import layers

from .case import POINT, STATISTICS, Case, weighted

_NORMALIZATION = {
    "momentum": 0.5,
    "epsilon": 0.25,
    "center": True,
    "scale": True,
    "beta_initializer": "ones",
    "gamma_initializer": "random_normal",
    "moving_mean_initializer": "ones",
    "moving_variance_initializer": "ones",
    "beta_regularizer": "l1",
    "gamma_regularizer": "l2",
    "beta_constraint": "non_neg",
    "gamma_constraint": "max_norm",
    "ema_freeze_delay": 5,
    "folding_mode": "batch_stats_folding",
    "inverse": "reciprocal",
}
_OF_KERAS: dict[str, Any] = {"data_format": "channels_last", "padding": "same"}
_OF_KERAS |= {"strides": 1, "dilation_rate": 1}
_LAYERS: dict[str, tuple[dict[str, Any], tuple[int, ...], dict[str, Any]]] = {
    "Dense": ({"units": 3}, (3, 4), {}),
    "Conv1D": ({"filters": 4, "kernel_size": 2}, (5, 2), {**_OF_KERAS, "groups": 2}),
    "Conv2D": ({"filters": 4, "kernel_size": 2}, (5, 4, 2), {**_OF_KERAS, "groups": 2}),
    "DepthwiseConv2D": (
        {"kernel_size": 2},
        (5, 4, 2),
        {**_OF_KERAS, "depth_multiplier": 2},
    ),
}


def _folded(cls: type, argument: str, *arguments: Any) -> dict[str, Case]:
    """Cases of a layer: what the fold gives is on a grid only behind a quantizer."""
    cases = weighted(cls, *arguments, argument=argument)
    if cls.__name__.startswith("Noisy"):
        cases = {name: cases[name] for name in ("plain", "full")}
    for name, case in cases.items():
        options: dict[str, Any] = _NORMALIZATION if name == "full" else {}
        if name != "no-bias":  # batches take their mean off, and so any bias
            options = {**options, "bias_initializer": "ones", "bias_regularizer": "l2"}
        names = [n for n in case.weights if n not in POINT]
        point = [n for n in case.weights if n in POINT]
        cases[name] = replace(
            case,
            kwargs=case.kwargs | options,
            weights=[*names, *point, *STATISTICS, "iteration"],
            rtol=0.0 if name in ("quantized", "full") else 1e-6,
        )
    return cases


CASES = {
    cls.__name__: _folded(cls, "depthwise" if "Depth" in kind else "kernel", *arguments)
    for kind, arguments in _LAYERS.items()
    for cls in (
        getattr(layers, f"Quant{kind}BatchNorm"),
        getattr(layers, f"NoisyQuant{kind}BatchNorm"),
    )
}
