"""GPU kernels under numba's simulator, which has to be chosen before numba is imported: in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import cuda

from tempica import imaging
from tempica.errors import DataError, DeviceError

SCRIPT = Path(__file__).with_name("gpu_against_cpu.py")


def test_the_gpu_kernels_agree_with_those_of_the_cpu():
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["image"] <= 1e-5
    assert found["jacobian"] <= 1e-5
    assert found["heights"] <= 1e-5
    assert found["repeated"]


@pytest.mark.skipif(cuda.is_available(), reason="there is a card")
def test_without_a_card_one_message_says_so():
    with pytest.raises(DeviceError, match=r"device = 'cuda' needs an NVIDIA GPU .*Take device = 'cpu'"):
        imaging.project(np.zeros((1, 1, 2)), np.ones(1), np.ones(1), 16, 1.5, device="cuda")


def test_other_devices_are_refused():
    with pytest.raises(DataError, match="device = 'tpu'"):
        imaging.project(np.zeros((1, 1, 2)), np.ones(1), np.ones(1), 16, 1.5, device="tpu")
