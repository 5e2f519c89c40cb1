"""The layers, each with no option of its own, with usual ones, and with every one."""

from __future__ import annotations

from typing import Any

from kerasqnn import layers
from kerasqnn.layers import NoisePoint
from kerasqnn.quantizers import FixedPoint

from . import (
    cases_attention,
    cases_centered,
    cases_folded,
    cases_learned,
    cases_merging,
    cases_pooling,
    cases_reciprocal_pooling,
    cases_recurrent,
    cases_tables,
)
from .case import POINT, STATISTICS, Case, weighted


def _named(cases: dict[str, dict[str, Case]]) -> dict[str, Case]:
    return {f"{c}-{v}": case for c, group in cases.items() for v, case in group.items()}


_DENSE: dict[str, Any] = {"units": 3}
_IMAGE = {1: (5, 2), 2: (5, 4, 2), 3: (3, 5, 4, 2)}
_EINSUM: dict[str, Any] = {
    "equation": "abc,cd->abd",
    "output_shape": (3, 3),
    "bias_axes": "d",
}


def _convolutions() -> dict[str, dict[str, Case]]:
    """Cases of all convolutions, of every rank."""
    cases = {}
    for name, cls in vars(layers).items():
        family, _, rank_ = name.removeprefix("Noisy").partition("Conv")
        if not rank_[:1].isdigit():
            continue
        rank, transposed = int(rank_[0]), rank_.endswith("Transpose")
        strides = {1: 2, 2: (2, 1), 3: (2, 1, 1)}[rank]
        depthwise = family == "QuantDepthwise"
        every: dict[str, Any] = {
            "strides": 2 if depthwise or family == "QuantSeparable" else strides,
            "padding": "same",
            "data_format": "channels_last",
            "dilation_rate": (1,) * rank,
        }
        required: dict[str, Any] = {"filters": 4, "kernel_size": 2}
        kernels: tuple[str, ...] = ("kernel",)
        if depthwise:
            del required["filters"]
        if depthwise or family == "QuantSeparable":
            every["depth_multiplier"] = 2
        elif transposed:
            every |= {"strides": 2, "output_padding": 1}
        else:
            every["groups"] = 2
        if family == "QuantSeparable":
            kernels = ("depthwise_kernel", "pointwise_kernel")
        argument = "depthwise" if depthwise else "kernel"
        cases[name] = weighted(cls, required, _IMAGE[rank], every, kernels, argument)
    return cases


_NORMALIZATION = {
    "axis": 1,
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
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.5,
    "synchronized": False,
    "scale_quantizer": "quantized_bits(6,2,1)",
    "offset_quantizer": "quantized_bits(8,3)",
    "gamma_quantizer": "quantized_po2(4)",
    "beta_quantizer": "quantized_bits(6,2)",
    "mean_quantizer": "quantized_bits(6,3)",
    "variance_quantizer": "quantized_relu_po2(4)",
    "inverse": "reciprocal",
    "noise": "multiplicative(0.5)",
}

CASES = _named(
    {
        "QuantDense": weighted(layers.QuantDense, _DENSE, (3, 4), {}),
        "NoisyQuantDense": weighted(layers.NoisyQuantDense, _DENSE, (4,), {}),
        **_convolutions(),
        **cases_attention.CASES,
        **cases_centered.CASES,
        **cases_folded.CASES,
        **cases_learned.CASES,
        **cases_merging.CASES,
        **cases_pooling.CASES,
        **cases_reciprocal_pooling.CASES,
        **cases_recurrent.CASES,
        **cases_tables.CASES,
        "QuantEinsumDense": weighted(layers.QuantEinsumDense, _EINSUM, (3, 4), {}),
        "NoisyQuantEinsumDense": weighted(
            layers.NoisyQuantEinsumDense, _EINSUM, (3, 4), {}
        ),
        "QuantBatchNormalization": {
            "plain": Case(layers.QuantBatchNormalization, {}, (4,), STATISTICS),
            "quantized": Case(
                layers.QuantBatchNormalization,
                {
                    "scale_quantizer": "quantized_bits(6,2)",
                    "offset_quantizer": "binary",
                },
                (3, 4),
                STATISTICS,
            ),
            "full": Case(
                layers.QuantBatchNormalization,
                _NORMALIZATION,
                (3, 4),
                [*STATISTICS, *POINT],
            ),
        },
        "QuantActivation": {
            "plain": Case(layers.QuantActivation, {"activation": "relu"}, (3, 4), []),
            "quantized": Case(
                layers.QuantActivation, {"activation": FixedPoint(3, 1)}, (3, 4), []
            ),
        },
        "QuantInput": {
            "quantized": Case(
                layers.QuantInput, {"quantizer": "quantized_bits(4,1)"}, (3, 4), []
            ),
        },
        "NoisePoint": {
            name: Case(NoisePoint, {"noise": f"{name}(0.5)"}, (3, 4), POINT)
            for name in ("additive", "multiplicative", "combined")
        },
    }
)
