"""Frames a second of the simulate stage over a bare OpenMM loop of the same steps; memory against the number of frames.

    python tests/benchmarks/simulate.py --rounds 40 --frames 1000 100000

Speed: one worker's blocks, with restraints that move, superposition, measurement, stores and checkpoints, beside
`integrator.step` alone on the same system, in turns, at 214 and at 2,996 particles (fourteen copies of adenylate
kinase). Memory: peak of all processes together, of `tempica simulate` at the numbers of frames given, one step a frame.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import openmm

from tempica.recipe.experiment import Recipe
from tempica.simulate import engine, models, stage
from tempica.stores import store

ROOT = Path(__file__).parents[2]
COPIES = "ABCDEFGHIJKLMN"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="blocks of 50 frames at 214 particles; a fifth at 2,996")
    parser.add_argument("--frames", type=int, nargs=2, default=(1000, 100_000))
    parser.add_argument("--only", choices=("speed", "memory"))
    arguments = parser.parse_args()
    figures: dict[str, object] = {"benchmark": "simulate"}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only != "memory":
            ratios = {}
            for n_copies, rounds in ((1, arguments.rounds), (len(COPIES), max(3, arguments.rounds // 5))):
                n, found = speed(Path(folder) / str(n_copies), n_copies, rounds)
                low, middle, high = statistics.quantiles(found, n=4)
                ratios[n] = {"median": round(middle, 4), "quartiles": [round(low, 4), round(high, 4)], "rounds": rounds}
                print(f"{n} particles: {ratios[n]}", flush=True)
            figures["ratio"] = ratios
        if arguments.only != "speed":
            memory = {n: peak_memory(Path(folder), n) for n in arguments.frames}
            few, many = memory.values()
            figures |= {"peak_MB": memory, "memory_ratio": round(many / few, 3)}
    print(json.dumps(figures))


def speed(folder: Path, n_copies: int, rounds: int) -> tuple[int, list[float]]:
    """Particles, and seconds of CPU of the bare loop over ours in each round, of one block of frames.

    Blocks are taken in turns, so that other work on the machine slows both.
    """
    folder.mkdir()
    n_frames = rounds * engine.BLOCK_FRAMES
    recipe = assembly(folder, n_copies, n_frames)
    model = models.build_model(recipe.simulate, folder)
    n = len(model.molecule.residue)
    sizes = {"replica": 1, "time": n_frames, "atom": n, "space": 3, "cv": 2, "source_name": 2, "slow_mode_number": 3}
    path = folder / "work" / "trajectory.zarr"
    path.parent.mkdir()
    about = store.provenance("", 0, "", "") | {"topology": "", "platform": ""}
    store.create(path, "trajectory", sizes, attributes=about, chunks={"replica": 1, "time": engine.BLOCK_FRAMES})
    recipe_json = recipe.model_dump_json()
    integrator, context = bare_loop(recipe, model)

    def bare(first: int) -> None:
        for _ in range(engine.BLOCK_FRAMES):
            integrator.step(recipe.simulate.steps_per_frame)

    def ours(first: int) -> None:
        last = first + engine.BLOCK_FRAMES
        stage.simulate_block(recipe_json, str(folder), path, 0, first, last, "Reference")

    ours(0)  # the first block builds the model
    ratios = []
    for turn in range(rounds):
        seconds = {}
        for do in (bare, ours) if turn % 2 else (ours, bare):
            started = time.process_time()
            do(turn * engine.BLOCK_FRAMES)
            seconds[do] = time.process_time() - started
        ratios.append(seconds[bare] / seconds[ours])
    del context
    return n, ratios


def bare_loop(recipe: Recipe, model: models.Model) -> tuple[openmm.Integrator, openmm.Context]:
    """A context as a user would make it, at the first structure; it must be kept as long as the integrator steps."""
    simulate = recipe.simulate
    integrator = openmm.LangevinMiddleIntegrator(simulate.temperature, simulate.friction, simulate.time_step)
    context = openmm.Context(model.system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(model.molecule.position)
    first = engine.targets(recipe, model, 0, 1)[0]
    for drive, value in zip(simulate.drives, first, strict=True):
        context.setParameter(f"target_{drive.collective_variable}", value)
    integrator.step(10)
    return integrator, context


def assembly(folder: Path, n_copies: int, n_frames: int) -> Recipe:
    """The committed recipe, of so many copies of the protein beside each other."""
    content = tomllib.loads((ROOT / "simulations" / "adenylate_kinase.toml").read_text(encoding="utf-8"))
    molecule = content["simulate"]["molecule"]
    for key in ("structure", "second_structure"):
        lines = (ROOT / "simulations" / molecule[key]).read_text().splitlines()
        atoms = [line for line in lines if line.startswith("ATOM") and line[12:16].strip() == "CA"]
        copied = []
        for i, chain in enumerate(COPIES[:n_copies]):
            for line in atoms:
                x = float(line[30:38]) + 60.0 * i
                copied.append(f"{line[:21]}{chain}{line[22:30]}{x:8.3f}{line[38:]}")
            copied.append("TER")
        (folder / f"{key}.pdb").write_text("\n".join(copied) + "\nEND\n")
        molecule[key] = f"{key}.pdb"
    domains = molecule["domains"]
    molecule["domains"] = {
        f"{name}_{chain}": ", ".join(f"{chain}:{part.strip()}" for part in text.split(","))
        for name, text in domains.items()
        for chain in COPIES[:n_copies]
    }
    molecule["body"] = "CORE_A"
    content["simulate"]["network"]["no_contacts"] = [[f"LID_{chain}", f"NMP_{chain}"] for chain in COPIES[:n_copies]]
    for variable in content["simulate"]["collective_variables"]:
        variable["residues"] = [f"A:{text}" for text in variable["residues"]]
    content["simulate"] |= {"equilibration_frames": 0, "n_frames": n_frames}
    return Recipe.model_validate(content)


def peak_memory(folder: Path, n_frames: int) -> float:
    """Peak of the resident memory of all processes of `tempica simulate`, MB."""
    recipe = folder / f"memory_{n_frames}.toml"
    recipe.write_text(
        f'name = "memory"\n[simulate]\nn_replicas = 3\nn_frames = {n_frames}\nsteps_per_frame = 1\n'
        'ensemble_frames = 50\nequilibration_frames = 0\n[simulate.molecule]\nkind = "arms"\nn_arms = 1\n'
        "[train]\nn_components = 1\nheld_out_replicas = 1\n"
    )
    command = [sys.executable, "-m", "tempica.cli", "simulate", str(recipe), "--jobs", "2"]
    process = subprocess.Popen([*command, "--out", str(folder / str(n_frames))], stderr=subprocess.DEVNULL)
    most = 0.0
    while process.poll() is None:
        most = max(most, sum(map(resident, descendants(process.pid))))
        time.sleep(0.1)
    assert process.returncode == 0
    return round(most / 1e6, 1)


def descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return found


def resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return 1024 * next((float(line.split()[1]) for line in lines if line.startswith("Pss:")), 0.0)


if __name__ == "__main__":
    main()
