"""Data sets for examples, tests and measurements, scaled to exact fixed-point values.

Every loader returns a `Dataset` whose `source` says where the data came from. 8-bit
images become `x / 256`, digits `x / 16`: exact multiples of a power of two, so that a
fixed-point input of a circuit represents them without rounding.
"""

from ._dataset import Dataset as Dataset
from ._loaders import available as available
from ._loaders import load as load
from ._loaders import load_cifar10 as load_cifar10
from ._loaders import load_digits as load_digits
from ._loaders import load_fashion_mnist as load_fashion_mnist
from ._loaders import load_mnist as load_mnist
