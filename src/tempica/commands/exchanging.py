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
    models       mmCIF: complete models with populations, and models along each recovered source for ChimeraX
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
        with terminal.working():
            folder, done = pipeline.import_particles(files[0], **options)
    else:
        with terminal.working():
            folder, done = pipeline.import_trajectory(files, **options)
    said = f"Done: {', '.join(done)} in" if done else "Up to date; nothing was done:"
    terminal.tell(f"{said} {folder}\nContinue with: {shlex.join(['tempica', 'run', str(folder)])}")
