"""Particles without an atomic model: export, consensus map, import and recovery, scored against the truth.

    python tests/benchmarks/map_chain.py --out /tmp/map_chain
    python tests/benchmarks/map_chain.py --out /tmp/map_chain --seeds 1 --frames 200

The default movie (recipe adenylate_kinase_known_poses) with its poses told to 2° and 0.5 Å goes to RELION's format;
its images are back-projected at these poses into a consensus map; STAR file and map are imported as another program's
(`kind = "map"`), embedded with the poses as stated, and trained. Sources are then scored against the truth of the run
that was exported. Runs that are complete in --out are not done again. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import tempica
from tempica.embed.maps import from_images
from tempica.embed.setting import Span
from tempica.evaluate import metrics
from tempica.exchange.mrc_volume import write_volume

RECIPES = Path(__file__).parents[2] / "simulations"
BASE = "adenylate_kinase_known_poses"
POSES = '[render.poses]\nknowledge = "approximate"\nerror_deg = 2.0\nerror_A = 0.5\n\n[embed]\n'
IMPORTED = """name = "map_chain"
seed = {seed}

[simulate]
n_replicas = 8
n_frames = {frames}
molecule = {{ kind = "map", map = "{map}" }}

[particles]

[embed]
modes_from = "structure"
n_modes = 4

[train]
methods = ["tica", "pcl"]
n_components = 2
validation_replicas = 1
held_out_replicas = 2
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", type=int, default=650, help="of each of the eight replicas")
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    figures = {}
    for seed in arguments.seeds:
        figures[seed] = carry_out(seed, arguments)
        print(f"seed {seed}: {json.dumps(figures[seed])}", file=sys.stderr, flush=True)
    sizes = {"frames": 8 * arguments.frames, "snr": arguments.snr}
    today = datetime.date.today().isoformat()
    print(json.dumps({"benchmark": "map_chain", "date": today, **sizes, "figures": figures}))


def carry_out(seed: int, arguments: argparse.Namespace) -> dict:
    """Do what is not up to date; returns scores."""
    folder: Path = arguments.out / f"{arguments.frames}-{arguments.snr}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    text = (RECIPES / f"{BASE}.toml").read_text().replace('"structures/', f'"{RECIPES}/structures/')
    for name, value in (("seed", seed), ("n_frames", arguments.frames), ("snr", arguments.snr)):
        text = re.sub(rf"^{name} = .*", f"{name} = {value}", text, flags=re.M)
    (folder / "made.toml").write_text(text.replace("[embed]\n", POSES))
    jobs = ["--jobs", str(arguments.jobs)]
    made, imported = folder / "made", folder / "imported"
    execute("run", folder / "made.toml", "--out", made, "--until", "render", *jobs)
    if not (folder / "particles").exists():
        execute("export", made, folder / "particles", "--to", "relion")
    resolution = back_project(made, folder / "consensus.mrc")
    (folder / "import.toml").write_text(IMPORTED.format(seed=seed, frames=arguments.frames, map="consensus.mrc"))
    before = time.perf_counter()
    star = folder / "particles" / "particles.star"
    execute("import", star, "--recipe", folder / "import.toml", "--out", imported, *jobs)
    execute("run", imported, "--until", "train", *jobs)
    seconds = time.perf_counter() - before
    return {"map_A": round(resolution, 1), "seconds_from_import": round(seconds, 1), **scores(made, imported)}


def execute(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "tempica.cli", *map(str, arguments)], check=True, stdout=sys.stderr)


def back_project(run: Path, out: Path) -> float:
    """The consensus map of a run's movie at its stated poses, into `out`; returns its resolution in Å."""
    movie = tempica.open_movie(run)
    sums = out.with_suffix(".npz")
    from_images.add_spans(run, [Span(r, 0, movie.sizes["time"]) for r in range(movie.sizes["replica"])], sums)
    made = from_images.start_from_images(run, [sums]).map
    write_volume(out, made.density, made.pixel_A)
    return made.resolution_A


def scores(made: Path, imported: Path) -> dict:
    """Held-out Spearman correlation of each method and stage with the truth, matched on training replicas."""
    sources = tempica.open_store(imported / "sources.zarr", "sources")
    truth = tempica.open_store(made / "trajectory.zarr", "trajectory")["collective_variable"].values
    split = np.array([str(name) for name in sources["split"].values])
    chosen = (split == "train") | (split == "held_out")
    replicas = np.repeat(np.arange(chosen.sum()), truth.shape[1])
    train = np.repeat((split == "train")[chosen], truth.shape[1])
    T = truth[chosen].reshape(-1, truth.shape[-1])
    found = {}
    for method, of_method in zip(map(str, sources["estimator"].values), sources["source"].values, strict=True):
        for stage, series in zip(map(str, sources["stage"].values), of_method, strict=True):
            kept = series[chosen][..., ~np.isnan(series).all((0, 1))].reshape(len(T), -1)
            if kept.shape[1] == 0:
                continue
            matching = metrics.assign(metrics.correlation_matrix(kept[train], T[train]))
            result = metrics.mcc(kept, T, replicas=replicas, train=train, assignment=matching, random_state=0)
            found[f"{method} {stage}"] = {
                "value": round(result.score, 3),
                "interval": [round(end, 3) for end in result.interval],
                "null_95": round(result.null_95, 3),
            }
    return {"scores": found}


if __name__ == "__main__":
    main()
