"""Noise sources: what noisy hardware adds to, or multiplies into, an activation."""

from .sources import Additive as Additive
from .sources import Combined as Combined
from .sources import Multiplicative as Multiplicative
from .sources import NoiseSource as NoiseSource
from .sources import get as get
from .sources import serialize as serialize
