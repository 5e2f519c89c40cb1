"""The midpoint fit: recovery, weights, censoring, resampling and coverage."""

import math

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.stats import binom, t
from sklearn.isotonic import IsotonicRegression

from kerasqnn.walking import midpoint as module
from kerasqnn.walking._transition import falling, fit_rows
from kerasqnn.walking.midpoint import fit_midpoint, half_way_crossing, monotone

OFFSETS = np.array([-3, -2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2])


def simulate(rng, levels, *, mu=1.0, k=2.0, clean=0.95, chance=0.1, draws=2, n=500):
    """Samples that each stand a random noise; their mean is exactly the fitted form.

    Half of the draws repeat the sample's own threshold, so that draws and levels of
    one sample are correlated. Beyond its threshold a sample is guessed.
    """
    fine = rng.random(n) < clean
    own, each = rng.logistic(size=n), rng.logistic(size=(draws, n))
    logit = np.where(rng.random((draws, n)) < 0.5, own, each)
    guessed = rng.random((draws, n)) < chance
    stands = levels[:, None, None] < mu * np.exp(logit / k)
    return np.where(stands, fine, guessed), fine


def grid(rng, mu=1.0):
    """Coarse far from the midpoint and fine near it, not centred exactly."""
    return mu * 10.0 ** (OFFSETS + rng.uniform(-0.12, 0.12))


def curve(levels, mu, k, clean, chance):
    """The fitted form."""
    return chance + (clean - chance) * falling(k * np.log(levels / mu))


def constant(shares, n=1000):
    """`(L, 1, n)` measurements with the given accuracies."""
    return np.arange(n)[None, None] < np.round(np.asarray(shares) * n)[:, None, None]


def test_exact_curves_are_recovered():
    """The tolerance is the solver's last step, not a statistical one."""
    levels = np.logspace(-3, 3, 25)
    cases = [(m, k) for m in (0.02, 0.7, 90.0) for k in (0.8, 2.0, 6.0)]
    rows = np.stack([curve(levels, m, k, 0.93, 0.1) for m, k in cases])
    clean = np.full(len(cases), 0.93)
    mu, k, crossing = fit_rows(np.log(levels), rows, clean, 0.1, 1000)
    np.testing.assert_allclose(mu, [m for m, _ in cases], rtol=1e-7)
    np.testing.assert_allclose(k, [k for _, k in cases], rtol=1e-7)
    assert np.all(np.abs(np.log10(crossing / mu)) < 0.03)


@pytest.mark.parametrize("seed", range(8))
def test_fit_is_the_weighted_optimum(seed):
    """An independent solver finds the same point only with the same weights."""
    rng = np.random.default_rng(seed)
    levels = grid(rng)
    correct, fine = simulate(rng, levels, n=60, k=rng.uniform(0.7, 5.0))
    found = fit_midpoint(levels, correct, fine, 0.1, bootstrap=0)
    accuracy = correct.mean(axis=(1, 2))
    share = (accuracy * 60 + 2) / 64

    def solve(weights):
        def residual(theta):
            predicted = curve(levels, *np.exp(theta), fine.mean(), 0.1)
            return np.sqrt(weights) * (predicted - accuracy)

        starts = [(x, y) for x in (-0.7, 0.0, 0.7) for y in (-0.5, 0.5, 1.5)]
        fits = [least_squares(residual, s, xtol=1e-14, ftol=1e-14) for s in starts]
        return np.exp(min(fits, key=lambda fit: fit.cost).x)

    best = solve(1 / (share * (1 - share)))
    np.testing.assert_allclose([found.mu, found.slope], best, rtol=1e-5)
    assert abs(solve(np.ones_like(share))[0] / best[0] - 1) > 1e-4


def test_levels_carry_the_unit():
    """Ten times the levels: ten times the midpoint, interval and crossing."""
    rng = np.random.default_rng(3)
    levels = grid(rng)
    data = simulate(rng, levels)
    one, ten = fit_midpoint(levels, *data, 0.1), fit_midpoint(10 * levels, *data, 0.1)
    for name in ("mu", "low", "high", "crossing"):
        assert getattr(ten, name) == pytest.approx(10 * getattr(one, name), rel=1e-7)
    assert one.low < one.mu < one.high


def test_result_is_complete_and_frozen():
    """Clean accuracy, chance and confidence are the ones given."""
    rng = np.random.default_rng(4)
    levels = grid(rng)
    correct, fine = simulate(rng, levels)
    found = fit_midpoint(levels, correct, fine, 0.1, confidence=0.9)
    assert (found.censored, found.chance, found.confidence) == ("no", 0.1, 0.9)
    assert found.clean == fine.mean()
    assert 0.99 < found.r_squared <= 1.0
    half = found.accuracy(np.array([found.mu]))
    assert half == pytest.approx((found.clean + 0.1) / 2, abs=1e-12)
    assert found.__dataclass_params__.frozen
    wide = fit_midpoint(levels, correct, fine, 0.1, confidence=0.99)
    assert wide.low < found.low < found.high < wide.high


@pytest.mark.parametrize("bootstrap", [0, 400])
def test_censored(bootstrap):
    """A curve that does not pass half way gives a bound, not an extrapolated value."""
    levels, fine = np.array([0.1, 1.0, 10.0]), np.ones(1000, bool)
    options = {"chance": 0.1, "bootstrap": bootstrap}
    found = fit_midpoint(levels, constant([1, 0.95, 0.8]), fine, **options)
    assert (found.censored, found.mu, found.crossing) == ("above", math.inf, math.inf)
    assert (found.low, found.high) == (10.0, math.inf)
    assert math.isnan(found.slope)
    assert np.isnan(found.accuracy(levels)).all()
    found = fit_midpoint(levels, constant([0.4, 0.2, 0.1]), fine, **options)
    assert (found.censored, found.mu, found.crossing) == ("below", 0.0, 0.0)
    assert (found.low, found.high) == (0.0, 0.1)


def test_bounds_admit_the_sampling_error():
    """Just short of half way, the bound may lie within the range; just past, beyond."""
    levels, fine = np.logspace(-1, 1, 9), np.ones(200, bool)
    shares = np.linspace(1.0, 0.56, 9)
    found = fit_midpoint(levels, constant(shares, 200), fine, 0.1)
    assert found.censored == "above"
    assert found.low < levels[-1]
    found = fit_midpoint(levels, constant(shares - 0.02, 200), fine, 0.1)
    assert (found.censored, found.high) == ("no", math.inf)
    found = fit_midpoint(levels, constant(1.1 - shares[::-1], 200), fine, 0.1)
    assert found.censored == "below"
    assert levels[0] < found.high < levels[-1]


@pytest.mark.parametrize("clean", [0.05, 0.1, 0.12])
def test_undefined(clean):
    """0.12 of 200 samples is not better than chance beyond its sampling error."""
    fine = np.arange(200) < 200 * clean
    levels = np.array([0.1, 1.0, 10.0])
    found = fit_midpoint(levels, constant([clean, 0.1, 0.1], 200), fine, 0.1)
    assert found.censored == "undefined"
    assert np.isnan([found.mu, found.low, found.high, found.slope]).all()
    assert np.isnan([found.crossing, found.r_squared]).all()
    assert found.clean == fine.mean()


def test_monotone_is_isotonic_regression():
    """Against scikit-learn; the tolerance is rounding."""
    rng = np.random.default_rng(0)
    rows = rng.random((50, 12)) - np.linspace(0, 1, 12)
    reference = IsotonicRegression(increasing=False)
    expected = [reference.fit_transform(np.arange(12), row) for row in rows]
    np.testing.assert_allclose(monotone(rows), expected, atol=1e-13)
    assert np.all(np.diff(monotone(rows), axis=1) <= 0)


def test_crossing():
    """Linear in log level, the middle of a rest, unique under bumps, censored."""
    levels = np.array([1.0, 10.0, 100.0, 1000.0])
    found = half_way_crossing(levels, np.array([1.0, 0.75, 0.25, 0.0]), 1.0, 0.0)
    assert found == pytest.approx(10**1.5, rel=1e-12)
    rest = half_way_crossing(levels, np.array([1.0, 0.5, 0.5, 0.0]), 1.0, 0.0)
    assert rest == pytest.approx(10**1.5, rel=1e-12)
    bump = half_way_crossing(levels, np.array([1.0, 0.3, 0.7, 0.0]), 1.0, 0.0)
    assert bump == rest
    shares = constant([1.0, 0.3, 0.7, 0.0])
    fitted = fit_midpoint(levels, shares, np.ones(1000, bool), 0.0, bootstrap=0)
    assert fitted.crossing == pytest.approx(rest, rel=1e-12)
    assert half_way_crossing(levels, np.full(4, 0.6), 1.0, 0.0) == math.inf
    assert half_way_crossing(levels, np.full(4, 0.4), 1.0, 0.0) == 0.0
    assert math.isnan(half_way_crossing(levels, np.full(4, 0.4), 0.1, 0.1))


def test_a_step_between_two_levels():
    """Without a level on the slope the midpoint still lies between the two."""
    levels = np.logspace(-3, 3, 7)
    shares = np.where(levels < 0.5, 1.0, 0.1)
    found = fit_midpoint(levels, constant(shares), np.ones(1000, bool), 0.1)
    assert 0.1 < found.mu < 1.0
    assert np.isfinite([found.low, found.high, found.slope]).all()


def test_seed_fixes_the_interval():
    """Same seed, same bits; another seed moves the interval but not the fit."""
    rng = np.random.default_rng(5)
    levels = grid(rng)
    data = simulate(rng, levels)
    one, same = (fit_midpoint(levels, *data, 0.1, seed=7) for _ in range(2))
    assert one == same
    other = fit_midpoint(levels, *data, 0.1, seed=8)
    assert (one.low, one.high) != (other.low, other.high)
    assert one.mu == other.mu
    # the ends are the tenth of 400 resamples from either side
    _, rates = module._checked(levels, *data, 0.1)
    found = module._fit(levels, module._resample(rates, 400, 7)[0], 0.1, 500)[0]
    assert ((found < one.low).sum(), (found > one.high).sum()) == (9, 9)


def test_clean_accuracy_is_resampled_with_its_samples(monkeypatch):
    """A level without effect keeps equal to the clean accuracy in every resample."""
    rng = np.random.default_rng(6)
    fine = rng.random(300) < 0.8
    other = rng.random(300) < 0.5
    rates = np.stack([fine, other, fine]).astype(float)[None]
    monkeypatch.setattr(module, "_CHUNK", 7 * 300)  # several blocks, the last partial
    found, fixed = module._resample(rates, 400, 0)
    assert found.shape == (400, 3)
    np.testing.assert_array_equal(found, fixed)
    np.testing.assert_array_equal(found[:, 0], found[:, 2])
    expected = np.sqrt(fine.mean() * (1 - fine.mean()) / 300)
    # 400 resamples give a standard deviation to 3.5 %
    assert found[:, 2].std() == pytest.approx(expected, rel=0.14)
    ones, _ = module._resample(np.ones((1, 2, 300)), 400, 0)
    np.testing.assert_array_equal(ones, 1.0)


def test_coverage_and_width():
    """95 % of the intervals cover; their width is the scatter of the estimates.

    Resampling the draws once more within their samples makes them 16 % wider.
    """
    repetitions, covered, widths, found = 200, 0, [], []
    for repetition in range(repetitions):
        rng = np.random.default_rng([0, repetition])
        levels = grid(rng)
        data = simulate(rng, levels)
        fit = fit_midpoint(levels, *data, 0.1, bootstrap=199, seed=repetition)
        covered += fit.low <= 1.0 <= fit.high
        widths.append(math.log(fit.high / fit.low))
        found.append(math.log(fit.mu))
    least, most = binom.interval(0.999, repetitions, 0.95)
    assert least <= covered <= most
    # the scatter of 200 estimates is known to 5 %
    assert np.mean(widths) / (2 * 1.96 * np.std(found)) == pytest.approx(1, abs=0.12)


def test_identical_draws_carry_no_information():
    """Draws are not independent samples: repeating one leaves the interval as it is."""
    rng = np.random.default_rng(9)
    levels = grid(rng)
    correct, fine = simulate(rng, levels, draws=1)
    repeated = np.repeat(correct, 4, axis=1)
    once = fit_midpoint(levels, correct, fine, 0.1)
    assert fit_midpoint(levels, repeated, fine, 0.1) == once
    # and a seeds axis of length one changes nothing
    assert fit_midpoint(levels, correct[None], fine[None], 0.1) == once


def test_seeds_give_a_t_interval():
    """Networks that differ much: the width is that of a t interval of their midpoints.

    It would be 0.65 of it with the normal quantile, 0.9 if S of S were resampled.
    """
    ratios = []
    for repetition in range(30):
        rng = np.random.default_rng([1, repetition])
        levels, state = grid(rng), int(rng.integers(2**30))
        rngs = [np.random.default_rng(state) for _ in range(4)]  # equal test samples
        own = np.exp(0.3 * rng.normal(size=4))
        data = [simulate(rngs.pop(), levels, mu=mu, n=300) for mu in own]
        single = [fit_midpoint(levels, *part, 0.1, bootstrap=0).mu for part in data]
        correct, fine = (np.stack(part) for part in zip(*data, strict=True))
        fit = fit_midpoint(levels, correct, fine, 0.1, bootstrap=199)
        expected = t.ppf(0.975, 3) * np.log(single).std(ddof=1) / 2
        ratios.append(math.log(fit.high / fit.low) / 2 / expected)
    # a ratio scatters by 0.06, so the mean of 30 by 0.01
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"levels": [1.0, 1.0, 2.0]}, ValueError, "strictly ascending"),
        ({"levels": [0.0, 1.0, 2.0]}, ValueError, "positive"),
        ({"levels": [1.0, 2.0, math.inf]}, ValueError, "finite"),
        ({"levels": [1.0, math.nan, 2.0]}, ValueError, "finite"),
        ({"levels": [1.0]}, ValueError, "at least two"),
        ({"levels": [1.0, 2.0]}, ValueError, "2 levels, correct.shape=\\(3, 1, 50\\)"),
        ({"correct": np.ones((3, 1, 50))}, TypeError, "`correct` must be bool"),
        ({"clean_correct": np.ones(50)}, TypeError, "`clean_correct` must be bool"),
        ({"clean_correct": np.ones(49, bool)}, ValueError, "\\(49,\\)"),
        ({"correct": np.ones((3, 0, 50), bool)}, ValueError, "\\(3, 0, 50\\)"),
        ({"chance": 1.0}, ValueError, "chance=1.0"),
        ({"confidence": 95}, ValueError, "confidence=95"),
        ({"bootstrap": 38}, ValueError, "at least 39"),
        ({"bootstrap": -1}, ValueError, "bootstrap=-1"),
    ],
)
def test_bad_arguments(change, error, text):
    """Each error names its argument and what was received."""
    good = {"levels": [1.0, 2.0, 3.0], "correct": constant([1, 0.5, 0], 50)}
    good |= {"clean_correct": np.ones(50, bool), "chance": 0.0, "bootstrap": 39}
    assert fit_midpoint(**good).censored == "no"
    with pytest.raises(error, match=text):
        fit_midpoint(**{**good, **change})
