"""What every estimator promises alike: one test a promise, every estimator through each."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tempica.errors import DataError, IdentifiabilityWarning
from tempica.ica import GCL, HMNLICA, IVAE, PCL, SNICA, SOBI, TCL, TICA, FastICA, NonstationaryICA, SlowVAE, load, save

TRAINED = {"max_steps": 3, "n_restarts": 1, "training": {"width": 4}}
SERIES = [TICA(2), SOBI(2), FastICA(2), *(model(2, **TRAINED) for model in (PCL, SlowVAE, SNICA, GCL))]
SERIES += [HMNLICA(2, max_steps=3, training={"n_layers": 2}, n_restarts=1)]
LABELLED = [NonstationaryICA(2), *(model(2, **TRAINED) for model in (TCL, IVAE, GCL))]
EVERY = [*((model, "replicas") for model in SERIES), *((model, "labels") for model in LABELLED)]
every = pytest.mark.parametrize(("model", "given"), EVERY, ids=lambda x: x if isinstance(x, str) else type(x).__name__)
pytestmark = [
    pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture
def frames(rng, autoregression):
    labels = np.repeat(np.arange(6), 40)
    S = autoregression(rng, 240, [0.9, 0.6, 0.3], "laplace")
    return S * rng.uniform(0.2, 2, size=(6, 3))[labels] @ rng.normal(size=(3, 3)), labels


def fit(model, X, given, labels):
    return model.fit(X, replicas=labels) if given == "replicas" else model.fit(X, labels)


@every
def test_a_copy_of_any_kind_gives_the_same_sources(frames, tmp_path, model, given):
    X, labels = frames
    found = fit(clone(model), X, given, labels)
    S = found.transform(X)
    assert S.shape == (240, 2)
    assert np.isfinite(S).all()
    np.testing.assert_array_equal(fit(clone(found), X, given, labels).transform(X), S)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).transform(X), S)
    np.testing.assert_array_equal(load(save(found, tmp_path / "model")).transform(X), S)
    np.testing.assert_allclose(found.transform(torch.as_tensor(X)), S, atol=1e-6)
    assert len(found.get_feature_names_out()) == 2


@every
def test_a_list_of_series_is_replicas(frames, model, given):
    X, labels = frames
    series, parts = [X[:80], X[80:]], [labels[:80], labels[80:]]
    number = np.repeat([0, 1], [80, 160])
    takes = "replicas" in inspect.signature(type(model).fit).parameters
    replicas = {"replicas": number} if takes else {}
    if given == "replicas":
        joined, plain = clone(model).fit(series), clone(model).fit(X, **replicas)
    else:
        joined, plain = clone(model).fit(series, parts), clone(model).fit(X, labels, **replicas)
        again = clone(model).fit(series, labels=parts)
        np.testing.assert_array_equal(again.transform(X), plain.transform(X))
    for found, one in zip(joined.transform(series), series, strict=True):
        np.testing.assert_array_equal(found, plain.transform(one))


def test_a_list_of_series_has_one_number_of_features_and_no_replicas(frames):
    X, labels = frames
    with pytest.raises(DataError, match=r"shapes \[\(3,\), \(2,\)\]"):
        TICA().fit([X, X[:, :2]])
    with pytest.raises(DataError, match="Leave replicas out"):
        TICA().fit([X, X], replicas=labels)


@every
def test_words_and_defaults_are_the_same(model, given):
    """Number of sources, labels and replicas go by one name and one default; nothing else means labels."""
    assert inspect.signature(type(model)).parameters["n_components"].default is None
    takes = inspect.signature(type(model).fit).parameters
    assert list(takes)[:3] == ["self", "X", "y"]
    assert given in takes or given == "labels"
    assert not {"segments", "u", "label", "conditions"} & set(takes)
    assert all(takes[name].default is None for name in ("y", "labels", "replicas") if name in takes)


@every
def test_a_repr_is_short(frames, model, given):
    X, labels = frames
    assert len(repr(fit(clone(model), X, given, labels))) < 100
    assert repr(type(model)()) == f"{type(model).__name__}()"


@every
def test_it_works_in_a_pipeline(frames, model, given):
    X, labels = frames
    model = make_pipeline(StandardScaler(), clone(model))
    name = model.steps[-1][0]
    found = model.fit(X, **{f"{name}__replicas": labels}) if given == "replicas" else model.fit(X, labels)
    assert found.transform(X).shape == (240, 2)
    assert np.isfinite(found.score(X, labels) if given == "labels" else found.score(X))


@every
def test_a_memory_map_is_as_good_as_an_array(frames, tmp_path, model, given):
    X, labels = frames
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = fit(clone(model), mapped, given, labels).transform(mapped)
    np.testing.assert_allclose(found, fit(clone(model), X, given, labels).transform(X), atol=1e-10)


@every
def test_a_data_frame_is_as_good_as_an_array(frames, model, given, recwarn):
    X, labels = frames
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    found = fit(clone(model), table, given, labels)
    np.testing.assert_allclose(found.transform(table), fit(clone(model), X, given, labels).transform(X), atol=1e-10)
    found.score(table, labels) if given == "labels" else found.score(table)
    if hasattr(found, "transform_covariance"):
        found.transform_covariance(table, np.eye(3))
    assert [str(each.message) for each in recwarn if "feature names" in str(each.message)] == []


JUDGING = [(PCL, "time"), (GCL, "time"), (HMNLICA, "time"), (GCL, "labels"), (TCL, "labels")]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("estimator", "shuffled"), JUDGING)
def test_nothing_is_called_identified_where_chance_has_made_the_order(estimator, shuffled, seed, frames):
    """All that say what is identified, of frames in any order, or of labels that were dealt out to frames."""
    X, labels = frames
    rng = np.random.default_rng(seed)
    model = estimator(2, max_steps=20, n_restarts=2)
    with pytest.warns(IdentifiabilityWarning, match="Nothing is identifiable"):
        model.fit(X, rng.permutation(labels)) if shuffled == "labels" else model.fit(rng.permutation(X))
    assert model.ambiguity_ == "all"


def test_every_estimator_that_judges_is_tried(frames):
    X, labels = frames
    judges = {type(model) for model, given in EVERY if hasattr(fit(clone(model), X, given, labels), "ambiguity_")}
    assert judges == {estimator for estimator, _ in JUDGING}


@every
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X: np.ones_like(X), "constant"),
        (lambda X: np.where(np.arange(len(X))[:, None] == 7, np.nan, X), "NaN"),
        (lambda X: np.where(np.arange(len(X))[:, None] == 7, np.inf, X), "infinity"),
        (lambda X: X[:, :0], "0 feature"),
        (lambda X: X[:, 0], "2D array"),
        (lambda X: X[:, :1], "n_components = 2 must be from 1 to 1"),
    ],
    ids=["constant", "nan", "infinite", "no_feature", "one_dimension", "too_few_features"],
)
def test_frames_that_cannot_be_unmixed_are_refused(frames, model, given, spoil, message):
    X, labels = frames
    with pytest.raises(ValueError, match=message):
        fit(clone(model), spoil(X), given, labels)


@every
def test_one_constant_feature_among_others_does_no_harm(frames, model, given):
    X, labels = frames
    found = fit(clone(model), np.column_stack([X, np.full(240, 3.0)]), given, labels)
    assert np.isfinite(found.transform(np.column_stack([X, np.full(240, 3.0)]))).all()


@every
@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_too_few_frames_are_refused_in_words(frames, model, given, n_frames):
    """Some make something of three frames; what none may do is fail without saying what is wrong."""
    X, _ = frames
    try:
        found = fit(clone(model), X[:n_frames], given, np.arange(n_frames) // 2)
    except (DataError, ValueError) as problem:
        assert any(word in str(problem) for word in ("frame", "sample", "segment", "label", "varies", "vary"))  # noqa: PT017
    else:
        assert n_frames > 1
        assert np.isfinite(found.transform(X)).all()


@pytest.mark.parametrize("model", [model for model in SERIES if not isinstance(model, FastICA)])
def test_replicas_of_one_frame_each_are_refused(frames, model):
    X, _ = frames
    with pytest.raises(DataError, match="longest replica has 1"):
        clone(model).fit(X, replicas=np.arange(240))


@pytest.mark.parametrize("model", SERIES)
@pytest.mark.parametrize(
    ("replicas", "message"), [(np.zeros(7), "one label for each"), (np.arange(240) % 2, "must be contiguous")]
)
def test_labels_of_replicas_must_fit(frames, model, replicas, message):
    with pytest.raises(DataError, match=message):
        clone(model).fit(frames[0], replicas=replicas)


@pytest.mark.parametrize("model", LABELLED)
@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.zeros(240), "one segment|1 segments|one label"), (np.zeros(7), r"shape \(7,\)")],
    ids=["one", "too_few"],
)
def test_labels_that_tell_nothing_apart_are_refused(frames, model, labels, message):
    with pytest.raises(DataError, match=message):
        clone(model).fit(frames[0], labels)


@pytest.mark.parametrize("model", LABELLED)
def test_labels_of_one_frame_each_are_refused_or_fitted(frames, model):
    X, _ = frames
    try:
        found = clone(model).fit(X, np.arange(240))
    except DataError as problem:
        assert "segment" in str(problem) or "label" in str(problem)  # noqa: PT017
    else:
        assert np.isfinite(found.transform(X)).all()


@every
def test_a_frame_of_another_width_is_refused(frames, model, given):
    X, labels = frames
    found = fit(clone(model), X, given, labels)
    with pytest.raises(ValueError, match="features"):
        found.transform(X[:, :2])


@parametrize_with_checks([TCL(1, **TRAINED)])
def test_the_contract_of_scikit_learn(estimator, check):
    """The other estimators' are in their own files."""
    check(estimator)
