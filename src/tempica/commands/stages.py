"""`tempica run` and a command a stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tempica import terminal
from tempica.commands import rehearsing, scores
from tempica.runs.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--quiet", is_flag=True, help="Tell nothing but results and errors."),
        click.option(
            "--set",
            "values",
            metavar="KEY=VALUE",
            multiple=True,
            help="Change a value of the recipe, as in render.snr=0.3; may be given again.",
        ),
        click.option(
            "--device",
            type=click.Choice(["cpu", "cuda"]),
            default="cpu",
            help="Where images are made and networks trained.",
        ),
        click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler (tcp://HOST:8786) whose workers to use."),
        click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given."),
        click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name> if not given."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--until", type=click.Choice(list(STAGES)), help="Last stage to do.")
@click.option("--dry-run", is_flag=True, help="Say which stages would be done and what they take; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@_options
def run(recipe: Path, until: str | None, **options: Any) -> None:
    """Do every stage that is not up to date, and show the scores.

    RECIPE is a TOML file, the name of a recipe that comes with tempica (`tempica recipes`), or the folder of an earlier
    run. For files of your own, `tempica new` writes a recipe.
    """
    stages = list(STAGES)
    _execute(recipe, stages[: stages.index(until) + 1] if until else stages, **options)


def _stage_command(stage: str, help_text: str) -> click.Command:
    @click.command(stage, help=f"{help_text}\n\nRUN_OR_RECIPE is a run folder or a recipe's TOML file.")
    @click.argument("run_or_recipe", type=click.Path(path_type=Path))
    @_options
    def command(run_or_recipe: Path, **options: Any) -> None:
        _execute(run_or_recipe, (stage,), **options)

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
    values: Sequence[str],
    quiet: bool,
    replica: int | None = None,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    from tempica import pipeline
    from tempica.progress import Progress

    if (jobs is not None) + (scheduler is not None) + (replica is not None) > 1:
        raise click.UsageError("Give only one of --jobs, --scheduler and --replica: each says who does the work.")
    _refuse_data(target)
    if dry_run:
        from tempica.starting.rehearsal import rehearse

        with terminal.working():
            what = rehearse(target, out=out, stages=stages, jobs=jobs, device=device, values=values)
        rehearsing.show(what, as_json=as_json)
        return
    with terminal.working():
        folder, done = pipeline.run(
            target,
            out=out,
            stages=stages,
            jobs=jobs,
            scheduler=scheduler,
            replica=replica,
            device=device,
            values=values,
            progress=Progress(quiet=quiet),
        )
    if as_json:
        terminal.tell(json.dumps(_result(folder, done)))
        return
    if not done:
        terminal.tell(f"Everything asked for in {folder} is up to date; nothing was done.")
    if ("report" in stages or "evaluate" in stages) and (folder / "scores.json").exists():
        scores.show(folder, report="report" in stages)
    elif done and replica is None:
        terminal.tell(f"Done: {', '.join(done)} in {folder}")


def _result(folder: Path, done: Sequence[str]) -> dict[str, Any]:
    """What a run has come to."""
    result: dict[str, Any] = {"run": str(folder), "done": list(done), "scores": None, "report": None}
    if (folder / "scores.json").exists():
        result["scores"] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    if (folder / "report.html").exists():
        result["report"] = str(folder / "report.html")
    return result


_DATA = (".pdb", ".ent", ".cif", ".mmcif", ".pdbx", ".gz", ".dcd", ".xtc", ".trr", ".h5", ".hdf5", ".nc", ".star")
_LATENTS = (".pkl", ".npy", ".npz", ".csv", ".tsv", ".parquet", ".cs")


def _refuse_data(target: Path) -> None:
    """Raise RecipeError for a file that is no recipe but may become one, and say what to type."""
    from tempica.errors import RecipeError

    ending = target.suffix.lower()
    if ending in _DATA:
        raise RecipeError(f"{target} is no recipe, but data. Write a recipe for it with: tempica new {target}")
    if ending in _LATENTS:
        raise RecipeError(f"{target} is no recipe, but latents. Find their axes with: tempica unmix {target}")
