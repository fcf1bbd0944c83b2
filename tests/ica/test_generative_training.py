"""What the one training loop gives every generative estimator: going on after a kill, a log, precision, stability."""

import json

import numpy as np
import pytest
from sklearn.base import clone

from tempica.errors import DataError, ParameterError
from tempica.ica import HMNLICA, IVAE, SNICA, SlowVAE, Training
from tempica.ica.generative.estimator import GenerativeEstimator

pytestmark = pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")

SMALL = {"max_steps": 40, "n_restarts": 2}
MODELS = [
    IVAE(2, **SMALL, training=Training(width=4)),
    SlowVAE(2, **SMALL, training=Training(width=4)),
    SNICA(2, **SMALL, training=Training(width=4)),
    HMNLICA(2, **SMALL, training=Training(n_layers=2)),
]
LAST = {"IVAE": 1, "SlowVAE": 1, "SNICA": 1, "HMNLICA": 0}  # number of the last of a fit's trainings
every = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@pytest.fixture
def frames(rng, autoregression):
    labels = np.repeat(np.arange(6), 60)
    S = autoregression(rng, 360, [0.9, 0.5, 0.3], "laplace") * rng.uniform(0.2, 2, size=(6, 3))[labels]
    return S @ rng.normal(size=(3, 3)), labels


class Killed(Exception):
    """Instead of a signal."""


def outcome(model):
    """All numbers of a fit."""
    return {key: value for key, value in vars(model).items() if isinstance(value, (np.ndarray, list, float, dict))}


def check_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_equal(other[key], value, err_msg=key)


@every
@pytest.mark.parametrize("run", [0, 1], ids=["first", "last"])
def test_a_fit_that_was_killed_goes_on_to_the_same_bits(frames, tmp_path, model, run):
    X, labels = frames
    whole = clone(model).fit(X, labels)
    run = min(run, LAST[type(model).__name__])

    def kill(number, step, loss):
        if number == run and step >= 20:
            raise Killed

    state = tmp_path / "state"
    with pytest.raises(Killed):
        clone(model).fit(X, labels, checkpoint=state, callback=kill)
    seen = []
    again = clone(model).fit(X, labels, checkpoint=state, callback=lambda *check: seen.append(check[:2]))
    np.testing.assert_array_equal(again.transform(X), whole.transform(X))
    check_same(outcome(whole), outcome(again))
    assert (run, 20) not in seen  # what was done before is not done again
    with pytest.raises(DataError, match="belongs to other data or parameters"):
        clone(model).fit(X + 1, labels, checkpoint=state)


@every
def test_each_check_is_a_line_of_the_log(frames, tmp_path, model):
    X, labels = frames
    clone(model).fit(X, labels, log=tmp_path / "log")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["training"] for line in lines} <= {"flow", "bound", "linear", "network"}
    last = [line for line in lines if line["training"] == lines[-1]["training"]]
    assert last[-1]["step"] == 40
    assert len(last[0]["restarts"]) == 2


@every
def test_precision_is_that_of_the_parameters(frames, model):
    X, labels = frames
    double = clone(model).set_params(training__precision="float64").fit(X, labels)
    S, other = double.transform(X), clone(model).fit(X, labels).transform(X)
    assert S.dtype == np.float64
    assert np.abs(S - other).max() > 0
    assert np.abs(np.corrcoef(S.T, other.T)[:2, 2:]).max(1).min() > 0.9
    with pytest.raises(DataError, match="takes float32 or float64"):
        clone(model).set_params(training__precision="bfloat16").fit(X, labels)
    with pytest.raises(DataError, match="device = 'teapot'"):
        clone(model).set_params(device="teapot").fit(X, labels)


@every
def test_stability_compares_the_two_best(frames, model):
    X, labels = frames
    found = clone(model).fit(X, labels)
    assert found.stability_.shape == (2,)
    assert ((found.stability_ >= 0) & (found.stability_ <= 1)).all()
    alone = clone(model).set_params(n_restarts=1).fit(X, labels)
    # IVAE and SlowVAE always train the bound from two starts
    assert np.isnan(alone.stability_).all() == isinstance(model, (SNICA, HMNLICA))


@every
@pytest.mark.parametrize("given", [False, True], ids=["own", "validation"])
def test_what_is_held_out_gives_no_gradients(frames, monkeypatch, model, given):
    X, labels = frames
    held = np.arange(360) % 60 >= 44
    plain, seen = GenerativeEstimator._trained, []

    def trained(self, progress, name, module, losses, learned, held_out, generator, **options):
        def watched(items, draw):
            seen.append((draw is generator, set(items.tolist())))
            return losses(items, draw)

        return plain(self, progress, name, module, watched, learned, held_out, generator, **options)

    monkeypatch.setattr(GenerativeEstimator, "_trained", trained)
    clone(model).fit(X, labels, **({"validation": held} if given else {}))
    learned = set().union(*(items for training, items in seen if training))
    asked = set().union(*(items for training, items in seen if not training))
    assert learned
    assert asked
    assert not learned & asked
    if given and isinstance(model, (IVAE, SlowVAE)):  # whose items are frames, or first frames of pairs
        assert held[list(asked)].all()
        assert not held[list(learned)].any()


@every
def test_a_mask_that_does_not_fit_is_refused(frames, model):
    X, labels = frames
    with pytest.raises(DataError, match="validation has shape"):
        clone(model).fit(X, labels, validation=np.ones(3, dtype=bool))
    with pytest.raises(DataError, match=r"validation|too few pairs"):
        clone(model).fit(X, labels, validation=np.ones(360, dtype=bool))


@every
def test_an_old_keyword_is_answered_with_its_new_place(model):
    with pytest.raises(ParameterError, match=r"give training=Training\(learning_rate=0.001\)"):
        type(model)(2, learning_rate=1e-3)
    with pytest.raises(DataError, match=r"must be a Training|no option"):
        type(model)(2, training={"rate": 3}).fit(np.eye(5))
