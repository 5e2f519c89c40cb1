"""The registry of handlers: one small function an operator."""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from .translation import Translation

Handler = Callable[[NodeProto, Translation], None]
_HANDLERS: dict[str, Handler] = {}


def imports(*op_types: str) -> Callable[[Handler], Handler]:
    """Register the handler of some operators."""

    def register(handler: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(op_types, handler))
        return handler

    return register


def importer_of(op_type: str) -> Handler | None:
    """Return the handler of an operator, or None."""
    return _HANDLERS.get(op_type)


def imported_operators() -> list[str]:
    """Return the names of the operators of files that have a handler."""
    return sorted(_HANDLERS.keys() - {"Ternary"})
