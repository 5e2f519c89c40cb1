"""Quantizers and noise sources compare by value and never change."""

import copy
import pickle

import numpy as np
import pytest

from kerasqnn.noise import Additive, Combined, Multiplicative
from kerasqnn.quantizers import Binary, FixedPoint, QuantizedReLU, Ternary

OBJECTS = [
    FixedPoint(4, 1, alpha=(0.5, 1.0)),
    QuantizedReLU(4),
    Binary(0.5),
    Ternary(),
    Additive(0.5),
    Multiplicative(0.5, when="always", seed=3),
    Combined(0.5, 0.25),
]


@pytest.mark.parametrize("value", OBJECTS, ids=repr)
def test_immutable(value):
    """No attribute can be set, added or deleted."""
    before = value.get_config()
    for name in (*before, "bits", "level", "new"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(value, name, 3)
        with pytest.raises(AttributeError, match="immutable"):
            delattr(value, name)
    assert value.get_config() == before
    value.get_config().clear()
    assert value.get_config() == before


@pytest.mark.parametrize("value", OBJECTS, ids=repr)
def test_copies_are_equal(value):
    """Made anew, copied or pickled: equal, with equal hashes; else different."""
    copies = [
        type(value).from_config(value.get_config()),
        copy.copy(value),
        copy.deepcopy(value),
        pickle.loads(pickle.dumps(value)),
    ]
    for other in copies:
        assert other == value
        assert hash(other) == hash(value)
        assert type(other) is type(value)
    assert len({*OBJECTS, *copies}) == len(OBJECTS)
    assert value != repr(value)
    assert value is not None


def test_every_argument_counts():
    """Two objects that differ in one argument are not equal."""
    different = [
        FixedPoint(4),
        FixedPoint(5),
        FixedPoint(4, 1),
        FixedPoint(4, signed=False),
        FixedPoint(4, rounding="FLOOR"),
        FixedPoint(4, overflow="WRAP"),
        FixedPoint(4, scale=2.0),
        FixedPoint(4, alpha=2.0),
        FixedPoint(4, alpha=(2.0, 2.0)),
        QuantizedReLU(4),
        QuantizedReLU(4, 1),
        QuantizedReLU(4, rounding="FLOOR"),
        Binary(),
        Binary(2.0),
        Binary(gradient="identity"),
        Ternary(),
        Ternary(2.0),
        Ternary(threshold=0.5),
        Ternary(gradient="identity"),
        Additive(0.1),
        Additive(0.2),
        Additive(0.1, when="always"),
        Additive(0.1, seed=1),
        Multiplicative(0.1),
        Combined(0.1),
        Combined(0.1, 0.2),
        Combined(0.1, order="multiplicative_first"),
    ]
    assert len(set(different)) == len(different)
    for i, one in enumerate(different):
        assert [other == one for other in different].index(True) == i


def test_kinds_of_numbers_do_not_matter():
    """Numpy's numbers and arrays are stored as Python's."""
    one = FixedPoint(np.int64(4), np.int32(1), alpha=np.array([0.5, 2.0]))
    two = FixedPoint(4, 1, alpha=[0.5, 2])
    assert one == two
    assert repr(one) == repr(two)
    assert FixedPoint(4, scale=np.float64(0.5)) == FixedPoint(4, scale=0.5)
