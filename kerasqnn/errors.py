"""The exceptions of kerasqnn. Each is also the built-in type a caller would expect."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KerasQNNError(Exception):
    """Base class of every exception that kerasqnn itself defines."""


class UnsupportedModelError(KerasQNNError, ValueError):
    """The model cannot be expressed exactly; the message names the layer and a way out.

    Attributes:
        layer: Name of the layer that is refused, or None for the model as a whole.
    """

    def __init__(self, message: str, layer: str | None = None) -> None:
        super().__init__(message)
        self.layer = layer


class VerificationError(KerasQNNError, RuntimeError):
    """Two evaluations that must give the same bits did not."""


class ToolNotFoundError(KerasQNNError, RuntimeError):
    """An external tool (compiler, vendor tool, simulator) is not installed."""


class CompilationError(KerasQNNError, RuntimeError):
    """An external tool ran and failed; the message holds its output."""


class QuantizationWarning(UserWarning):
    """A quantizer leaves almost nothing of what it quantizes."""


def unknown_name(what: str, received: object, allowed: Iterable[str]) -> str:
    """Return the message for an unknown name, with the nearest known one.

    Args:
        what: What the name stands for, such as `"board"`.
        received: What the caller gave.
        allowed: The known names.

    Returns:
        One sentence or two, ready to be raised.
    """
    names = sorted(allowed)
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(str(received), names, n=1) or [
        folded[n] for n in get_close_matches(str(received).casefold(), folded, n=1)
    ]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what}.{hint} Allowed: {', '.join(names)}. Received: {received!r}"


def missing_extra(package: str, extra: str, purpose: str) -> ImportError:
    """Return the ImportError for an optional package, naming the extra to install."""
    return ImportError(
        f"{purpose} needs the package {package!r}, which is not installed. "
        f"Install it with `pip install 'kerasqnn[{extra}]'`."
    )
