"""The interval of foreign frames, as far as times in single precision tell it."""

import mdtraj
import numpy as np
import pytest

from tempica.errors import RecipeError
from tempica.recipe.simulate import SimulateRecipe
from tempica.simulate.foreign.layout import frame_interval


@pytest.fixture
def interval_of(tmp_path):
    """What is found of files whose frames have these times (ps)."""

    def find(*times, **about):
        topology = mdtraj.Topology()
        chain = topology.add_chain()
        for number in range(3):
            topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain, number + 1))
        names = [f"{k}.xtc" for k in range(len(times))]
        for name, time in zip(names, times, strict=True):
            place = np.random.default_rng(0).normal(size=(len(time), 3, 3))
            mdtraj.Trajectory(place, topology, time=np.array(time, dtype="f4")).save(str(tmp_path / name))
        molecule = {"kind": "trajectory", "topology": "top.pdb", "files": names} | about
        variable = {"name": "d", "kind": "distance", "residues": ["1", "3"]}
        recipe = {"molecule": molecule, "collective_variables": [variable], "n_frames": 4}
        return frame_interval(SimulateRecipe.model_validate(recipe), tmp_path)

    return find


@pytest.mark.parametrize("start", [0.0, 1e3, 1e6, 1e7, 1e8, 3.3e8])
@pytest.mark.parametrize("step", [10.0, 100.0, 250.0])
def test_the_mean_over_the_file_tells_where_two_frames_do_not(start, step, interval_of):
    time = start + step * np.arange(4001)
    assert interval_of(time) == pytest.approx(step, rel=1e-3)
    if step == 100.0 and start <= 1e8:
        assert interval_of(time) == step
    assert interval_of(time, stride=3) == pytest.approx(3 * step, rel=1e-3)


def test_two_frames_tell_where_they_can(interval_of):
    assert interval_of([0.0, 2.5, 5.0]) == 2.5
    assert interval_of([1000.0, 1000.2]) == pytest.approx(0.2, rel=1e-4)  # 0.20001221 in single precision
    assert interval_of([1e5, 1e5 + 20, 1e5 + 40], [1e5 + 60, 1e5 + 80]) == 20.0


def test_what_no_file_tells_within_a_thousandth_is_asked_for(interval_of):
    with pytest.raises(RecipeError, match=r"0\.xtc .* times near 1e\+08 ps are kept to 8 ps in single.*Say in"):
        interval_of(1e8 + 100 * np.arange(20))
    assert interval_of(1e8 + 100 * np.arange(20), frame_interval=100.0) == 100.0


def test_a_gap_does_not_make_a_mean(interval_of):
    time = 1e8 + 100 * np.arange(2000)
    time[1000:] += 1e6
    with pytest.raises(RecipeError, match=r"are at 1000000\d\d and 100000\d\d\d ps, and all are 600\.\d* ps apart on"):
        interval_of(time)


def test_frames_at_one_time_are_refused(interval_of):
    with pytest.raises(RecipeError, match=r"are at 5 and 5 ps.*frame_interval"):
        interval_of([5.0, 5.0, 5.0])
