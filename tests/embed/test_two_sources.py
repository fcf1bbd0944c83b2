"""Quadratic decoder on a grid: against the linear model where decoders are linear, and where they bend."""

from dataclasses import replace

import numpy as np
import pytest

from tempica import kalman
from tempica.embed.modes.state_space import apply
from tempica.embed.modes.two_sources import features, learn_two_sources, on_grid
from tempica.errors import DataError

RHO = np.array([0.9, 0.7])


def movie(decoder, n_frames=1200, snr=0.02, n_other=1):
    """H, u, molecule, sources and weights of the others, of frames that see three projections of c and noise."""
    rng = np.random.default_rng(2)
    molecule = np.repeat(np.arange(4), n_frames // 4)
    source = rng.normal(size=(n_frames, 2)) * np.sqrt(kalman.process(molecule, RHO))
    for t in range(1, n_frames):
        source[t] += RHO * source[t - 1] * (molecule[t] == molecule[t - 1])
    others = 0.5 * rng.normal(size=(len(decoder), n_other))
    amplitude = features(source) @ decoder.T + rng.normal(size=(n_frames, n_other)) @ others.T
    view = np.sqrt(snr) * rng.normal(size=(n_frames, 3, len(decoder)))
    seen = (view @ amplitude[..., None])[..., 0] + rng.normal(size=(n_frames, 3))
    return view.swapaxes(1, 2) @ view, (view.swapaxes(1, 2) @ seen[..., None])[..., 0], molecule, source, others


def linear(n_basis=6):
    decoder = np.random.default_rng(1).normal(size=(n_basis, 6)) * 2
    decoder[:, 3:] = 0
    return decoder


def test_a_linear_decoder_is_smoothed_as_by_kalman():
    decoder = linear()
    information, evidence, molecule, _, others = movie(decoder)
    weight = np.column_stack([decoder[:, 1:3], others])
    exact = apply(information, evidence, molecule, decoder[:, 0], weight, np.array([*RHO, 0.0]))
    found = learn_two_sources(information, evidence, molecule, exact, n_steps=0)
    deviation = np.sqrt(np.diagonal(exact.covariance, axis1=1, axis2=2)[:, :2])
    assert (np.abs(found.mean - exact.mean[:, :2]) < 0.01 * deviation).mean() > 0.99
    np.testing.assert_allclose(np.sqrt(found.variance), deviation, rtol=0.02)
    assert found.log_evidence == pytest.approx(exact.log_evidence.sum(), abs=0.1)
    np.testing.assert_allclose(found.amplitude, decoder[:, 0] + found.mean @ decoder[:, 1:3].T, atol=1e-9)


def test_others_are_integrated_out():
    decoder = linear()
    information, evidence, *_, others = movie(decoder, n_frames=8)
    place = features(np.random.default_rng(0).normal(size=(5, 2)))
    value = on_grid(information, evidence, decoder, others, place)
    x, w = np.polynomial.hermite_e.hermegauss(40)
    for t in range(8):
        amplitude = (place @ decoder.T)[:, None] + x[None, :, None] * others[:, 0]
        each = amplitude @ evidence[t] - 0.5 * np.einsum("gxb,bc,gxc->gx", amplitude, information[t], amplitude)
        np.testing.assert_allclose(value[t], np.log((np.exp(each) * w).sum(1) / w.sum()), atol=1e-6)


def test_a_bent_decoder_is_learned():
    decoder = linear()
    decoder[:, 2] *= 2
    decoder[:, 3:] = 0.5 * np.random.default_rng(3).normal(size=(6, 3))
    information, evidence, molecule, source, others = movie(decoder, n_frames=2000, snr=0.05)
    weight = np.column_stack([decoder[:, 1:3], others])
    straight = apply(information, evidence, molecule, decoder[:, 0], weight, np.array([*RHO, 0.0]))
    bent = learn_two_sources(information, evidence, molecule, straight)
    score = lambda mean: np.abs(np.corrcoef(mean.T, source.T)[:2, -2:]).max(0)  # noqa: E731
    exact = learn_two_sources(information, evidence, molecule, replace(bent, decoder=decoder), n_steps=0)
    assert (score(bent.mean) > score(straight.mean[:, :2]) + 0.01).all()
    assert (score(bent.mean) > score(exact.mean) - 0.03).all()
    assert np.linalg.norm(bent.decoder - decoder) < 0.15 * np.linalg.norm(decoder)
    again = learn_two_sources(information, evidence, molecule, bent, n_steps=2)
    assert again.log_evidence > bent.log_evidence > straight.log_evidence.sum()


def test_images_may_give_the_likelihood_themselves():
    decoder = linear()
    information, evidence, molecule, _, others = movie(decoder, n_frames=200)
    weight = np.column_stack([decoder[:, 1:3], others])
    start = apply(information, evidence, molecule, decoder[:, 0], weight, np.array([*RHO, 0.0]))

    def likelihood(amplitude):
        return evidence @ amplitude.T - 0.5 * np.einsum("gb,fbc,gc->fg", amplitude, information, amplitude)

    one = learn_two_sources(information, evidence, molecule, start, n_steps=2)
    other = learn_two_sources(information, evidence, molecule, start, n_steps=2, likelihood=likelihood)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-6)


def test_features_have_no_mean_but_the_first():
    x, w = np.polynomial.hermite_e.hermegauss(3)
    both = features(np.stack(np.meshgrid(x, x, indexing="ij"), -1))
    np.testing.assert_allclose(np.einsum("i,j,ijp->p", w, w, both) / w.sum() ** 2, [1, 0, 0, 0, 0, 0], atol=1e-12)


def test_two_different_sources_are_asked_for():
    decoder = linear()
    information, evidence, molecule, _, others = movie(decoder, n_frames=40)
    weight = np.column_stack([decoder[:, 1:3], others])
    start = apply(information, evidence, molecule, decoder[:, 0], weight, np.array([*RHO, 0.0]))
    with pytest.raises(DataError, match=r"which = \(1, 1\) must name two of the 3"):
        learn_two_sources(information, evidence, molecule, start, which=(1, 1))
