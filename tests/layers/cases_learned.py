"""Layers whose quantizers have variables."""

from __future__ import annotations

from typing import Any

from kerasqnn import layers

from .case import STATISTICS, Case

_STEP = ["change", "start"]
_QUANTIZER = "LearnedStepSize(4, power_of_two=True)"
_WEIGHTS = {
    "bias_quantizer": "LearnedStepSize(6)",
    "bias_initializer": "random_normal",  # the step of zeros has no gradient
    "activation": "PACT(4, alpha=1.0)",
}
_IMAGE = (5, 4, 2)


def _weighted(
    cls: type, kwargs: dict[str, Any], shape: tuple[int, ...], *kernels: str
) -> dict[str, Case]:
    """A case with a quantizer with variables in every place."""
    arguments = [k.removesuffix("_kernel") + "_quantizer" for k in kernels]
    if cls is layers.QuantDepthwiseConv2D:
        arguments = ["depthwise_quantizer"]
    every = {**kwargs, **dict.fromkeys(arguments, _QUANTIZER), **_WEIGHTS}
    steps = [*_STEP * (len(kernels) + 1)]
    return {"learned": Case(cls, every, shape, [*kernels, "bias", "alpha", *steps])}


_CONVOLUTION = {"filters": 3, "kernel_size": 2}
_KERNELS = ("depthwise_kernel", "pointwise_kernel")

CASES = {
    "LearnedDense": _weighted(layers.QuantDense, {"units": 3}, (3, 4), "kernel"),
    "LearnedConv2D": _weighted(layers.QuantConv2D, _CONVOLUTION, _IMAGE, "kernel"),
    "LearnedDepthwiseConv2D": _weighted(
        layers.QuantDepthwiseConv2D, {"kernel_size": 2}, _IMAGE, "kernel"
    ),
    "LearnedSeparableConv2D": _weighted(
        layers.QuantSeparableConv2D, _CONVOLUTION, _IMAGE, *_KERNELS
    ),
    "LearnedPooling": {
        "learned": Case(
            layers.QuantAveragePooling2D,
            {"pool_size": 2, "output_quantizer": "LearnedStepSize(4)"},
            _IMAGE,
            _STEP,
        )
    },
    "LearnedBatchNormalization": {
        "learned": Case(
            layers.QuantBatchNormalization,
            {"scale_quantizer": _QUANTIZER, "offset_quantizer": _QUANTIZER},
            (3, 4),
            [*STATISTICS, *_STEP * 2],
        )
    },
    "LearnedActivation": {
        "learned": Case(
            layers.QuantActivation, {"activation": _QUANTIZER}, (3, 4), _STEP
        )
    },
    "LearnedOffset": {
        "learned": Case(
            layers.QuantActivation,
            {"activation": "LSQPlus(4, start='three_sigma', power_of_two=True)"},
            (3, 4),
            ["step_change", "offset_change", "step_start", "offset_start"],
        )
    },
    "LearnedInput": {
        "learned": Case(
            layers.QuantInput, {"quantizer": "PACT(4, alpha=1.0)"}, (3, 4), ["alpha"]
        )
    },
}
