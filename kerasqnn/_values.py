"""Immutable value objects, and the strings that describe them."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from typing import Any, Self


class ValueObject(ABC):
    """Compares by value, hashes, prints as the call that makes it, never changes."""

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments as plain Python values."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make an object from `get_config()`'s dictionary."""
        # Keras reads tuples back from JSON as lists.
        return cls(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
        )

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ValueObject):
            return NotImplemented
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.get_config().items())))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__} is immutable; make a new one instead of setting "
            f"{name!r}."
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable. Received: {name!r}")

    def _set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)


def parse_call(text: str, example: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Read `"name"` or `"name(1, key=2)"` with literal arguments; nothing is evaluated.

    Args:
        text: The string.
        example: A valid string for the error message.

    Returns:
        The name, the positional and the keyword arguments.

    Raises:
        ValueError: If `text` has another form.
    """
    error = ValueError(
        f"Expected a string such as {example!r}, whose arguments are literal numbers, "
        f"strings, booleans, None or tuples. Received: {text!r}"
    )
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, [], {}
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            raise error
        positional = [ast.literal_eval(a) for a in node.args]
        named = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
        if len(named) < len(node.keywords):
            raise error  # an argument given twice
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise error from None
    return node.func.id, positional, named
