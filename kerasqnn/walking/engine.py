"""Measuring: accuracy against noise, one noise point at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ..errors import UnsupportedModelError, unknown_name
from ..models import Graph, evaluate, read_model
from ..noise import NoiseSource
from ..noise.sources import DrawnSeed, source_class
from .midpoint import fit_midpoint, half_way_crossing
from .points import WalkPoint, walk_points
from .result import PointCurve, WalkResult

# The search for the transition, in decades of noise relative to the activation's RMS.
_FIRST_DECADES = (-2, -1, 0, 1)
_DECADE_LIMITS = (-6, 6)
# The fall from 90 to 10 % is about one decade wide; the fine levels span it and a bit.
_FINE_DECADES = np.linspace(-0.75, 0.75, 9)


def walk_noise(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    noise: str | NoiseSource = "additive",
    levels: Sequence[float] | None = None,
    draws: int = 3,
    points: Sequence[str] | None = None,
    chance: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    batch_size: int = 1024,
    progress: bool = True,
) -> WalkResult:
    """Measure how much noise each operation of a trained classifier bears.

    Noise is injected at exactly one point at a time, at inference, and the accuracy is
    measured against its level. The midpoint noise level of a point is where half of the
    accuracy above chance is lost. The model itself is not touched; noise points in it
    count as off. Everything before the point is computed once; all points and levels
    share the same random numbers.

    Args:
        model: A built Sequential or functional classifier with one input and one output
            of shape `(batch, classes)`; plain Keras and kerasqnn layers alike.
        x: Test inputs, batch first.
        y: Labels, integers `(samples,)` or one-hot `(samples, classes)`.
        noise: `"additive"`, `"multiplicative"` or `"combined"`, or a source whose kind
            (and ratio and order) is used.
        levels: Noise levels for every point, positive, in units of the activation. None
            searches the transition of each point and puts the levels there.
        draws: Noise draws a test sample.
        points: Names of the points to measure (see `walk_points`); None is all.
        chance: Accuracy of guessing; None is one over the number of classes.
        confidence: Confidence of the intervals.
        seed: Seed of the noise and of the bootstrap.
        batch_size: Samples evaluated at once.
        progress: Show a progress bar.

    Returns:
        Curves and midpoints, in network order.

    Raises:
        ValueError: If the data do not fit the model, or an argument is out of range.
        UnsupportedModelError: If the model is no classifier of one input and output.

    Example:

    >>> import keras, kerasqnn, numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
    >>> y = model.predict(x, verbose=0).argmax(axis=1)
    >>> result = kerasqnn.walk_noise(model, x, y, progress=False)
    >>> [curve.kind for curve in result.curves]
    ['input', 'logits']

    References:
        - Walking Noise: the midpoint noise level of each layer.
    """
    from tqdm.auto import tqdm

    graph = read_model(model).without_noise()
    x, labels, classes = _checked_data(graph, x, y)
    chance = 1.0 / classes if chance is None else float(chance)
    source = _source(noise)
    if draws < 1 or batch_size < 1:
        raise ValueError(
            "`draws` and `batch_size` must be at least 1. "
            f"Received: draws={draws}, batch_size={batch_size}"
        )
    chosen = _chosen_points(graph, points)
    grid = None if levels is None else _checked_levels(levels)
    clean = _predictions(graph, x, batch_size) == labels
    curves = []
    for point in tqdm(chosen, desc="Walking noise", unit="point", disable=not progress):
        probe = _Probe(graph, point, source, x, labels, draws, seed, batch_size)
        measured = probe.measure(grid) if grid is not None else _search(
            probe, float(clean.mean()), chance
        )  # fmt: skip
        positions = np.array(sorted(measured))
        correct = np.stack([measured[level] for level in positions])
        midpoint = fit_midpoint(
            positions, correct, clean, chance, confidence=confidence, seed=seed
        )
        curves.append(
            PointCurve(
                point.name,
                point.layer,
                point.kind,
                positions,
                correct,
                probe.rms,
                midpoint,
            )
        )
    settings = {
        **{k: v for k, v in source.get_config().items() if k in ("ratio", "order")},
        "draws": draws,
        "samples": len(labels),
        "confidence": confidence,
        "seed": seed,
    }
    name = type(source).__name__.lower()
    return WalkResult(curves, name, float(clean.mean()), chance, settings)


def _source(noise: str | NoiseSource) -> NoiseSource:
    if isinstance(noise, NoiseSource):
        return noise
    make: Any = source_class(noise)
    return make(0.0)


def _checked_data(graph: Graph, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray, int]:
    shape = graph.tensors[graph.outputs[0]].shape
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or len(shape) != 2:
        raise UnsupportedModelError(
            "walk_noise takes classifiers with one input and one output of shape "
            f"(batch, classes). Received: {len(graph.inputs)} inputs, "
            f"{len(graph.outputs)} outputs, first output {shape}"
        )
    classes = int(shape[1] or 0)
    if classes < 2:
        raise UnsupportedModelError(
            f"walk_noise needs one output a class, at least 2. Received: {classes}"
        )
    x, y = np.asarray(x, np.float32), np.asarray(y)
    want = graph.tensors[graph.inputs[0]].shape[1:]
    if x.ndim != len(want) + 1 or any(
        w not in (None, h) for w, h in zip(want, x.shape[1:], strict=True)
    ):
        raise ValueError(
            f"`x` must have the shape (samples, {', '.join(map(str, want))}). "
            f"Received: {x.shape}"
        )
    if y.ndim == 2 and y.shape[1] == classes:
        y = y.argmax(axis=1)
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1 or len(y) != len(x) or not len(x):
        raise ValueError(
            "`y` must hold one label a sample, as integers or one-hot, and there must "
            f"be at least one sample. Received: x.shape={x.shape}, y.shape={y.shape}"
        )
    if y.min() < 0 or y.max() >= classes or np.any(y != np.floor(y)):
        raise ValueError(
            f"`y` must hold integers from 0 to {classes - 1}. "
            f"Received: values from {y.min()} to {y.max()}"
        )
    if not np.all(np.isfinite(x)):
        raise ValueError("`x` must be finite. Received: NaN or infinity")
    return x, y.astype(np.int64), classes


def _checked_levels(levels: Sequence[float]) -> np.ndarray:
    grid = np.unique(np.asarray(levels, np.float64))
    if grid.size < 2 or not np.all(np.isfinite(grid)) or grid[0] <= 0:
        raise ValueError(
            "`levels` must hold at least two different positive numbers. "
            f"Received: levels={levels!r}"
        )
    return grid


def _chosen_points(graph: Graph, names: Sequence[str] | None) -> list[WalkPoint]:
    points = walk_points(graph)
    if names is None:
        return points
    known = {p.name: p for p in points}
    for name in names:
        if name not in known:
            raise ValueError(unknown_name("noise point", name, known))
    return [p for p in points if p.name in set(names)]


def _predictions(graph: Graph, x: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the predicted class of each sample, without noise."""
    (output,) = _prefix(graph, graph.operations, list(graph.outputs), x, batch_size)
    return output.argmax(axis=-1)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors once, with the means of Keras's backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, reduce_retracing=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


class _Probe:
    """One noise point: what comes before it is computed once, what follows compiled."""

    def __init__(
        self,
        graph: Graph,
        point: WalkPoint,
        source: NoiseSource,
        x: np.ndarray,
        labels: np.ndarray,
        draws: int,
        seed: int,
        batch_size: int,
    ) -> None:
        self._labels, self._draws, self._seed = labels, draws, seed
        self._batch_size = batch_size
        before = graph.operations[: point.index + 1]
        after = graph.operations[point.index + 1 :]
        noisy = graph.operations[point.index].output
        read = {t for o in after for t in o.inputs} | set(graph.outputs)
        alive = [t for o in before for t in o.outputs if t in read or t == noisy]
        self._values = _prefix(graph, before, alive, x, batch_size)
        values = self._values[alive.index(noisy)].astype(np.float64)
        self.rms = float(np.sqrt(np.mean(np.square(values))))

        def suffix(level: Any, draw_seed: Any, *tensors: Any) -> Any:
            known = dict(zip(alive, tensors, strict=True))
            known[noisy] = source.apply(known[noisy], level, DrawnSeed(draw_seed))
            return ops.argmax(evaluate(after, known)[graph.outputs[0]], axis=-1)

        self._suffix = compiled(suffix)

    def measure(self, levels: Iterable[float]) -> dict[float, np.ndarray]:
        """Return `{level: correct}`, `correct` being `(draws, samples)` bool."""
        return {float(level): self._correct(float(level)) for level in levels}

    def _correct(self, level: float) -> np.ndarray:
        samples = len(self._labels)
        correct = np.empty((self._draws, samples), bool)
        for draw in range(self._draws):
            for number, start in enumerate(range(0, samples, self._batch_size)):
                part = slice(start, start + self._batch_size)
                # Neither point nor level enters the seed: common random numbers.
                state = np.random.SeedSequence([self._seed, draw, number])
                classes = self._suffix(
                    ops.convert_to_tensor(np.float32(level)),
                    ops.convert_to_tensor(state.generate_state(2)),
                    *[ops.convert_to_tensor(v[part]) for v in self._values],
                )
                correct[draw, part] = (
                    ops.convert_to_numpy(classes) == self._labels[part]
                )
        return correct


def _prefix(
    graph: Graph,
    operations: Sequence[Any],
    alive: list[str],
    x: np.ndarray,
    batch_size: int,
) -> list[np.ndarray]:
    """Compute, once, the tensors that are needed from the noise point on."""
    parts = []
    for start in range(0, len(x), batch_size):
        batch = ops.convert_to_tensor(x[start : start + batch_size])
        known = evaluate(operations, {graph.inputs[0]: batch})
        parts.append([ops.convert_to_numpy(known[t]) for t in alive])
    return [np.concatenate(p) for p in zip(*parts, strict=True)]


def _search(probe: _Probe, clean: float, chance: float) -> dict[float, np.ndarray]:
    """Bracket the transition with a level a decade, then measure finely inside it."""
    unit = probe.rms if probe.rms > 0 else 1.0
    low, high = _FIRST_DECADES[0], _FIRST_DECADES[-1]
    measured = probe.measure([unit * 10.0**d for d in _FIRST_DECADES])
    half = (clean + chance) / 2

    def accuracy(decade: int) -> float:
        return float(measured[unit * 10.0**decade].mean())

    while accuracy(high) > half and high < _DECADE_LIMITS[1]:
        high += 1
        measured |= probe.measure([unit * 10.0**high])
    while accuracy(low) < half and low > _DECADE_LIMITS[0]:
        low -= 1
        measured |= probe.measure([unit * 10.0**low])
    levels = np.array(sorted(measured))
    rates = np.array([measured[level].mean() for level in levels])
    middle = half_way_crossing(levels, rates, clean, chance)
    if math.isfinite(middle) and middle > 0:
        measured |= probe.measure(middle * 10.0**_FINE_DECADES)
    return measured
