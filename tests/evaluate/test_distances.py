"""Distances between domains, of structures that embed found."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray

from tempica.evaluate import distances

N_BEADS = 12


def world(amplitude: np.ndarray, found: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Rows of three replicas (replica, frame) of a molecule whose halves are pulled apart by `amplitude` nm."""
    mean = np.random.default_rng(0).normal(size=(N_BEADS, 3))
    pull = np.zeros((1, N_BEADS, 3))
    mean[6:, 0] = 5 + mean[:6, 0]
    mean[6:, 1:] = mean[:6, 1:]  # so that centroids lie along x
    pull[0, 6:, 0] = 1.0
    atoms = [{"index": n} for n in range(N_BEADS)]
    chain = {"chain_id": "A", "residues": [{"resSeq": n + 1, "atoms": [atom]} for n, atom in enumerate(atoms)]}
    dims = ("replica", "time", "atom", "space")
    position = mean + amplitude[..., None, None] * pull[0]
    stores = {
        "trajectory": xarray.Dataset(
            {"position": (dims, position)}, attrs={"topology": json.dumps({"chains": [chain]})}
        ),
        "latents": xarray.Dataset(
            {
                "latent": (("replica", "time", "mode"), found[..., None]),
                "mean_structure": (("atom", "space"), mean),
                "mode_shape": (("mode", "atom", "space"), pull),
            }
        ),
    }
    monkeypatch.setattr(distances, "read", lambda run, stage, kind: stores[kind])
    recipe = SimpleNamespace(
        simulate=SimpleNamespace(molecule=SimpleNamespace(domains={"one": "1-6", "other": "7-12"})),
        embed=SimpleNamespace(modes_from="structure"),
        splits=["train", "validation", "held_out"],
    )
    return distances.of_domains(recipe, Path())  # type: ignore[arg-type]


def test_errors_are_those_of_the_distance_and_the_null_is_the_training_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    amplitude = np.array([[0.0, 1.0], [9.0, 9.0], [2.0, 4.0]])
    rows = world(amplitude, amplitude + 0.25, monkeypatch)
    assert [(row["split"], row["domains"]) for row in rows] == [
        ("train", ["one", "other"]),
        ("held_out", ["one", "other"]),
    ]
    assert rows[1]["error_nm"] == pytest.approx(0.25)
    assert rows[1]["null_nm"] == pytest.approx((1.5 + 3.5) / 2)  # of 2 and 4 from ½
    assert rows[1]["correlation"] == pytest.approx(1.0)


def test_what_does_not_vary_has_no_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = world(np.array([[0.0, 1.0]] * 3), np.zeros((3, 2)), monkeypatch)
    assert rows[0]["correlation"] is None
