"""kill -9 at random moments of a run, each followed by the same command; then compare with an uninterrupted run.

    python tests/benchmarks/resume.py simulations/quick_look.toml --kills 20 --out /tmp/resume

Kills fall uniformly within the time that the uninterrupted run took, so that every stage is hit; a run that ended
before its kill starts again from nothing. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    whole, killed = arguments.out / "whole", arguments.out / "killed"
    started = time.perf_counter()
    _start(arguments.recipe, whole).communicate()
    duration = time.perf_counter() - started
    hits: dict[str, int] = {}
    identical = rounds = kills = 0
    while kills < arguments.kills:
        shutil.rmtree(killed, ignore_errors=True)
        # several kills a round: early ones leave work for later ones to interrupt
        for _ in range(rng.randint(1, 4)):
            process = _start(arguments.recipe, killed)
            time.sleep(rng.uniform(0.0, 0.6 * duration))
            if process.poll() is not None:
                process.communicate()
                break
            process.kill()
            process.communicate()
            kills += 1
            stage = _last_stage(killed)
            hits[stage] = hits.get(stage, 0) + 1
        last = _start(arguments.recipe, killed)
        _, told = last.communicate()
        rounds += 1
        odd = _differences(_tree(killed), _tree(whole))
        same = last.returncode == 0 and not odd
        identical += same
        print(f"round {rounds}: {kills} kills so far, {'identical' if same else 'DIFFERENT'}", flush=True)
        if not same:
            kept = killed.with_name(f"different_{rounds}")
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(killed, kept)
            print(f"exit code {last.returncode}, kept in {kept}; differing: {odd}\n{told}", flush=True)
    print(json.dumps({"benchmark": "resume", "kills": kills, "rounds": rounds, "identical": identical, "hits": hits}))


def _start(recipe: Path, run: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "tempica.cli", "run", str(recipe), "--out", str(run)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _last_stage(run: Path) -> str:
    log = run / "log.jsonl"
    return json.loads(log.read_text().splitlines()[-1])["stage"] if log.exists() and log.read_text() else "before"


def _differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _tree(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and ".tempica" not in path.parts and path.name != "log.jsonl"
    }


if __name__ == "__main__":
    main()
