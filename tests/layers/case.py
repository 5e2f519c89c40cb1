"""What a case of the layer tests is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """A layer's class, its arguments, the shape of its input, its weights' names.

    The shape is a list of shapes, or a dictionary by argument, for several inputs;
    `below` makes the inputs integers; `rtol` and `half` are those of `check_layer`.
    """

    cls: type
    kwargs: dict[str, Any]
    shape: Any
    weights: list[str]
    below: int | None = None
    rtol: float = 0.0
    half: str = "mixed_float16"

    def make(self, **options: Any) -> Any:
        """Return the layer."""
        return self.cls(**self.kwargs, **options)

    def inputs(self) -> Any:
        """Return numbers on a coarse grid."""
        random = np.random.default_rng(1)

        def numbers(shape: tuple[int, ...]) -> np.ndarray:
            if self.below is not None:
                return random.integers(0, self.below, (5, *shape), "int32")
            values = random.normal(0, 1.5, (5, *shape))
            return (np.rint(values * 8) / 8).astype(np.float32)

        if isinstance(self.shape, dict):
            return {name: numbers(shape) for name, shape in self.shape.items()}
        if isinstance(self.shape, list):
            return [numbers(shape) for shape in self.shape]
        return numbers(self.shape)


def weighted(
    cls: type,
    required: dict[str, Any],
    shape: tuple[int, ...],
    every: dict[str, Any],
    kernels: tuple[str, ...] = ("kernel",),
    argument: str = "kernel",
) -> dict[str, Case]:
    """Cases of a layer with kernels of these names and a bias.

    Its arguments about kernels are called after `argument`, in a separable layer after
    the kernels.
    """
    noisy = cls.__name__.startswith("Noisy")
    names = [*kernels, "bias", *(POINT if noisy else [])]
    arguments = (
        (argument,)
        if len(kernels) == 1
        else tuple(k.removesuffix("_kernel") for k in kernels)
    )

    def named(options: dict[str, Any]) -> dict[str, Any]:
        other = {k: v for k, v in options.items() if not k.startswith("kernel_")}
        renamed = {
            k.replace("kernel", a): v
            for a in arguments
            for k, v in options.items()
            if k.startswith("kernel_")
        }
        return renamed | other

    einsum = "equation" in required
    without = {"bias_axes": None} if einsum else {"use_bias": False}
    quantizers = named(QUANTIZERS)
    if not einsum:
        every = {**every, "use_bias": True}
    full = {**named(KEPT), **every, **quantizers, "noise": "combined(0.25, 0.5)"}
    return {
        "plain": Case(cls, required, shape, names),
        "quantized": Case(cls, {**required, **quantizers}, shape, names),
        "no-bias": Case(
            cls,
            {**required, **without, **named({"kernel_quantizer": "binary"})},
            shape,
            [n for n in names if n != "bias"],
        ),
        "full": Case(cls, {**required, **full}, shape, [*kernels, "bias", *POINT]),
    }
