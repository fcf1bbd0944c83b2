"""Estimators saved in format 1, before the folders of tempica.ica, still load and give what they gave.

`format_1/` was written by tempica 0.1.0 (commit c5ab9a3), with the frames of a series of three autoregressions whose
variances change every 40 frames (240 frames, mixed, rounded to three digits) and images of 8 by 8 pixels:

    quick = {"max_steps": 3, "width": 4, "n_restarts": 1}
    for name, model, given in [
        ("TICA", TICA(2, lag=(1, 2)), series), ("SOBI", SOBI(2), series), ("FastICA", FastICA(2), series),
        ("NonstationaryICA", NonstationaryICA(2), labels), ("PCL", PCL(2, **quick), series),
        ("PCL_free", PCL(2, lag=(1, 2), score_function="free", learning_rate=3e-3, batch_size=64, n_layers=1, **quick),
         series), ("PCL_images", PCL(1, **quick), series), ("TCL", TCL(2, **quick), labels),
        ("GCL", GCL(2, **quick), labels), ("GCL_series", GCL(2, **quick), series), ("IVAE", IVAE(2, **quick), labels),
        ("SlowVAE", SlowVAE(2, **quick), series), ("SNICA", SNICA(2, **quick), series),
        ("HMNLICA", HMNLICA(2, max_steps=3, n_layers=2, n_restarts=1), series)]:
        save(model.fit(X, **given), folder / name)  # images for PCL_images
        expected[name] = model.transform(X[:20])
        expected[name + ".covariance"] = model.transform_covariance(X[:5], np.eye(3))
    save(PCL(3, lag=2, learning_rate=1e-3), folder / "PCL_unfitted")

The blanks were then taken out of each estimator.json.
"""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from tempica import ica
from tempica.ica import load, save

FOLDER = Path(__file__).parent / "format_1"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
pytestmark = pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")


@pytest.fixture(scope="module")
def kept():
    with np.load(FOLDER / "frames.npz") as frames, np.load(FOLDER / "expected.npz") as expected:
        return dict(frames), dict(expected)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "PCL_unfitted"])
def test_what_was_fitted_gives_the_same_sources(kept, tmp_path, name):
    frames, expected = kept
    X = frames["images" if name == "PCL_images" else "frames"]
    model = load(FOLDER / name)
    assert type(model) is getattr(ica, name.split("_")[0])
    # networks in single precision, on whatever processor
    np.testing.assert_allclose(model.transform(X), expected[name], atol=2e-5)
    if name + ".covariance" in expected:
        covariance = model.transform_covariance(X[:5], np.eye(3))
        np.testing.assert_allclose(covariance, expected[name + ".covariance"], rtol=1e-4, atol=1e-5)
    if name == "SNICA":
        np.testing.assert_allclose(model.smooth(X).mean, expected["SNICA.smooth"], atol=2e-4)
    again = load(save(model, tmp_path / "again"))  # in today's format
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


@pytest.mark.parametrize("name", NAMES)
def test_its_parameters_are_those_of_today(name):
    """Copying asks for every parameter by its name; a new one would have no attribute, an old one no place."""
    model = load(FOLDER / name)
    assert type(clone(model)) is type(model)
    known = set(vars(type(model)()))
    assert known <= set(vars(model))
    assert {key for key in vars(model) if not key.startswith("_") and not key.endswith("_")} <= known


def test_what_was_not_fitted_keeps_its_parameters():
    model = load(FOLDER / "PCL_unfitted")
    assert (model.n_components, model.lag) == (3, 2)
    assert model.get_params()["training__learning_rate"] == 1e-3
