import contextlib
import json
import os
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from tempica.errors import DataError, FormatError
from tempica.ica import PCL, SOBI, TCL, TICA, FastICA, NonstationaryICA, Training, load, save
from tempica.ica.saving import safetensors

MIXING = np.array([[1.0, 0.7, -0.2], [0.4, 1.0, 0.9], [-0.8, 0.3, 1.0]])


@pytest.fixture
def X(rng, autoregression):
    return autoregression(rng, 600, [0.9, 0.6, 0.2], "laplace") @ MIXING.T


@pytest.mark.filterwarnings("ignore::tempica.errors.IdentifiabilityWarning")  # trained too short to identify anything
@pytest.mark.parametrize(
    "model",
    [
        TICA(2, lag=(1, 3)),
        SOBI("auto"),
        FastICA(),
        NonstationaryICA(2),
        PCL(2, max_steps=10, n_restarts=1, training={"width": 8}),
        TCL(2, max_steps=10, n_restarts=1, training=Training(width=8)),
    ],
)
def test_what_is_loaded_does_what_was_saved(tmp_path, X, model):
    model.fit(X, np.arange(600) // 100)
    found = load(save(model, tmp_path / "deep" / "model"))
    assert type(found) is type(model)
    assert found.get_params() == model.get_params()
    assert vars(found).keys() == vars(model).keys()
    np.testing.assert_array_equal(found.transform(X), model.transform(X))
    covariance = np.broadcast_to(np.eye(3), (4, 3, 3))
    np.testing.assert_array_equal(
        found.transform_covariance(X[:4], covariance), model.transform_covariance(X[:4], covariance)
    )
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).transform(X), model.transform(X))
    if not isinstance(model, (PCL, TCL)):
        found.fit(X[:300])  # what was loaded is an estimator like any other
        assert np.abs(found.transform(X) - model.transform(X)).max() > 0


def test_every_kind_of_value_comes_back_as_it_was(tmp_path, rng):
    import pandas as pd

    frame = pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"])
    model = TICA().fit(frame)
    model.odd_ = {
        "float": [1.5, float("inf"), float("-inf")],
        ("key", 3): (None, True, "text", -(2**70)),
        "scalar": (np.float32(0.1), np.int64(7), np.bool_(False)),
        "arrays": [np.arange(6, dtype=np.uint16).reshape(2, 3), np.empty((0, 4)), np.array(2.5), np.array(["x", "yz"])],
        "tensor": torch.arange(3, dtype=torch.bfloat16),
        "layers": torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.LeakyReLU(0.3)),
        "list": torch.nn.ParameterList([torch.ones(2), torch.zeros(1)]),
    }
    found = load(save(model, tmp_path / "model"))
    odd, kept = found.odd_, model.odd_
    assert found.feature_names_in_.tolist() == ["a", "b"]
    assert found.feature_names_in_.dtype == object
    assert odd["float"] == kept["float"]
    assert odd["key", 3] == kept["key", 3]
    assert [(type(v), v) for v in odd["scalar"]] == [(type(v), v) for v in kept["scalar"]]
    for one, other in zip(odd["arrays"], kept["arrays"], strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
    assert torch.equal(odd["tensor"], kept["tensor"])
    assert odd["tensor"].dtype is torch.bfloat16
    x = torch.randn(5, 2)
    assert torch.equal(odd["layers"].eval()(x), kept["layers"].eval()(x))
    assert odd["layers"][2].negative_slope == 0.3
    assert len(odd["list"]) == 2
    assert [p.requires_grad for p in odd["list"]] == [True, True]


def test_the_file_names_classes_as_the_public_does(tmp_path, X):
    """No path through folders, which would tie the file to where a class happens to be."""
    model = PCL(2, max_steps=2, n_restarts=1, training={"width": 4})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save(model.fit(X), tmp_path / "model")
    text = (path / "estimator.json").read_text()
    names = set(re.findall(r'"class": "([^"]+)"', text))
    assert {"PCL", "Stage", "Features"} <= names
    assert any(name.startswith("torch.nn:") for name in names)
    assert json.loads(text)["format"] == 2
    assert all(name.isidentifier() or name.startswith("torch.nn:") for name in names)


@pytest.mark.parametrize("umask", [0o022, 0o007, 0o002, 0o077])
def test_the_umask_decides_who_may_read(tmp_path, umask):
    before = os.umask(umask)
    try:
        path = save(TICA(), tmp_path / "of" / "others" / "model")
    finally:
        os.umask(before)
    folders, files = (path, path.parent, path.parent.parent), list(path.iterdir())
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o777 & ~umask}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o666 & ~umask}
    assert [each.name for each in path.parent.iterdir()] == ["model"]


def test_an_estimator_that_was_not_fitted_is_saved_too(tmp_path):
    assert load(save(PCL(3, lag=2), tmp_path / "model")).get_params() == PCL(3, lag=2).get_params()


def test_what_cannot_be_saved_is_named_and_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match=r"PCL\.random_state is a RandomState"):
        save(PCL(random_state=np.random.RandomState(0)), tmp_path / "model")
    model = TICA()
    model.hook_ = {"a": [print]}
    with pytest.raises(DataError, match=r"TICA\.hook_\['a'\]\[0\] is a builtin_function_or_method"):
        save(model, tmp_path / "model")
    with pytest.raises(DataError, match="PCA is no estimator of tempica"):
        save(PCA(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    save(TICA(), tmp_path / "model")
    with pytest.raises(FormatError, match="exists already"):
        save(TICA(), tmp_path / "model")


@pytest.mark.parametrize("format", [1, 2])
@pytest.mark.parametrize(
    "tree",
    [
        {"kind": "object", "class": "os:system", "state": {}},
        {"kind": "object", "class": "check_lags", "state": {}},
        {"kind": "object", "class": "TICA", "state": {"__class__": "x"}},
        {"kind": "object", "class": "tempica.ica.linear.linear:TICA", "state": {}},
        {"kind": "object", "class": 7, "state": {}},
        {"kind": "object", "class": ["TICA"], "state": {}},
        {"kind": "object", "class": "torch.nn:Linear.__init__", "state": {}},
        {"kind": "object", "class": "torch.nn:Module", "state": {}},
        {"kind": "network", "class": "TICA", "state": {}},
        {"kind": "object", "class": "linear:np", "state": {}},
        {"kind": "object", "class": "linear:check_lags", "state": {}},
        {"kind": "object", "class": "linear:check_is_fitted", "state": {}},
        {"kind": "object", "class": "../linear:TICA", "state": {}},
        {"kind": "object", "class": "saving:Path", "state": {}},
        {"kind": "network", "class": "torch.nn:functional", "state": {}},
        {"kind": "network", "class": "linear:TICA", "state": {}},
        {"kind": "object", "class": "linear:TICA", "state": {"__class__": "x"}},
        {"kind": "object", "class": "linear:TICA", "state": {"mean_": {"kind": "array", "array": "absent"}}},
        {"kind": "eval", "code": "1/0"},
        {"kind": "list", "items": []},
        [1, 2],
        "TICA",
    ],
)
def test_a_file_cannot_ask_for_anything_else(tmp_path, tree, format):
    path = save(TICA(), tmp_path / "model")
    (path / "estimator.json").write_text(json.dumps({"format": format, "estimator": tree}))
    with pytest.raises(FormatError, match=r"damaged|not an estimator"):
        load(path)


def test_damaged_files_are_told_as_such(tmp_path, rng, X):
    path = save(TICA().fit(X), tmp_path / "model")
    for name in ("arrays.safetensors", "estimator.json"):
        whole = (path / name).read_bytes()
        for size in [0, 3, 9, *rng.integers(len(whole), size=10)]:
            (path / name).write_bytes(whole[:size])
            with pytest.raises(FormatError):
                load(path)
        (path / name).write_bytes(whole)
    for name in ("arrays.safetensors", "estimator.json"):
        whole = bytearray((path / name).read_bytes())
        for place in rng.integers(len(whole), size=60):
            broken = whole.copy()
            broken[place] = rng.integers(256)
            (path / name).write_bytes(broken)
            with contextlib.suppress(FormatError):  # nothing else; a changed number cannot be seen
                load(path)
        (path / name).write_bytes(whole)
    (path / "estimator.json").write_text('{"format": 3}')
    with pytest.raises(FormatError, match="format 3"):
        load(path)
    with pytest.raises(FormatError, match="holds no saved estimator"):
        load(tmp_path / "nowhere")


def test_the_arrays_are_safetensors_to_others(tmp_path, rng):
    """By the format's description: an eight-byte length, JSON, then the bytes at the offsets it names."""
    arrays = {"a": rng.normal(size=(3, 2)), "b.c": np.array([True, False]), "d": np.arange(4, dtype=">i4")}
    safetensors.write(tmp_path / "x.safetensors", arrays)
    raw = (tmp_path / "x.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    assert (8 + size) % 8 == 0
    assert header["a"] == {"dtype": "F64", "shape": [3, 2], "data_offsets": [0, 48]}
    start, stop = header["d"]["data_offsets"]
    np.testing.assert_array_equal(np.frombuffer(raw[8 + size + start : 8 + size + stop], "<i4"), arrays["d"])
    for name, array in safetensors.read(tmp_path / "x.safetensors").items():
        np.testing.assert_array_equal(array, arrays[name])
    library = pytest.importorskip("safetensors.numpy")
    for name, array in library.load_file(tmp_path / "x.safetensors").items():
        np.testing.assert_array_equal(array, arrays[name])
    library.save_file({"a": arrays["a"]}, tmp_path / "y.safetensors", metadata={"made": "elsewhere"})
    np.testing.assert_array_equal(safetensors.read(tmp_path / "y.safetensors")["a"], arrays["a"])
