"""Whether the imported model computes what the file says."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ...errors import UnsupportedModelError, VerificationError
from ...models import analyse, read_model
from ...models.random_inputs import random_inputs
from ..session import QONNXSession
from .translation import Step, Translation
from .values import Activation

_SAMPLES = 32


def require_reproducible(model: keras.Model, exact: bool) -> bool:
    """Return whether every tool computes the same bits for a model.

    Raises:
        UnsupportedModelError: If not, and `exact`.
    """
    graph = read_model(model)
    facts = analyse(graph).facts
    for output in graph.outputs:
        if not facts[output].reproducible:
            if not exact:
                return False
            blame = facts[output].blame
            raise UnsupportedModelError(
                f"Model {graph.name!r} does not give the same bits in every tool: "
                f"{facts[output].reason}. Pass exact=False to import it all the same, "
                "each layer equal up to float32 rounding.",
                layer=blame and graph.operation(blame).layer,
            )
    return True


def verify(
    model: keras.Model,
    session: QONNXSession,
    translation: Translation,
    inputs: list[Activation],
    outputs: list[Activation],
    reproducible: bool,
) -> None:
    """Compare the Keras model with the file in ONNX Runtime on random inputs.

    Where every tool computes the same bits, all outputs must have them. Elsewhere each
    layer is given the tensors of the file, and must compute the same from them, sums up
    to their rounding in float32.

    Raises:
        VerificationError: If there is a difference.
    """
    arrays = random_inputs(model, _SAMPLES)
    if arrays is None:
        return
    in_file = [i.in_file(a) for i, a in zip(inputs, arrays, strict=True)]
    if reproducible:
        data = arrays if len(arrays) > 1 else arrays[0]
        made = keras.tree.flatten(model.predict(data, batch_size=_SAMPLES, verbose=0))
        for name, value, got, want in zip(
            session.output_names, outputs, made, session.run_flat(in_file), strict=True
        ):
            _compare(name, value.in_file(got), want, 0.0)
        return
    tensors = session.tensors(in_file)
    known = translation.known()
    for step in translation.steps:
        _verify_step(step, known, tensors)


def _verify_step(
    step: Step, known: dict[str, Activation], tensors: dict[str, Any]
) -> None:
    values = [known[name] for name in step.inputs]
    given = [v.arranged(tensors[n]) for v, n in zip(values, step.inputs, strict=True)]
    part = keras.Model([v.tensor for v in values], known[step.output].tensor)
    got = keras.ops.convert_to_numpy(part(given))
    tolerance = 0.0
    if step.magnitude is not None:
        largest = max(1.0, *(float(np.max(np.abs(g), initial=0.0)) for g in given))
        tolerance = 2 * step.terms * 2.0**-24 * step.magnitude * largest
    want = tensors[step.output]
    _compare(step.output, known[step.output].in_file(got), want, tolerance)


def _compare(name: str, got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    different = want.size
    if got.shape == want.shape:
        # An infinity less itself is no number.
        alike = (got == want) | (np.abs(got - want) <= tolerance)
        different = int(np.sum(~alike))
    if different:
        raise VerificationError(
            f"Tensor {name!r} differs between the Keras model and the file in "
            f"{different} of {want.size} numbers, which must not happen. Is a GPU or a "
            "fast-math mode in use? check=False skips this test. Please report it with "
            "the file."
        )
