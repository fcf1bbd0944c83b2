"""The options of training: one object, taken alike by all that train networks, and errors that name the right place."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from tempica.errors import DataError, ParameterError, TempicaError
from tempica.ica import GCL, PCL, TCL, TICA, Training

TRAINED = [PCL, TCL, GCL]
trained = pytest.mark.parametrize("estimator", TRAINED)


@pytest.fixture
def frames():
    labels = np.repeat(np.arange(4), 50)
    rng = np.random.default_rng(0)
    return rng.laplace(size=(200, 2)) * rng.uniform(0.2, 2, size=(4, 2))[labels], labels


@trained
@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
def test_a_dict_is_as_good_as_the_object_and_reaches_the_training(frames, estimator) -> None:
    X, labels = frames
    quick = {"max_steps": 4, "n_restarts": 1}
    options = {"width": 5, "n_layers": 3, "batch_size": 32}
    of_dict, of_object = (
        estimator(training=given, **quick).fit(X, None if estimator is PCL else labels)
        for given in (options, Training(**options))
    )
    np.testing.assert_array_equal(of_dict.transform(X), of_object.transform(X))
    own = estimator(**quick)._options()
    assert (own.learning_rate, own.precision) == (8e-3, "float32")
    assert of_dict._options().width == 5


@trained
def test_one_option_is_set_as_scikit_learn_sets_nested_parameters(estimator) -> None:
    model = estimator()
    assert model.get_params()["training__learning_rate"] is None
    assert model.training is None
    assert model.set_params(training__learning_rate=4e-3, max_steps=7).training == Training(learning_rate=4e-3)
    assert (model.get_params()["training__learning_rate"], model.max_steps) == (4e-3, 7)
    assert estimator(training={"width": 3}).set_params(training__n_layers=1).training == Training(width=3, n_layers=1)
    shared = Training(width=3)
    estimator(training=shared).set_params(training__width=4)
    assert shared.width == 3  # which another estimator may hold as well
    assert model.set_params(training={"width": 2}, training__batch_size=8).training == Training(8, width=2)
    assert clone(model).training == model.training
    assert clone(model).training is not model.training
    with pytest.raises(ValueError, match="Invalid parameter 'rate'"):
        model.set_params(training__rate=1)


@pytest.mark.parametrize("keyword", ["batch_size", "learning_rate", "width", "n_layers", "precision"])
@trained
def test_a_former_keyword_is_told_where_it_has_gone(estimator, keyword: str) -> None:
    with pytest.raises(TypeError, match=rf"no parameter {keyword}; give training=Training\({keyword}=3\)") as caught:
        estimator(2, **{keyword: 3})
    assert isinstance(caught.value, ParameterError)
    assert isinstance(caught.value, TempicaError)


def test_a_wrong_keyword_is_answered_with_those_there_are() -> None:
    with pytest.raises(TypeError, match="PCL has no parameter n_sources; it takes n_components, lag, n_restarts"):
        PCL(n_sources=2)
    with pytest.raises(TypeError, match="TICA has no parameter width; it takes n_components, lag"):
        TICA(2, width=4)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"rate": 1}, "training has no option 'rate'; it has batch_size"),
        ("fast", "training = 'fast' must be a Training, or a dict"),
        ({"batch_size": 1}, "batch_size = 1 must be at least 2"),
        ({"width": 2.5}, "width = 2.5 must be a whole number"),
        (Training(learning_rate=np.nan), "learning_rate = nan must be a number above 0"),
    ],
)
@trained
def test_bad_options_are_named_at_the_fit(frames, estimator, training, message: str) -> None:
    X, labels = frames
    with pytest.raises(DataError, match=message):
        estimator(training=training).fit(X, None if estimator is PCL else labels)


def test_an_option_without_use_is_refused() -> None:
    class Narrow(GCL):
        own_training = {"learning_rate": 1e-3}  # noqa: RUF012

    with pytest.raises(DataError, match=r"Narrow has no use for training.width = 4; it takes learning_rate. Leave"):
        Narrow(training={"width": 4})._options()
    with pytest.raises(DataError, match=r"no use for training.precision = 'float64'"):
        Narrow(training={"precision": "float64"})._options()
    assert Narrow()._options().learning_rate == 1e-3


def test_images_need_a_number_of_components() -> None:
    images = np.random.default_rng(0).normal(size=(40, 12, 12))
    for model, labels in ((PCL(), None), (TCL(), np.arange(40) // 10)):
        with pytest.raises(DataError, match="n_components = None takes every direction that varies, and images"):
            model.fit(images, labels)


@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
@trained
def test_all_know_the_same_words_for_stages(frames, estimator) -> None:
    X, labels = frames
    model = estimator(max_steps=3, n_restarts=1).fit(X, None if estimator is PCL else labels)
    for stage in ("sources", "features", "signed"):
        assert model.transform(X, stage=stage).shape == X.shape
        assert model.transform_covariance(X, np.eye(2), stage=stage).shape == (200, 2, 2)
    for refused in (model, TICA().fit(X)):
        with pytest.raises(DataError, match="stage = 'raw' must be sources, features, signed"):
            refused.transform(X, stage="raw")
