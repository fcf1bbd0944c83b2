"""Commands of READMEs are run, in a folder that has what they name: a finished run, latents, trajectories.

Every command of a block `sh` is parsed, and what it names of the repository exists (test_readmes). It is run as well,
unless it is long; the default recipe stands for a short one that has been run. The rule for what is long: verbs that
simulate, image, embed or audit at the size of a recipe (LONG), what needs the run of another recipe than the default's
or files of one's own (tempica new), and what needs another program (pip, pytest, torchrun, dask, Slurm, python) are
left out; other tests run them small, and .ci/run a whole recipe. Of `tempica unmix`, reading, choosing, linear fits and
writing are run; networks, which take minutes, are left out of the methods that it chooses.
"""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from tempica.cli import cli
from tempica.ica.synthetic import autoregressive, modulated
from tempica.unmix import choosing

from .conftest import ROOT
from .test_readmes import READMES, blocks_of, commands, name_of

LONG = {"run", "simulate", "render", "train", "design", "check", "audit", "import"}
DEFAULT = ["run", "simulations/adenylate_kinase.toml"]  # here a short recipe, which has been run
LINEAR = {"tica", "nonstationary", "fastica"}
N_LABELS, N_EACH = 8, 40


def quick(command: list[str]) -> bool:
    """Whether a command is to be run; `tempica` is left out of it."""
    if command == DEFAULT:
        return True
    if command[0] == "new":
        return "--example" in command
    return command[0] not in LONG and not any(
        word.startswith("runs/") and word != "runs/adenylate_kinase" for word in command
    )


def quick_commands(path: Path) -> list[list[str]]:
    lines = [line for text in blocks_of(path, "sh") for line in text.splitlines()]
    return [command for line in lines for command in commands(line) if quick(command)]


@pytest.fixture
def folder(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader of a README might be: with a run, and with files of other programs."""
    import mdtraj

    (tmp_path / "runs").mkdir()
    (tmp_path / "simulations").mkdir()
    shutil.copy(small_run.parent / "small.toml", tmp_path / DEFAULT[1])
    shutil.copytree(small_run, tmp_path / "runs" / "adenylate_kinase")
    problem = modulated(2, N_LABELS, N_EACH, n_layers=1, seed=0)
    numbers = range(len(problem.X))
    (tmp_path / "z.24.pkl").write_bytes(pickle.dumps(problem.X.astype(np.float32)))
    rows = "".join(f"{i + 1}@a.mrcs {10 * problem.labels[i]}\n" for i in numbers)
    (tmp_path / "particles.star").write_text(f"data_particles\n\nloop_\n_rlnImageName #1\n_rlnTimepoint #2\n{rows}\n")
    (tmp_path / "ind.pkl").write_bytes(pickle.dumps(np.array(numbers)))
    coords = tmp_path / "recovar_output" / "model" / "zdim_10" / "latent_coords.npy"
    coords.parent.mkdir(parents=True)
    np.save(coords, np.c_[problem.X, np.random.default_rng(0).normal(size=(len(problem.X), 8))])
    records = np.zeros(len(problem.X), [("uid", "<u8"), *((f"components_mode_{i}/value", "<f4") for i in range(2))])
    for i in range(2):
        records[f"components_mode_{i}/value"] = problem.S[:, i]
    with (tmp_path / "cryosparc_P1_J9_particles.cs").open("wb") as file:
        np.save(file, records)
    X = autoregressive(2, 200, rho=(0.9, 0.4), n_layers=1, seed=0).X
    table = np.column_stack([X, np.repeat([0, 1], 100), np.tile(np.arange(100), 2)])
    np.savetxt(tmp_path / "features.csv", table, delimiter=",", header="z1,z2,movie,t", comments="")
    topology = mdtraj.load(ROOT / "simulations" / "structures" / "alanine_dipeptide.pdb")
    moved = topology.xyz + np.random.default_rng(0).normal(scale=0.01, size=(120, 1, 1)) * topology.xyz
    for name in ("run1.xtc", "run2.xtc"):
        mdtraj.Trajectory(moved, topology.topology).save(str(tmp_path / name))
    topology.save(str(tmp_path / "system.pdb"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", [path for path in READMES if quick_commands(path)], ids=name_of)
def test_commands_run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    chosen = choosing.choose
    monkeypatch.setattr(choosing, "choose", lambda *given: [name for name in chosen(*given) if name in LINEAR])
    for command in quick_commands(path):
        before = {str(one) for one in folder.rglob("*")}
        cli(command, standalone_mode=False)
        assert capsys.readouterr().out.strip(), command
        if command[0] in ("export", "unmix", "schema"):
            assert {str(one) for one in folder.rglob("*")} > before, command


def test_the_rule_leaves_few_commands_out() -> None:
    every = [
        one
        for path in READMES
        for text in blocks_of(path, "sh")
        for line in text.splitlines()
        for one in commands(line)
    ]
    left_out = [one for one in every if not quick(one)]
    assert {one[0] for one in left_out} <= LONG | {"export", "new"}
    assert len(every) - len(left_out) >= 12
