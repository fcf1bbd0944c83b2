"""The command line. Heavy imports happen inside the verb that needs them."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tempica import terminal
from tempica._version import __version__
from tempica.errors import TempicaError, WorkerError
from tempica.runs.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EXPORTS = ("relion", "cxi", "mdtraj-hdf5", "dcd")
# what the system refuses since it was asked for the wrong thing; other failures are the machine's
_MISTAKES = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tempica")
def cli() -> None:
    """Simulate molecules in motion, image them over time, and recover their degrees of freedom.

    A recipe (a TOML file) describes a whole experiment; a run is one folder, runs/<name of the recipe>/.
    """


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where images are made."),
        click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler (tcp://HOST:8786) whose workers to use."),
        click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given."),
        click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name> if not given."),
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--until", type=click.Choice(list(STAGES)), help="Last stage to do.")
@_options
def run(recipe: Path, until: str | None, **options: Any) -> None:
    """Do every stage that is not up to date, and show the scores.

    RECIPE is a TOML file, or the folder of an earlier run.
    """
    stages = list(STAGES)
    _execute(recipe, stages[: stages.index(until) + 1] if until else stages, **options)


def _stage_command(stage: str, help_text: str) -> None:
    @cli.command(stage, help=f"{help_text}\n\nRUN_OR_RECIPE is a run folder or a recipe's TOML file.")
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


_ARRAY = """On Slurm, with n_replicas = 8 (0 … 7, and 8 is the ensemble), complete it with `tempica run` afterwards:

\b
  sbatch --array=0-8 --wrap='tempica simulate RECIPE --replica $SLURM_ARRAY_TASK_ID'"""

for _stage in STAGES.values():
    _stage_command(_stage.name, f"{_stage.help}\n\n{_ARRAY}" if _stage.name == "simulate" else _stage.help)


@cli.command("check")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--frames", type=click.IntRange(40, 100_000), default=600, show_default=True, help="Frames to learn from."
)
@click.option("--against", type=click.Path(path_type=Path), help="Another form of the molecule: PDB or mmCIF.")
@click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given.")
def check_run(run_folder: Path, frames: int, against: Path | None, jobs: int | None) -> None:
    """Test RUN for bias: noise alone, other molecules and motions, halves of the data.

    What was found is in RUN's checks.json, and in its report if there is one.
    """
    from tempica import pipeline

    with _working():
        path, done = pipeline.check(run_folder, frames=frames, against=against, jobs=jobs)
    if not done:
        terminal.tell(f"{path} is up to date; nothing was done.")
    _show_checks(path)


def _show_checks(path: Path) -> None:
    import json

    found = json.loads(path.read_text(encoding="utf-8"))
    terminal.tell_table(
        f"{found['recipe']}: bias tests, {found['frames']['held_out']} held-out frames",
        ("test", "verdict", "what was found"),
        ((row["title"], row["verdict"], row["sentence"]) for row in found["checks"]),
        whole=("verdict",),
        lines=True,
        width=120,
    )


@cli.command("design")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--score", type=float, default=0.9, show_default=True, help="Held-out mean correlation that is wanted.")
@click.option("--snr", type=float, multiple=True, help="Signal-to-noise ratio, may be repeated; the recipe's if none.")
@click.option("--method", multiple=True, help="Method to try, may be repeated; what the data allow if none.")
@click.option("--lag", type=int, help="Lag in frames; the one at which most is at stake if none.")
@click.option("--draws", type=int, default=3, show_default=True, help="Experiments at each number of frames.")
@click.option("--most-frames", type=int, default=40_000, show_default=True, help="Frames beyond which none is tried.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; runs/<name>-design if not given.")
@click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given.")
def design_recipe(recipe: Path, **options: Any) -> None:
    """Foresee what RECIPE's experiment needs: which lag, how many frames, which method.

    A short run says what images tell of the molecule; experiments of any length are then drawn without images. The
    tables are in design.json, and with curves in design.html.
    """
    from tempica.designs import tables
    from tempica.designs.design import design

    with _working():
        found = design(recipe, **options)
    tables.show(found)


@cli.command("export")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(EXPORTS), required=True, help="Format or program.")
def export_run(run_folder: Path, out: Path, to: str) -> None:
    """Write RUN's movie or trajectory for other programs into a new folder OUT.

    \b
    relion       particles.star and particles.mrcs, as RELION 3.1 to 5 and cryoDRGN read them
    cxi          patterns.cxi, diffraction patterns in the layout of the Coherent X-ray Imaging Data Bank
    mdtraj-hdf5  the trajectory, one HDF5 file a replica with its topology
    dcd          the trajectory, one DCD file a replica, and topology.pdb
    """
    from tempica.exchange.exporting import export

    with _working():
        made = export(run_folder, to, out)
    terminal.tell(f"Done: {made}")


@cli.command("import")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--topology", type=click.Path(path_type=Path), help="PDB, mmCIF, GRO, PSF, prmtop …; HDF5 needs none.")
@click.option("--recipe", type=click.Path(path_type=Path), required=True, help="Recipe without the files.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name> if not given.")
@click.option("--stride", type=click.IntRange(1), help="Use every N-th frame.")
@click.option("--selection", help="Atoms that become beads, as MDTraj selects; name CA if not given.")
@click.option("--name", help="Name of the recipe, if not its own.")
@click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given.")
def import_files(files: tuple[Path, ...], **options: Any) -> None:
    """Make a run from another program's trajectory or particle stack.

    FILES are either trajectories (DCD, XTC, TRR, HDF5 or NetCDF), one a replica, which become trajectory.zarr and
    ensemble.zarr; RECIPE then has no simulate.molecule. Or one STAR file, which becomes movie.zarr; RECIPE then has no
    render, and its molecule is simulated (or read) to explain the images. The completed recipe is kept in the run
    folder, and `tempica run` on that folder does the rest.
    """
    from tempica import pipeline

    if any(file.suffix.lower() == ".star" for file in files):
        for option in ("topology", "stride", "selection"):
            if options.pop(option) is not None:
                raise click.UsageError(f"--{option} is for trajectories; a particle stack has none.")
        if len(files) > 1:
            raise click.UsageError(f"A run is made from one STAR file; {len(files)} files are given.")
        with _working():
            folder, done = pipeline.import_particles(files[0], **options)
    else:
        with _working():
            folder, done = pipeline.import_trajectory(files, **options)
    said = f"Done: {', '.join(done)} in" if done else "Up to date; nothing was done:"
    terminal.tell(f"{said} {folder}\nContinue with: {shlex.join(['tempica', 'run', str(folder)])}")


@cli.command()
def methods() -> None:
    """List the methods that a recipe can train: what each needs, and what it identifies."""
    from tempica.ica.methods import NEEDS, trainable

    terminal.tell_table(
        "Methods, to be named in train.methods, or in [[train.method]] with parameters",
        ("name", "needs", "identifies", "shown by"),
        ((row.name, NEEDS[row.needs], row.identifies, row.theorem) for row in trainable()),
        whole=("name",),
        lines=True,
        width=120,
    )


@cli.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("data_schemas"), show_default=True
)
def schema(out: Path) -> None:
    """Write the JSON Schemas of the recipe and of every store."""
    from tempica.stores.json_schemas import write_schemas

    for path in write_schemas(out):
        terminal.tell(str(path))


def _execute(
    target: Path,
    stages: Sequence[str],
    *,
    out: Path | None,
    jobs: int | None,
    device: str,
    scheduler: str | None,
    replica: int | None = None,
) -> None:
    from tempica import pipeline

    if (jobs is not None) + (scheduler is not None) + (replica is not None) > 1:
        raise click.UsageError("Give only one of --jobs, --scheduler and --replica: each says who does the work.")
    with _working():
        folder, done = pipeline.run(
            target, out=out, stages=stages, jobs=jobs, scheduler=scheduler, replica=replica, device=device
        )
    if not done:
        terminal.tell(f"Everything asked for in {folder} is up to date; nothing was done.")
    if ("report" in stages or "evaluate" in stages) and (folder / "scores.json").exists():
        _show_scores(folder, report="report" in stages)
    elif done and replica is None:
        terminal.tell(f"Done: {', '.join(done)} in {folder}")


def _show_scores(folder: Path, *, report: bool) -> None:
    import json

    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    numbers = ("score", "95 % interval", "chance", "single-frame ceiling", "temporal ceiling")
    terminal.tell_table(
        f"{scores['recipe']}: held-out mean correlation (Spearman) with the truth",
        ("method", "stage", *numbers),
        (
            (
                row["method"],
                row["stage"],
                f"{row['value']:.3f}",
                "{:.3f} … {:.3f}".format(*row["interval"]),
                f"{row['null']:.3f}",
                *("" if row[name] is None else f"{row[name]:.3f}" for name in ("ceiling", "ceiling_temporal")),
            )
            for row in scores["rows"]
            if row["split"] == "held_out" and row["metric"] == "mcc_spearman"
        ),
        right=numbers,
    )
    if report:
        terminal.tell(f"Report: {folder / 'report.html'}")


def main() -> None:
    """Entry point: mistakes in the input end with one message and exit code 2, an interruption with 130.

    What the machine failed at (workers killed, disk or memory full) ends with 1 and the command that resumes.
    """
    terminal.make_safe()
    for number in (signal.SIGINT, signal.SIGTERM):  # the second is a batch system's way to ask for an end
        signal.signal(number, _stop)
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        _interrupted()
    except KeyboardInterrupt:
        _interrupted()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except WorkerError as error:
        print(f"tempica: {error}; what is done is kept. Resume with:\n  {_command()}", file=sys.stderr)
        _leave(1)
    except TempicaError as error:
        print(f"tempica: {error}", file=sys.stderr)
        sys.exit(2)
    except (OSError, MemoryError) as error:
        _failed(error)


@contextlib.contextmanager
def _working() -> Iterator[None]:
    """Report a pipe that breaks before all is done; click ends silently with any broken pipe."""
    try:
        yield
    except BrokenPipeError as error:
        raise WorkerError(f"a pipe closed before all was done ({error})") from None


def _failed(error: OSError | MemoryError) -> None:
    if isinstance(error, OSError) and error.errno in _MISTAKES:
        print(f"tempica: {error}. Use another path, or change its permissions.", file=sys.stderr)
        _leave(2)
    what = f"the memory does not suffice ({error})" if isinstance(error, MemoryError) else str(error)
    print(f"tempica: {what}; what is done is kept. Fix this, then resume with:\n  {_command()}", file=sys.stderr)
    _leave(1)


def _interrupted() -> None:
    print(f"\ntempica: interrupted; what is done is kept. Resume with:\n  {_command()}", file=sys.stderr)
    _leave(130)


def _stop(number: int, frame: object) -> None:
    pool = sys.modules.get("tempica.runs.pool")
    if pool is not None:
        pool.interrupted.set()
    raise KeyboardInterrupt


def _leave(code: int) -> None:
    pool = sys.modules.get("tempica.runs.pool")
    if pool is not None and pool.stuck.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _command() -> str:
    return shlex.join(["tempica", *sys.argv[1:]])


if __name__ == "__main__":
    main()
