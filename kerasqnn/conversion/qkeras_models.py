"""`to_qkeras`: kerasqnn models as QKeras models with the same bits."""

from __future__ import annotations

import keras
import numpy as np
from keras import tree

from ..errors import VerificationError
from ..models.random_inputs import random_inputs
from ..models.reading import functional_of
from ..models.rewriting import rewrite
from .qkeras_layers import qkeras_layers, transfer

_CHECKED_SAMPLES = 8


def to_qkeras(model: keras.Model) -> keras.Model:
    """Return a model as a qkeras-v3 model with bit-identical predictions.

    The way back of `from_qkeras`: every layer becomes the layer of QKeras (or Keras)
    with the same arithmetic, name and weights. What QKeras cannot express is refused by
    name: noise, rounding modes other than its own, `"WRAP"`, layers without a twin.

    `QuantInput` becomes a `QActivation`, and so does the output quantizer of a layer
    that QKeras takes from Keras (`QuantAdd`, `QuantMaxPooling2D`, ...), behind it.
    Learned quantizers become the grids that they have now. Gradients are QKeras's: none
    of what was learned, and that of the identity in binary and ternary kernels.

    The bits are those of traced functions on TensorFlow, without XLA, and are compared
    on random inputs at the end.

    Args:
        model: A built Sequential or functional model on the TensorFlow backend, which
            may hold models and shared layers; it is not changed.

    Returns:
        The model, of the same kind; compiled like `model`, with a fresh optimizer, if
        that is.

    Raises:
        UnsupportedModelError: If QKeras cannot express a layer; the message names it.
        VerificationError: If the predictions differ on random inputs.
        RuntimeError: If Keras runs on another backend than TensorFlow.

    Example:

    >>> import keras, kerasqnn
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     kerasqnn.layers.QuantDense(
    ...         2, kernel_quantizer="quantized_bits(4,0,1)",
    ...         activation="quantized_relu(4,2)"),
    ... ])
    >>> (layer,) = kerasqnn.to_qkeras(model).layers
    >>> type(layer).__name__, str(layer.kernel_quantizer_internal)
    ('QDense', 'quantized_bits(4,0,1,alpha=1.0)')
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "QKeras runs on TensorFlow. Set KERAS_BACKEND=tensorflow. Received: "
            f"backend={keras.backend.backend()!r}"
        )
    result = rewrite(model, qkeras_layers, transfer=transfer)
    _check_predictions(model, result)
    return result


def _check_predictions(model: keras.Model, result: keras.Model) -> None:
    """Compare two models on random inputs, bit for bit."""
    import tensorflow as tf

    graph = functional_of(model)
    inputs = random_inputs(model, _CHECKED_SAMPLES, open_size=8)
    given = tree.pack_sequence_as(graph.input, inputs)
    expected, received = (
        tree.flatten(tf.function(m, autograph=False)(given, training=False))
        for m in (model, result)
    )
    for name, one, other in zip(graph.output_names, expected, received, strict=True):
        one, other = (keras.ops.convert_to_numpy(x) for x in (one, other))
        if not np.array_equal(one, other, equal_nan=True):
            raise VerificationError(
                f"Output {name!r} differs in QKeras in {int(np.sum(one != other))} of "
                f"{one.size} numbers on random inputs. QKeras computes x + (q - x), "
                "which leaves the grid where x exceeds 2^23 steps of a quantizer, or "
                "where TensorFlow regroups it with the sums around it. Is it neither, "
                "please report it with the model."
            )
