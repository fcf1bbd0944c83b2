"""Movies of an AFM: real ones from file to report, and made-up ones in which something moves or nothing does.

python tests/benchmarks/film.py real MOVIE… --out DIR     # runs `tempica import MOVIE --run`
python tests/benchmarks/film.py made --seeds 11 12 13     # verdicts of moving and still molecules, a crystal, noise
python tests/benchmarks/film.py null --seeds 100 101 …    # p of movies in which nothing moves: uniform, if it is right
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests import films
from tests.film_chain import chain


def real(movie: Path, out: Path) -> dict[str, Any]:
    """One movie by one command; what its stores say of tracks and motion."""
    from tempica.stores.reading import open_store

    begun, run = time.monotonic(), out / movie.stem
    command = [sys.executable, "-m", "tempica.cli", "import", str(movie), "--out", str(run), "--run"]
    subprocess.run(command, check=True)
    crops, sources = open_store(run / "movie.zarr", "crops").attrs, open_store(run / "sources.zarr", "sources")
    motion = sources.attrs["motion"]
    return {
        "movie": movie.name,
        "seconds": round(time.monotonic() - begun),
        "frames": crops["n_film_frames"],
        "left_out": len(crops["left_out"]),
        "moved": len(crops["moved"]),
        "tracks": [[one["n_frames"], one["n_in_view"]] for one in crops["tracks"]],
        "verdict": motion["sentence"],
        "slowest": motion["slowest"],
        "together": motion["common"],
        "agreement": {name: [one["agreement"] for one in found] for name, found in motion["found_again"].items()},
        "report_bytes": (run / "report.html").stat().st_size,
    }


def made(seed: int) -> list[dict[str, Any]]:
    """Verdicts of one seed's movies; for moving molecules, how much of the planted angle the sources tell."""
    told = []
    moving = films.molecules(seed, blanks=(20, 21))
    movies = {
        "moving": moving.height,
        "still": films.molecules(seed, swing=0.0).height,
        "crystal": films.lattice(seed),
        "noise": films.nothing(seed),
    }
    for kind, height in movies.items():
        found = chain(height)
        slowest = found.told["slowest"]
        one = {"kind": kind, "seed": seed, "verdict": found.told["verdict"], "p": slowest["p"]}
        one |= {"slowest": round(slowest["autocorrelation"], 3), "null_95": round(slowest["null_95"], 3)}
        if kind == "moving":
            one["r2_of_angle"] = round(_explained(moving, found), 3)
            one["tracks"] = len(np.unique(found.track))
        told.append(one)
        print(one, file=sys.stderr, flush=True)
    return told


def null(seeds: list[int]) -> list[dict[str, Any]]:
    """p of crystals and of noise, and whether they are as uniform as the null says (Kolmogorov and Smirnov)."""
    from scipy.stats import kstest

    told = []
    for kind, make in (("crystal", films.lattice), ("noise", films.nothing)):
        p = [chain(make(seed)).told["slowest"]["p"] for seed in seeds]
        one = {"kind": kind, "p": sorted(p), "at_most_0.05": sum(x <= 0.05 for x in p), "n": len(p)}
        told.append(one | {"ks_p": round(float(kstest(p, "uniform").pvalue), 3)})
    return told


def _explained(movie: films.MadeUp, found: Any) -> float:
    """Share of the true angle's variance within molecules that a line in the two sources explains."""
    truth = np.empty(len(found.track))
    for number in np.unique(found.track):
        rows = found.track == number
        far = np.linalg.norm(movie.place[:, found.frame[rows]] - found.centre[rows], axis=-1).mean(1)
        angle = movie.angle[far.argmin(), found.frame[rows]]
        truth[rows] = angle - angle.mean()
    both = np.concatenate([found.source, np.ones((len(truth), 1))], 1)
    left = truth - both @ np.linalg.lstsq(both, truth, rcond=None)[0]
    return float(1 - left.var() / truth.var())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("real", "made", "null"))
    parser.add_argument("movies", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=Path("/tmp/films"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    asked = parser.parse_args()
    if asked.what == "real":
        rows = [real(movie, asked.out) for movie in asked.movies]
    elif asked.what == "null":
        rows = null(asked.seeds)
    else:
        rows = [one for seed in asked.seeds for one in made(seed)]
    print(json.dumps({"benchmark": "film", "what": asked.what, "rows": rows}))


if __name__ == "__main__":
    main()
