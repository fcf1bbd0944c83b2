"""Kalman and Rauch–Tung–Striebel recursions against one dense normal distribution over a whole series."""

import numpy as np
import pytest

from tempica.errors import DataError
from tempica.ica import smooth
from tempica.ica.smoothing.smoothing import evidence, log_likelihood, rts

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


GOOD = np.tile(np.eye(2), (6, 1, 1))


@pytest.mark.parametrize(
    ("mean", "covariance", "options", "message"),
    [
        (np.zeros(6), GOOD, {}, r"shape \(6,\); they must be \(frame, n\)"),
        (np.zeros((5, 2)), GOOD, {}, r"covariance has shape \(6, 2, 2\)"),
        (np.zeros((6, 2)), GOOD[:, :, :1], {}, r"need \(6, 2, 2\)"),
        (np.full((6, 2), np.nan), GOOD, {}, "finite"),
        (np.zeros((6, 2)), np.full((6, 2, 2), np.inf), {}, "finite"),
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
