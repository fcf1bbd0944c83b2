"""From files of one's own to a report: what is typed, whether anything is refused, and how long it takes.

    python tests/benchmarks/first_hour.py OUT --case "open.pdb closed.pdb" --case "run.dcd --topology system.psf"

Each case is what stands behind `tempica new`; what that says to type next is typed. Runs can be made smaller by --set,
as for `tempica run`. Ends with a line of JSON: commands with their seconds, and of each stage what --dry-run foresees
beside what it takes, which is to be compared on a quiet machine, or with the CPU's seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import subprocess
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--case", action="append", required=True)
    parser.add_argument("--set", dest="values", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--tempica", default="tempica", help="command of the installation to try")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    print(json.dumps([_case(number, words, given) for number, words in enumerate(given.case)]))


def _case(number: int, words: str, given: argparse.Namespace) -> dict[str, object]:
    """Type what a new user types, and say how it went."""
    folder = given.out / f"case_{number}"
    folder.mkdir()
    typed: list[dict[str, object]] = []
    code, said = _type(["new", *shlex.split(words)], folder, given, typed)
    foreseen: dict[str, float] = {}
    if code == 0:
        following = shlex.split(said.rpartition("Continue with: ")[2])[1:]
        if following[0] == "run":
            following += [word for value in given.values for word in ("--set", value)]
            asked = [given.tempica, *following, "--dry-run", "--json"]
            done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True)
            foreseen = {each["stage"]: each["seconds"] for each in json.loads(done.stdout)["stages"]}
        code, said = _type(following, folder, given, typed)
    verdict = next((line for line in said.splitlines() if line.startswith("Verdict")), "")
    return {
        "typed": typed,
        "exit": code,
        "reports": [str(path.relative_to(given.out)) for path in folder.rglob("report.html")],
        "verdict": verdict,
        "foreseen_s": foreseen,
        "taken_s": _taken(folder),
    }


def _taken(folder: Path) -> dict[str, float]:
    """Seconds of each stage, as the run's log tells them."""
    lines = [line for path in folder.glob("runs/*/log.jsonl") for line in path.read_text().splitlines()]
    events = [json.loads(line) for line in lines]
    return {each["stage"]: each["seconds"] for each in events if each["event"] == "done"}


def _type(words: list[str], folder: Path, given: argparse.Namespace, typed: list[dict[str, object]]) -> tuple[int, str]:
    began, before = time.monotonic(), _cpu()
    done = subprocess.run([given.tempica, *words], cwd=folder, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr)
    wall, cpu = time.monotonic() - began, _cpu() - before
    typed.append({"typed": shlex.join(["tempica", *words]), "wall_s": round(wall, 1), "cpu_s": round(cpu, 1)})
    return done.returncode, done.stdout


def _cpu() -> float:
    """CPU seconds of all commands so far, and of their workers."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
