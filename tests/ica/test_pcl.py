"""PCL: recovers what linear methods cannot, and does no harm where they suffice."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError
from tempica.ica import PCL, TICA
from tempica.ica.contrastive import pair_models
from tempica.ica.contrastive.contrast import Contrast
from tempica.ica.training import kernels
from tempica.ica.training.ladder import Rung
from tempica.ica.training.networks import Features, PairScore, in_precision
from tempica.ica.training.restarts import Restarts

UNTRAINED = "ignore:.*identifiable:tempica.errors.IdentifiabilityWarning"  # a few steps find nothing


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sparse(rho, n_frames, n_replicas=1, seed=0):
    """Autoregressions with Laplace innovations, unit variance, and replica labels."""
    rng, rho = np.random.default_rng(seed), np.asarray(rho)
    s = rng.laplace(size=(n_replicas, n_frames, len(rho))) / np.sqrt(2)
    for t in range(1, n_frames):
        s[:, t] = rho * s[:, t - 1] + np.sqrt(1 - rho**2) * s[:, t]
    return s.reshape(-1, len(rho)), np.repeat(np.arange(n_replicas), n_frames)


def bent(s):
    """A smooth invertible mixing of two sources."""
    u = s @ np.array([[1.0, 0.6], [-0.5, 1.0]])
    v = np.where(u > 0, u, 0.2 * u)
    return v @ np.array([[0.8, -0.7], [0.6, 0.9]])


def mcc(a, b):
    c = np.abs(np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :])
    return c[linear_sum_assignment(-c)].mean()


@pytest.fixture(scope="module")
def bent_case():
    s, _ = sparse([0.7, 0.7], 10_000, seed=1)
    torch.set_num_threads(1)
    return s, bent(s), PCL(2, max_steps=1200, n_restarts=1).fit(bent(s))


def test_recovers_sources_of_equal_autocorrelation_where_tica_cannot(bent_case) -> None:
    s, X, pcl = bent_case
    assert mcc(pcl.transform(X), s) > 0.95
    assert mcc(TICA(2).fit_transform(X), s) < 0.9
    assert pcl.model_ == "network"


def test_sources_have_unit_variance_on_the_training_frames(bent_case) -> None:
    _, X, pcl = bent_case
    np.testing.assert_allclose(pcl.transform(X)[:8_000].std(0), 1, atol=1e-5)


def test_score_is_information_lost_by_shuffling(bent_case) -> None:
    _, X, pcl = bent_case
    shuffled = np.random.default_rng(0).permutation(X)
    assert pcl.score(X) > 0.5
    assert abs(pcl.score(shuffled)) < 0.05


def test_covariances_go_through_the_jacobian(bent_case) -> None:
    _, X, pcl = bent_case
    frames, step = X[:5], 1e-2
    moved = [(pcl.transform(frames + d) - pcl.transform(frames - d)) / (2 * step) for d in step * np.eye(2)]
    J = np.stack(moved, axis=-1)
    sigma = np.broadcast_to(np.array([[1.0, 0.2], [0.2, 0.5]]), (5, 2, 2))
    found = pcl.transform_covariance(frames, sigma)
    np.testing.assert_allclose(found, J @ sigma @ J.transpose(0, 2, 1), rtol=0.05, atol=0.02)


def test_it_pickles_and_clones(bent_case) -> None:
    _, X, pcl = bent_case
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pcl)).transform(X[:9]), pcl.transform(X[:9]))
    assert clone(pcl).get_params() == pcl.get_params()


@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
def test_under_noise_it_is_no_worse_than_tica() -> None:
    """4 latents, 2 slow sources, noise comparable to the signal: the network must not memorise the noise.

    Under this noise 3,250 frames are at the border of telling the two apart, and the warning that says so may come.
    """
    seed = 0
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]

    def latents(n_replicas, seed):
        s, labels = sparse([0.8, 0.95], 125, n_replicas, seed)
        noise = np.random.default_rng(seed).normal(size=(len(s), 4)) * [0.7, 0.7, 0.9, 0.9]
        return s, (np.column_stack([s, 0 * s]) + noise) @ turn.T, labels

    _, X, labels = latents(32, seed)
    s, Y, _ = latents(100, seed + 100)  # scored on other replicas
    pcl = PCL(2, n_restarts=1, max_steps=600).fit(X, replicas=labels, validation=labels >= 26)
    assert mcc(pcl.transform(Y), s) > mcc(TICA(2).fit(X, replicas=labels).transform(Y), s) - 0.01


def test_the_seed_decides_everything() -> None:
    s, labels = sparse([0.7, 0.7], 100, 6, seed=2)
    X = bent(s)
    options = {"max_steps": 40, "n_restarts": 2}
    first, again = (PCL(2, random_state=3, **options).fit(X, replicas=labels) for _ in range(2))
    np.testing.assert_array_equal(first.transform(X), again.transform(X))
    torch.manual_seed(99)  # torch's own state is neither read nor written
    state = torch.get_rng_state()
    third = PCL(2, random_state=3, **options).fit(X, replicas=labels)
    np.testing.assert_array_equal(first.transform(X), third.transform(X))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.filterwarnings(UNTRAINED)
def test_validation_frames_give_no_gradients_and_no_means() -> None:
    """With no choice to make, values of held-out frames cannot move the whitening."""
    s, labels = sparse([0.7, 0.8], 100, 6, seed=4)
    X, held_out = bent(s), labels == 5
    other = np.where(held_out[:, None], X * 3, X)
    first, second = (PCL(2, max_steps=20).fit(v, replicas=labels, validation=held_out) for v in (X, other))
    np.testing.assert_array_equal(first._white, second._white)


@pytest.mark.filterwarnings(UNTRAINED)
def test_second_stage_can_be_switched_off_and_progress_is_told() -> None:
    s, _ = sparse([0.7, 0.7], 600, seed=5)
    heard = []
    pcl = PCL(2, max_steps=30, n_restarts=1, second_stage="none")
    pcl.fit(s, callback=lambda run, step, loss: heard.append((run, step, loss)))
    raw, S = pcl.transform(s, stage="features"), pcl.transform(s)
    assert pcl.second_stage_ == "none"
    np.testing.assert_allclose(np.abs(np.diag(np.corrcoef(raw.T, S.T)[:2, 2:])), 1, atol=1e-6)
    assert heard
    assert np.isfinite([loss for *_, loss in heard]).all()


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({"second_stage": "magic"}, {}, "second_stage = 'magic'"),
        ({"n_components": 3}, {}, "n_components = 3 must be from 1 to 2"),
        ({"lag": 500}, {}, "longest replica has 400 frames"),
        ({"training": {"width": "wide"}}, {}, "width = 'wide' must be a whole number"),
        ({"training": {"learning_rate": -1.0}}, {}, "learning_rate = -1.0 must be a number above 0"),
        ({}, {"checkpoint": "no_folder/state"}, "checkpoint = 'no_folder/state' is in a folder that does not exist"),
        ({}, {"log": "no_folder/log"}, "log = 'no_folder/log' is in a folder that does not exist"),
        ({"score_function": "best"}, {}, "score_function = 'best' must be auto, reference, free"),
        ({"training": {"precision": "int8"}}, {}, "precision = 'int8' must be float32"),
        ({"device": "teapot"}, {}, "device = 'teapot' is not available"),
        ({}, {"validation": np.zeros(3, dtype=bool)}, "must mark each"),
        ({}, {"validation": np.zeros(400, dtype=bool)}, "0 validation pairs"),
    ],
)
def test_bad_input_is_named(options, fit, message: str) -> None:
    s, _ = sparse([0.5, 0.5], 400)
    with pytest.raises(DataError, match=message):
        PCL(**{"max_steps": 5} | options).fit(s, **fit)


def obvious_losses(score, a, b, chunk, group=10**9, first=0):
    """The contrast of PairScore in plain torch, as its docstring says."""
    log_k, rho, shift, log_round, curve, kink = score.shape
    rounding = log_round.exp() + 1e-3
    miss = b[None] + shift - rho * a[:, None]
    r = (-log_k.exp() * torch.sqrt(miss**2 + rounding**2)).sum(-1)
    r = r + (curve * b**2 + kink * torch.sqrt(b**2 + rounding**2)).sum(-1)
    if hasattr(score, "table"):

        def functions(h, i):
            u = h[:, i, None] / torch.sqrt(1 + h[:, i, None] ** 2 / 9)
            return torch.cat([torch.ones_like(u), u, torch.relu(u - score.knots[i])], 1)

        r = r + sum(functions(a, i) @ score.table[i] @ functions(b, i).T for i in range(a.shape[1]))
    p, q = torch.arange(first, first + len(a)), torch.arange(len(b))
    others = (p[:, None] // chunk == q // chunk) & (p[:, None] != q) | (p[:, None] // group != q // group)
    return torch.nn.functional.cross_entropy(r.masked_fill(others, -torch.inf), p, reduction="none")


def random_score(free: bool) -> PairScore:
    score = PairScore(3, free=free)
    with torch.no_grad():
        for p in score.parameters():
            p.copy_(0.3 * torch.randn(p.shape))
    return score


@pytest.mark.parametrize("free", [False, True], ids=["reference", "free"])
@pytest.mark.parametrize(("chunk", "group"), [(1, None), (4, None), (2, 10)])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=["compiled", "plain"])
def test_pair_score_agrees_with_the_formula(chunk: int, group: int | None, free: bool, precision) -> None:
    """The compiled contrast, that of other devices and precisions, and their gradients against a plain torch twin."""
    torch.manual_seed(0)
    score = random_score(free).to(precision)
    a, b = torch.randn(2, 22, 3, requires_grad=True, dtype=precision).unbind()
    found = score(a, b, chunk, group)
    expected = obvious_losses(score, a, b, chunk, group or 22).mean() - np.log(group or 22)
    torch.testing.assert_close(found, expected)
    arguments = [a, b, *score.parameters()]
    for x, y in zip(*(torch.autograd.grad(2 * loss, arguments) for loss in (found, expected)), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
    each = obvious_losses(score, a, b, 1).detach().numpy() - np.log(22)
    np.testing.assert_allclose(score.each(a, b), each, atol=1e-5)


@pytest.mark.parametrize("free", [False, True], ids=["reference", "free"])
def test_a_share_of_the_pairs_meets_the_alternatives_of_all(free: bool) -> None:
    torch.manual_seed(1)
    score = random_score(free)
    a, b = torch.randn(2, 22, 3).unbind()
    found = score.run(a[6:16], b, *score.parameters(), chunk=4, group=11, first=6)
    expected = obvious_losses(score, a[6:16], b, 4, 11, 6).mean() - np.log(11)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("free", [False, True], ids=["reference", "free"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=["compiled", "plain"])
def test_restarts_trained_at_once_have_each_its_own_gradients(free: bool, precision) -> None:
    torch.manual_seed(2)
    x, models = torch.randn(24, 4, dtype=precision), []
    for _ in range(3):
        features = Features(4, 3, 6, 2, torch.randn(3, 4))
        torch.nn.init.normal_(features.out.weight)
        models.append(torch.nn.ModuleList([features, torch.nn.ModuleList([random_score(free)])]).to(precision))
    together = Restarts(models)
    h = together.features(x)
    losses = together.scores[0].run(h[:, :20], h[:, 4:], chunk=2)
    losses.sum().backward()
    for r, model in enumerate(models):
        h = model[0](x)
        loss = model[1][0](h[:20], h[4:], 2)
        torch.testing.assert_close(losses[r], loss)
        for p, own in zip(together.stacked, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            torch.testing.assert_close(p.grad[r], own, rtol=1e-4, atol=1e-5)
    together.narrow([2, 0])
    torch.testing.assert_close(together.features(x)[1], models[0][0](x))
    torch.testing.assert_close(together.model(0)[0](x), models[2][0](x))


def test_maxout_features_agree_with_plain_torch() -> None:
    torch.manual_seed(0)
    network = Features(4, 2, 6, 2, torch.randn(2, 4))
    torch.nn.init.normal_(network.out.weight)
    x = torch.randn(9, 4)

    def plain(x):
        y = x
        for layer in network.hidden:
            y = layer(y).unflatten(-1, (2, -1)).amax(-2)
        return network.out(y) + x @ network.linear.T

    torch.testing.assert_close(network(x), plain(x))
    weights, parameters = torch.randn(9, 2), list(network.parameters())
    found, expected = (torch.autograd.grad((f(x) * weights).sum(), parameters) for f in (network, plain))
    for g, e in zip(found, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.jacobian(x), torch.func.vmap(torch.func.jacrev(plain))(x))


def test_the_vectorised_exponential() -> None:
    x = np.linspace(-87, 0, 2001, dtype=np.float32)
    np.testing.assert_allclose([kernels._exp(v) for v in x], np.exp(x.astype(np.float64)), rtol=5e-6)


@pytest.mark.filterwarnings(UNTRAINED)
@parametrize_with_checks([PCL(n_components=1, max_steps=2, n_restarts=1, training={"width": 4}, second_stage="none")])
def test_scikit_learn_agrees(estimator, check) -> None:
    check(estimator)


def heteroscedastic(n_frames: int, seed: int) -> np.ndarray:
    """Two series whose deviation depends on the value before, and nothing else does."""
    rng = np.random.default_rng(seed)
    s, e = np.zeros((n_frames, 2)), rng.normal(size=(n_frames, 2))
    for t in range(1, n_frames):
        s[t] = np.sqrt(0.3 + 0.6 * s[t - 1] ** 2 / (1 + 0.1 * s[t - 1] ** 2)) * e[t]
    return s


def test_a_free_score_finds_what_the_reference_cannot_express() -> None:
    s = heteroscedastic(20_000, 3)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    X = s @ turn.T
    options = {"n_restarts": 1, "max_steps": 1500, "second_stage": "none"}
    free = PCL(2, **options).fit(X)
    assert free.score_function_ == "free"
    assert mcc(free.transform(X), s) > 0.98
    reference = PCL(2, score_function="reference", **options).fit(X)
    assert mcc(reference.transform(X), s) < 0.9


def test_another_restart_says_how_far_each_source_can_be_relied_on() -> None:
    s, labels = sparse([0.7, 0.7], 400, 10, seed=6)
    X = bent(s)
    pcl = PCL(2, n_restarts=3, max_steps=500).fit(X, replicas=labels)
    assert pcl.stability_.shape == (2,)
    assert pcl.stability_.min() > 0.9
    assert len(pcl.validation_loss_) == 3
    alone = PCL(2, n_restarts=1, max_steps=20).fit(X, replicas=labels)
    assert np.isnan(alone.stability_).all()


def test_the_mean_of_two_networks_is_one_network() -> None:
    torch.manual_seed(0)
    first, second = (Features(3, 2, width, 2, torch.randn(2, 3)).double() for width in (5, 4))
    for p in (*first.parameters(), *second.parameters()):
        torch.nn.init.normal_(p)
    x, turned, shift = (torch.randn(*shape, dtype=torch.float64) for shape in ((50, 3), (2, 2), (2,)))
    mean = first.mean_with(second, turned, shift)
    with torch.no_grad():
        assert torch.allclose(mean(x), (first(x) + second(x) @ turned.T + shift) / 2)
        assert torch.allclose(mean.jacobian(x), (first.jacobian(x) + turned @ second.jacobian(x)) / 2)


def test_the_mean_of_the_two_best_is_kept_where_it_is_better() -> None:
    """Copies of the frames with noise of their own are the best two; a network that has found nothing is refused."""
    s, labels = sparse([0.7, 0.7], 500, 4, seed=6)
    rng = np.random.default_rng(0)
    X = np.column_stack([s + 0.5 * rng.normal(size=s.shape) for _ in range(2)])
    held_out = labels == labels.max()
    contrast = Contrast(torch.as_tensor(X, dtype=torch.float32), labels, held_out, (1,))

    def network(columns: list[int]) -> Features:
        return Features(4, 2, 4, 1, torch.eye(4)[columns])

    def rung(rival: Features) -> Rung:
        scores = torch.nn.ModuleList([PairScore(2)])
        contrast.training(
            scores, network([0, 1]), scores, batch_size=128, max_steps=300, learning_rate=3e-2, seed=0
        ).advance()
        model = torch.nn.ModuleList([network([0, 1]), scores])
        return Rung(model, None, contrast.held_out(model), [], torch.nn.ModuleList([rival, scores]))

    better = pair_models.averaged(contrast, rung(network([2, 3])))
    assert better.alone is not None
    assert mcc(better.model[0](contrast.Z).detach().numpy(), s) > mcc(X[:, :2], s) + 0.03
    nothing = rung(network([2, 3]))
    with torch.no_grad():
        for p in nothing.rival[0].parameters():
            p.normal_()
        nothing.rival[0].linear.zero_()
    refused = pair_models.averaged(contrast, nothing)
    assert refused.alone is None
    assert refused.model is nothing.model


@pytest.mark.parametrize(("precision", "least"), [("float64", 0.9), ("bfloat16", 0.9)])
def test_other_precisions_find_the_same(precision: str, least: float) -> None:
    s, _ = sparse([0.7, 0.7], 2_500, seed=1)
    pcl = PCL(2, max_steps=400, n_restarts=1, training={"batch_size": 128, "precision": precision}).fit(bent(s))
    assert mcc(pcl.transform(bent(s)), s) > least


def test_a_tensorboard_writer_hears_of_every_check() -> None:
    class Writer:
        def __init__(self) -> None:
            self.told: list[tuple[str, float, int]] = []

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.told.append((name, value, step))

    s, labels = sparse([0.7, 0.7], 100, 6, seed=2)
    writer = Writer()
    PCL(2, max_steps=40, n_restarts=2).fit(bent(s), replicas=labels, log=writer)
    assert {name for name, *_ in writer.told} >= {"network/loss", "network/held_out", "linear/best"}
    assert np.isfinite([value for _, value, _ in writer.told]).all()


@pytest.mark.filterwarnings(UNTRAINED)
def test_a_covariance_of_another_shape_is_refused() -> None:
    s, _ = sparse([0.5, 0.5], 100)
    model = PCL(2, max_steps=1, n_restarts=1).fit(s)
    assert model.transform_covariance(s, np.eye(2)).shape == (100, 2, 2)
    with pytest.raises(DataError, match=r"covariance has shape \(3, 3\); these frames need \(100, 2, 2\)"):
        model.transform_covariance(s, np.eye(3))
    with pytest.raises(DataError, match=r"covariance has shape \(99, 2, 2\)"):
        model.transform_covariance(s, np.ones((99, 2, 2)))


@pytest.mark.parametrize("n_frames", [12, 200])
def test_the_smallest_batch_has_alternatives_to_learn_from(n_frames: int) -> None:
    s, labels = sparse([0.5, 0.5], n_frames)
    contrast = Contrast(torch.as_tensor(s), labels, np.arange(n_frames) >= 0.7 * n_frames, (1,))
    scores = torch.nn.ModuleList([PairScore(2).double()])
    options = {"batch_size": 2, "max_steps": 1, "learning_rate": 0.1, "seed": 0}
    training = contrast.training(scores, torch.nn.Identity(), scores, **options)
    training.loss(training._items()).backward()
    assert scores[0].shape.grad.abs().max() > 1e-4


def test_bfloat16_is_what_the_network_learns_in() -> None:
    s, labels = sparse([0.5, 0.5], 200)
    contrast = Contrast(torch.as_tensor(s).float(), labels, np.arange(200) > 150, (1,))
    start = torch.eye(2)
    models = [torch.nn.ModuleList([Features(2, 2, 4, 2, start), torch.nn.ModuleList([PairScore(2)])])]
    together, options = Restarts(models), {"batch_size": 64, "max_steps": 1, "learning_rate": 0.1, "seed": 0}
    for precision, compiled in (("float32", True), ("bfloat16", False)):
        features = in_precision(together.features, "cpu", precision)
        training = contrast.training(together, features, together.scores, **options)
        assert training.loss(training._items()).requires_grad != compiled
