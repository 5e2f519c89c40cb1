"""Models of QKeras and HGQ2: taken over before they are exported."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from ..errors import UnsupportedModelError

_LIBRARIES = {"qkeras": "QKeras", "hgq": "HGQ2"}


def as_kerasqnn(model: keras.Model) -> keras.Model:
    """Return a live model of QKeras or HGQ2 as kerasqnn's, any other one as it is.

    Args:
        model: The model.

    Raises:
        UnsupportedModelError: If it has layers of both libraries, or one without an
            exact counterpart.
    """
    if not isinstance(model, keras.Model):
        return model
    packages = {p for layer in model._flatten_layers() for p in _packages_of(layer)}
    found = sorted(packages & _LIBRARIES.keys())
    if len(found) > 1:
        raise UnsupportedModelError(
            f"Model {model.name!r} must be of one library. "
            f"Received: layers of {' and '.join(_LIBRARIES[p] for p in found)}"
        )
    if not found:
        return model
    from ..conversion import from_hgq2, from_qkeras

    return (from_qkeras if found == ["qkeras"] else from_hgq2)(model)


def _packages_of(layer: keras.Layer) -> Iterator[str]:
    """Yield the packages of a layer and of its activation."""
    for part in (layer, getattr(layer, "activation", None)):
        yield type(part).__module__.partition(".")[0]
        yield str(getattr(part, "__module__", "")).partition(".")[0]
