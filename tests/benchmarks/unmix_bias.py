"""A source learned from adenylate kinase's Cα atoms, as a bias that drives the next simulation along it.

    python tests/benchmarks/unmix_bias.py --seeds 1 2

Frames of the recipe adenylate_kinase, whose hinges are driven, go to `tempica unmix` as a DCD file, with distances as
coordinates and TICA as method. The force of each source is then added to the molecule of adenylate_kinase_free, whose
hinges only heat moves, and its target swept as a sine. Prints the correlation of the realised source with the target;
of the hinge that is the source with the target; and how far the other hinge follows it (amplitude of the sine in
the hinge) beside its thermal spread without bias, both in degrees. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mdtraj
import numpy as np
import openmm

from tempica.pipeline import load_recipe
from tempica.recipe.experiment import Recipe
from tempica.simulate import engine, models
from tempica.unmix import unmix

ROOT = Path(__file__).parents[2]
N_REPLICAS, N_FRAMES, N_SWEPT, PERIOD, AMPLITUDE = 3, 250, 200, 100, 1.5
K = 200.0  # kJ/mol, for a source of unit variance: holds it to about a tenth of its deviation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    a = parser.parse_args()
    rows = []
    for seed in a.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows += driven(seed, Path(folder))
    worst = min(row["source_follows"] for row in rows)
    print(json.dumps({"benchmark": "unmix_bias", "least_realised": worst, "rows": rows}))


def recipe_of(name: str, seed: int) -> tuple[Recipe, models.Model]:
    path = ROOT / "simulations" / f"{name}.toml"
    recipe = load_recipe(path)[0].model_copy(update={"seed": seed})
    return recipe, models.build_model(recipe.simulate, path.parent)


def simulated(recipe: Recipe, model: models.Model, replica: int, n_frames: int) -> engine.Frames:
    series = engine.targets(recipe, model, replica, n_frames)
    state = engine.first_state(recipe, model, replica)
    _, state = engine.run_block(recipe, model, replica, series, state, -recipe.simulate.equilibration_frames, 0)
    return engine.run_block(recipe, model, replica, series, state, 0, n_frames)[0]


def driven(seed: int, folder: Path) -> list[dict[str, Any]]:
    recipe, model = recipe_of("adenylate_kinase", seed)
    found = [simulated(recipe, model, replica, N_FRAMES) for replica in range(N_REPLICAS)]
    files, topology = [], model.molecule.topology
    mdtraj.Trajectory(found[0].position[:1], topology).save_pdb(str(folder / "ca.pdb"))
    for replica, frames in enumerate(found):
        files.append(folder / f"{replica}.dcd")
        mdtraj.Trajectory(frames.position, topology).save_dcd(str(files[-1]))
    asked = {"topology": folder / "ca.pdb", "coordinates": "distances", "methods": ["tica"], "components": 2}
    result = unmix(files, out=folder / "axes", **asked)
    hinges = np.concatenate([frames.collective_variable for frames in found])
    correlation = np.corrcoef(result.sources.T, hinges.T)[:2, 2:]
    print(f"seed {seed}: sources and hinges {np.abs(correlation).round(3).tolist()}", flush=True)
    free, _ = recipe_of("adenylate_kinase_free", seed)
    control = swept(free, None, seed)[1]
    rows = []
    for i in range(2):
        force = openmm.XmlSerializer.deserialize((result.folder / "bias" / f"source_{i + 1}.xml").read_text())
        source, angle, target = swept(free, force, seed)
        own = int(np.abs(correlation[i]).argmax())
        phase = target / AMPLITUDE
        follows = np.degrees(2 * np.abs(phase @ (angle[:, 1 - own] - angle[:, 1 - own].mean())) / len(phase))
        rows.append(
            {
                "seed": seed,
                "source": i + 1,
                "hinge": ("NMP", "LID")[own],
                "learned": round(float(np.abs(correlation[i, own])), 3),
                "source_follows": round(float(np.corrcoef(source, target)[0, 1]), 3),
                "hinge_follows": round(float(np.abs(np.corrcoef(angle[:, own], target)[0, 1])), 3),
                "hinge_swept_deg": round(float(np.degrees(np.ptp(angle[:, own]))), 1),
                "other_follows_deg": round(float(follows), 2),
                "other_thermal_deg": round(float(np.degrees(control[:, 1 - own].std())), 2),
            }
        )
        print(rows[-1], flush=True)
    return rows


def swept(recipe: Recipe, force: Any, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, hinge angles (frame, hinge) and target of a simulation along the force; without one, just simulated."""
    _, model = recipe_of(recipe.name, seed)
    if force is not None:
        model.system.addForce(force)
    about = recipe.simulate
    integrator = openmm.LangevinMiddleIntegrator(about.temperature, about.friction, about.time_step)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(model.system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(model.whole.position)
    target = AMPLITUDE * np.sin(2 * np.pi * np.arange(-PERIOD // 2, N_SWEPT) / PERIOD)
    source, angle = np.zeros(len(target)), []
    for frame, wanted in enumerate(target.tolist()):
        if force is not None:
            context.setParameter("tempica_k", K * min(1.0, (frame + 1) / 20))
            context.setParameter("tempica_target", wanted)
        integrator.step(about.steps_per_frame)
        position = context.getState(positions=True).getPositions(asNumpy=True)._value
        angle.append([float(variable.measure(position)) for variable in model.variables])
        if force is not None:
            source[frame] = force.getCollectiveVariableValues(context)[0]
    return source[-N_SWEPT:], np.array(angle)[-N_SWEPT:], target[-N_SWEPT:]


if __name__ == "__main__":
    main()
