import numpy as np
import pytest
import torch

from tempica.errors import DataError
from tempica.ica import PCL, SOBI, TCL, TICA, NonstationaryICA, count_sources
from tempica.ica.base import whitening
from tempica.ica.linear.dimension import _block_length, _share, _values_and_squares
from tempica.ica.synthetic import autoregressive, modulated


def mixed(rng, *parts):
    frames = np.concatenate(parts, axis=1)
    return frames @ rng.normal(size=(frames.shape[1], frames.shape[1])) + 3


@pytest.mark.parametrize("n", [1, 3])
def test_sources_with_memory_are_counted_and_white_noise_is_not(rng, autoregression, n):
    X = mixed(rng, autoregression(rng, 2000, [0.7] * n, "laplace"), rng.normal(size=(2000, 2)))
    found = count_sources(X, replicas=np.repeat([0, 1], 1000))
    assert found.n == n
    assert (found.statistic > found.threshold).tolist() == [True] * n + [False]
    assert count_sources(torch.as_tensor(X)).n == n


def test_nonlinearly_mixed_sources_beside_noise(rng, autoregression):
    s = autoregression(rng, 3000, [0.8, 0.6], "laplace")
    bent = np.stack([s[:, 0] + 0.5 * s[:, 1] ** 2, np.tanh(s[:, 1]) - 0.3 * s[:, 0]], axis=1)
    assert count_sources(mixed(rng, bent, rng.laplace(size=(3000, 2)))).n == 2


def test_a_memory_of_variance_alone_counts(rng, autoregression):
    """No autocorrelation at all: TICA sees nothing."""
    volatile = np.exp(autoregression(rng, 6000, [0.95])) * rng.normal(size=(6000, 1))
    X = mixed(rng, volatile, rng.normal(size=(6000, 2)))
    assert TICA().fit(X).autocorrelation_[0] < 0.1
    assert count_sources(X).n == 1


def test_labels_tell_modulated_sources_from_noise_with_a_memory(rng, autoregression):
    segments = np.repeat(np.arange(20), 200)
    sources = rng.uniform(0.2, 1.5, size=(20, 2))[segments] * rng.laplace(size=(4000, 2))
    X = mixed(rng, sources, autoregression(rng, 4000, [0.8, 0.5]))
    assert count_sources(X, segments=segments).n == 2
    assert count_sources(X).n == 4
    assert NonstationaryICA("auto").fit(X, segments).components_.shape == (2, 4)


def test_false_directions_are_rare(rng):
    labels = np.repeat(np.arange(10), 50)
    found = [
        count_sources(rng.standard_t(5, size=(500, 3)), segments=labels[:500], random_state=k).n for k in range(20)
    ]
    found += [count_sources(rng.laplace(size=(500, 3)), random_state=k).n for k in range(20)]
    assert np.count_nonzero(found) <= 2


def test_the_span_of_the_sources_is_found(rng, autoregression):
    s = autoregression(rng, 4000, [0.8, 0.8])
    X = np.concatenate([s, rng.normal(size=(4000, 2))], axis=1)
    found = count_sources(X)
    mean, white = whitening(X)
    kept = (X - mean) @ white.T @ found.directions[:2].T
    residual = s - kept @ np.linalg.lstsq(kept, s, rcond=None)[0]
    assert residual.var(0).max() < 0.01 * s.var(0).max()


@pytest.mark.parametrize("model", [TICA("auto"), SOBI("auto")])
def test_estimators_count_when_asked(rng, autoregression, model):
    X = mixed(rng, autoregression(rng, 2000, [0.9, 0.5]), rng.normal(size=(2000, 1)))
    assert model.fit(X).components_.shape == (2, 3)
    with pytest.raises(DataError, match="No direction of the frames depends"):
        model.fit(rng.normal(size=(500, 3)))


def test_dependence_agrees_with_a_slow_twin(rng):
    Z = rng.normal(size=(60, 3))
    phi = _values_and_squares(Z)
    np.testing.assert_allclose(phi.var(0), 1)
    here, there = np.arange(50), np.arange(50) + 4
    z = Z[here] - Z[here].mean(0)
    second = np.array([np.outer(x, x) for x in z])
    second -= second.mean(0)
    expected = np.zeros((3, 3))
    for f in range(phi.shape[1]):
        value = sum(x * y for x, y in zip(z, phi[there, f], strict=True)) / 50
        moment = sum(x * y for x, y in zip(second, phi[there, f], strict=True)) / 50
        expected += np.outer(value, value) + moment @ moment
    np.testing.assert_allclose(_share(Z, phi, here, there), expected, atol=1e-12)


def test_blocks_are_as_long_as_the_memory_within_segments(rng, autoregression):
    number = np.repeat(np.arange(10), 400)
    scale = rng.uniform(0.2, 2, size=(10, 1))[number]
    assert _block_length(scale * rng.normal(size=(4000, 2)), number) == 1
    length = _block_length(scale * autoregression(rng, 4000, [0.9, 0.0]), number)
    assert 20 < length < 50  # twice (1 + ρ)/(1 − ρ) = 19, less the tail that drowns in noise


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.zeros(9), {}, r"shape \(9,\)"),
        (np.full((9, 2), np.nan), {}, "finite"),
        (np.ones((9, 2)), {}, "constant"),
        (None, {"segments": np.zeros(40)}, "of one segment"),
        (None, {"segments": np.zeros(3)}, "must hold one label"),
        (None, {"replicas": np.arange(40)}, "longest replica has 1 frames"),
        (None, {"lag": 0}, "lag = 0"),
    ],
)
def test_what_cannot_be_counted_is_named(rng, X, options, message):
    with pytest.raises(DataError, match=message):
        count_sources(rng.normal(size=(40, 2)) if X is None else X, **options)


@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")  # trained too little
def test_contrastive_estimators_ask_for_the_number() -> None:
    rng = np.random.default_rng(5)
    quick = {"n_restarts": 1, "max_steps": 20}
    series, labelled = autoregressive(2, 4000, n_layers=1, seed=5), modulated(3, 20, 200, n_layers=1, seed=5)
    noisy = np.column_stack([series.X, rng.normal(size=(4000, 2))]) @ rng.normal(size=(4, 4))
    assert PCL("auto", **quick).fit(noisy).n_components_ == 2
    noisy = np.column_stack([labelled.X, rng.normal(size=(4000, 2))]) @ rng.normal(size=(5, 5))
    found = TCL("auto", **quick).fit(noisy, labelled.segments)
    assert found.n_components_ == 3
    assert found.transform(noisy).shape == (4000, 3)
