import numpy as np
import pytest
import torch

from tempica.errors import DataError
from tempica.ica import PCL, SOBI, TCL, TICA, NonstationaryICA, count_sources
from tempica.ica.base import whitening
from tempica.ica.linear import dimension
from tempica.ica.linear.dependence import contracted_share, of_labels, share, values_and_squares
from tempica.ica.linear.dimension import _block_length
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
    assert count_sources(X, labels=segments).n == 2
    assert count_sources(X).n == 4
    assert NonstationaryICA("auto").fit(X, segments).components_.shape == (2, 4)


def test_false_directions_are_rare(rng):
    labels = np.repeat(np.arange(10), 50)
    found = [count_sources(rng.standard_t(5, size=(500, 3)), labels=labels[:500], random_state=k).n for k in range(20)]
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
    phi = values_and_squares(Z)
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
    np.testing.assert_allclose(share(Z, phi, here, there), expected, atol=1e-12)


def test_contracted_dependence_agrees_with_a_slow_twin(rng):
    m, n = 40, 5
    z, other = rng.normal(size=(m, n)), rng.normal(size=(m, n))
    a, b = z - z.mean(0), other - other.mean(0)
    size = (b**2).sum(1)
    size = (size - size.mean()) / size.std()
    value, mixed, moment, first, second = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n)), np.zeros(n), np.zeros(n)
    for x, y, s in zip(a, b, size, strict=True):
        value += np.outer(x, y) / m
        mixed += np.outer(x, x) @ np.outer(y, y) / m
        moment += np.outer(x, x) * s / m
        first += np.outer(x, x) @ y / m
        second += x * s / m
    mixed -= (a.T @ a / m) @ (b.T @ b / m)
    expected = value @ value.T + mixed @ mixed.T / n + moment @ moment.T
    expected += np.outer(first, first) / n + np.outer(second, second)
    np.testing.assert_allclose(contracted_share(z, other), expected, atol=1e-12)


def test_dependence_on_labels_agrees_with_a_slow_twin(rng):
    number, Z = rng.integers(5, size=200), rng.normal(size=(200, 3))
    z, expected = Z - Z.mean(0), np.zeros((3, 3))
    for k in range(5):
        phi = (number == k) - np.mean(number == k)
        phi = phi / phi.std()
        value, moment = (phi[:, None] * z).mean(0), np.einsum("t,ti,tj->ij", phi, z, z) / 200
        expected += np.outer(value, value) + moment @ moment
    np.testing.assert_allclose(of_labels(number)(Z), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["value", "size", "odd", "labels"])
def test_sources_among_many_directions_are_counted(rng, autoregression, kind):
    labels, n = None, 3
    if kind == "value":
        sources = autoregression(rng, 6000, [0.8, 0.6, 0.4], "laplace")
    elif kind == "size":
        n, sources = 1, np.exp(autoregression(rng, 6000, [0.95])) * rng.normal(size=(6000, 1))
    elif kind == "odd":  # what follows is a square of what was
        noise = rng.normal(size=(6001, 1))
        n, sources = 1, noise[1:] + (noise[:-1] ** 2 - 1)
    else:
        labels = np.repeat(np.arange(20), 300)
        sources = rng.uniform(0.2, 1.5, size=(20, 3))[labels] * rng.laplace(size=(6000, 3))
    assert count_sources(mixed(rng, sources, rng.normal(size=(6000, 25))), labels=labels).n == n


def test_the_answer_says_what_it_does_not_say(rng, autoregression):
    X = mixed(rng, autoregression(rng, 3000, [0.8, 0.7]), rng.normal(size=(3000, 2)))
    found = count_sources(X)
    assert found.limits.startswith("2 of 4 directions depend on time.")
    assert "if it bends sources and noise together, there may be fewer" in found.limits
    assert f"{found.least:.2f}" in found.limits
    assert 0.02 < found.least < 0.3
    found = count_sources(X, labels=np.repeat(np.arange(10), 300))
    assert "depend on the labels" in found.limits


def test_how_long_it_may_take_is_said(rng, capsys, monkeypatch):
    X = rng.normal(size=(200, 3))
    count_sources(X)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(dimension, "LONG", 0.0)
    count_sources(X)
    said = capsys.readouterr().err
    assert "Counting sources among 3 directions may take" in said
    assert "0 of 3" in said


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
        (None, {"labels": np.zeros(40)}, "of one segment"),
        (None, {"labels": np.zeros(3)}, "must hold one label"),
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
    found = TCL("auto", **quick).fit(noisy, labelled.labels)
    assert found.n_components_ == 3
    assert found.transform(noisy).shape == (4000, 3)
