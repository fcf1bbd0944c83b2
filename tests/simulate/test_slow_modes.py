"""Undeclared slow motions, on trajectories that were made with one."""

import numpy as np
import pytest
import xarray

from tempica.simulate.protocols import ar1
from tempica.simulate.slow_modes import find_slow_modes, outliving

N_REPLICAS, N_FRAMES, N_ATOMS = 4, 1500, 40
RHO = 0.9


@pytest.fixture
def made():
    """One declared variable that bends the molecule, one hidden motion, and white noise."""
    rng = np.random.default_rng(4)
    declared = ar1(N_FRAMES, 0.6, "laplace", rng, n_series=N_REPLICAS)
    hidden = ar1(N_FRAMES, RHO, "gaussian", rng, n_series=N_REPLICAS)
    directions = rng.normal(size=(3, N_ATOMS, 3))
    position = (
        np.einsum("rt,ax->rtax", declared, directions[0])
        + 0.4 * np.einsum("rt,ax->rtax", declared**2, directions[1])
        + 0.3 * np.einsum("rt,ax->rtax", hidden, directions[2])
        + 0.1 * rng.normal(size=(N_REPLICAS, N_FRAMES, N_ATOMS, 3))
    )
    molecule = np.zeros((N_REPLICAS, N_FRAMES), int)
    dims = ("replica", "time")
    return hidden, xarray.Dataset(
        {
            "position": ((*dims, "atom", "space"), position.astype(np.float32)),
            "collective_variable": ((*dims, "cv"), declared[..., None]),
            "molecule": (dims, molecule),
        }
    )


def test_a_hidden_slow_motion_is_found_with_its_timescale(made):
    hidden, data = made
    modes = find_slow_modes(data)
    assert abs(np.corrcoef(modes.series[..., 0].ravel(), hidden.ravel())[0, 1]) > 0.98
    expected = -1 / np.log(RHO)
    # standard error of an autocorrelation at ρ = 0.9, as one of the timescale: δτ = τ² δρ / ρ
    error = expected**2 / RHO * np.sqrt((1 - RHO**2) / (N_REPLICAS * N_FRAMES))
    assert abs(modes.timescale[0] - expected) < 4 * error
    assert abs(modes.variable_timescale[0] + 1 / np.log(0.6)) < 0.3
    assert modes.timescale[1] < 0.5  # nothing else lasts: the declared motion's curved part is explained


def test_no_mode_is_made_of_noise_or_of_the_declared_motion(made):
    _, data = made
    rng = np.random.default_rng(1)
    quiet = data.assign(position=data["position"] - data["position"] + rng.normal(size=data["position"].shape))
    assert find_slow_modes(quiet).timescale[0] < 0.5


def test_time_is_counted_within_molecules(made):
    """Where every frame is another molecule nothing can be said."""
    _, data = made
    frame = np.broadcast_to(np.arange(N_FRAMES), (N_REPLICAS, N_FRAMES))
    modes = find_slow_modes(data.assign(molecule=(("replica", "time"), frame)))
    np.testing.assert_array_equal(modes.timescale, 0)
    np.testing.assert_array_equal(modes.variable_timescale, 0)
    pairs = find_slow_modes(data.assign(molecule=(("replica", "time"), frame // 2)))
    assert abs(pairs.timescale[0] + 1 / np.log(RHO)) < 2.0


def test_the_warning_names_what_is_outlived():
    modes = {"timescale": np.array([5.0, 1.0])}
    assert "arm_2 (3)" in outliving({"arm_1": 9.0, "arm_2": 3.0}, modes)
    assert "arm_1" not in outliving({"arm_1": 9.0, "arm_2": 3.0}, modes)
    assert outliving({"arm_1": 9.0, "arm_2": 6.0}, modes) == ""
    assert "arm_1 (0)" in outliving({"arm_1": 0.0}, modes)  # white in time: whatever lasts outlives it
    assert outliving({"arm_1": 0.0}, {"timescale": np.zeros(2)}) == ""
