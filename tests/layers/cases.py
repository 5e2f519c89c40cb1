"""The layers, each with no option of its own, with usual ones, and with every one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasqnn import layers
from kerasqnn.layers import NoisePoint
from kerasqnn.quantizers import FixedPoint

KEPT = {  # arguments of Keras, none of them at its default
    "kernel_initializer": "he_normal",
    "bias_initializer": "ones",
    "kernel_regularizer": "l1",
    "bias_regularizer": "l2",
    "activity_regularizer": "l2",
    "kernel_constraint": "max_norm",
    "bias_constraint": "non_neg",
}
QUANTIZERS = {
    "kernel_quantizer": "quantized_bits(4,0,1)",
    "bias_quantizer": FixedPoint(6, 2, rounding="FLOOR"),
    "activation": "quantized_relu(6,3)",
}
POINT = ["level", "on_in_training", "on_in_inference"]
STATISTICS = ["gamma", "beta", "moving_mean", "moving_variance"]


@dataclass(frozen=True)
class Case:
    """A layer's class, its arguments, the shape of its input, its weights' names."""

    cls: type
    kwargs: dict[str, Any]
    shape: tuple[int, ...]
    weights: list[str]

    def make(self, **options: Any) -> Any:
        """Return the layer."""
        return self.cls(**self.kwargs, **options)

    def inputs(self) -> np.ndarray:
        """Return numbers on a coarse grid."""
        numbers = np.random.default_rng(1).normal(0, 1.5, (5, *self.shape))
        return (np.rint(numbers * 8) / 8).astype(np.float32)


def _weighted(
    cls: type, required: dict[str, Any], shape: tuple[int, ...], every: dict[str, Any]
) -> dict[str, Case]:
    noisy = cls.__name__.startswith("Noisy")
    names = ["kernel", "bias", *(POINT if noisy else [])]
    full = {
        **KEPT, **every, **QUANTIZERS, "use_bias": True,
        "noise": "combined(0.25, 0.5)",
    }  # fmt: skip
    return {
        "plain": Case(cls, required, shape, names),
        "quantized": Case(cls, {**required, **QUANTIZERS}, shape, names),
        "no-bias": Case(
            cls,
            {**required, "use_bias": False, "kernel_quantizer": "binary"},
            shape,
            [n for n in names if n != "bias"],
        ),
        "full": Case(cls, {**required, **full}, shape, ["kernel", "bias", *POINT]),
    }


def _named(cases: dict[str, dict[str, Case]]) -> dict[str, Case]:
    return {f"{c}-{v}": case for c, group in cases.items() for v, case in group.items()}


_DENSE: dict[str, Any] = {"units": 3}
_CONV: dict[str, Any] = {"filters": 4, "kernel_size": 2}
_CONV_EVERY = {
    "strides": (2, 1),
    "padding": "same",
    "data_format": "channels_last",
    "dilation_rate": (1, 1),
    "groups": 2,
}
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
    "noise": "multiplicative(0.5)",
}

CASES = _named(
    {
        "QuantDense": _weighted(layers.QuantDense, _DENSE, (3, 4), {}),
        "NoisyQuantDense": _weighted(layers.NoisyQuantDense, _DENSE, (4,), {}),
        "QuantConv2D": _weighted(layers.QuantConv2D, _CONV, (5, 4, 2), _CONV_EVERY),
        "NoisyQuantConv2D": _weighted(
            layers.NoisyQuantConv2D, _CONV, (5, 4, 2), _CONV_EVERY
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
