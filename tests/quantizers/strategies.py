"""Hypothesis strategies of quantizers."""

from hypothesis import strategies as st

from kerasqnn.quantizers import (
    ROUNDING_MODES,
    Binary,
    FixedPoint,
    PowerOfTwo,
    PowerOfTwoReLU,
    QuantizedHardSwish,
    QuantizedLeakyReLU,
    QuantizedReLU,
    QuantizedSigmoid,
    QuantizedSigmoidReLU,
    QuantizedTanh,
    Quantizer,
    Ternary,
)
from kerasqnn.quantizers.quantized_functions import SIGMOIDS, TANHS

_factors = st.floats(1e-3, 1e3)
factors = st.one_of(_factors, st.lists(_factors, min_size=1, max_size=4).map(tuple))
roundings = st.sampled_from(sorted(ROUNDING_MODES))
gradients = st.sampled_from(["tanh", "identity"])


@st.composite
def fixed_points(draw: st.DrawFn) -> FixedPoint:
    """FixedPoint with any arguments."""
    signed = draw(st.booleans())
    scale = draw(factors)
    vector = isinstance(scale, tuple)
    alphas = st.tuples(*[_factors] * len(scale)) if vector else factors
    overflows = ["SAT", "WRAP", *(["SAT_SYM"] if signed else [])]
    return FixedPoint(
        draw(st.integers(1 + signed, 24)),
        draw(st.integers(-32, 32)),
        signed=signed,
        rounding=draw(roundings),
        overflow=draw(st.sampled_from(overflows)),
        scale=scale,
        alpha=draw(alphas),
    )


_bounds = st.one_of(st.none(), _factors)
_slopes = st.one_of(st.just(0.0), st.integers(-16, 0).map(lambda e: 2.0**e))
_powers = {"quadratic": st.booleans(), "rounding": st.sampled_from(["rnd", "floor"])}
functions: st.SearchStrategy[Quantizer] = st.one_of(
    st.builds(
        QuantizedTanh,
        st.integers(2, 24),
        function=st.sampled_from(TANHS),
        symmetric=st.booleans(),
    ),
    st.builds(
        QuantizedSigmoid,
        st.integers(1, 24),
        function=st.sampled_from(SIGMOIDS),
        symmetric=st.booleans(),
    ),
    st.builds(
        QuantizedHardSwish,
        st.integers(2, 24),
        st.integers(-8, 8),
        symmetric=st.booleans(),
        alpha=factors,
        shift=_factors,
        bound=_factors,
    ),
    st.builds(
        QuantizedLeakyReLU,
        st.integers(2, 24),
        st.integers(-8, 8),
        negative_slope=_slopes,
        upper_bound=_bounds,
    ),
    st.builds(
        QuantizedSigmoidReLU,
        st.integers(1, 23),
        st.integers(-8, 8),
        function=st.sampled_from(SIGMOIDS),
        saturating_gradient=st.booleans(),
    ),
    st.builds(PowerOfTwo, st.integers(2, 10), _bounds, **_powers),
    st.builds(PowerOfTwoReLU, st.integers(1, 9), _bounds, _slopes, **_powers),
)
quantizers: st.SearchStrategy[Quantizer] = st.one_of(
    functions,
    fixed_points(),
    st.builds(
        QuantizedReLU, st.integers(1, 24), st.integers(-32, 32), rounding=roundings
    ),
    st.builds(Binary, factors, gradient=gradients),
    st.builds(Ternary, factors, threshold=_factors, gradient=gradients),
)
