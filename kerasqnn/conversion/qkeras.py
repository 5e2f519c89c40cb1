"""`from_qkeras`: QKeras models as kerasqnn models with the same bits."""

from __future__ import annotations

from typing import Any

import keras

from .building import build
from .description import LayerDescription
from .formats import read_file
from .layers import entry_of
from .live import describe_live
from .weights import set_weights


def from_qkeras(model: Any, *, weights: Any = None) -> keras.Model:
    """Take over a QKeras model: a kerasqnn model with bit-identical predictions.

    Every layer becomes the kerasqnn or Keras layer of the same arithmetic, with the
    same name and weights, ready for training, export and hardware. What has no exact
    counterpart is refused by name.

    QKeras layers turn `alpha=None` in the quantizers of kernels into `"auto_po2"`; the
    new quantizers say so. QKeras's automatic `Clip` constraints are kept. Initializers,
    regularizers and constraints of Keras are kept; the optimizer is not.

    The bits are those of QKeras on TensorFlow. QKeras computes `x + (q - x)`, which is
    `q` itself but where `|x|` exceeds `2^23` steps of the grid; there kerasqnn stays on
    the grid. Weights for which it is not are refused. Sums that float32 does not hold
    exactly have the same bits where the same library computes them.

    Args:
        model: A live qkeras-v3 model, Sequential or functional, which may hold such
            models; or the path of a
            `.keras` file of qkeras-v3, of an `.h5` file, or of a `.json` architecture
            of QKeras 0.9 (Keras 2). Files are parsed; nothing in them is executed, and
            neither QKeras nor Keras 2 is needed.
        weights: The path of the `.h5` file with the weights of a `.json` architecture.

    Returns:
        The model, Sequential or functional as the original, not compiled.

    Raises:
        UnsupportedModelError: If a layer, an option or a quantizer has no exact
            counterpart; the message names the layer.
        FileNotFoundError: If a file does not exist.
        ValueError: If a file holds no Keras model, or `weights` is missing or
            superfluous.

    Example:

    >>> import kerasqnn
    >>> kerasqnn.from_qkeras("no such file.keras")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no file 'no such file.keras'.
    """
    if isinstance(model, keras.Model):
        if weights is not None:
            raise ValueError(
                "`weights` goes with a .json architecture; a live model has its own. "
                f"Received: weights={weights!r}"
            )
        description = describe_live(model)
    else:
        description = read_file(model, weights)
    return build(description, _convert, _set_weights)


def _convert(layer: LayerDescription) -> Any:
    return entry_of(layer).convert(layer)


def _set_weights(layer: LayerDescription, new: Any) -> None:
    set_weights(layer, entry_of(layer), new)
