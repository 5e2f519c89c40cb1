"""How the functions with QKeras's names read and refuse QKeras's arguments."""

from __future__ import annotations

from typing import Any

import numpy as np


def number(value: Any) -> Any:
    """Return the only element of an array as a Python number."""
    array = np.asarray(value)
    return array.item() if array.size == 1 else value


def fixed_alpha(name: str, alpha: Any) -> Any:
    """Return a numeric `alpha`, 1 for None; refuse one computed from the data."""
    if isinstance(alpha, str):
        raise ValueError(
            f"{name}(alpha={alpha!r}) is not supported; give a number, or one number a "
            "channel. Allowed: None (scale 1) or positive numbers. "
            f"Received: alpha={alpha!r}"
        )
    return 1.0 if alpha is None else alpha


def unsupported(name: str, argument: str, value: Any) -> str:
    """Return the text of a refusal."""
    return (
        f"{name}({argument}={value!r}) changes the result and has no counterpart in "
        f"kerasqnn. Leave `{argument}` at its default. Received: {argument}={value!r}"
    )


def refuse(name: str, *, default: Any = 0, **arguments: Any) -> None:
    """Refuse arguments that are not at their default."""
    for argument, value in arguments.items():
        same = value is None if default is None else value == default
        if not same:
            raise ValueError(unsupported(name, argument, value))


def scale_axes(name: str, scale_axis: Any, elements: Any = None) -> tuple[Any, Any]:
    """Return `axis` and `group` of an `AutoScale`.

    QKeras takes its scale over all axes, some of them twice, for a negative number.
    """
    axes = scale_axis if isinstance(scale_axis, tuple | list) else [scale_axis]
    if scale_axis is not None and any(a is None or a < 0 for a in axes):
        raise ValueError(unsupported(name, "scale_axis", scale_axis))
    if elements is None:
        return (-1 if scale_axis is None else scale_axis), 1
    if scale_axis is None:
        raise ValueError(
            f"{name}: `elements_per_scale` needs `scale_axis`. "
            f"Received: elements_per_scale={elements!r}, scale_axis=None"
        )
    return scale_axis, elements
