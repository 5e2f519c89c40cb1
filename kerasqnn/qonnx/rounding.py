"""QONNX's rounding modes as standard operators."""

from __future__ import annotations

from collections.abc import Callable

_SINGLE = {"ROUND": "Round", "FLOOR": "Floor", "CEIL": "Ceil"}


def append_rounding(
    mode: str,
    value: str,
    append: Callable[[str, list[str]], str],
    constant: Callable[[float], str],
) -> str:
    """Append the nodes that round a value.

    Args:
        mode: One of QONNX's modes in upper case, "ROUND" for "HALF_EVEN".
        value: Name of the value.
        append: Appends a node of a type on inputs and returns its output's name.
        constant: Adds a number and returns its name.

    Returns:
        The name of the result.
    """
    if mode in _SINGLE:
        return append(_SINGLE[mode], [value])
    magnitude = append("Abs", [value])
    if mode in ("HALF_UP", "HALF_DOWN"):
        half = constant(0.5)
        magnitude = append("Add" if mode == "HALF_UP" else "Sub", [magnitude, half])
    rounded = append("Floor" if mode in ("DOWN", "HALF_UP") else "Ceil", [magnitude])
    return append("Mul", [append("Sign", [value]), rounded])
