"""`gamma / sqrt(variance)` with the same bits in every backend and compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

INVERSES = ("divide", "rsqrt", "reciprocal")
_LOWEST = float(np.finfo(np.float32).min)


def rounded(x: Any) -> Any:
    """Return a float32 result as it is, in a form that compilers round here.

    XLA joins a product and the sum after it into one operation with one rounding, and a
    square root and the division by it into an approximation. Only minus infinity is
    changed by this maximum, so that none can leave it out or see through it.
    """
    return ops.maximum(x, ops.cast(_LOWEST, x.dtype))


def inverse_deviation(variance: Any, gamma: Any, inverse: str) -> Any:
    """Return `gamma / sqrt(variance)`, of float32.

    Args:
        variance: With the epsilon.
        gamma: A tensor of its dtype, or None for 1.
        inverse: `"divide"`: the square root and the quotient, each rounded once as IEEE
            754 says. `"rsqrt"` and `"reciprocal"` are TensorFlow's operations of these
            names, as QKeras has them: approximations, whose last bits depend on the
            processor and on XLA.
    """
    if inverse == "divide":
        deviation = _once(ops.sqrt, variance)
        numerator = ops.ones_like(deviation) if gamma is None else gamma
        return _once(ops.divide, numerator, deviation)
    if inverse == "rsqrt":
        factor = ops.rsqrt(variance)
    else:
        # Grappler makes this of a division, or one of TensorFlow's approximations: so
        # a layer called eagerly, a traced one and QKeras's traced one share their bits.
        factor = ops.reciprocal(ops.sqrt(variance))
    return factor if gamma is None else factor * gamma


def _once(operation: Any, *arguments: Any) -> Any:
    """Return the result of an operation on float32, correctly rounded.

    torch's square root on CPUs and XLA's quotient on GPUs are an ulp off at times. From
    float64, which has more than twice the digits, rounding again gives the bits of one
    rounding; `rounded` keeps a compiler from narrowing the operation again. JAX has
    float64 only where `jax_enable_x64` is set; its float32 on a CPU is correctly
    rounded.
    """
    dtype = arguments[0].dtype
    widest = ops.convert_to_tensor(np.ones(1)).dtype
    wide = operation(*(ops.cast(a, widest) for a in arguments))
    return ops.cast(rounded(wide), dtype)
