"""The check of an exported file: the bits of Keras in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from onnx import ModelProto

from ..errors import VerificationError
from ..models.noise_control import noise_switched_off
from ..models.random_inputs import random_inputs
from .layouts import Layout

_SAMPLES = 32


def check_predictions(
    model: keras.Model,
    proto: ModelProto,
    layouts: tuple[Sequence[Layout], Sequence[Layout]],
    batch_size: int | None,
    folder: Path | None = None,
) -> None:
    """Compare a file in ONNX Runtime with `model.predict` on random inputs.

    Args:
        model: The Keras model.
        proto: The file, with the functions in it, as others run it.
        layouts: Those of its inputs and of its outputs.
        batch_size: The size that it fixes, None if symbolic.
        folder: Where its weights are, None if they are in it.

    Raises:
        VerificationError: If an output differs.
    """
    from ..qonnx.runtime import start

    size = batch_size or _SAMPLES
    inputs = random_inputs(model, -(-_SAMPLES // size) * size)
    if inputs is None:
        return
    session = start(proto, folder=folder)
    parts = len(inputs[0]) // batch_size if batch_size else 1
    with noise_switched_off(model):
        given = (
            keras.tree.pack_sequence_as(model._inputs_struct, inputs)
            if hasattr(model, "_inputs_struct")
            else inputs[0]
        )
        # The function that `predict` runs, without the pipeline of data around it.
        expected = keras.tree.flatten(model.predict_on_batch(given))
    names = [i.name for i in session.get_inputs()]
    arrays = [_in_layout(x, to) for x, to in zip(inputs, layouts[0], strict=True)]
    chunks = zip(*(np.split(x, parts) for x in arrays), strict=True)
    results = [
        session.run(None, dict(zip(names, chunk, strict=True))) for chunk in chunks
    ]
    received = [np.concatenate(values) for values in zip(*results, strict=True)]
    outputs = [output.name for output in session.get_outputs()]
    for name, want, got, to in zip(
        outputs, expected, received, layouts[1], strict=True
    ):
        wanted = _in_layout(want, to)
        different = int(np.sum(wanted != got)) if wanted.shape == got.shape else -1
        if different:
            raise VerificationError(
                f"Output {name!r} differs between model.predict and ONNX Runtime in "
                f"{different} of {want.size} numbers, which must not happen; nothing "
                "was written. Is a GPU or a fast-math mode in use? exact=False, "
                "check=False skips this test. Please report it with the model."
            )


def _in_layout(array: np.ndarray, layout: Layout) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(layout.axes(array.ndim)))
