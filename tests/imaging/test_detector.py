import math

import numpy as np
import pytest
from scipy import stats

from tempica.imaging.detector import HEADROOM, Scale, noise_deviation, white_noise


def test_noise_follows_from_signal_and_snr():
    assert noise_deviation(4.0, 0.01) == pytest.approx(20)
    assert noise_deviation(4.0, 1.0) == pytest.approx(2)
    assert noise_deviation(4.0, math.inf) == 0


def test_noise_is_white_normal_and_of_the_stated_deviation():
    noise = np.stack([white_noise(0.3, 5, 0, frame, 32) for frame in range(60)])
    assert noise.dtype == np.float32
    n = noise.size
    assert abs(noise.mean()) < 4 * 0.3 / math.sqrt(n)
    assert abs(noise.std() / 0.3 - 1) < 4 / math.sqrt(2 * n)
    assert stats.kstest(noise.ravel() / 0.3, "norm").pvalue > 1e-3
    for axis in (0, 1, 2):  # neighbouring frames, rows, columns
        ahead, behind = (
            np.take(noise, which, axis) for which in (range(1, noise.shape[axis]), range(noise.shape[axis] - 1))
        )
        assert abs(np.corrcoef(ahead.ravel(), behind.ravel())[0, 1]) < 4 / math.sqrt(n)


def test_noise_of_a_frame_depends_on_seed_replica_and_frame_alone():
    first = white_noise(1.0, 5, 2, 7, 24)
    white_noise(1.0, 5, 2, 8, 24)
    np.testing.assert_array_equal(white_noise(1.0, 5, 2, 7, 24), first)
    np.testing.assert_array_equal(white_noise(2.0, 5, 2, 7, 24), 2 * first)
    for other in ((6, 2, 7), (5, 3, 7), (5, 2, 8), (5, 7, 2)):
        assert abs(np.corrcoef(white_noise(1.0, *other, 24).ravel(), first.ravel())[0, 1]) < 5 / 24


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("low", "high", "deviation"), [(-0.02, 0.3, 0.0), (-0.02, 0.3, 1.7), (5.0, 5.0, 0.1)])
def test_a_value_in_range_comes_back_within_half_a_level(low, high, deviation, dtype):
    scale = Scale.covering(low, high, deviation)
    margin = HEADROOM * deviation
    value = np.linspace(low - margin, high + margin, 5000, dtype=dtype)
    level = scale.digitise(value)
    assert level.dtype == np.uint8
    assert (level.min(), level.max()) == (0, 255)
    back = level * scale.factor + scale.offset
    assert np.abs(back - value).max() <= scale.factor * (0.5 + 1e-3)


def test_what_lies_outside_saturates():
    scale = Scale.covering(-1.0, 2.0, 0.1)
    np.testing.assert_array_equal(scale.digitise(np.array([-1e30, -1.6, 2.6, 1e30])), [0, 0, 255, 255])


def test_images_of_one_value_are_kept():
    scale = Scale.covering(0.7, 0.7, 0.0)
    assert scale.factor > 0
    assert scale.digitise(np.array([0.7])) * scale.factor + scale.offset == pytest.approx(0.7)
