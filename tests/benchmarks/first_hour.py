"""From files of one's own to a report: what is typed, whether anything is refused, and how long it takes.

    python tests/benchmarks/first_hour.py OUT --case "open.pdb closed.pdb" --case "run.dcd --topology system.psf"

Each case is what stands behind `tempica new`; what that says to type next is typed. Runs can be made smaller by --set,
as for `tempica run`. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
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
    typed: list[list[str]] = []
    began = time.monotonic()
    code, said = _type(["new", *shlex.split(words)], folder, given, typed)
    if code == 0:
        following = shlex.split(said.rpartition("Continue with: ")[2])[1:]
        if following[0] == "run":
            following += [word for value in given.values for word in ("--set", value)]
        code, said = _type(following, folder, given, typed)
    reports = [str(path.relative_to(given.out)) for path in folder.rglob("report.html")]
    verdict = next((line for line in said.splitlines() if line.startswith("Verdict")), "")
    seconds = round(time.monotonic() - began, 1)
    return {
        "typed": [shlex.join(["tempica", *each]) for each in typed],
        "exit": code,
        "reports": reports,
        "seconds": seconds,
        "verdict": verdict,
    }


def _type(words: list[str], folder: Path, given: argparse.Namespace, typed: list[list[str]]) -> tuple[int, str]:
    typed.append(words)
    done = subprocess.run([given.tempica, *words], cwd=folder, capture_output=True, text=True, check=False)
    print(done.stdout + (done.stderr if done.returncode else ""))
    return done.returncode, done.stdout


if __name__ == "__main__":
    main()
