"""The training loop: the same whether or not it was interrupted, and over when nothing is gained any more."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from tempica.errors import DataError
from tempica.ica.synthetic import autoregressive, modulated
from tempica.ica.training import parallel
from tempica.ica.training.ladder import climb
from tempica.ica.training.orthogonal import Orthogonal
from tempica.ica.training.progress import Checkpoint, Progress
from tempica.ica.training.schedules import Plateau
from tempica.ica.training.trainer import Trainer


def training(seed: int = 0, *, noise: float = 0.3, max_steps: int | None = 200) -> Trainer:
    """Regression on 300 items, of which the last 100 are held out; the loss of the mean is 0."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(300, 4, generator=rng)
    y = x @ torch.randn(4, 2, generator=rng) + noise * torch.randn(300, 2, generator=rng)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Linear(4, 2)

    def loss(at: torch.Tensor) -> torch.Tensor:
        return ((module(x[at]) - y[at]) ** 2).mean() - 1

    def validate() -> float:
        with torch.no_grad():
            return float(((module(x[200:]) - y[200:]) ** 2).mean()) - 1

    options = {"batch_size": 16, "schedule": Plateau(max_steps), "learning_rate": 0.02, "seed": seed}
    return Trainer(module, loss, validate, 200, hidden=[module.weight], **options)


@pytest.mark.parametrize("stop", [1, 57, 60, 133, 199])
def test_an_interrupted_training_ends_with_the_same_bits(stop: int, tmp_path) -> None:
    whole = training().advance()
    first = training().advance(stop)
    Checkpoint(tmp_path / "state", "key").save("run", first)
    second = training(seed=0)
    with torch.no_grad():
        second.module.weight.zero_()
    second.restore(Checkpoint(tmp_path / "state", "key").states["run"])
    assert second.step == stop
    second.advance()
    assert second.curve == whole.curve
    for one, other in zip(whole.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_other_data_is_refused(tmp_path) -> None:
    Checkpoint(tmp_path / "state", "key").save("run", training())
    with pytest.raises(DataError, match="belongs to other data"):
        Checkpoint(tmp_path / "state", "another")


def test_the_best_weights_are_kept() -> None:
    run = training().advance()
    assert run.validate() == run.best == min(loss for _, _, loss in run.curve)
    assert run.best < -0.8


def test_it_ends_by_itself_when_nothing_is_gained() -> None:
    run = training(max_steps=None).advance()
    assert 1000 <= run.schedule.falls_from <= 1200
    assert run.ended
    assert run.step < 2500


def test_an_epoch_meets_every_item_once() -> None:
    run = training()
    seen = []
    for run.step in range(12):
        seen += run._items().tolist()
    assert len(set(seen)) == len(seen) == 192


def test_orthogonal_steps_have_singular_values_near_one() -> None:
    weight = nn.Parameter(torch.zeros(12, 5))
    optimiser = Orthogonal([weight], lr=1.0)
    weight.grad = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) @ torch.diag(10.0 ** torch.arange(5))
    optimiser.step()
    values = torch.linalg.svdvals(weight.detach()) / (12 / 5) ** 0.5
    # five Newton–Schulz steps bring values within a factor of 1e3 of the largest to about 1
    assert ((values > 0.3) & (values < 1.3)).sum() >= 3
    assert values.max() < 1.3
    direction = torch.linalg.svd(weight.grad, full_matrices=False)
    assert torch.trace(direction.U.T @ -weight.detach() @ direction.Vh.T) > 0


def test_mixings_are_inverted_and_as_described() -> None:
    problem = autoregressive(4, 3000, n_layers=3, seed=5)
    np.testing.assert_allclose(problem.mixing.inverse(problem.X), problem.S, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(problem.mixing.matrices, axis=1), 1)
    lagged = (problem.S[1:] * problem.S[:-1]).mean(0) / problem.S.var(0)
    np.testing.assert_allclose(lagged, 0.7, atol=0.07)
    other = modulated(3, 40, 200, n_layers=1, seed=5, kind="orthogonal")
    np.testing.assert_allclose(other.mixing.matrices[0] @ other.mixing.matrices[0].T, np.eye(3), atol=1e-12)
    deviation = other.S.reshape(40, 200, 3).std(1)
    assert 0.35 < deviation.mean() < 0.65
    assert deviation.min() < 0.15
    assert deviation.max() > 0.8
    with pytest.raises(DataError, match="kind = 'square'"):
        autoregressive(2, 100, kind="square")


@pytest.mark.parametrize("kind", ["file", "function"])
def test_every_check_is_a_line_of_the_log(kind: str, tmp_path) -> None:
    lines: list[dict] = []
    log = tmp_path / "log.jsonl" if kind == "file" else lambda **line: lines.append(line)
    progress = Progress(Checkpoint(None, "key"), log, None)

    def make(on_check) -> Trainer:
        run = training()
        run.on_check = on_check
        return run

    run = progress.begin(1, "network 1", make).advance()
    if kind == "file":
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["step"], line["loss"], line["held_out"]) for line in lines] == run.curve[1:]
    assert {line["training"] for line in lines} == {"network 1"}
    assert lines[-1]["best"] == run.best
    assert all(a["seconds"] <= b["seconds"] for a, b in pairwise(lines))


def test_a_saved_state_is_of_the_step_at_which_it_was_saved() -> None:
    """Another training may write the file of both later, while this one stands between two checks."""
    whole, run = training().advance(), training().advance(57)
    state = run.state()
    run.advance(99)
    second = training()
    second.restore(state)
    second.advance()
    assert second.curve == whole.curve


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no checkpoint",
        b"b>LV6p0f}tM",
        b"j&pdU45@RsQ9",
        b"X3GD",
        b"j\t",
        b"\x80\x02}q\x00.",
        b"PK\x03\x04 no zip",
        b"{}",
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(DataError, match="state is no checkpoint of a fit"):
        Checkpoint(tmp_path / "state", "key")


class Foreign:
    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


@pytest.mark.parametrize("content", [None, [1], {"x": 1}, {"key": "key", "states": {}}, Foreign()])
def test_other_pickles_are_refused_and_none_is_run(content, tmp_path) -> None:
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write(content, tmp_path / "state")
        with pytest.raises(DataError, match="state is no checkpoint of a fit"):
            Checkpoint(tmp_path / "state", "key")


def test_a_damaged_checkpoint_is_refused_or_whole(tmp_path) -> None:
    """Cut short, with bits turned or bytes overwritten: what is taken all the same, for padding alone, is the same."""
    path, run, rng = tmp_path / "state", training().advance(20), np.random.default_rng(0)
    Checkpoint(path, "key").save("run", run)
    good, refused = path.read_bytes(), 0
    for kind in range(300):
        damaged, at = bytearray(good), int(rng.integers(len(good)))
        if kind % 3 == 0:
            del damaged[at:]
        elif kind % 3 == 1:
            damaged[at] ^= 1 << int(rng.integers(8))
        else:
            damaged[at : at + 20] = rng.bytes(20)
        path.write_bytes(damaged)
        try:
            found = Checkpoint(path, "key")
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
        else:
            assert torch.equal(found.states["run"]["module"]["weight"], run.state()["module"]["weight"])
    assert refused > 200


def test_a_checkpoint_of_other_values_is_refused(tmp_path) -> None:
    path = tmp_path / "state"
    Checkpoint(path, "key").save("run", training().advance(20))
    found = torch.load(path, weights_only=True)
    for name, value in (("step", 21), ("bests", []), ("module", {"weight": torch.zeros(1)})):
        torch.save(found | {"states": {"run": found["states"]["run"] | {name: value}}}, path)
        with pytest.raises(DataError, match="or is damaged"):
            Checkpoint(path, "key")


def test_more_processes_than_items_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(parallel, "world", lambda: (0, 17))
    with pytest.raises(DataError, match="16 items, fewer than the 17 processes"):
        training()


def test_a_richer_model_has_to_gain_and_must_not_lose_by_the_second_measure(rng) -> None:
    noise = 0.1 * rng.normal(size=200)
    losses = {"simple": noise, "lucky": noise + np.resize([0.1, -0.1], 200), "better": noise - 0.3, "bent": noise - 0.5}
    assert climb(losses) == "bent"
    asked = []

    def judge(name: str) -> np.ndarray:
        asked.append(name)
        return losses[name] + (0.6 if name == "bent" else 0.0)

    assert climb(losses, judge) == "better"
    assert "lucky" not in asked
