"""`tempica run` and a command a stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tempica import terminal
from tempica.commands import picturing, scores
from tempica.runs.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where images are made."),
        click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler (tcp://HOST:8786) whose workers to use."),
        click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given."),
        click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name> if not given."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--until", type=click.Choice(list(STAGES)), help="Last stage to do.")
@_options
def run(recipe: Path, until: str | None, **options: Any) -> None:
    """Do every stage that is not up to date, and show the scores.

    RECIPE is a TOML file, the name of a recipe that comes with tempica (`tempica recipes`), or the folder of an earlier
    run.
    """
    stages = list(STAGES)
    _execute(recipe, stages[: stages.index(until) + 1] if until else stages, **options)


def _stage_command(stage: str, help_text: str) -> click.Command:
    @click.command(stage, help=f"{help_text}\n\nRUN_OR_RECIPE is a run folder or a recipe's TOML file.")
    @click.argument("run_or_recipe", type=click.Path(path_type=Path))
    @_options
    def command(run_or_recipe: Path, **options: Any) -> None:
        pictures = picturing.taken(options)
        picturing.check(*pictures)
        folder = _execute(run_or_recipe, (stage,), **options)
        picturing.write(folder, *pictures)

    if stage == "report":
        picturing.options(command)

    if stage == "simulate":
        click.option(
            "--replica",
            type=click.IntRange(min=0),
            help="Only this replica, while other processes do others; the number after the last replica stands for"
            " the separate ensemble. For job arrays, as in Slurm.",
        )(command)
    return command


_ARRAY = """On Slurm, with n_replicas = 8 (0 … 7, and 8 is the ensemble), complete it with `tempica run` afterwards:

\b
  sbatch --array=0-8 --wrap='tempica simulate RECIPE --replica $SLURM_ARRAY_TASK_ID'"""

COMMANDS = [
    _stage_command(row.name, f"{row.help}\n\n{_ARRAY}" if row.name == "simulate" else row.help)
    for row in STAGES.values()
]


def _execute(
    target: Path,
    stages: Sequence[str],
    *,
    out: Path | None,
    jobs: int | None,
    device: str,
    scheduler: str | None,
    replica: int | None = None,
) -> Path:
    from tempica import pipeline

    if (jobs is not None) + (scheduler is not None) + (replica is not None) > 1:
        raise click.UsageError("Give only one of --jobs, --scheduler and --replica: each says who does the work.")
    with terminal.working():
        folder, done = pipeline.run(
            target, out=out, stages=stages, jobs=jobs, scheduler=scheduler, replica=replica, device=device
        )
    if not done:
        terminal.tell(f"Everything asked for in {folder} is up to date; nothing was done.")
    if ("report" in stages or "evaluate" in stages) and (folder / "scores.json").exists():
        scores.show(folder, report="report" in stages)
    elif done and replica is None:
        terminal.tell(f"Done: {', '.join(done)} in {folder}")
        scores.tell_warnings(pipeline.warnings_of(folder))
    return folder
