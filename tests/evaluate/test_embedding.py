"""What evaluate says of an embedding: known poses, found ones with planted errors, other beads, the recipe's body."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import xarray
from scipy.spatial.transform import Rotation

from tempica.evaluate import embedding
from tempica.stores.scores import SCORES

R, T, N, K = 4, 60, 20, 2
SPREAD = np.r_[np.full(3, 0.03), 0.2, 0.2]


@pytest.fixture
def rng():
    return np.random.default_rng(8)


class Run:
    """Stores of a run in memory, in which poses were searched and `lost` of the frames are lost."""

    def __init__(self, rng, lost=0.1, source="searched", overstated=1.0):
        self.recipe = SimpleNamespace(
            seed=3,
            splits=["train", "train", "validation", "held_out"],
            embed=SimpleNamespace(modes_from="ensemble"),
            simulate=SimpleNamespace(molecule=SimpleNamespace(body="A", domains={"A": "1-8", "B": "9-20"})),
        )
        mean, shape = rng.normal(size=(N, 3)), 0.2 * rng.normal(size=(K, N, 3))
        amplitude = rng.normal(size=(R, T, K))
        error = 0.3 * rng.normal(size=(R, T, K))
        rotation = Rotation.random(R * T, random_state=1)
        shift = rng.normal(size=(R, T, 2))
        w = rng.normal(size=(R * T, 5)) * SPREAD
        turned = Rotation.from_rotvec(-w[:, :3]) * rotation
        quaternion = turned.as_quat()
        n_lost = int(lost * R * T)
        quaternion[:n_lost] = Rotation.random(n_lost, random_state=2).as_quat()
        atoms = [{"resSeq": i + 1, "atoms": [{"index": i}]} for i in range(N)]
        frames, dims = ("replica", "time"), {"pose_quaternion": "quaternion", "pose_shift_A": "plane"}

        def posed(quaternion, shift):
            values = {"pose_quaternion": quaternion.reshape(R, T, 4), "pose_shift_A": shift}
            return {name: ((*frames, dims[name]), value) for name, value in values.items()}

        position = mean + np.tensordot(amplitude, shape, 1)
        self.stores = {
            "trajectory": xarray.Dataset(
                {"position": ((*frames, "atom", "space"), position)},
                attrs={"topology": json.dumps({"chains": [{"index": 0, "residues": atoms}]})},
            ),
            "movie": xarray.Dataset(
                {"image": ((*frames, "y", "x"), np.zeros((R, T, 2, 2)))}, attrs={"kind": "movie", "pose": "hidden"}
            ),
            "poses": xarray.Dataset(posed(rotation.as_quat(), shift)),
            "latents": xarray.Dataset(
                {
                    "latent": ((*frames, "mode"), amplitude - error),
                    "latent_covariance": (
                        (*frames, "mode", "mode_other"),
                        np.broadcast_to(0.09 * np.eye(K), (R, T, K, K)),
                    ),
                    "mode_shape": (("mode", "atom", "space"), shape),
                    "mean_structure": (("atom", "space"), mean),
                    "pose_covariance": (
                        (*frames, "pose", "pose_other"),
                        np.broadcast_to(np.diag(SPREAD**2 / overstated), (R, T, 5, 5)),
                    ),
                    **posed(quaternion, shift - w[:, 3:].reshape(R, T, 2)),
                },
                attrs={"pose_source": source},
            ),
        }

    def summary(self, monkeypatch, tmp_path):
        monkeypatch.setattr(embedding, "read", lambda run, stage, kind: self.stores[kind])
        monkeypatch.setattr(
            embedding,
            "true_poses",
            lambda run, stage, movie: self.stores["latents" if movie.attrs["pose"] == "known" else "poses"],
        )
        monkeypatch.setattr(embedding, "_bound", lambda *_: np.broadcast_to(0.5 * np.diag(SPREAD[:3] ** 2), (5, 3, 3)))
        paths = [tmp_path / f"{r}.npz" for r in range(R)]
        for r, path in enumerate(paths):
            embedding.compare_replica(self.recipe, tmp_path, path, r, np.arange(5))
        found = embedding.summarise(self.recipe, tmp_path, paths)
        rules = SCORES["properties"]
        assert set(found["poses"]) == set(rules["poses"]["required"])
        for rows, rule in (
            (found["poses"]["splits"], rules["poses"]["properties"]["splits"]),
            (found["latents"], rules["latents"]),
        ):
            assert all(set(row) == set(rule["items"]["required"]) for row in rows)
        return json.loads(json.dumps(found, allow_nan=False))


def test_errors_posterior_and_bound_of_searched_poses(rng, monkeypatch, tmp_path):
    found = Run(rng).summary(monkeypatch, tmp_path)
    assert found["poses"]["superposed_on"] == "A"
    everything, held_out = found["poses"]["splits"]
    assert (everything["split"], held_out["split"]) == ("all", "held_out")
    assert everything["lost"] == pytest.approx(0.1, abs=0.01)
    assert held_out["lost"] == 0  # those lost are of the first replica
    expected = np.degrees(np.median(np.linalg.norm(0.03 * rng.normal(size=(5000, 3)), axis=1)))
    assert held_out["bound_deg"][50] == pytest.approx(expected / np.sqrt(2), rel=0.15)
    assert held_out["angle_deg"] == sorted(held_out["angle_deg"])
    # against the model's own frame errors are those planted; against the body's beads those of the latents come in
    assert everything["squared_error"] == pytest.approx(1, abs=0.15)
    assert held_out["angle_deg"][50] > expected * 0.9
    assert found["latents"][0]["squared_error"] == pytest.approx(1, abs=0.15)
    assert found["latents"][0]["leak"] < 2 * found["latents"][0]["leak_null_95"]


def test_an_overconfident_posterior_is_told(rng, monkeypatch, tmp_path):
    found = Run(rng, overstated=4.0).summary(monkeypatch, tmp_path)["poses"]["splits"][0]
    assert found["squared_error_interval"][0] > 2
    assert found["within_95"] < 0.7


def test_known_poses_have_no_errors_to_list(rng, monkeypatch, tmp_path):
    run = Run(rng, source="stated", lost=0.0)
    run.stores["movie"].attrs["pose"] = "known"
    found = run.summary(monkeypatch, tmp_path)
    assert found["poses"]["known"]
    assert found["poses"]["splits"] == []
    assert found["latents"][0]["squared_error"] == pytest.approx(1, abs=0.2)


def test_poses_that_were_stated_with_an_error_have_no_posterior(rng, monkeypatch, tmp_path):
    run = Run(rng, source="stated", lost=0.0)
    run.stores["latents"]["pose_covariance"] = 0 * run.stores["latents"]["pose_covariance"]
    found = run.summary(monkeypatch, tmp_path)["poses"]["splits"][0]
    assert found["squared_error"] is found["level"] is None
    assert 1 < found["angle_deg"][50] < 6


def test_other_beads_are_compared_by_their_rotations(rng, monkeypatch, tmp_path):
    run = Run(rng)
    run.stores["latents"] = run.stores["latents"].isel(atom=slice(5, None))
    found = run.summary(monkeypatch, tmp_path)
    assert found["latents"] == []
    split = found["poses"]["splits"][1]
    assert split["structure_A"] is split["squared_error"] is split["bound_deg"] is None
    assert split["angle_deg"][50] == pytest.approx(np.degrees(0.03 * 1.54), rel=0.25)
