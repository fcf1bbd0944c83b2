"""Kalman and Rauch–Tung–Striebel recursions against one dense normal distribution over a whole series."""

import numpy as np
import pytest
import torch

from tempica.errors import DataError
from tempica.ica import smooth
from tempica.ica.smoothing.dynamics import log_likelihood, rts
from tempica.ica.smoothing.evidence import evidence

RHO, VARIANCE = np.array([0.95, 0.6]), np.array([1.7, 0.4])


def dense(eta, lam, labels, rho, variance):
    """Posterior means, covariances and log evidence, through the covariance matrix of all sources of all frames."""
    n_frames, n = eta.shape
    time = np.arange(n_frames)
    same = labels[:, None] == labels[None, :]
    prior = np.zeros((n_frames, n, n_frames, n))
    information = np.zeros((n_frames, n, n_frames, n))
    for i in range(n):
        prior[:, i, :, i] = same * variance[i] * rho[i] ** np.abs(time[:, None] - time)
    for t in range(n_frames):
        information[t, :, t, :] = lam[t]
    size = n_frames * n
    prior, information = prior.reshape(size, size), information.reshape(size, size)
    covariance = np.linalg.inv(np.linalg.inv(prior) + information)
    mean = covariance @ eta.reshape(size)
    _, logdet = np.linalg.slogdet(np.eye(size) + prior @ information)
    blocks = covariance.reshape(n_frames, n, n_frames, n)[time, :, time, :]
    return mean.reshape(n_frames, n), blocks, 0.5 * eta.reshape(size) @ mean.reshape(size) - 0.5 * logdet


def random_evidence(rng, n_frames, n=2, rank=None, scale=2.0):
    root = scale * rng.normal(size=(n_frames, n, rank or n)) * rng.exponential(size=(n_frames, 1, 1))
    lam = root @ root.transpose(0, 2, 1)
    return np.einsum("tij,tj->ti", lam, rng.normal(size=(n_frames, n))), lam


def posteriors(rng, source, prior, strength=1.0):
    """What single frames of uneven quality tell of a source under the prior N(0, prior): means, covariances."""
    root = strength * rng.normal(size=(len(source), 2, 2)) * rng.exponential(size=(len(source), 1, 1))
    lam = root @ root.transpose(0, 2, 1)
    eta = np.einsum("tij,tj->ti", lam, source) + np.einsum("tij,tj->ti", root, rng.normal(size=source.shape))
    covariance = np.linalg.inv(np.linalg.inv(prior) + lam)
    return np.einsum("tij,tj->ti", covariance, eta), covariance, eta, lam


@pytest.mark.parametrize("labels", [np.zeros(12, dtype=int), np.repeat([0, 1, 2, 3], [5, 1, 4, 2]), np.arange(12)])
@pytest.mark.parametrize("rank", [1, 2])
def test_smoothing_agrees_with_the_dense_posterior(rng, labels, rank):
    eta, lam = random_evidence(rng, 12, rank=rank)
    lam[3], eta[3] = 0.0, 0.0  # a frame that says nothing
    lam[7] += 1e-12 * np.eye(2)
    mean, covariance, log_evidence = dense(eta, lam, labels, RHO, VARIANCE)
    found, spread = rts(eta, lam, RHO, VARIANCE, labels)
    np.testing.assert_allclose(found, mean, atol=1e-8)
    np.testing.assert_allclose(spread, covariance, atol=1e-8)
    assert log_likelihood(eta, lam, RHO, VARIANCE, labels) == pytest.approx(log_evidence, abs=1e-8)


@pytest.mark.parametrize("rho", [[0.0, 0.0], [0.9999, 0.5]])
@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_the_extremes_agree_with_the_dense_posterior(rng, rho, scale):
    labels = np.repeat([0, 1], [6, 4])
    eta, lam = random_evidence(rng, 10, scale=scale)
    mean, covariance, log_evidence = dense(eta, lam, labels, np.array(rho), VARIANCE)
    found, spread = rts(eta, lam, np.array(rho), VARIANCE, labels)
    np.testing.assert_allclose(found, mean, atol=1e-8)
    np.testing.assert_allclose(spread, covariance, atol=1e-8)
    value = log_likelihood(eta, lam, np.array(rho), VARIANCE, labels)
    assert value == pytest.approx(log_evidence, rel=1e-8, abs=1e-8)


def test_without_evidence_the_prior_remains():
    mean, covariance = rts(np.zeros((5, 2)), np.zeros((5, 2, 2)), RHO, VARIANCE)
    np.testing.assert_allclose(mean, 0)
    np.testing.assert_allclose(covariance, np.broadcast_to(np.diag(VARIANCE), (5, 2, 2)), atol=1e-12)


def test_nothing_crosses_a_replica(rng):
    eta, lam = random_evidence(rng, 20)
    labels = np.repeat([0, 1], 10)
    before = rts(eta, lam, RHO, VARIANCE, labels)
    eta[10:], lam[10:] = random_evidence(rng, 10)
    after = rts(eta, lam, RHO, VARIANCE, labels)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[:10], other[:10])
        assert np.abs(one[10:] - other[10:]).min() > 0
    alone = rts(eta[10:], lam[10:], RHO, VARIANCE)
    np.testing.assert_allclose(alone[0], after[0][10:], atol=1e-14)


def test_smoothing_lowers_the_error_and_knows_how_far(rng, autoregression):
    source = autoregression(rng, 4000, RHO)
    mean, covariance, _, _ = posteriors(rng, source, np.eye(2))
    found = smooth(mean, covariance, np.repeat([0, 1], 2000))
    raw, smoothed = ((mean - source) ** 2).mean(0), ((found.mean - source) ** 2).mean(0)
    assert smoothed[0] < 0.5 * raw[0]
    assert smoothed[1] < 0.9 * raw[1]
    np.testing.assert_allclose(found.autocorrelation, RHO, atol=0.03)
    np.testing.assert_allclose(found.variance, source.var(0), rtol=0.15)
    np.testing.assert_allclose(np.diagonal(found.covariance, axis1=1, axis2=2).mean(0), smoothed, rtol=0.15)


def test_scale_and_origin_of_the_sources_do_not_matter(rng, autoregression):
    source = autoregression(rng, 600, RHO)
    mean, covariance, _, _ = posteriors(rng, source, np.eye(2))
    scale, origin = np.array([1e-3, 50.0]), np.array([7.0, -3.0])
    one = smooth(mean, covariance)
    other = smooth(scale * mean + origin, covariance * np.outer(scale, scale))
    np.testing.assert_allclose((other.mean - origin) / scale, one.mean, atol=0.01)
    np.testing.assert_allclose(other.autocorrelation, one.autocorrelation, atol=0.005)


def test_evidence_undoes_conditioning(rng):
    prior = np.array([[1.5, 0.6], [0.6, 0.8]])
    source = rng.multivariate_normal([0, 0], prior, size=50_000)
    mean, covariance, eta, lam = posteriors(rng, source, prior)
    found_eta, found_lam = evidence(mean + np.array([4.0, -1.0]), covariance)
    known = np.linalg.eigvalsh(lam)[:, 0] > 0.05  # where less is known, the prior's own error shows
    assert known.mean() > 0.5
    np.testing.assert_allclose(found_lam[known], lam[known], atol=0.04)
    error = np.abs(found_eta - eta).max(1) / (1 + np.abs(eta).max(1))
    assert np.quantile(error, 0.99) < 0.05
    assert np.linalg.eigvalsh(found_lam).min() > -1e-9


def test_evidence_is_exact_where_the_moments_are(rng):
    """Two frames at ±d of equal covariance have the prior covariance + d dᵀ, without any sampling."""
    covariance = np.array([[0.5, 0.1], [0.1, 0.3]])
    d = np.array([0.8, -0.4])
    eta, lam = evidence(np.array([d, -d]) + 3, np.stack([covariance, covariance]))
    prior = covariance + np.outer(d, d)
    np.testing.assert_allclose(lam[0], np.linalg.inv(covariance) - np.linalg.inv(prior), atol=1e-12)
    np.testing.assert_allclose(np.linalg.inv(np.linalg.inv(prior) + lam[0]) @ eta[0], d, atol=1e-12)


def test_a_frame_that_knows_less_than_the_prior_says_nothing(rng):
    mean, covariance = np.zeros((10, 2)), np.tile(0.1 * np.eye(2), (10, 1, 1))
    covariance[0] = 9 * np.eye(2)
    mean[0] = 5.0
    eta, lam = evidence(mean, covariance)
    np.testing.assert_array_equal(eta[0], 0)
    np.testing.assert_array_equal(lam[0], 0)


def test_replicas_of_one_frame_are_left_as_they_are(rng):
    source = rng.normal(size=(3000, 2))
    mean, covariance, _, _ = posteriors(rng, source, np.eye(2))
    found = smooth(mean, covariance, np.arange(3000))
    assert np.isfinite(found.autocorrelation).all()
    np.testing.assert_allclose(found.variance, 1, atol=0.1)
    np.testing.assert_allclose(found.mean, mean, atol=0.25)
    assert np.mean((found.mean - mean) ** 2) < 1e-3


def test_a_single_frame_is_no_error():
    found = smooth(np.array([[0.3, 1.0]]), np.eye(2)[None])
    assert np.isfinite(found.mean).all()
    np.testing.assert_allclose(found.mean, [[0.3, 1.0]])


def test_dynamics_come_from_the_frames_of_training(rng, autoregression):
    source = np.concatenate([autoregression(rng, 1500, RHO), autoregression(rng, 1500, [0.1, 0.1])])
    replicas = np.repeat([0, 1], 1500)
    mean, covariance, _, _ = posteriors(rng, source, np.eye(2), strength=3)
    found = smooth(mean, covariance, replicas, train=replicas == 0)
    np.testing.assert_allclose(found.autocorrelation, RHO, atol=0.05)
    assert found.mean.shape == (3000, 2)


def test_a_gap_in_training_frames_is_no_step_in_time(rng, autoregression):
    source = autoregression(rng, 3000, RHO)
    mean, covariance, _, _ = posteriors(rng, source, np.eye(2), strength=5)
    found = smooth(mean, covariance, train=np.arange(3000) % 12 < 2)  # pairs, with ten frames between
    np.testing.assert_allclose(found.autocorrelation, RHO, atol=0.08)


def test_constant_noise_is_found_with_the_dynamics(rng, autoregression):
    source, noise = autoregression(rng, 4000, RHO), np.array([2.0, 0.5])
    seen = 3.0 + source + np.sqrt(noise) * rng.normal(size=source.shape)
    found = smooth(seen, None, np.repeat(np.arange(16), 250))
    np.testing.assert_allclose(found.autocorrelation, RHO, atol=0.05)
    np.testing.assert_allclose(found.noise_scale * seen.var(0), noise, rtol=0.15)
    error = ((found.mean - 3.0 - source) ** 2).mean(0)
    assert (error < 0.75 * np.minimum(noise, 1)).all()
    np.testing.assert_allclose(np.diagonal(found.covariance, axis1=1, axis2=2).mean(0), error, rtol=0.2)


def test_noise_known_up_to_a_factor_is_scaled(rng, autoregression):
    source = autoregression(rng, 3200, [0.9, 0.7])
    shape = np.array([[1.0, 0.6], [0.6, 1.0]]) * rng.uniform(0.2, 2, 3200)[:, None, None]
    seen = source + (np.linalg.cholesky(0.7 * shape) @ rng.normal(size=(3200, 2, 1)))[..., 0]
    np.testing.assert_allclose(smooth(seen, shape, posterior=False).noise_scale, 0.7, rtol=0.1)


@pytest.mark.parametrize("unit", [1e-150, 1e-12, 1e-9, 1e-5, 0.3, 1e4, 1e9, 1e12, 1e150, (1.0, 1e-9), (1e12, 1e-12)])
def test_no_unit_changes_what_is_found(rng, autoregression, unit):
    unit = unit * np.ones(2)
    source, replicas = autoregression(rng, 900, RHO), np.repeat([0, 1, 2], 300)
    seen = source + 0.7 * rng.normal(size=source.shape)
    known, train = np.tile(np.array([[0.5, 0.1], [0.1, 0.4]]), (900, 1, 1)), replicas < 2
    for covariance, options in [(None, {}), (known, {"posterior": False}), (known, {}), (None, {"train": train})]:
        one = smooth(seen, covariance, replicas, **options)
        scaled = None if covariance is None else covariance * np.outer(unit, unit)
        other = smooth(seen * unit, scaled, replicas, **options)
        np.testing.assert_allclose(other.mean / unit, one.mean, atol=2e-3)
        np.testing.assert_allclose(other.covariance / unit / unit[:, None], one.covariance, atol=2e-3)
        np.testing.assert_allclose(other.autocorrelation, one.autocorrelation, atol=1e-3)
        np.testing.assert_allclose(other.variance / unit / unit, one.variance, rtol=1e-2)
        np.testing.assert_allclose(other.noise_scale, one.noise_scale, rtol=1e-2)


@pytest.mark.parametrize("factor", [1e-12, 1e-4, 1e9])
def test_a_covariance_known_up_to_a_factor_may_be_in_any_unit(rng, autoregression, factor):
    source, shape = autoregression(rng, 800, RHO), rng.uniform(0.2, 2, 800)[:, None, None] * np.eye(2)
    seen = source + np.sqrt(shape[:, 0]) * rng.normal(size=source.shape)
    one, other = (smooth(seen, c * shape, posterior=False) for c in (1.0, factor))
    np.testing.assert_allclose(other.mean, one.mean, atol=2e-3)
    np.testing.assert_allclose(other.noise_scale * factor, one.noise_scale, rtol=1e-2)


@pytest.mark.parametrize("kind", ["white", "factor", "posterior"])
def test_frames_that_are_missing_are_known_from_the_others(rng, autoregression, kind):
    """Against the dense posterior, without evidence where frames or single sources are missing."""
    source, labels = autoregression(rng, 400, [0.98, 0.9]), np.repeat([0, 1], 200)
    covariance = np.tile(np.array([[0.2, 0.05], [0.05, 0.3]]), (400, 1, 1))
    seen = source + 0.5 * rng.normal(size=source.shape)
    missing = np.zeros((400, 2), dtype=bool)
    missing[50:60] = missing[199] = missing[200] = True
    missing[100:110, 0] = missing[300:320:2, 1] = True
    broken = np.where(missing, np.nan, seen)
    given, options = (None, {}) if kind == "white" else (covariance, {"posterior": kind == "posterior"})
    found, whole = (smooth(x, given, labels, **options) for x in (broken, seen))
    assert np.isfinite(found.mean).all()
    assert np.isfinite(found.covariance).all()
    np.testing.assert_allclose(found.autocorrelation, whole.autocorrelation, atol=0.03)
    np.testing.assert_allclose(found.variance, whole.variance, rtol=0.2)
    np.testing.assert_allclose(found.noise_scale, whole.noise_scale, rtol=0.2)
    assert np.mean((found.mean - source)[missing] ** 2) < 0.5 * source.var()
    spread = np.diagonal(found.covariance, axis1=1, axis2=2)
    assert spread[missing].mean() > 1.2 * spread[~missing].mean()
    if kind == "factor":
        part = labels == 0
        scale = np.sqrt(np.outer(found.noise_scale, found.noise_scale))
        lam = np.zeros((400, 2, 2))
        for t in range(400):
            seen_here = np.flatnonzero(~missing[t])
            lam[t][np.ix_(seen_here, seen_here)] = np.linalg.inv((scale * covariance[t])[np.ix_(seen_here, seen_here)])
        centre = np.nanmean(broken, axis=0)
        eta = np.einsum("tij,tj->ti", lam, np.where(missing, 0, broken - centre))
        mean, blocks, _ = dense(eta[part], lam[part], labels[part], found.autocorrelation, found.variance)
        np.testing.assert_allclose(found.mean[part], mean + centre, atol=1e-8)
        np.testing.assert_allclose(found.covariance[part], blocks, atol=1e-8)


def test_an_infinite_variance_and_no_number_mean_the_same(rng, autoregression):
    source = autoregression(rng, 300, RHO)
    mean, covariance, _, _ = posteriors(rng, source, np.eye(2))
    missing = rng.random((300, 2)) < 0.2
    wide = covariance.copy()
    wide[:, [0, 1], [0, 1]] = np.where(missing, np.inf, wide[:, [0, 1], [0, 1]])
    for options in ({}, {"posterior": False}):
        one = smooth(np.where(missing, np.nan, mean), covariance, **options)
        other = smooth(mean, wide, **options)
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.covariance, other.covariance)


def test_every_other_frame_is_enough_for_the_dynamics(rng, autoregression):
    source = autoregression(rng, 6000, [0.95, 0.9])
    seen = source + 0.7 * rng.normal(size=source.shape)
    seen[1::2] = np.nan
    found = smooth(seen)
    np.testing.assert_allclose(found.autocorrelation, [0.95, 0.9], atol=0.02)
    assert np.corrcoef(found.mean[1::2, 0], source[1::2, 0])[0, 1] > 0.8


@pytest.mark.parametrize("length", [1, 2])
def test_replicas_too_short_to_tell_noise_from_sources_are_refused(rng, length):
    seen, replicas = rng.normal(size=(600, 2)), np.arange(600) // length
    with pytest.raises(DataError, match="No replica of train has three frames"):
        smooth(seen, None, replicas)
    with pytest.raises(DataError, match="No replica of train has three frames"):
        smooth(seen, None, train=np.arange(600) % 3 < length)
    seen[np.arange(600) % 3 == 2] = np.nan
    with pytest.raises(DataError, match="No replica of train has three frames"):
        smooth(seen, None, np.arange(600) // 3)


def test_single_frames_of_known_noise_are_drawn_to_the_mean_by_that_noise(rng):
    seen = rng.normal(size=(2000, 2))
    found = smooth(seen, np.tile(0.25 * np.eye(2), (2000, 1, 1)), np.arange(2000), posterior=False)
    np.testing.assert_array_equal(found.noise_scale, 1)
    np.testing.assert_allclose(found.variance, 0.75, atol=0.08)
    np.testing.assert_allclose(found.mean.std(0), 0.75, atol=0.08)


def test_single_frames_beside_series_are_drawn_to_the_mean_by_the_noise_of_the_series(rng, autoregression):
    source = autoregression(rng, 3000, RHO)
    replicas = np.r_[np.zeros(2400, dtype=int), 1 + np.arange(600)]
    found = smooth(source + 0.5 * rng.normal(size=source.shape), None, replicas)
    np.testing.assert_allclose(found.mean[2400:].std(0), 1 / np.sqrt(1.25), atol=0.12)


def test_tensors_are_as_good_as_arrays(rng, autoregression):
    seen = autoregression(rng, 300, RHO) + 0.5 * rng.normal(size=(300, 2))
    covariance, train = np.tile(0.25 * np.eye(2), (300, 1, 1)), np.arange(300) < 200
    one = smooth(seen, covariance, train=train)
    given = torch.as_tensor(seen).requires_grad_(), torch.as_tensor(covariance)
    np.testing.assert_array_equal(smooth(*given, train=torch.as_tensor(train)).mean, one.mean)


@pytest.mark.parametrize("posterior", [False, True])
def test_one_covariance_may_stand_for_all_frames(rng, autoregression, posterior):
    seen, covariance = autoregression(rng, 300, RHO) + 0.5 * rng.normal(size=(300, 2)), 0.25 * np.eye(2)
    seen[7, 0] = np.nan
    one = smooth(seen, np.tile(covariance, (300, 1, 1)), posterior=posterior)
    other = smooth(seen, covariance, posterior=posterior)
    np.testing.assert_array_equal(other.mean, one.mean)
    np.testing.assert_array_equal(other.covariance, one.covariance)


GOOD = np.tile(np.eye(2), (6, 1, 1))


@pytest.mark.parametrize(
    ("mean", "covariance", "options", "message"),
    [
        (np.zeros(6), GOOD, {}, r"shape \(6,\); they must be \(frame, n\)"),
        (np.zeros((5, 2)), GOOD, {}, r"covariance has shape \(6, 2, 2\)"),
        (np.zeros((6, 2)), GOOD[:, :, :1], {}, r"need \(6, 2, 2\)"),
        (np.full((6, 2), np.nan), GOOD, {}, "finite"),
        (np.zeros((6, 2)), np.full((6, 2, 2), np.inf), {}, "finite"),
        (np.full((6, 2), np.inf), GOOD, {}, "finite"),
        (np.zeros((6, 2)), np.where(np.eye(2) > 0, 1, np.inf) * np.ones((6, 1, 1)), {}, "finite"),
        (np.zeros((6, 2)), np.where(np.eye(2) > 0, 1, np.nan) * np.ones((6, 1, 1)), {}, "finite"),
        (np.where(np.arange(2) == 1, np.nan, np.arange(6.0)[:, None]), None, {}, "Source 1 is finite in no frame"),
        (np.stack([np.arange(6.0), np.ones(6)], axis=1), None, {}, "Source 1 is constant"),
        (np.zeros((0, 2)), None, {}, r"shape \(0, 2\)"),
        (np.zeros((6, 2)), GOOD * 0, {}, "singular"),
        (np.zeros((6, 2)), GOOD, {"replicas": np.zeros(5)}, "one label for each of the 6 frames"),
        (np.zeros((6, 2)), GOOD, {"replicas": [0, 1, 0, 0, 0, 0]}, "contiguous"),
        (np.zeros((6, 2)), GOOD, {"train": np.ones(5)}, "must mark some of the 6"),
        (np.zeros((6, 2)), GOOD, {"train": np.zeros(6)}, "must mark some of the 6"),
    ],
)
def test_what_cannot_be_smoothed_is_named(mean, covariance, options, message):
    with pytest.raises(DataError, match=message):
        smooth(mean, covariance, **options)
