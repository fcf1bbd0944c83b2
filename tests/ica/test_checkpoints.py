"""A fit that was stopped at any check goes on to the same bits, and repeats no more than what came after the check."""

from __future__ import annotations

import numpy as np
import pytest

from tempica.errors import DataError
from tempica.ica import GCL, PCL, TCL
from tempica.ica.synthetic import autoregressive, modulated

pytestmark = pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")
QUICK = {"max_steps": 40, "n_restarts": 3, "second_stage": "none"}
CASES = {
    "PCL": (PCL, "series", {"training": {"n_layers": 2}}),
    "PCL, two depths": (PCL, "series", {"random_state": 1}),
    "TCL": (TCL, "labels", {}),
    "GCL of labels": (GCL, "labels", {}),
    "GCL of histories": (GCL, "series", {"training": {"precision": "float64"}}),
}


@pytest.fixture(scope="module")
def data():
    series, labelled = autoregressive(2, 600, n_layers=2, seed=2), modulated(2, 8, 60, n_layers=2, seed=1)
    return {"series": (series.X, None), "labels": (labelled.X, labelled.labels)}


@pytest.mark.parametrize("name", CASES)
def test_a_stopped_fit_goes_on_to_the_same_sources(name: str, data, tmp_path) -> None:
    estimator, kind, options = CASES[name]
    (X, labels), model = data[kind], estimator(2, **QUICK, **options)
    told: list[tuple] = []
    whole = model.fit(X, labels, callback=lambda *line: told.append(line)).transform(X)
    for n_checks in np.unique(np.linspace(1, len(told) - 1, 5).astype(int)).tolist():
        before: list[tuple] = []

        def stop(*line, before=before, n_checks=n_checks) -> None:
            before.append(line)
            if len(before) == n_checks:
                raise KeyboardInterrupt

        state = tmp_path / f"{n_checks}.state"
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, labels, callback=stop, checkpoint=state)
        after: list[tuple] = []
        resumed = model.fit(X, labels, callback=lambda *line, after=after: after.append(line), checkpoint=state)
        np.testing.assert_array_equal(resumed.transform(X), whole)
        # a training that stands beyond its last check, while another goes on, repeats the steps from it
        assert len(before) + len(after) <= len(told) + QUICK["n_restarts"]
        assert (before + after)[-1] == told[-1]


@pytest.mark.parametrize("estimator", [PCL, TCL, GCL])
def test_a_checkpoint_of_other_options_is_refused(estimator, data, tmp_path) -> None:
    X, labels = data["series" if estimator is PCL else "labels"]
    quick = {"max_steps": 2, "n_restarts": 1, "second_stage": "none"}
    estimator(2, **quick).fit(X, labels, checkpoint=tmp_path / "state")
    other = estimator(2, training={"learning_rate": 1e-3}, **quick)
    with pytest.raises(DataError, match="belongs to other data or parameters"):
        other.fit(X, labels, checkpoint=tmp_path / "state")
