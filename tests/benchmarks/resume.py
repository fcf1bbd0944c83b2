"""kill -9 at random moments of a run, each followed by the same command; then compare with an uninterrupted run.

    python tests/benchmarks/resume.py simulations/quick_look.toml --kills 20 --victims both --out /tmp/resume

Kills fall uniformly within the time that the uninterrupted run took, so that every stage is hit; a run that ended
before its kill starts again from nothing. The victim is the run itself, or one of its worker processes: then the run
must end by itself, with exit code 1 and the command that resumes. With `--within train` the stages before are done once
and kills fall within that stage alone; `repeated` is then how many checks of a training log.jsonl holds more than once,
of which each kill may cause one. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

STAGES = ("simulate", "render", "embed", "train", "evaluate", "report")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", choices=["parent", "worker", "both"], default="parent")
    parser.add_argument("--until", help="last stage to do")
    parser.add_argument("--within", choices=STAGES[1:], help="the only stage in which to kill")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    whole, killed, before = (arguments.out / name for name in ("whole", "killed", "before"))
    if arguments.within:
        arguments.until = arguments.within
        _start(arguments.recipe, before, STAGES[STAGES.index(arguments.within) - 1]).communicate()
        shutil.copytree(before, whole, dirs_exist_ok=True)
    started = time.perf_counter()
    _start(arguments.recipe, whole, arguments.until).communicate()
    duration = time.perf_counter() - started
    hits: dict[str, dict[str, int]] = {"parent": {}, "worker": {}}
    identical = rounds = kills = untold = unharmed = repeated = 0
    while kills < arguments.kills:
        shutil.rmtree(killed, ignore_errors=True)
        if arguments.within:
            shutil.copytree(before, killed)
        # several kills a round: early ones leave work for later ones to interrupt
        for _ in range(rng.randint(1, 4)):
            process = _start(arguments.recipe, killed, arguments.until)
            time.sleep(rng.uniform(0.0, 0.6 * duration))
            victim = rng.choice(["parent", "worker"]) if arguments.victims == "both" else arguments.victims
            if not _kill(process, victim, rng):
                process.communicate()
                break
            _, told = process.communicate()
            kills += 1
            stage = _last_stage(killed)
            hits[victim][stage] = hits[victim].get(stage, 0) + 1
            if victim == "worker" and process.returncode == 0:
                unharmed += 1  # its work was done
            elif victim == "worker" and (process.returncode != 1 or "Resume with:\n  tempica run" not in told):
                untold += 1
                print(f"exit code {process.returncode} after a worker was killed:\n{told}", flush=True)
        last = _start(arguments.recipe, killed, arguments.until)
        _, told = last.communicate()
        rounds += 1
        odd = _differences(_tree(killed), _tree(whole))
        same = last.returncode == 0 and not odd
        identical += same
        repeated += _repeated(killed)
        print(f"round {rounds}: {kills} kills so far, {'identical' if same else 'DIFFERENT'}", flush=True)
        if not same:
            kept = killed.with_name(f"different_{rounds}")
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(killed, kept)
            print(f"exit code {last.returncode}, kept in {kept}; differing: {odd}\n{told}", flush=True)
    result = {"benchmark": "resume", "kills": kills, "rounds": rounds, "identical": identical, "hits": hits}
    print(json.dumps(result | {"untold": untold, "unharmed": unharmed, "repeated": repeated}))


def _start(recipe: Path, run: Path, until: str | None) -> subprocess.Popen:
    command = [sys.executable, "-m", "tempica.cli", "run", str(recipe), "--out", str(run)]
    command += ["--until", until] if until else []
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _kill(run: subprocess.Popen, victim: str, rng: random.Random) -> bool:
    """Kill the run, or one of its workers as soon as there is one; False if it ends before."""
    while run.poll() is None:
        chosen = [run.pid] if victim == "parent" else _workers(run.pid)
        if chosen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(chosen), signal.SIGKILL)
                return True
        time.sleep(0.01)
    return False


def _workers(parent: int) -> list[int]:
    """Children that compute; multiprocessing has one more, which keeps its books."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if of == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def _last_stage(run: Path) -> str:
    log = run / "log.jsonl"
    return json.loads(log.read_text().splitlines()[-1])["stage"] if log.exists() and log.read_text() else "before"


def _repeated(run: Path) -> int:
    """Checks of trainings that the log holds more than once."""
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    checks = [
        json.dumps({k: line.get(k) for k in ("method", "training", "step")})
        for line in lines
        if line["event"] == "check"
    ]
    return len(checks) - len(set(checks))


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
