"""Hypothesis strategies of quantizers."""

from hypothesis import strategies as st

from kerasqnn.quantizers import (
    ROUNDING_MODES,
    Binary,
    FixedPoint,
    QuantizedReLU,
    Quantizer,
    Ternary,
)

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


quantizers: st.SearchStrategy[Quantizer] = st.one_of(
    fixed_points(),
    st.builds(
        QuantizedReLU, st.integers(1, 24), st.integers(-32, 32), rounding=roundings
    ),
    st.builds(Binary, factors, gradient=gradients),
    st.builds(Ternary, factors, threshold=_factors, gradient=gradients),
)
