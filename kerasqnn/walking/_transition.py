"""Numerics of one fall of accuracy, for many curves at once (rows of a matrix).

Shapes: `R` curves, `L` noise levels. Levels enter as natural logarithms.
"""

from __future__ import annotations

import math

import numpy as np

SLOPE_LIMITS = (0.05, 200.0)


def falling(u: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(u))` without overflow."""
    return 0.5 * (1.0 - np.tanh(0.5 * u))


def monotone(accuracy: np.ndarray) -> np.ndarray:
    """Closest non-increasing curve in the least-squares sense (isotonic regression).

    Min-max formula over the last axis: `(..., L) -> (..., L)`.
    """
    length = accuracy.shape[-1]
    sums = np.zeros((*accuracy.shape[:-1], length + 1))
    np.cumsum(accuracy, axis=-1, out=sums[..., 1:])
    first, last = np.arange(length)[:, None], np.arange(length)
    count = np.maximum(last - first + 1, 1)
    means = (sums[..., None, 1:] - sums[..., :-1, None]) / count
    means = np.where(last < first, -np.inf, means)
    most = np.maximum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
    least = np.minimum.accumulate(most, axis=-2)
    return np.diagonal(least, axis1=-2, axis2=-1).copy()


def half_way(
    logs: np.ndarray, smooth: np.ndarray, clean: np.ndarray, chance: float
) -> np.ndarray:
    """Level at which each monotone row `(R, L)` passes half way from clean to chance.

    `inf` where a row stays above, `0` where it starts below, `nan` where the clean
    accuracy `(R,)` does not exceed chance.
    """
    half = (clean + chance) / 2.0
    level = np.exp(_crossing(logs, smooth, half))
    level = np.where(smooth[:, -1] > half, np.inf, level)
    level = np.where(smooth[:, 0] < half, 0.0, level)
    return np.where(clean > chance, level, np.nan)


def fit_rows(
    logs: np.ndarray,
    noisy: np.ndarray,
    clean: np.ndarray,
    chance: float,
    samples: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted least-squares fit of each row.

    Args:
        logs: `(L,)` log levels.
        noisy: `(R, L)` accuracy under noise.
        clean: `(R,)` accuracy without noise.
        chance: Accuracy of guessing.
        samples: Test samples behind each accuracy; smooths the binomial variances.

    Returns:
        `mu`, `k` and the half-way crossing, each `(R,)`. Where the crossing is `inf`,
        `0` or `nan`, `mu` is too and `k` has no meaning.
    """
    smooth, fall = monotone(noisy), clean - chance
    crossing = half_way(logs, smooth, clean, chance)
    upper = _crossing(logs, smooth, chance + 0.75 * fall)
    lower = _crossing(logs, smooth, chance + 0.25 * fall)
    slope = 2.0 * math.log(3.0) / np.maximum(lower - upper, 1e-3)
    middle = _crossing(logs, smooth, chance + 0.5 * fall)
    theta = np.stack([middle, np.log(np.clip(slope, 0.3, 20.0))])
    share = (noisy * samples + 2.0) / (samples + 4.0)
    theta = _least_squares(
        logs, noisy - chance, fall[:, None], 1.0 / (share * (1.0 - share)), theta
    )
    inside = (crossing > 0.0) & (crossing < np.inf)
    return np.where(inside, np.exp(theta[0]), crossing), np.exp(theta[1]), crossing


def _crossing(logs: np.ndarray, smooth: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Log level, within the range, at which each monotone row passes its target.

    Where a row rests on its target, the middle of that stretch.
    """
    rows = np.arange(len(smooth))
    gap = smooth - target[:, None]
    ends = []
    for passed in (gap > 0.0, gap >= 0.0):
        left = np.clip(passed.sum(axis=1) - 1, 0, len(logs) - 2)
        over, drop = gap[rows, left], gap[rows, left] - gap[rows, left + 1]
        part = np.where(drop > 0.0, over / np.where(drop > 0.0, drop, 1.0), over > 0.0)
        ends.append(logs[left] + np.clip(part, 0.0, 1.0) * np.diff(logs)[left])
    return (ends[0] + ends[1]) / 2.0


def _least_squares(
    logs: np.ndarray,
    excess: np.ndarray,
    fall: np.ndarray,
    weights: np.ndarray,
    theta: np.ndarray,
) -> np.ndarray:
    """Levenberg-Marquardt in `(log mu, log k)`, each row with its own damping.

    Args:
        logs: `(L,)` log levels.
        excess: `(R, L)` accuracy above chance.
        fall: `(R, 1)` clean accuracy above chance.
        weights: `(R, L)` weights of the squared residuals.
        theta: `(2, R)` start.

    Returns:
        `(2, R)`; `mu` stays within the levels and `k` within `SLOPE_LIMITS`.
    """
    bounds = np.array([[logs[0], logs[-1]], np.log(SLOPE_LIMITS)])
    damping = np.full(theta.shape[1], 1e-3)

    def residual(theta: np.ndarray) -> np.ndarray:
        share = falling(np.exp(theta[1])[:, None] * (logs - theta[0][:, None]))
        return excess - fall * share

    def total(miss: np.ndarray) -> np.ndarray:
        return (weights * miss**2).sum(axis=1)

    miss = residual(theta)
    for _ in range(200):
        slope = np.exp(theta[1])[:, None]
        u = slope * (logs - theta[0][:, None])
        steep = fall * falling(u) * falling(-u)
        by_mu, by_k = steep * slope, -steep * u
        a = (weights * by_mu**2).sum(axis=1) * (1.0 + damping) + 1e-12
        d = (weights * by_k**2).sum(axis=1) * (1.0 + damping) + 1e-12
        b = (weights * by_mu * by_k).sum(axis=1)
        g, h = ((weights * by * miss).sum(axis=1) for by in (by_mu, by_k))
        step = np.stack([d * g - b * h, a * h - b * g]) / (a * d - b * b)
        tried = np.clip(theta + step, bounds[:, :1], bounds[:, 1:])
        tried_miss = residual(tried)
        better = total(tried_miss) <= total(miss)
        small = np.abs(tried - theta).max(axis=0) < 1e-9
        theta = np.where(better, tried, theta)
        miss = np.where(better[:, None], tried_miss, miss)
        damping = np.where(better, damping * 0.2, damping * 8.0)
        if np.all(small):
            break
    return theta
