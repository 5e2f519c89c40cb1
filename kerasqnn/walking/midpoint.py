"""Midpoint noise level: the fit of accuracy against noise, and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from ._transition import falling, fit_rows, half_way, monotone

Censoring = Literal["no", "below", "above", "undefined"]

_CHUNK = 2**22  # resampled (replicate, sample) pairs held in memory at once


@dataclass(frozen=True)
class Midpoint:
    """Noise level at which half of the accuracy above chance is lost.

    `mu` is in the units of the noise level it was fitted on: for additive noise the
    standard deviation in units of the activation, for multiplicative noise the
    standard deviation of the factor (dimensionless). Larger means more robust.

    Attributes:
        mu: Midpoint noise level. `inf` if `censored="above"`, `0` if
            `censored="below"`, `nan` if `censored="undefined"`.
        low: Lower end of the confidence interval of `mu`. At most the largest level
            measured if `censored="above"` (read: `mu > low`).
        high: Upper end. At least the smallest level measured if `censored="below"`
            (read: `mu < high`). `inf` if a relevant share of the resampled curves
            never falls below half way.
        slope: Exponent `k` of the fit, in 0.05 to 200; the fall from 90 to 10 % takes
            `1.91 / k` decades. `nan` unless `censored="no"`.
        crossing: Half-way crossing interpolated in log level on the monotone curve,
            free of the shape of the fit; censored as `mu` is.
        censored: `"no"`; `"above"` if the accuracy stays above half way within the
            range; `"below"` if it is under half way at the smallest level;
            `"undefined"` if the clean accuracy does not exceed chance by more than
            its sampling error.
        clean: Accuracy without noise.
        chance: Accuracy of guessing.
        confidence: Confidence of `low` and `high`, in 0 to 1.
        r_squared: Share of the variance of the accuracy over the levels that the fit
            explains (unweighted). `nan` unless `censored="no"`.
    """

    mu: float
    low: float
    high: float
    slope: float
    crossing: float
    censored: Censoring
    clean: float
    chance: float
    confidence: float
    r_squared: float

    def accuracy(self, levels: np.ndarray) -> np.ndarray:
        """Accuracy that the fit predicts at `levels`; `nan` if there is no fit."""
        levels = np.asarray(levels, dtype=np.float64)
        if self.censored != "no":
            return np.full(levels.shape, np.nan)
        u = self.slope * (np.log(levels) - math.log(self.mu))
        return self.chance + (self.clean - self.chance) * falling(u)

    def to_dict(self) -> dict[str, float | str | None]:
        """Fields as JSON values; `None` for what is infinite, undefined or censored."""
        found: dict[str, float | str | None] = {
            name: value if isinstance(value, str) or math.isfinite(value) else None
            for name, value in vars(self).items()
        }
        return (
            found if self.censored == "no" else {**found, "mu": None, "crossing": None}
        )


def fit_midpoint(
    levels: np.ndarray,
    correct: np.ndarray,
    clean_correct: np.ndarray,
    chance: float,
    *,
    confidence: float = 0.95,
    bootstrap: int = 400,
    seed: int = 0,
) -> Midpoint:
    """Fit `acc(s) = c + (a0 - c) / (1 + (s / mu)^k)` and bootstrap its midpoint.

    The clean accuracy `a0` (measured) and chance `c` are fixed; `log mu` and `log k`
    are found by least squares, each level weighted by the inverse of its binomial
    variance `p (1 - p)` with `p = (correct + 2) / (samples + 4)`. A curve that does
    not pass half way, `(a0 + c) / 2`, within the levels is reported as censored and
    never extrapolated; the decision is made on the monotone (isotonic) curve.

    The interval is a percentile bootstrap of this estimator, `a0` included. Test
    samples are resampled and each takes all its levels and noise draws along: the
    noise is drawn independently for every sample, so the draws lie inside the samples
    and resampling them once more would count their variance twice. With seeds
    (separately trained networks) these are resampled as well, `S - 1` out of `S`,
    and the share of the variance that they cause is widened from the normal to the
    t quantile with `S - 1` degrees of freedom (cautious where the seeds hardly
    differ). Equal values of `seed` resample equal test samples, which pairs the calls
    for several layers of one network.

    Args:
        levels: `(L,)` noise levels, positive and ascending, at least two.
        correct: `(L, D, N)` or `(S, L, D, N)` bool: seeds, levels, noise draws,
            test samples.
        clean_correct: `(N,)` or `(S, N)` bool: the same samples without noise.
        chance: Accuracy of guessing, in `[0, 1)`.
        confidence: Confidence of the interval, in `(0, 1)`.
        bootstrap: Number of resamples; 0 leaves the interval out (`nan`, or the
            bounds that censoring implies).
        seed: Seed of the resampling.

    Returns:
        A `Midpoint`.

    Raises:
        ValueError: If an argument is out of range or the shapes do not agree.
        TypeError: If `correct` or `clean_correct` are not bool.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> levels = np.logspace(-2, 2, 17)
    >>> tolerated = rng.lognormal(0.0, 0.8, size=1000)  # noise each sample stands
    >>> correct = (levels[:, None] < tolerated)[:, None, :]
    >>> midpoint = fit_midpoint(levels, correct, np.ones(1000, bool), chance=0.0)
    >>> midpoint.low < 1.0 < midpoint.high
    True
    """
    levels, rates = _checked(levels, correct, clean_correct, chance)
    _check_resampling(confidence, bootstrap)
    samples = rates.shape[-1]
    accuracy = rates.mean(axis=(0, 2))
    clean = float(accuracy[-1])
    fitted = _fit(levels, accuracy[None], chance, samples)
    mu, slope, crossing = (float(value[0]) for value in fitted)
    censored: Censoring = "no"
    low = high = math.nan
    if wilson_interval(clean, samples, confidence)[0] <= chance:
        censored, mu, crossing = "undefined", math.nan, math.nan
    elif bootstrap:
        low, high = _interval(levels, rates, chance, mu, confidence, bootstrap, seed)
    if mu == math.inf:
        censored, low, high = "above", float(np.fmin(low, levels[-1])), math.inf
    elif mu == 0.0:
        censored, low, high = "below", 0.0, float(np.fmax(high, levels[0]))
    slope = slope if censored == "no" else math.nan
    result = Midpoint(
        mu, low, high, slope, crossing, censored, clean, chance, confidence, math.nan
    )
    total = np.square(accuracy[:-1] - accuracy[:-1].mean()).sum()
    missed = np.square(accuracy[:-1] - result.accuracy(levels)).sum()
    return replace(result, r_squared=float(1.0 - missed / total) if total else math.nan)


def half_way_crossing(
    levels: np.ndarray, accuracy: np.ndarray, clean: float, chance: float
) -> float:
    """Level at which the accuracy passes half way from `clean` to `chance`.

    The accuracy `(L,)` is made monotone first and interpolated linearly in log level;
    where it rests exactly on half way, the (geometric) middle of that stretch is
    returned. `inf` if it stays above, `0` if it is below at the first level, `nan` if
    `clean` does not exceed `chance`.

    Example:
    >>> round(half_way_crossing([0.1, 1.0, 10.0], [1.0, 0.5, 0.0], 1.0, 0.0), 6)
    1.0
    """
    logs = np.log(np.asarray(levels, dtype=np.float64))
    smooth = monotone(np.asarray(accuracy, dtype=np.float64))[None]
    return float(half_way(logs, smooth, np.array([clean]), chance)[0])


def wilson_interval(
    share: np.ndarray | float, trials: np.ndarray | float, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a binomial share; both ends stay within 0 to 1."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    share, shrink = np.asarray(share, dtype=np.float64), z * z / np.asarray(trials)
    centre = (share + shrink / 2.0) / (1.0 + shrink)
    half = np.sqrt(shrink * (share * (1.0 - share) + shrink / 4.0)) / (1.0 + shrink)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _fit(
    levels: np.ndarray, accuracy: np.ndarray, chance: float, samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit rows of `(R, L + 1)`; the last column is the clean accuracy."""
    noisy, clean = accuracy[:, :-1], accuracy[:, -1]
    return fit_rows(np.log(levels), noisy, clean, chance, samples)


def _interval(
    levels: np.ndarray,
    rates: np.ndarray,
    chance: float,
    mu: float,
    confidence: float,
    bootstrap: int,
    seed: int,
) -> tuple[float, float]:
    """Percentile interval, widened for the seeds where there are several."""
    seeds, _, samples = rates.shape
    nested, fixed = _resample(rates, bootstrap, seed)
    found = _fit(levels, nested, chance, samples)[0]
    found = np.sort(found[~np.isnan(found)])
    rank = max(math.floor((1.0 - confidence) / 2.0 * (len(found) + 1)), 1)
    low, high = float(found[rank - 1]), float(found[-rank])
    if seeds == 1 or not 0.0 < mu < math.inf:
        return low, high
    from scipy.special import stdtrit

    both, within = (
        float(np.log(x[(x > 0.0) & (x < np.inf)]).var())
        for x in (found, _fit(levels, fixed, chance, samples)[0])
    )
    share = max(1.0 - within / both, 0.0) if both > 0.0 else 0.0
    tail = 0.5 + confidence / 2.0
    ratio = float(stdtrit(seeds - 1, tail)) / NormalDist().inv_cdf(tail)
    widen = math.sqrt(1.0 + share * (ratio**2 - 1.0))
    return mu * (low / mu) ** widen, mu * (high / mu) ** widen


def _resample(
    rates: np.ndarray, bootstrap: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies `(B, L + 1)` of resampled data, with and without resampled seeds."""
    rng = np.random.default_rng(seed)
    seeds, columns, samples = rates.shape
    per_seed = np.empty((seeds, bootstrap, columns))
    block = max(_CHUNK // samples, 1)
    for start in range(0, bootstrap, block):
        size = min(block, bootstrap - start)
        counts = _counts(rng, size, samples, samples)
        for index in range(seeds):
            per_seed[index, start : start + size] = counts @ rates[index].T
    per_seed /= samples
    fixed = per_seed.mean(axis=0)
    if seeds == 1:
        return fixed, fixed
    chosen = _counts(rng, bootstrap, seeds, seeds - 1) / (seeds - 1)
    return np.einsum("bs,sbl->bl", chosen, per_seed), fixed


def _counts(rng: np.random.Generator, rows: int, items: int, drawn: int) -> np.ndarray:
    """How often each of `items` is drawn, `drawn` times with replacement, per row."""
    drawn_items = rng.integers(items, size=(rows, drawn))
    flat = (drawn_items + items * np.arange(rows)[:, None]).ravel()
    counts = np.bincount(flat, minlength=rows * items)
    return counts.reshape(rows, items).astype(np.float64)


def _checked(
    levels: np.ndarray, correct: np.ndarray, clean_correct: np.ndarray, chance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Levels `(L,)` and share of correct draws `(S, L + 1, N)`, clean last."""
    levels, correct = np.asarray(levels, dtype=np.float64), np.asarray(correct)
    clean_correct = np.asarray(clean_correct)
    ascending = levels.ndim == 1 and len(levels) > 1 and bool(levels[0] > 0.0)
    if not ascending or not np.all(np.diff(levels) > 0.0) or np.isinf(levels[-1]):
        raise ValueError(
            "`levels` must be at least two finite, positive, strictly ascending noise "
            f"levels. Received: levels={levels}"
        )
    for name, value in (("correct", correct), ("clean_correct", clean_correct)):
        if value.dtype != np.bool_:
            raise TypeError(f"`{name}` must be bool. Received: dtype={value.dtype}")
    shape = correct.shape
    agree = correct.ndim in (3, 4) and shape[-3] == len(levels) and correct.size > 0
    if not agree or clean_correct.shape != (*shape[:-3], shape[-1]):
        raise ValueError(
            "`correct` must be (levels, draws, samples) and `clean_correct` "
            "(samples,), both optionally with a leading axis of seeds. Received: "
            f"{len(levels)} levels, correct.shape={shape}, "
            f"clean_correct.shape={clean_correct.shape}"
        )
    if not 0.0 <= chance < 1.0:
        raise ValueError(f"`chance` must be in [0, 1). Received: chance={chance}")
    rates = correct.mean(axis=-2)
    rates = np.concatenate([rates, clean_correct[..., None, :]], axis=-2)
    return levels, rates.reshape(-1, *rates.shape[-2:])


def _check_resampling(confidence: float, bootstrap: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(
            f"`confidence` must be in (0, 1). Received: confidence={confidence}"
        )
    if bootstrap and (bootstrap + 1) * (1.0 - confidence) < 2.0 - 1e-9:
        needed = math.ceil(2.0 / (1.0 - confidence) - 1.0 - 1e-9)
        raise ValueError(
            f"`bootstrap` must be 0 or at least {needed} for confidence {confidence}. "
            f"Received: bootstrap={bootstrap}"
        )
