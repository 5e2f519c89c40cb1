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
