"""Every estimator on every kind of world: what each recovers, at which stage, in which time and memory.

    python tests/benchmarks/benchmark.py smoke --out /tmp/benchmark          # 3 minutes on two cores; decides nothing
    python tests/benchmarks/benchmark.py standard --out /tmp/benchmark --env-peers /tmp/peers
    python tests/benchmarks/benchmark.py full --out /tmp/benchmark --env-peers /tmp/peers --latents ESPER

Worlds (worlds.py): sources of known dynamics behind the literature's mixings; molecules behind the camera, by committed
recipes, at several SNR, with poses known and hidden; latents of another program, if --latents leads to them (esper.py).
Methods (contestants.py): every row of `tempica methods` that applies, but for those on images, all at their own
defaults and told the number of sources; raw latents; a network that is given the truth; and with --env-peers, which
makes an environment there if there is none, deeptime's TICA and VAMPNets and CEBRA (peers.py). cryoDRGN and RECOVAR,
which learn latents from images and do not unmix them, are not run.

Finished cells and worlds stay in --out; the same command goes on with what is missing. A cell that takes longer than
--limit seconds is recorded so. Writes leaderboard.json, leaderboard.md and leaderboard.html to --out, prints the table,
and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import contestants
import leaderboard
import torch  # here, so that processes that fork do not each read it
import worlds
from cells import kept
from esper import views
from peers import environment
from worlds import World

MIXED = [(dynamics, n_layers) for dynamics in worlds.DYNAMICS for n_layers in (1, 2)]
CAMERA = [
    ("arms_laplace", "0.3", "known"),
    ("arms_jump", "0.3", "known"),
    ("arms_double_well", "0.3", "known"),
    ("arms_modulated", "0.3", "known"),
    ("arms_equal_rates", "0.3", "known"),
    ("adenylate_kinase_known_poses", "0.1", "known"),
    ("adenylate_kinase", "0.1", "hidden"),
]
MORE = [
    ("adenylate_kinase_known_poses", "0.03", "known"),
    ("arms_jump", "0.1", "known"),
    ("arms_pump_probe", "1", "known"),
]
# sources alone, (n, frames) of them, seeds; recipes, seeds; views of other programs
SIZES = {
    "smoke": ([("laplace", 2), ("equal", 1)], (2, 2000), 1, [("arms_jump", "1", "known")], 1, 1),
    "standard": (MIXED, (3, 10_000), 2, CAMERA, 1, 3),
    "full": ([*MIXED, *[(d, 4) for d in worlds.DYNAMICS]], (5, 2**15), 5, [*CAMERA, *MORE], 3, 14),
}
QUICK_STEPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=list(SIZES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--env-peers", type=Path, metavar="DIR", help="environment of other programs, made if need be")
    parser.add_argument("--latents", type=Path, metavar="PATH", help="folder of ESPER's latents")
    parser.add_argument("--worlds", nargs="+", metavar="PART", help="worlds whose names have one of these")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="methods; all that apply if not given")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900, help="seconds that a cell may take")
    parser.add_argument("--table", action="store_true", help="the table of what is there; nothing is run")
    a = parser.parse_args()
    torch.set_num_threads(1)
    python = environment(a.env_peers) if a.env_peers and not a.table else None
    out = a.out / a.size
    makers = {name: make for name, make in _worlds(a) if not a.worlds or any(part in name for part in a.worlds)}
    if not a.table:
        _all(a, [(name, partial(_make, out / "worlds" / f"{name}.npz", make)) for name, make in makers.items()], out)
        steps = QUICK_STEPS if a.size == "smoke" else None
        tasks = []
        for name in makers:
            if (path := out / "worlds" / f"{name}.npz").exists():
                for method in contestants.names(World.load(path), python is not None):
                    if not a.methods or method in a.methods:
                        seed = int(name.rsplit("_", 1)[1])
                        task = partial(_judge, path, method, seed, python, steps)
                        tasks.append((f"{name}/{method}", task))
        tasks.sort(key=lambda task: int(task[0].split("/")[-2].rsplit("_", 1)[1]))  # first seeds first
        _all(a, tasks, out)
    rows = leaderboard.rows(out)
    table = leaderboard.write(rows, out, f"benchmark.py {a.size}")
    print(table)
    print(json.dumps({"benchmark": "benchmark", "size": a.size, **leaderboard.summary(rows)}))


def _worlds(a: argparse.Namespace) -> Iterator[tuple[str, Callable[[], World]]]:
    """Name, ending in the seed, and maker of each world."""
    mixed, (n, n_frames), n_seeds, recipes, n_runs, n_views = SIZES[a.size]
    for dynamics, n_layers in mixed:
        for seed in range(1, n_seeds + 1):
            yield f"{dynamics}/L{n_layers}_{seed}", partial(worlds.alone, dynamics, n_layers, n, n_frames, seed)
    for recipe, snr, poses in recipes:
        for seed in range(1, n_runs + 1):
            run = a.out / a.size / "runs" / f"{recipe}_{snr}_{poses}_{seed}"
            make = partial(worlds.behind_camera, recipe, snr, poses, seed, run, a.size == "smoke")
            yield f"{recipe}/snr_{snr}_{poses}_{seed}", make
    if a.latents:
        known = [view for view, _ in views(a.latents)]
        for view in known[:: max(1, len(known) // n_views)][:n_views]:
            yield f"esper/view_{view}_1", partial(worlds.of_latents, a.latents, view, 1)


def _make(path: Path, make: Callable[[], World]) -> dict:
    if not path.exists():
        make().save(path)
    return {}


def _judge(path: Path, method: str, seed: int, python: Path | None, steps: int | None) -> dict:
    return contestants.judge(method, World.load(path), seed, python, steps)


def _all(a: argparse.Namespace, tasks: list[tuple[str, Callable[[], dict]]], out: Path) -> None:
    """Carry tasks out, each in a process of its own, which shows its memory and can be ended."""
    waiting = [(name, task) for name, task in tasks if not _done(out, name)]
    running: dict = {}
    fork, n, done = get_context("fork"), len(waiting), 0
    while waiting or running:
        while waiting and len(running) < a.jobs:
            name, task = waiting.pop(0)
            process = fork.Process(target=_keep, args=(out, name, task))
            process.start()
            running[name] = process, time.monotonic()
        for name, (process, started) in list(running.items()):
            process.join(0.1)
            if process.is_alive() and time.monotonic() - started > a.limit:
                process.terminate()
                process.join()
                _fail(out, name, f"not done within {a.limit:g} s")
            if not process.is_alive():
                if process.exitcode and not _done(out, name):
                    _fail(out, name, f"ended with {process.exitcode}")
                del running[name]
                done += 1
                print(f"{done} of {n}: {name}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _done(out: Path, name: str) -> bool:
    return (out / "cells" / f"{name}.json").exists()


def _keep(out: Path, name: str, task: Callable[[], dict]) -> None:
    try:
        kept(out / "cells" / f"{name}.json", task)
    except Exception as error:
        _fail(out, name, f"{type(error).__name__}: {error}")


def _fail(out: Path, name: str, why: str) -> None:
    kept(out / "cells" / f"{name}.json", lambda: {"failed": why})


if __name__ == "__main__":
    main()
