"""Grids from data: the least step that covers, the least error, batch by batch."""

import numpy as np
import pytest

from kerasqnn.quantizers import Calibration, FixedPoint, calibrate, get

METHODS = ["min_max", "percentile", "mse"]


def _values(*shape, seed=0):
    return np.random.default_rng(seed).standard_t(3, shape).astype(np.float32)


def _overshoot(grid, values):
    """Return how far the values reach beyond the grid's ends, in steps."""
    beyond = np.maximum(values - grid.max, grid.min - values)
    return np.max(beyond / grid.step.astype(np.float64), axis=0)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("signed", [None, True, False])
@pytest.mark.parametrize("power_of_two", [True, False])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_min_max_is_the_least_step_that_covers(bits, signed, power_of_two, scale):
    """No value is more than half a step outside; with a smaller step one would be."""
    values = _values(200) * np.float32(scale)
    if not signed:
        values = np.abs(values)
    if bits == 1 and signed:
        with pytest.raises(ValueError, match="Binary"):
            calibrate(values, bits, signed=signed)
        return
    grid = calibrate(values, bits, signed=signed, power_of_two=power_of_two)
    assert (grid.bits, grid.signed) == (bits, bool(signed))
    assert grid.is_power_of_two or not power_of_two
    assert _overshoot(grid, values) <= 0.5 + 2.0**-22 * 2**bits
    smaller = FixedPoint(
        bits,
        grid.integer,
        signed=grid.signed,
        scale=grid.scale * (0.5 if power_of_two else 1 - 1e-5),
    )
    assert _overshoot(smaller, values) > 0.5


def test_signs_follow_the_data():
    """Signed where a value is negative, in any batch and any channel."""
    assert calibrate([-0.1, 3], 4).signed
    assert not calibrate([0.0, 3], 4).signed
    assert calibrate([[1.0, -1.0], [2.0, 1.0]], 4, per_channel=True).signed


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("power_of_two", [True, False])
def test_channels_alone_and_together(method, power_of_two):
    """Each channel has the step that it would have as a tensor of its own."""
    values = _values(500, 3) * np.array([0.01, 1, 20], np.float32)
    options = {"method": method, "power_of_two": power_of_two, "percentile": 98}
    grid = calibrate(values, 5, per_channel=True, **options)
    alone = [float(calibrate(v, 5, **options).step) for v in values.T]
    np.testing.assert_array_equal(grid.step, np.float32(alone))
    assert len(set(alone)) == 3


def test_percentile_clips_outliers():
    """The range ends at the percentile of the magnitudes."""
    values = np.append(np.linspace(-1, 1, 1001), 1000.0)
    grid = calibrate(values, 8, method="percentile", percentile=99, power_of_two=False)
    bound = np.percentile(np.abs(values.astype(np.float32)), 99)
    assert float(grid.step) == pytest.approx(bound / 127.5, rel=1e-6)
    full = calibrate(values, 8, method="percentile", percentile=100)
    assert full == calibrate(values, 8)


@pytest.mark.parametrize("power_of_two", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mse_is_least(power_of_two, bits):
    """No step of the search has a smaller error; smaller than that of min_max."""
    values = _values(3000)
    options = {"power_of_two": power_of_two}
    grid = calibrate(values, bits, method="mse", **options)
    widest = calibrate(values, bits, **options)

    def error(step):
        codes = np.clip(np.rint(values / step), grid.code_min, grid.code_max)
        return np.mean(np.square(values - codes * step, dtype=np.float64))

    least = error(float(grid.step))
    steps = float(widest.step) * 2.0 ** -np.arange(9)
    assert least <= min(error(s) for s in steps) * (1 + 1e-6)
    if bits < 8:  # there the step of min_max is already the best
        assert least < error(float(widest.step))
    np.testing.assert_allclose(
        np.mean((values - grid.quantize(values)) ** 2), least, rtol=1e-5
    )


@pytest.mark.parametrize("method", METHODS)
def test_batches_give_what_the_whole_gives(method):
    """The order and size of the batches do not matter while all values are kept."""
    values = _values(6, 50, 2)
    watch = Calibration(per_channel=True)
    for batch in (values[4:], values[:1], values[1:4]):
        watch.update(batch)
    expected = calibrate(values, 6, per_channel=True, method=method)
    assert watch.quantizer(6, method=method) == expected
    np.testing.assert_array_equal(watch.max, values.max(axis=(0, 1)))
    np.testing.assert_array_equal(watch.min, values.min(axis=(0, 1)))


def test_a_sample_stands_for_many():
    """Beyond `samples` a uniform sample is kept, the same for the same seed."""
    values = np.linspace(0, 1, 40_000, dtype=np.float32)
    watches = [Calibration(samples=2000, seed=s) for s in (1, 1, 2)]
    for watch in watches:
        for batch in np.split(values, 10):
            watch.update(batch)
    options = {"method": "percentile", "percentile": 50, "power_of_two": False}
    steps = [float(w.quantizer(8, **options).step) for w in watches]
    assert steps[0] == steps[1] != steps[2]
    # The median of 2000 numbers from [0, 1] has a standard deviation of 0.011.
    assert steps[2] * 255.5 == pytest.approx(0.5, abs=0.045)
    assert all(float(w.max) == 1.0 and float(w.min) == 0.0 for w in watches)


def test_nothing_to_hold():
    """Zeros, a zero channel and huge ranges give a grid all the same."""
    assert calibrate(np.zeros(3), 4) == FixedPoint(4, 0, signed=False)
    grid = calibrate([[0.0, 2.0], [0.0, -2.0]], 4, per_channel=True)
    assert grid.step[0] == grid.step[1]
    for size in (1e-38, 1e30):
        grid = calibrate([size, -size], 8, per_channel=True)
        assert np.isfinite(grid.quantize([size, -size])).all()
        assert get(repr(grid)) == grid


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": []}, "finite numbers, at least one"),
        ({"values": [1, np.nan]}, "1 not finite"),
        ({"bits": 25}, "`bits` must be"),
        ({"method": "max"}, "Unknown `method`.*Allowed: min_max"),
        ({"percentile": 0}, "`percentile` must be above 0"),
    ],
)
def test_refusals(arguments, message):
    """Each names the argument and what is allowed."""
    with pytest.raises(ValueError, match=message):
        calibrate(**{"values": [1.0], "bits": 4, **arguments})


def test_refusals_of_batches():
    """No data, and other channels than before."""
    watch = Calibration(per_channel=True)
    with pytest.raises(ValueError, match="update"):
        watch.quantizer(4)
    watch.update(np.ones((2, 3)))
    with pytest.raises(ValueError, match="3 channels"):
        watch.update(np.ones((2, 4)))
