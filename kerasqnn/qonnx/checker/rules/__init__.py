"""The rules, by consumer; importing this registers them in the order of the mends."""

from . import structure, operators, parameters, hls4ml, finn, qcdq, hls4ml_shapes  # noqa: F401, I001
