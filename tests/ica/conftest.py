import numpy as np
import pytest
import torch
from scipy.signal import lfilter


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks are slower on several threads, and the sums of one thread are the same every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture(scope="session")
def autoregression():
    """Stationary AR(1) series (frame, column) of unit variance, with normal or Laplace innovations."""

    def make(rng, n_frames, rho, innovation="normal"):
        rho = np.atleast_1d(rho)
        shape = (n_frames + 500, len(rho))
        noise = rng.normal(size=shape) if innovation == "normal" else rng.laplace(size=shape) / np.sqrt(2)
        series = [lfilter([1], [1, -r], np.sqrt(1 - r**2) * e) for r, e in zip(rho, noise.T, strict=True)]
        return np.stack(series, axis=1)[500:]

    return make
