"""The state-space model against dense normal distributions over a whole series, and what it is for: noise."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import gennorm, multivariate_normal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica import kalman
from tempica.errors import DataError
from tempica.ica import SNICA, TICA, Training, load, save, smooth
from tempica.ica.generative.chains import Emission, Innovations, bound, expected_squares, posterior
from tempica.ica.generative.observations import rates
from tempica.ica.generative.vae import LEAST_NOISE, Chart
from tempica.series import chunks

RHO = np.array([0.9, 0.5])
MIXING = np.array([[1.0, 0.6], [-0.5, 1.0]])


def bend(s):
    return np.where(s @ MIXING.T > 0, s @ MIXING.T, 0.3 * (s @ MIXING.T)) @ MIXING


def dense_precision(lam, rho, process):
    """Precision (TN, TN) of one chunk, from s = L e with L the autoregression written out."""
    n_frames, n = process.shape
    lag = np.subtract.outer(np.arange(n_frames), np.arange(n_frames))
    prior = np.zeros((n_frames, n, n_frames, n))
    for i in range(n):
        root = np.where(lag >= 0, rho[i] ** np.maximum(lag, 0), 0.0)
        prior[:, i, :, i] = root @ np.diag(process[:, i]) @ root.T
    full = np.linalg.inv(prior.reshape(n_frames * n, -1)).reshape(prior.shape)
    for t in range(n_frames):
        full[t, :, t, :] += lam[t]
    return full.reshape(n_frames * n, -1)


def random_chunk(rng, n_frames=7, n=2):
    root = rng.normal(size=(n_frames, n, n))
    return rng.normal(size=(n_frames, n)), root @ root.transpose(0, 2, 1), rng.uniform(0.1, 2, size=(n_frames, n))


def test_the_posterior_of_a_chunk_is_the_dense_one(rng):
    place, lam, process = random_chunk(rng)
    precision = dense_precision(lam, RHO, process)
    covariance = np.linalg.inv(precision)
    mean = (covariance @ np.einsum("tij,tj->ti", lam, place).reshape(-1)).reshape(place.shape)
    rho = torch.tensor(RHO)[None, None, None]
    found, root = posterior(
        *(torch.tensor(a)[None, None] for a in (place, lam)), rho, torch.tensor(process)[None, None]
    )
    np.testing.assert_allclose(found[0, 0], mean, atol=1e-10)
    np.testing.assert_allclose((root @ root.transpose(-1, -2))[0, 0], precision, atol=1e-10)
    blocks = covariance.reshape(7, 2, 7, 2)
    squares = [
        [
            (mean[t, i] - RHO[i] * mean[t - 1, i]) ** 2
            + blocks[t, i, t, i]
            - 2 * RHO[i] * blocks[t, i, t - 1, i]
            + RHO[i] ** 2 * blocks[t - 1, i, t - 1, i]
            for i in range(2)
        ]
        for t in range(1, 7)
    ]
    np.testing.assert_allclose(expected_squares(found, root, rho)[0, 0], squares, atol=1e-10)
    # and the recursion that goes over series of any length says the same
    again, spread, cross = kalman.smooth(np.einsum("tij,tj->ti", lam, place), lam, np.zeros(7, int), RHO, process)
    np.testing.assert_allclose(again, mean, atol=1e-10)
    np.testing.assert_allclose(spread, [blocks[t, :, t] for t in range(7)], atol=1e-10)
    np.testing.assert_allclose(cross[1:], [blocks[t, :, t - 1] for t in range(1, 7)], atol=1e-10)
    assert (cross[0] == 0).all()


@pytest.mark.parametrize("given", [False, True])
def test_with_normal_sources_and_a_linear_emission_the_bound_is_the_likelihood(rng, given):
    """Then the posterior is exact, so that every draw gives the same bound: the dense log density of the frames."""
    n_frames, n, k = 6, 2, 3
    loading, part = rng.normal(size=(k, n)), rng.normal(size=(k, k))
    noise = part @ part.T + LEAST_NOISE * np.eye(k)
    root = rng.normal(size=(n_frames, k, k))
    own = root @ root.transpose(0, 2, 1) if given else np.zeros((n_frames, k, k))
    y = rng.normal(size=(n_frames, k))
    covariance = np.zeros((n_frames, k, n_frames, k))
    for t in range(n_frames):
        covariance[t, :, t, :] += noise + own[t]
        for u in range(n_frames):
            covariance[t, :, u, :] += loading @ np.diag(RHO ** abs(t - u)) @ loading.T
    expected = multivariate_normal(np.zeros(n_frames * k), covariance.reshape(n_frames * k, -1)).logpdf(y.reshape(-1))

    law = Innovations(torch.tensor(np.arctanh(RHO / 0.9999))[None].tanh()).double()
    law.shape.data += 60.0  # α = 2
    emission = Emission(torch.eye(n, k)[None], 4, 1, torch.Generator().manual_seed(0)).double()
    for chart in (emission.encoder, emission.decoder):
        for weight in chart.weights:
            weight.data.zero_()
    emission.decoder.linear.data = torch.tensor(loading.T)[None]
    emission.noise_root.data = torch.tensor(np.linalg.cholesky(part @ part.T))[None, None]
    # each frame's own guess, by weighted least squares: an encoder of one frame a time
    place = []
    for t in range(n_frames):
        weight = np.linalg.inv(noise + own[t])
        place.append(np.linalg.solve(loading.T @ weight @ loading, loading.T @ weight @ y[t]))
    emission.encoder = torch.nn.Identity()
    x, seen = (torch.tensor(np.array(a))[None] for a in (place, y))
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        found = float(bound(emission, law, x, seen, torch.tensor(own)[None] if given else None, draw).detach())
        assert found == pytest.approx(expected, abs=2e-3)  # a thousandth for the rounding of |e|


def test_the_law_of_innovations_is_normalised_and_of_unit_variance():
    law = Innovations(torch.tensor([[0.8]])).double().requires_grad_(False)
    law.shape += 0.4
    alpha, square = float(law.alpha), float(law.square_scale)
    assert gennorm(alpha, scale=math.sqrt(square)).var() == pytest.approx(1 - float(law.rho) ** 2)
    for s in ([0.3, -0.2], [0.3, 1.5]):
        e = s[1] - float(law.rho) * s[0]
        expected = -0.5 * (s[0] ** 2 + math.log(2 * math.pi)) + gennorm(alpha, scale=math.sqrt(square)).logpdf(e)
        assert float(law.log_density(torch.tensor(s)[None, None, :, None])) == pytest.approx(expected, abs=2e-3)


def test_the_normal_law_that_stands_for_an_innovation_touches_it(rng):
    """½ e² / v has the value of the slope of |e / a|^α at the size that was expected."""
    law = Innovations(torch.tensor([[0.8]])).double()
    e = torch.tensor([0.4], requires_grad=True, dtype=torch.float64)
    (e.abs() / law.square_scale.detach().sqrt().reshape(1)).pow(law.alpha.detach().reshape(1)).sum().backward()
    v = law.process((e.detach() ** 2).reshape(1, 1, 1, 1), torch.zeros(1, 1, 2, 1)).detach()[0, 0, 1, 0]
    assert float(e.detach() / v) == pytest.approx(float(e.grad), rel=1e-3)


def test_the_jacobian_of_a_chart_is_that_of_autograd(rng):
    draw = torch.Generator().manual_seed(0)
    chart = Chart(torch.randn(2, 3, 4, generator=draw), 8, 2, draw)
    for weight in chart.weights:
        weight.data += 0.3 * torch.randn(weight.shape, generator=draw)
    x = torch.randn(2, 5, 4, generator=draw)
    y, found = chart.with_jacobian(x)
    torch.testing.assert_close(y, chart(x))
    for r in range(2):
        for b in range(5):
            expected = torch.func.jacrev(lambda z, r=r: chart(z.expand(2, 1, 4))[r, 0])(x[r, b])
            torch.testing.assert_close(found[r, b].T, expected, atol=1e-5, rtol=1e-5)


def test_chunks_stay_within_series_and_leave_little_out():
    first, size = chunks(np.repeat([0, 1, 2], [33, 1, 16]), 16)
    assert (size, first.tolist()) == (16, [0, 16, 34])
    assert chunks(np.repeat(np.arange(10), 2), 16)[1] == 2
    assert chunks(np.zeros(20, int), 16)[1] == 10  # 16 would leave four frames out
    with pytest.raises(DataError, match="too few for 2 stretches"):
        chunks(np.zeros(3, int), 16)


def test_rates_do_not_see_white_noise(rng, autoregression):
    S = autoregression(rng, 20_000, RHO) + rng.normal(size=(20_000, 2))
    np.testing.assert_allclose(rates(S, np.zeros(len(S), int)), RHO, atol=0.06)


def recovered(S, truth):
    found = np.abs(np.corrcoef(S.T, truth.T)[:2, 2:])
    return max(found[0, 0] + found[1, 1], found[0, 1] + found[1, 0]) / 2


@pytest.mark.slow  # half a minute
def test_noise_and_a_bend_are_undone_together(rng, autoregression):
    truth = autoregression(rng, 12_000, RHO, "laplace")
    X = bend(truth)
    X = X / X.std(0) + 0.4 * rng.normal(size=X.shape)
    model = SNICA(2, max_steps=1000).fit(X[:8000])
    found = recovered(model.smooth(X[8000:]).mean, truth[8000:])
    linear = TICA().fit(X[:8000]).transform(X)
    assert found > recovered(smooth(linear).mean[8000:], truth[8000:]) + 0.01
    assert found > recovered(model.transform(X[8000:]), truth[8000:]) + 0.02
    # and its covariances say how well: the variance that a source of unit variance keeps is 1 − r²
    smoothed = model.smooth(X[8000:])
    left = np.diagonal(smoothed.covariance, axis1=1, axis2=2).mean(0) / smoothed.variance
    assert found == pytest.approx(np.sqrt(1 - left).mean(), abs=0.04)


def test_frames_of_known_uncertainty_count_for_what_they_are_worth(rng, autoregression):
    truth = autoregression(rng, 3000, RHO)
    deviation = np.where(rng.random(3000) < 0.5, 0.1, 3.0)
    X = truth @ MIXING.T + deviation[:, None] * rng.normal(size=truth.shape)
    covariance = deviation[:, None, None] ** 2 * np.eye(2)
    options = {"max_steps": 80, "training": Training(width=8), "n_restarts": 1}
    model = SNICA(2, **options).fit(X, covariance=covariance, posterior=False)
    knowing = model.smooth(X, covariance=covariance)
    ignorant = SNICA(2, **options).fit(X).smooth(X)
    assert recovered(knowing.mean, truth) > recovered(ignorant.mean, truth) + 0.1
    # the covariances know where it is uncertain
    spread = np.diagonal(knowing.covariance, axis1=1, axis2=2)
    assert spread[deviation > 1].mean() > 1.5 * spread[deviation < 1].mean()
    with pytest.raises(DataError, match="come without covariances, those of the fit came with"):
        model.smooth(X)
    # the same frames as posteriors under a normal prior
    prior = np.cov(truth @ MIXING.T, rowvar=False)
    gain = prior @ np.linalg.inv(prior + covariance)
    model = SNICA(2, **options).fit((gain @ X[..., None])[..., 0], covariance=gain @ covariance)
    again = model.smooth((gain @ X[..., None])[..., 0], covariance=gain @ covariance)
    assert recovered(again.mean, truth) > recovered(knowing.mean, truth) - 0.03


def test_api(rng, tmp_path, autoregression):
    X = bend(autoregression(rng, 300, RHO, "laplace")) + 0.2 * rng.normal(size=(300, 2))
    replicas = np.repeat([0, 1], 150)
    model = SNICA(2, max_steps=10, training=Training(width=8)).fit(X, replicas=replicas)
    S = model.transform(X)
    np.testing.assert_allclose(S.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(clone(model).fit(X, replicas=replicas).transform(X), S, atol=1e-5)
    again = load(save(model, tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(X), S)
    whole = model.smooth(X, replicas)
    np.testing.assert_array_equal(again.smooth(X, replicas).mean, whole.mean)
    np.testing.assert_allclose(model.smooth(X[150:]).mean, whole.mean[150:], atol=1e-6)  # nothing crosses a replica
    assert whole.covariance.shape == (300, 2, 2)
    assert model.score(X, replicas=replicas) > model.score(X[rng.permutation(300)]) + 0.05
    assert make_pipeline(StandardScaler(), clone(model)).fit(X).transform(X).shape == S.shape
    assert len(model.get_feature_names_out()) == 2
    assert SNICA(1, n_restarts=3, max_steps=5, training=Training(width=4)).fit(X).transform(X).shape == (300, 1)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (SNICA(), {"X": np.ones((60, 2))}, "constant"),
        (SNICA(4), {}, "n_components = 4 must be from 1 to 3"),
        (SNICA(chunk=1), {}, "chunk = 1 must be at least 2"),
        (SNICA(max_steps=None), {}, "max_steps = None must be a whole number"),
        (SNICA(), {"replicas": np.arange(60)}, "longest replica has 1 frames"),
        (SNICA(), {"covariance": np.ones((60, 3))}, r"covariance has shape \(60, 3\); frames \(60, 3\) need"),
        (SNICA(), {"covariance": np.full((60, 3, 3), np.nan)}, "all finite"),
    ],
)
def test_what_cannot_be_fitted_is_named(rng, model, data, message):
    with pytest.raises(DataError, match=message):
        model.fit(data.pop("X", rng.normal(size=(60, 3))), **data)


@parametrize_with_checks([SNICA(max_steps=3, training=Training(width=4))])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)
