"""Where no folder can be written, kernels are compiled all the same, and one line says so."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import errno, os, subprocess, sys, tempfile
real = tempfile.TemporaryFile
def refuse(*args, dir=None, **kwargs):
    if "tempica-kernels" not in str(dir):
        raise OSError(errno.{error}, os.strerror(errno.{error}), str(dir))
    return real(*args, dir=dir, **kwargs)
tempfile.TemporaryFile = refuse  # numba tries folders in this way, as does tempica
import numpy as np
from tempica import imaging
import tempica.ica.linear.joint
imaging.poisson(np.ones((2, 2)), 1)
folder = os.environ["NUMBA_CACHE_DIR"]
assert any(files for _, _, files in os.walk(folder)), "nothing was cached"
told = subprocess.run([sys.executable, "-c", "import tempica.imaging"], capture_output=True, text=True, check=True)
assert told.stderr == "", "the processes of a run share one folder"
print(folder)
"""


@pytest.mark.parametrize("error", ["EACCES", "EROFS", "ENOSPC"])
def test_kernels_are_compiled_where_nothing_can_be_written(error: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE.format(error=error)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "set NUMBA_CACHE_DIR to a writable folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1
