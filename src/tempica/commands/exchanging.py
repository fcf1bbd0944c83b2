"""`tempica export` and `tempica import`: to other programs, and from them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from tempica import terminal

EXPORTS = ("relion", "cxi", "mdtraj-hdf5", "dcd", "models")


@click.command("export")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(EXPORTS), required=True, help="Format or program.")
@click.option(
    "--models", "n_models", type=click.IntRange(2, 100), default=20, show_default=True, help="How many models."
)
def export_run(run_folder: Path, out: Path, to: str, n_models: int) -> None:
    """Write RUN's movie or trajectory for other programs into a new folder OUT.

    \b
    relion       particles.star and particles.mrcs, as RELION 3.1 to 5 and cryoDRGN read them
    cxi          patterns.cxi, diffraction patterns in the layout of the Coherent X-ray Imaging Data Bank
    mdtraj-hdf5  the trajectory, one HDF5 file a replica with its topology
    dcd          the trajectory, one DCD file a replica, and topology.pdb
    models       mmCIF: complete models with populations, models and MRC maps along each recovered source
    """
    from tempica.exchange.exporting import export

    with terminal.working():
        if to == "models":
            from tempica.unmix.models import export_models

            made = export_models(run_folder, out, n_models=n_models)
        else:
            made = export(run_folder, to, out)
    terminal.tell(f"Done: {made}")


@click.command("import")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--topology", type=click.Path(path_type=Path), help="PDB, mmCIF, GRO, PSF, prmtop …; HDF5 needs none.")
@click.option("--recipe", type=click.Path(path_type=Path), help="Recipe without the files; movies need none.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name> if not given.")
@click.option("--stride", type=click.IntRange(1), help="Use every N-th frame.")
@click.option("--selection", help="Atoms that become beads, as MDTraj selects; name CA if not given.")
@click.option("--channel", help="Channel of an AFM movie; its heights if not given.")
@click.option("--pixel-nm", type=float, help="Edge of a pixel of an AFM movie (nm), if its file does not say.")
@click.option("--interval", "interval_s", type=float, help="From frame to frame of an AFM movie (s), likewise.")
@click.option("--run", "whole", is_flag=True, help="Go on to the report.")
@click.option("--name", help="Name of the recipe, if not its own.")
@click.option("--jobs", type=click.IntRange(1, 4096), help="Worker processes; all usable cores if not given.")
def import_files(files: tuple[Path, ...], whole: bool, **options: Any) -> None:
    """Make a run from another program's trajectory or particle stack, or from an AFM movie.

    FILES are either trajectories (DCD, XTC, TRR, HDF5 or NetCDF), one a replica, which become trajectory.zarr and
    ensemble.zarr; RECIPE then has no simulate.molecule. Or one STAR file, which becomes movie.zarr; RECIPE then has no
    render, and its molecule is simulated (or read) to explain the images. Or a movie of an atomic force
    microscope (.asd, .h5-jpk, .spm, .ibw, .gwy, .tif, .npy), or its frames in order: molecules are found, followed and
    cropped, and no structure is needed. The completed recipe is kept in the run folder, and `tempica run` on that
    folder does the rest.
    """
    from tempica import pipeline
    from tempica.exchange.film_file import is_film

    of_film = ("channel", "pixel_nm", "interval_s")
    if all(is_film(file) for file in files):
        _refuse(options, ("topology", "stride", "selection"), "is for trajectories; an AFM movie has none.")
        from tempica.importing import import_film

        with terminal.working():
            folder, done = import_film(files, **options)
        return _finish(folder, done, whole)
    _refuse(options, of_film, "is for AFM movies.")
    if options["recipe"] is None:
        raise click.UsageError("Give --recipe RECIPE: only AFM movies can do without.")
    if any(file.suffix.lower() == ".star" for file in files):
        _refuse(options, ("topology", "stride", "selection"), "is for trajectories; a particle stack has none.")
        if len(files) > 1:
            raise click.UsageError(f"A run is made from one STAR file; {len(files)} files are given.")
        with terminal.working():
            folder, done = pipeline.import_particles(files[0], **options)
    else:
        with terminal.working():
            folder, done = pipeline.import_trajectory(files, **options)
    _finish(folder, done, whole)


def _refuse(options: dict[str, Any], names: tuple[str, ...], why: str) -> None:
    """Take options out that are not for these files. Raises UsageError where one is given."""
    for name in names:
        if options.pop(name) is not None:
            raise click.UsageError(f"--{name.removesuffix('_s').replace('_', '-')} {why}")


def _finish(folder: Path, done: list[str], whole: bool) -> None:
    """Say what was done and how to go on, or go on."""
    if whole:
        from tempica import pipeline

        with terminal.working():
            pipeline.run(folder)
        return terminal.tell(f"Report: {folder / 'report.html'}")
    said = f"Done: {', '.join(done)} in" if done else "Up to date; nothing was done:"
    terminal.tell(f"{said} {folder}\nContinue with: {shlex.join(['tempica', 'run', str(folder)])}")
