"""Installs the lowest versions that pyproject.toml allows, all together, and runs the test suite with them.

    python tests/benchmarks/lower_bounds.py --out /tmp/lowest
    python tests/benchmarks/lower_bounds.py --out /tmp/lowest -- tests/test_store.py -x

A bound that does not install, or fails the suite, is too low: raise it. What follows `--` goes to pytest. Ends with one
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def lowest(requirements: list[str]) -> dict[str, str]:
    """Each named package with the version from which it is allowed."""
    found = {}
    for requirement in requirements:
        match = re.match(r"([A-Za-z0-9_.-]+)[^=<>~]*(?:>=|==)\s*([0-9.]+(?:\.\*)?)", requirement)
        if match:  # extras of our own have no version
            found[match[1]] = match[2]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the virtual environment")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest; the whole suite on two processes if none")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = lowest(
        project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]
    )
    python = arguments.out / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", arguments.out], check=True)
    pinned = [f"{name}=={version}" for name, version in versions.items()]
    install = [python, "-m", "pip", "install", "-q", *pinned, "-e", f"{ROOT}[test]"]
    installed = subprocess.run(install, check=False, stdout=sys.stderr).returncode == 0
    passed = False
    if installed:
        tests = arguments.pytest or ["-n", "2", "--dist", "loadfile"]
        passed = (
            subprocess.run([python, "-m", "pytest", *tests], cwd=ROOT, check=False, stdout=sys.stderr).returncode == 0
        )
    print(json.dumps({"benchmark": "lower_bounds", "versions": versions, "installed": installed, "passed": passed}))


if __name__ == "__main__":
    main()
