"""Random qkeras quantizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import qkeras


def _pick(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def _bits(rng: np.random.Generator, alphas: tuple[Any, ...]) -> dict[str, Any]:
    bits = int(rng.integers(2, 9)) if rng.random() < 0.97 else 1
    return {
        "bits": bits,
        "integer": int(rng.integers(0, 3)),
        "symmetric": int(rng.integers(2)),
        "keep_negative": bool(rng.random() < 0.9),
        "alpha": _pick(rng, *alphas),
    }


def _rarely(rng: np.random.Generator, arguments: dict[str, Any], **others: Any) -> None:
    for name, value in others.items():
        if rng.random() < 0.01:
            arguments[name] = value


def weight_quantizer(rng: np.random.Generator) -> Any:
    """Return a quantizer of a kernel: an object, or None."""
    alphas: tuple[Any, ...] = (None, None, 1, 1.0, 0.5, 2.0, "auto_po2")
    if rng.random() < 0.05:
        alphas = ("auto", 0.7)
    kind = rng.random()
    if kind < 0.08:
        return None
    if kind < 0.6:
        arguments = _bits(rng, alphas)
        _rarely(
            rng,
            arguments,
            use_stochastic_rounding=True,
            qnoise_factor=0.5,
            use_ste=False,
            scale_axis=0,
            max_po2_exponent=0,
        )
        return qkeras.quantized_bits(**arguments)
    if kind < 0.72:
        return qkeras.binary(alpha=_pick(rng, *alphas))
    if kind < 0.84:
        alpha = _pick(rng, *alphas)
        fixed = alpha is not None and not isinstance(alpha, str)
        threshold = _pick(rng, None, 0.25, 0.5) if fixed else None
        return qkeras.ternary(alpha=alpha, threshold=threshold)
    if kind < 0.92:
        return qkeras.quantized_linear(**_bits(rng, alphas))
    if kind < 0.97:
        return qkeras.quantized_po2(
            int(rng.integers(3, 7)), max_value=_pick(rng, None, 1, 2)
        )
    return _pick(rng, qkeras.stochastic_ternary(), qkeras.stochastic_binary())


def small_quantizer(rng: np.random.Generator) -> Any:
    """Return a quantizer of a bias, a normalization or an average."""
    return _pick(
        rng,
        None,
        qkeras.quantized_bits(8, 2, 1),
        qkeras.quantized_bits(6, 1, alpha=1),
        "quantized_bits(8,0,1)",
        "quantized_bits(10,3,1)",
        qkeras.quantized_po2(5),
        qkeras.quantized_linear(8, 2, alpha=1.0),
        qkeras.quantized_bits(8, 0, alpha="auto_po2"),
    )


def activation_quantizer(rng: np.random.Generator) -> Any:
    """Return an activation: a quantizer, as object or string, or a function."""
    bits = int(rng.integers(2, 9))
    integer = int(rng.integers(0, 3))
    kind = rng.random()
    if kind < 0.35:
        arguments = {"bits": bits, "integer": integer}
        _rarely(
            rng,
            arguments,
            use_sigmoid=1,
            use_stochastic_rounding=True,
            qnoise_factor=0.5,
        )
        if rng.random() < 0.2:
            arguments["negative_slope"] = _pick(rng, 0.25, 0.5)
        if rng.random() < 0.2:
            arguments |= {"relu_upper_bound": 1.5, "is_quantized_clip": False}
        return qkeras.quantized_relu(**arguments)
    if kind < 0.45:
        return f"quantized_relu({bits},{integer})"
    if kind < 0.6:
        alphas: tuple[Any, ...] = (None, 1, None, 2.0)
        if rng.random() < 0.1:
            alphas = (0.7, "auto_po2")
        return qkeras.quantized_bits(**_bits(rng, alphas))
    if kind < 0.66:
        symmetric, real = bool(rng.integers(2)), bool(rng.integers(2))
        return qkeras.quantized_tanh(bits, symmetric=symmetric, use_real_tanh=real)
    if kind < 0.72:
        symmetric, real = bool(rng.integers(2)), bool(rng.integers(2))
        return qkeras.quantized_sigmoid(bits, symmetric, real)
    if kind < 0.9:
        return _pick(
            rng,
            "quantized_po2(5)",
            qkeras.quantized_relu_po2(5, 4),
            qkeras.quantized_relu_po2(5, negative_slope=0.25),
            qkeras.quantized_hswish(bits, 2),
            "binary",
            "ternary(1)",
            qkeras.quantized_linear(bits, integer, alpha=1.0),
            _pick(rng, "quantized_ulaw(6,1)", "bernoulli()", "binary", "ternary(1)"),
        )
    return _pick(
        rng,
        "relu",
        "linear",
        "tanh",
        "softmax",
        "sigmoid",
        "hard_sigmoid",
        "hard_tanh",
        "smooth_sigmoid",
        _pick(rng, "binary_tanh", "smooth_tanh"),
    )
