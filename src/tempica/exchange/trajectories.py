"""A trajectory as DCD or as MDTraj's HDF5, one file a replica, with its topology."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempica.errors import FormatError
from tempica.exchange.plain_paths import plain_path

if TYPE_CHECKING:
    import mdtraj
    import xarray

    from tempica.progress import Progress

BLOCK_FRAMES = 500
TOPOLOGY = "topology.pdb"


def write_dcd(trajectory: xarray.Dataset, folder: Path, progress: Progress) -> None:
    """replica00000.dcd … in Å, and topology.pdb with the first frame. DCD keeps no times."""
    import mdtraj
    from mdtraj.formats import DCDTrajectoryFile

    topology = topology_of(trajectory)
    first = trajectory["position"].isel(replica=0, time=[0]).values
    mdtraj.Trajectory(first, topology).save_pdb(str(folder / TOPOLOGY))
    _write(trajectory, folder, ".dcd", DCDTrajectoryFile, progress, lambda xyz, time: {"xyz": 10 * xyz})


def write_hdf5(trajectory: xarray.Dataset, folder: Path, progress: Progress) -> None:
    """replica00000.h5 … in nm and ps, each with the topology. Raises FormatError without PyTables."""
    if find_spec("tables") is None:
        raise FormatError("HDF5 needs PyTables: pip install 'tempica[hdf5]'.")
    from mdtraj.formats import HDF5TrajectoryFile

    topology = topology_of(trajectory)

    def opened(path: str, mode: str) -> Any:
        file = HDF5TrajectoryFile(path, mode)
        file.topology = topology
        return file

    _write(trajectory, folder, ".h5", opened, progress, lambda xyz, time: {"coordinates": xyz, "time": time})


def topology_of(trajectory: xarray.Dataset) -> mdtraj.Topology:
    """The topology that a store's attribute holds as JSON in the layout of MDTraj's HDF5 format."""
    import mdtraj

    content, topology = json.loads(trajectory.attrs["topology"]), mdtraj.Topology()
    for chain in content["chains"]:
        added = topology.add_chain()
        for residue in chain["residues"]:
            place = topology.add_residue(residue["name"], added, residue["resSeq"], residue["segmentID"])
            for atom in residue["atoms"]:
                element = mdtraj.element.get_by_symbol(atom["element"]) if atom["element"] else mdtraj.element.virtual
                topology.add_atom(atom["name"], element, place)
    atoms = list(topology.atoms)
    for a, b in content["bonds"]:
        topology.add_bond(atoms[a], atoms[b])
    return topology


def _write(
    trajectory: xarray.Dataset, folder: Path, ending: str, opened: Any, progress: Progress, content: Any
) -> None:
    n_replicas, n_frames = trajectory["position"].shape[:2]
    starts = range(0, n_frames, BLOCK_FRAMES)
    with progress.task("export", "blocks of frames", n_replicas * len(starts), 0) as advance:
        for replica in range(n_replicas):
            number = int(trajectory["replica"][replica])
            with opened(f"{plain_path(folder)}/replica{number:05d}{ending}", "w") as file:
                for first in starts:
                    part = trajectory.isel(replica=replica, time=slice(first, first + BLOCK_FRAMES))
                    file.write(**content(part["position"].values, part["time"].values))
                    advance()
