"""Functions that divide by other numbers than powers of two, in integers."""

from __future__ import annotations

import numpy as np

from .graph import Operation
from .integer_operations import step
from .integers import Integers, Quotients, aligned, check_bits, from_float32


@step("hard_swish")
def _hard_swish(operation: Operation, x: Integers) -> tuple[Integers, None]:
    """`x * min(max(x + shift, 0), bound)`, to be divided by `bound`."""
    function, layer = operation.attributes["function"], operation.layer
    numbers = np.asarray([function.shift, function.bound], np.float32)
    codes, exponent = from_float32(numbers, layer)
    constants = Integers(codes, exponent, codes, codes)
    x, constants = aligned([x, constants], layer)
    shift, bound = (int(c) for c in constants.codes)
    largest = max(abs(int(x.low.min())), abs(int(x.high.max())))
    check_bits(largest * bound, layer)
    check_bits(largest + shift, layer)

    def product(codes: np.ndarray) -> np.ndarray:
        return codes * np.clip(codes + shift, 0, bound)

    # Lowest where the two factors meet, and monotone on both sides.
    middle = -shift // 2
    ends = [x.low, x.high, *(np.clip(m, x.low, x.high) for m in (middle, middle + 1))]
    reached = np.stack([product(np.asarray(end)) for end in ends])
    (divisor,), place = from_float32(numbers[1:], layer)
    bounds = reached.min(axis=0), reached.max(axis=0)
    exact = Integers(product(x.codes), 2 * x.exponent - place, *bounds)
    return (
        exact if divisor == 1 else Quotients(**vars(exact), divisor=int(divisor))
    ), None
