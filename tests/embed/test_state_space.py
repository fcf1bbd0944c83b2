"""EM on synthetic quadratic log-likelihoods of a linear model with known directions and dynamics."""

import numpy as np
import pytest
from scipy.linalg import block_diag

from tempica import kalman
from tempica.embed.modes.labelled import levels
from tempica.embed.modes.n_sources import choose_n_sources
from tempica.embed.modes.state_space import apply, learn, project, single_frames
from tempica.errors import DataError

RHO = np.array([0.95, 0.8, 0.3])


def movie(n_frames=4000, n_basis=8, snr=0.3, rho=RHO, seed=0):
    """H, u, molecule, sources, μ and W of frames that each see four projections of c = μ + W s, and noise."""
    rng = np.random.default_rng(seed)
    molecule = np.repeat(np.arange(8), n_frames // 8)
    source = rng.normal(size=(n_frames, len(rho))) * np.sqrt(kalman.process(molecule, rho))
    for t in range(1, n_frames):
        if molecule[t] == molecule[t - 1]:
            source[t] += rho * source[t - 1]
    weight, centre = rng.normal(size=(n_basis, len(rho))), 2 * rng.normal(size=n_basis)
    view = np.sqrt(snr) * rng.normal(size=(n_frames, 4, n_basis))
    seen = (view @ (centre + source @ weight.T)[..., None])[..., 0] + rng.normal(size=(n_frames, 4))
    information = (view.swapaxes(1, 2) @ view).astype(np.float32)
    return information, (view.swapaxes(1, 2) @ seen[..., None])[..., 0], molecule, source, centre, weight


def matched(mean, source):
    k = source.shape[1]
    return np.abs(np.corrcoef(mean.T, source.T)[:k, k:]).max(0)


def sine(one, other):
    """Largest sine between the spans of two sets of columns."""
    one, other = (np.linalg.qr(columns)[0] for columns in (one, other))
    return np.linalg.norm(other - one @ (one.T @ other), 2)


def test_directions_dynamics_and_centre_are_recovered():
    information, evidence, molecule, source, centre, weight = movie()
    found = learn(information, evidence, molecule, 3, ridge=1e-3, n_steps=40)
    exact = apply(information, evidence, molecule, centre, weight, RHO)
    np.testing.assert_allclose(found.autocorrelation, RHO, atol=0.04)
    assert sine(found.weight, weight) < 0.05
    np.testing.assert_allclose(np.linalg.norm(found.weight, axis=0), np.linalg.norm(weight, axis=0), rtol=0.12)
    # the centre goes with the mean of the sources, which a series this short does not fix
    np.testing.assert_allclose(found.centre, centre + weight @ source.mean(0), atol=0.08)
    assert (matched(found.mean, source) > matched(exact.mean, source) - 0.01).all()
    assert found.log_evidence.sum() > exact.log_evidence.sum()
    error = source - exact.mean
    expected = np.diagonal(exact.covariance, axis1=1, axis2=2).mean(0)
    np.testing.assert_allclose((error**2).mean(0), expected, rtol=0.12)


def test_mixed_sources_of_equal_rates_are_left_at_once():
    """A start with every source mixed and all ρ equal is a saddle of EM; parameter expansion leaves it."""
    information, evidence, molecule, source, centre, weight = movie()
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    start = apply(information, evidence, molecule, centre, weight @ turn, np.full(3, 0.7))
    assert matched(start.mean, source).min() < 0.85
    found = learn(information, evidence, molecule, 3, start=start, n_steps=15)
    exact = apply(information, evidence, molecule, centre, weight, RHO)
    assert (matched(found.mean, source) > matched(exact.mean, source) - 0.02).all()


def test_scale_and_centre_do_not_creep():
    information, evidence, molecule, _, centre, weight = movie(snr=0.05)
    start = apply(information, evidence, molecule, 0 * centre, 0.2 * weight, np.full(3, 0.5))
    found = learn(information, evidence, molecule, 3, start=start, n_steps=15)
    assert np.linalg.norm(found.weight) == pytest.approx(np.linalg.norm(weight), rel=0.1)
    assert found.autocorrelation[0] == pytest.approx(0.95, abs=0.03)


def test_frames_of_other_molecules_are_no_pairs():
    information, evidence, _, _, centre, weight = movie(n_frames=800)
    every = np.arange(800)
    alone = apply(information, evidence, every, centre, weight, RHO)
    mean, covariance = single_frames(*project(information, evidence, centre, weight))
    np.testing.assert_allclose(alone.mean, mean, atol=1e-10)
    np.testing.assert_allclose(alone.covariance, covariance, atol=1e-10)


def test_snapshots_are_learned_from_without_time():
    information, evidence, molecule, _, _, weight = movie(snr=1.0)
    order = np.random.default_rng(0).permutation(len(evidence))
    found = learn(information[order], evidence[order], molecule, 3, timeless=True, ridge=1e-3, n_steps=30)
    assert (found.autocorrelation == 0).all()
    assert sine(found.weight, weight) < 0.05
    strength = np.linalg.svd(weight, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(found.weight, axis=0), strength, rtol=0.1)
    again = learn(information, evidence, np.arange(len(evidence)), 3, timeless=True, ridge=1e-3, n_steps=30)
    np.testing.assert_allclose(again.weight, found.weight, atol=1e-5)


def test_train_alone_is_learned_from():
    information, evidence, molecule, *_ = movie(n_frames=1600)
    train = molecule < 5
    found = learn(information, evidence, molecule, 2, train=train, n_steps=5)
    spoiled = np.where(train[:, None], evidence, 10.0)
    again = learn(information, spoiled, molecule, 2, train=train, n_steps=5)
    np.testing.assert_array_equal(again.weight, found.weight)
    np.testing.assert_array_equal(again.mean[train], found.mean[train])
    alone = learn(information[train], evidence[train], molecule[train], 2, n_steps=5)
    np.testing.assert_allclose(alone.weight, found.weight)


def test_blocks_do_not_matter(monkeypatch):
    information, evidence, molecule, *_ = movie(n_frames=800)
    one = learn(information, evidence, molecule, 2, n_steps=5)
    monkeypatch.setattr("tempica.embed.modes.state_space.BLOCK", 37)
    other = learn(information, evidence, molecule, 2, n_steps=5)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-4)


def test_evidence_is_that_of_a_normal_distribution():
    information, evidence, _, _, centre, weight = movie(n_frames=8, n_basis=4)
    molecule, rho = np.array([0, 0, 0, 1, 1, 1, 1, 1]), np.array([0.9, 0.5, 0.2])
    found = apply(information, evidence, molecule, centre, weight, rho)
    for label in (0, 1):
        part = np.flatnonzero(molecule == label)
        n = len(part)
        lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
        prior = np.einsum("bk,tuk,ck->tbuc", weight, rho ** lag[..., None], weight).reshape(4 * n, 4 * n)
        precision = np.zeros((n, 4, n, 4))
        precision[np.arange(n), :, np.arange(n)] = information[part]
        precision = precision.reshape(4 * n, 4 * n)
        flat, middle = evidence[part].ravel(), np.tile(centre, n)
        rest = flat - precision @ middle
        inner = np.eye(4 * n) + prior @ precision
        expected = middle @ flat - 0.5 * middle @ precision @ middle
        expected += 0.5 * rest @ np.linalg.solve(inner, prior @ rest) - 0.5 * np.linalg.slogdet(inner)[1]
        assert found.log_evidence[label] == pytest.approx(expected, rel=1e-5)


def test_the_number_of_sources_is_chosen_by_what_was_held_out():
    information, evidence, molecule, *_ = movie(n_frames=2400)
    choice = choose_n_sources(information, evidence, molecule, (1, 2, 3, 4, 5), held_out=molecule >= 6, ridge=1e-3)
    assert choice.n_sources == 3
    assert (np.diff(choice.log_evidence[:3]) > 0).all()
    assert choice.log_evidence.shape == choice.error.shape == (5,)
    of_one = choose_n_sources(information[:900], evidence[:900], molecule[:900] * 0, (1, 3))
    assert of_one.n_sources == 3


def test_what_cannot_be_learned_from_is_named():
    information, evidence, molecule, *_ = movie(n_frames=80)
    with pytest.raises(DataError, match=r"\(F, B, B\) and \(F, B\)"):
        learn(information[:, :7], evidence, molecule, 2)
    with pytest.raises(DataError, match="n_sources = 9 must be 1 to 8"):
        learn(information, evidence, molecule, 9)
    with pytest.raises(DataError, match="no pair of frames"):
        learn(information, evidence, np.arange(80), 2)
    with pytest.raises(DataError, match="must mark some"):
        learn(information, evidence, molecule, 2, train=np.zeros(80, bool))
    evidence[3, 2] = np.nan
    with pytest.raises(DataError, match="must be finite"):
        learn(information, evidence, molecule, 2)


def snapshots(rng, share=(0.7, 0.4), n_labels=20, each=100):
    """Labels (F,) and sources (F, K) of unit variance, of which that share lies between labels."""
    label = np.repeat(np.arange(n_labels), each)
    share = np.array(share)
    level = rng.normal(size=(n_labels, len(share)))
    level = np.linalg.qr(level - level.mean(0))[0] * np.sqrt(n_labels)  # uncorrelated, of unit variance
    return label, np.sqrt(share) * level[label] + np.sqrt(1 - share) * rng.normal(size=(len(label), len(share)))


def test_levels_of_labels_are_those_of_one_normal_distribution():
    rng = np.random.default_rng(2)
    label, rho = np.array([0, 1, 0, 0, 1]), np.array([0.7, 0.2])
    root = rng.normal(size=(5, 2, 2))
    lam, eta = root @ root.swapaxes(1, 2), rng.normal(size=(5, 2))
    prior = np.kron((label[:, None] == label).astype(float), np.diag(rho)) + np.kron(np.eye(5), np.diag(1 - rho))
    covariance = np.linalg.inv(np.linalg.inv(prior) + block_diag(*lam))
    found = levels(eta, lam, label, rho)
    np.testing.assert_allclose(found.mean.ravel(), covariance @ eta.ravel(), atol=1e-10)
    for t in range(5):
        part = slice(2 * t, 2 * t + 2)
        np.testing.assert_allclose(found.covariance[t], covariance[part, part], atol=1e-10)


def test_labels_teach_directions_and_tell_sources_apart():
    """From frames that are too noisy and too few for what they show without labels."""
    rng = np.random.default_rng(3)
    label, source = snapshots(rng)
    weight, centre = rng.normal(size=(30, 2)), rng.normal(size=30)
    view = np.sqrt(0.02) * rng.normal(size=(len(label), 4, 30))
    seen = (view @ (centre + source @ weight.T)[..., None])[..., 0] + rng.normal(size=(len(label), 4))
    information, evidence = view.swapaxes(1, 2) @ view, (view.swapaxes(1, 2) @ seen[..., None])[..., 0]
    alone = np.arange(len(label))
    plain = learn(information, evidence, alone, 2, timeless=True, n_steps=40)
    found = learn(information, evidence, alone, 2, timeless=True, label=label, n_steps=40)
    assert (found.autocorrelation == 0).all()
    assert sine(found.weight, weight) < sine(plain.weight, weight)
    one = np.abs(np.linalg.pinv(weight) @ found.weight)
    assert np.diag(one).min() > 4 * (one - np.diag(np.diag(one))).max()
