import numpy as np
import pytest
import torch
from scipy.stats import gennorm
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError
from tempica.ica import IVAE, SOBI, NonstationaryICA, SlowVAE, Training, load, save
from tempica.ica.generative.estimator import lowest_so_far
from tempica.ica.generative.flow import Flow, completed
from tempica.ica.generative.ivae import _last_of_each
from tempica.ica.generative.vae import LEAST_NOISE, Autoencoder, Chart, GeneralNormal, log_likelihood
from tempica.ica.training.batched import keep_restart, starts, train_batched
from tempica.ica.training.progress import Checkpoint, Progress

MIXING = np.array([[1.0, 0.6], [-0.5, 1.0]])


def bend(s):
    return np.where(s @ MIXING.T > 0, s @ MIXING.T, 0.2 * (s @ MIXING.T)) @ MIXING


def modulated(rng, n_segments=12, length=300):
    segments = np.repeat(np.arange(n_segments), length)
    return segments, rng.uniform(0.1, 1.5, size=(n_segments, 2))[segments] * rng.laplace(size=(len(segments), 2))


def jumps(rng, n_frames=4000):
    s = np.zeros((n_frames, 2))
    kick = (rng.random(s.shape) < 0.1) * rng.normal(size=s.shape)
    for t in range(1, n_frames):
        s[t] = 0.9 * s[t - 1] + kick[t]
    return s


def recovered(S, truth):
    found = np.abs(np.corrcoef(S.T, truth.T)[:2, 2:])
    return max(found[0, 0] + found[1, 1], found[0, 1] + found[1, 0]) / 2


def test_ivae_unbends_what_no_linear_map_can(rng):
    segments, truth = modulated(rng)
    X = bend(truth)
    model = IVAE(max_steps=200, training=Training(width=16), n_restarts=2).fit(X, segments)
    assert recovered(model.transform(X), truth) > recovered(NonstationaryICA().fit_transform(X, segments), truth) + 0.02
    assert min(model.start_loss_) < model.start_curve_[0][1] - 0.1
    assert min(model.validation_loss_) == model.loss_curve_[-1][1] <= model.loss_curve_[0][1]
    shuffled = rng.permutation(segments)
    assert model.score(X, segments) > model.score(X) > model.score(X, shuffled)


def test_slowvae_unbends_what_no_linear_map_can(rng):
    truth = jumps(rng)
    X = bend(truth)
    model = SlowVAE(max_steps=200, training=Training(width=16), n_restarts=2).fit(X, replicas=np.repeat([0, 1], 2000))
    assert recovered(model.transform(X), truth) > recovered(SOBI().fit_transform(X), truth) + 0.02
    assert model.score(X) > model.score(X[rng.permutation(len(X))]) + 0.5


@pytest.mark.parametrize(
    "model",
    [IVAE(1, max_steps=10, training=Training(width=8)), SlowVAE(2, lag=2, max_steps=10, training=Training(width=8))],
)
def test_api(rng, tmp_path, model):
    segments, truth = modulated(rng, length=40)
    X = bend(truth)
    S = model.fit(X, segments).transform(X)
    assert S.shape == (len(X), model.n_components)
    np.testing.assert_allclose(S.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(clone(model).fit(X, segments).transform(X), S, atol=1e-5)  # the same seed
    assert np.abs(clone(model).set_params(random_state=1).fit(X, segments).transform(X) - S).max() > 1e-3
    np.testing.assert_array_equal(load(save(model, tmp_path / "model")).transform(X), S)
    assert make_pipeline(StandardScaler(), clone(model)).fit(X, segments).transform(X).shape == S.shape
    assert len(model.get_feature_names_out()) == model.n_components
    # the delta method against finite differences
    step = 1e-3 * np.eye(2)
    jacobian = np.stack([(model.transform(X + d) - model.transform(X - d)) / 2e-3 for d in step], axis=2)
    covariance = np.array([[0.5, 0.1], [0.1, 0.3]])
    found = model.transform_covariance(X, np.broadcast_to(covariance, (len(X), 2, 2)))
    expected = jacobian @ covariance @ jacobian.transpose(0, 2, 1)
    close = np.isclose(found, expected, rtol=0.02, atol=0.01).all((1, 2))
    assert close.mean() > 0.97  # all but where a kink lies within the step


def test_restarts_trained_side_by_side_do_not_touch_one_another(rng):
    x = torch.as_tensor(rng.normal(size=(64, 3)), dtype=torch.float32)

    def fitted(n_restarts):
        chart = Chart(starts(torch.eye(3), 3, torch.Generator().manual_seed(0)), 8, 1, torch.Generator().manual_seed(1))
        if n_restarts == 1:
            keep_restart(chart, 1)

        def losses(items):
            return ((chart(x[items].expand(n_restarts, -1, -1)) - x[items].sin()) ** 2).mean((1, 2))

        options = {
            "batch_size": 16,
            "max_steps": 30,
            "learning_rate": 1e-3,
            "generator": torch.Generator().manual_seed(2),
        }
        alone = Progress(Checkpoint(None, ""))
        trainer = train_batched(
            alone, 0, "chart", chart, losses, lambda: losses(torch.arange(64)).detach(), 64, **options
        )
        best = torch.tensor(trainer.bests)
        assert torch.equal(losses(torch.arange(64)), best)  # the weights are those of the best answer
        assert lowest_so_far(trainer)[-1][1] == best.min()
        return best, chart

    (three, _), (one, _) = fitted(3), fitted(1)
    torch.testing.assert_close(one[0], three[1], rtol=1e-4, atol=1e-6)


def test_the_law_of_latents_is_a_normalised_density(rng):
    law = GeneralNormal(1, 2, 1)
    law.shape.data += 0.7
    law.mean.data[0, 1], law.log_scale.data[0, 1] = 0.4, 0.3
    z = torch.linspace(-30, 30, 60_001)[None, :, None]
    alpha = float(1 + torch.sigmoid(law.shape.detach()[0, 0, 0]))
    with torch.no_grad():
        found = law(z, torch.ones(z.shape[1], dtype=torch.int64))[0].numpy()
    # torch leaves the factor 2 to "up to a constant"
    expected = gennorm(alpha, loc=0.4, scale=np.exp(0.3)).logpdf(z[0, :, 0].numpy()) + np.log(2)
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.fixture
def flow(rng):
    """Two restarts in three dimensions, the second far from linear."""
    linear = starts(torch.as_tensor(rng.normal(size=(2, 3)), dtype=torch.float32), 2, torch.Generator().manual_seed(0))
    found = Flow(completed(linear), torch.Generator().manual_seed(0), depth=4)
    for bend in found.bends:
        bend.data[1] = torch.as_tensor(rng.normal(size=(1, 3)), dtype=torch.float32)
    return linear, found.double().requires_grad_(False)


def test_a_flow_begins_linear_and_has_an_inverse_and_a_determinant(rng, flow):
    linear, flow = flow
    x = torch.as_tensor(rng.normal(size=(2, 40, 3)))
    y, volume = flow.with_log_det(x)
    torch.testing.assert_close(flow(x), y)
    assert (y[0, :, :2] - x[0] @ linear[0].double().T).std(0).max() < 1e-6
    torch.testing.assert_close(flow.inverse().double()(y), x, atol=1e-4, rtol=1e-4)  # made in float32
    for restart in range(2):
        slope = torch.func.vmap(torch.func.jacrev(lambda z: flow(z.expand(2, 1, 3))[restart, 0]))(x[restart])  # noqa: B023
        torch.testing.assert_close(volume[restart], torch.linalg.slogdet(slope)[1])


def test_the_bound_is_the_likelihood_of_frames_with_noise_where_it_is_tight(rng, flow):
    flow, rest, x = flow[1].float(), GeneralNormal(2, 1, 1), torch.as_tensor(rng.normal(size=(20, 3))).float()
    model = Autoencoder(flow, rest, 8, 1, torch.Generator().manual_seed(0))
    noise = model.log_noise.detach().exp()[0, 0] + LEAST_NOISE
    model.log_spread.offsets[-1].data[:] = 0.5 * noise.log()
    law = lambda z: -(z**2).sum(-1)  # noqa: E731
    with torch.no_grad():
        found = model.bound(x, law, len(x), torch.Generator().manual_seed(1))
        draw = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(1))
        seen = x + draw * noise.sqrt()
        expected = torch.stack([log_likelihood(flow, rest, frames, law, len(x))[k] for k, frames in enumerate(seen)])
    torch.testing.assert_close(found, expected - 0.5 * (draw**2).sum(-1), atol=1e-3, rtol=1e-3)


def test_a_restart_that_diverges_stops_no_other():
    weight = torch.nn.Parameter(torch.ones(2, 1))
    losses = lambda _: weight[:, 0] ** 2 * torch.tensor([1.0, torch.nan])  # noqa: E731
    trainer = train_batched(
        Progress(Checkpoint(None, "")),
        0,
        "weights",
        torch.nn.ParameterList([weight]),
        losses,
        lambda: losses(None).detach(),
        8,
        batch_size=4,
        max_steps=20,
        learning_rate=0.1,
        generator=torch.Generator().manual_seed(0),
    )
    assert trainer.bests[0] < 0.5


def test_held_out_are_the_last_frames_of_each_segment():
    number = np.array([0] * 25 + [1] * 3 + [2] + [0] * 5)
    held = _last_of_each(number)
    assert np.flatnonzero(held).tolist() == [27, 31, 32, 33]
    with pytest.raises(DataError, match="Fewer than two segments have two frames"):
        _last_of_each(np.arange(5))


@pytest.mark.parametrize(("n_frames", "lag"), [(5, 1), (30, 1), (40, 5), (2000, 3)])
def test_no_frame_of_a_held_out_pair_is_trained_on(n_frames, lag):
    first, held = SlowVAE(lag=lag)._pairs(np.zeros(n_frames, dtype=int))
    frames = [set(first[which]) | set(first[which] + lag) for which in (held, ~held)]
    assert frames[0]
    assert frames[1]
    assert not frames[0] & frames[1]
    if n_frames == 2000:
        assert 0.05 < held.mean() < 0.15


@pytest.mark.parametrize(
    ("model", "X", "segments", "message"),
    [
        (IVAE(), None, np.zeros(60), "of one segment"),
        (IVAE(), np.ones((60, 2)), None, "constant"),
        (IVAE(4), None, None, "n_components = 4 must be from 1 to 3"),
        (IVAE(max_steps=0), None, None, "max_steps = 0 must be at least 1"),
        (SlowVAE(second_stage="tica"), None, None, "second_stage = 'tica' must be auto, none or linear"),
        (SlowVAE(lag=60), None, None, "longest replica has 60 frames"),
        (SlowVAE(lag=59), None, None, "too few pairs"),
        (SlowVAE(lag=(1, 2)), None, None, r"lag = \(1, 2\) must be a whole number"),
        (SlowVAE(training=Training(batch_size=2.5)), None, None, "batch_size = 2.5 must be a whole number"),
        (IVAE(random_state=None), None, None, "random_state = None must be a whole number"),
        (IVAE(training=Training(learning_rate=np.nan)), None, None, "learning_rate = nan must be a number above 0"),
    ],
)
def test_what_cannot_be_fitted_is_named(rng, model, X, segments, message):
    with pytest.raises(DataError, match=message):
        model.fit(rng.normal(size=(60, 3)) if X is None else X, segments)


def test_labels_that_were_not_fitted_are_refused(rng):
    segments, truth = modulated(rng, length=20)
    model = IVAE(max_steps=5, training=Training(width=4)).fit(truth, segments)
    with pytest.raises(DataError, match="were not fitted"):
        model.score(truth, segments + 1)


@parametrize_with_checks(
    [IVAE(max_steps=3, training=Training(width=4)), SlowVAE(max_steps=3, training=Training(width=4))]
)
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)
