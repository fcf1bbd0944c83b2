"""Bias tests on movies made up for the test: a sound run passes, and what was planted is told."""

import json
import shutil

import numpy as np
import pytest

from tempica.embed.checks import tasks as check
from tempica.embed.checks.evidence import explain
from tempica.embed.checks.frames import Sample, halves, held_out, stretches
from tempica.embed.checks.models import agreement, folded_differently, mirrored, reversed_motion, superposed
from tempica.embed.poses.grids import rotation_grid
from tempica.embed.poses.rotations import turned
from tempica.embed.setting import Span
from tempica.errors import DataError
from tempica.imaging.modes import Modes
from tempica.progress import Progress
from tempica.recipe.experiment import Recipe
from tempica.runs.work import Work
from tempica.stores import reading
from tempica.stores.checks import CHECKS

from . import movies, toy

N_FRAMES, NOISE = 60, 0.7


def embedded(made, **options):
    """The run with its latents in it."""
    made.embed(made.run / "embed", **options)
    (made.run / "embed" / "latents.zarr").rename(made.run / "latents.zarr")
    return made


def check_run(made, folder, other=None, **options):
    """What is in checks.json, and verdicts by name."""
    changed = {
        "simulate": movies.CONTENT["simulate"] | {"n_replicas": movies.N_REPLICAS, "n_frames": N_FRAMES},
        "train": movies.CONTENT["train"] | {"held_out_replicas": 1},
        "embed": {"n_modes": 2} | options,
    }
    recipe, progress = Recipe.model_validate(movies.CONTENT | changed), Progress(terminal=False)
    folder.mkdir()
    work = Work("check", made.run, folder, recipe, "", "1" * 16, movies.Inline(), progress)
    check.run(work, 2 * N_FRAMES, other, "" if other is None else "other.pdb")
    found = json.loads((folder / "checks.json").read_text())
    return found, {row["name"]: row["verdict"] for row in found["checks"]}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return embedded(movies.make(tmp_path_factory.mktemp("known"), N_FRAMES, NOISE))


def test_a_sound_run_passes(sound, tmp_path):
    other = reading.open_store(sound.run / "structure.zarr", "structure")["position"].values.astype(float)
    found, verdict = check_run(sound, tmp_path / "check", other)
    assert verdict.pop("poses") == "not applicable"
    assert set(verdict.values()) == {"passed"}, found
    assert set(found) == set(CHECKS["required"])
    rules = CHECKS["properties"]["checks"]["items"]
    for row in found["checks"]:
        assert set(row) == set(rules["required"])
        assert row["verdict"] in rules["properties"]["verdict"]["enum"]
        for figure in row["figures"]:
            about = rules["properties"]["figures"]["items"]
            assert set(figure) == set(about["required"])
            assert figure["unit"] in about["properties"]["unit"]["enum"]


def test_the_hand_of_hidden_poses_cannot_be_told(tmp_path):
    made = embedded(movies.make(tmp_path, N_FRAMES, NOISE, "hidden"), modes_from="structure")
    found, verdict = check_run(made, tmp_path / "check", modes_from="structure")
    assert verdict.pop("hand") == verdict.pop("other_start") == "not applicable"
    verdict.pop("halves")  # of so few frames, which may differ
    assert set(verdict.values()) == {"passed"}, found
    (better,) = next(row for row in found["checks"] if row["name"] == "hand")["figures"]
    assert abs(better["value"]) < 1


def plant(made, kind):
    """Put a violation into a run before it is embedded."""
    rng = np.random.default_rng(3)
    latent = made.amplitude.reshape(-1, 2)
    flat = (made.position - toy.MODES.mean).reshape(len(latent), -1)
    own = Modes(toy.MODES.mean, np.linalg.lstsq(latent, flat, rcond=None)[0].reshape(2, -1, 3))
    alien = folded_differently(own, rng)
    if kind == "halves":
        position = made.position.copy()
        position[1] = alien.mean + np.tensordot(made.amplitude[1], alien.shape, 1)
        shutil.rmtree(made.run / "movie.zarr")
        movies._fill_movie(made.run, rng, NOISE, "known", False, position, made.rotation, made.shift_A)
    elif kind != "noise":
        wrong = alien if kind == "structure" else reversed_motion(own)
        drawn = wrong.mean + np.tensordot(rng.standard_normal((200, 2)), wrong.shape, 1)
        shutil.rmtree(made.run / "ensemble.zarr")
        sizes = {"atom": toy.N_ATOMS, "space": 3, "time": 200}
        ensemble = movies._beads() | {"position": drawn, "time": np.arange(200)}
        movies.fill(made.run / "ensemble.zarr", "ensemble", sizes, ensemble, {"topology": "{}"})
    return embedded(made)


@pytest.mark.parametrize(
    ("kind", "told"), [("noise", "molecule"), ("structure", "molecule"), ("motion", "motion"), ("halves", "halves")]
)
def test_what_is_planted_is_told(kind, told, tmp_path):
    made = plant(movies.make(tmp_path, N_FRAMES, 1e4 if kind == "noise" else NOISE), kind)
    found, verdict = check_run(made, tmp_path / "check")
    assert verdict[told] == "failed", found
    assert verdict["noise"] == verdict["stillness"] == "passed", found


def test_a_structure_of_another_length_is_refused(sound, tmp_path):
    with pytest.raises(DataError, match="has 11 beads, and the run's 12"):
        check_run(sound, tmp_path / "check", toy.MODES.mean[:-1])


def test_evidence_is_the_integral_over_amplitudes():
    """Against a sum over a fine grid of amplitudes, for frames at known poses; and that of noise is low."""
    setting = toy.Setting(6, seed=3)
    variance = 2 * setting.signal
    grid = np.linspace(-5, 5, 61)
    amplitude = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    image = setting.noisy(variance)
    observed = setting.observe(image, variance)
    sample = Sample(observed, np.zeros(6), setting.rotation, setting.shift, None, 0.0)
    found = explain(sample, toy.BEADS, toy.MODES, rotation_grid(10)).log_evidence
    for frame in range(6):
        height = -0.5 * setting.misfit(image, frame, amplitude, variance)
        total = np.log(np.exp(height - height.max()).sum() * (grid[1] - grid[0]) ** 2 / (2 * np.pi)) + height.max()
        assert found[frame] == pytest.approx(total + 0.5 * (image[frame] ** 2).sum() / variance, abs=0.5)


def test_alien_models_keep_what_they_should():
    alien = folded_differently(toy.MODES, np.random.default_rng(0))
    moments = [np.linalg.eigvalsh((m.mean - m.mean.mean(0)).T @ (m.mean - m.mean.mean(0))) for m in (toy.MODES, alien)]
    np.testing.assert_allclose(moments[1], moments[0], rtol=1e-8)
    for other in (alien, mirrored(toy.MODES), reversed_motion(toy.MODES)):
        assert (other.shape**2).sum() == pytest.approx((toy.MODES.shape**2).sum())
    assert agreement(toy.MODES, mirrored(mirrored(toy.MODES))).mean_A < 1e-6
    assert agreement(toy.MODES, alien).mean_A > 3


def test_agreement_forgives_a_turn_and_a_mixture():
    turn = turned(np.eye(3)[None], np.array([[0.3, -1.0, 0.4]]))[0]
    mixed = np.tensordot(np.array([[1.0, 2.0], [-1.0, 0.5]]), toy.MODES.shape, 1)
    other = Modes(toy.MODES.mean @ turn.T + 0.3, mixed @ turn.T)
    found = agreement(toy.MODES, other)
    assert found.mean_A < 1e-6
    assert found.share == pytest.approx(1)
    assert max(found.angle_deg) < 1e-3
    np.testing.assert_allclose(superposed(other, toy.MODES.mean).mean, toy.MODES.mean, atol=1e-9)


def test_halves_are_disjoint_and_stretches_lie_within():
    splits = ["train", "train", "train", "validation", "held_out"]
    one, two = halves(splits, 250)
    assert not {span.replica for span in one} & {span.replica for span in two}
    assert halves(splits[2:], 250) == ([Span(0, 0, 125)], [Span(0, 125, 250)])
    assert held_out(splits, 250) == [Span(4, 0, 250)]
    spans = stretches(two, 180)
    assert sum(map(len, spans)) == 180
    taken = np.concatenate([np.arange(span.first, span.last) for span in spans])
    assert len(np.unique(taken)) == len(taken)
    assert taken.max() < 250
    assert stretches(two, 1000) == [Span(1, 0, 84), Span(1, 83, 167), Span(1, 166, 250)]
