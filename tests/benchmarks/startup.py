"""CPU time of `tempica --help` and of `import tempica`, beside a bare interpreter, in one run.

python tests/benchmarks/startup.py
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "bare interpreter": [sys.executable, "-c", ""],
    "import tempica": [sys.executable, "-c", "import tempica"],
    "tempica --help": [sys.executable, "-m", "tempica.cli", "--help"],
}


def main() -> None:
    figures = {name: round(statistics.median(_cpu(command) for _ in range(9)), 3) for name, command in COMMANDS.items()}
    print(json.dumps({"benchmark": "startup", "unit": "seconds of CPU, median of 9", "figures": figures}))


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
