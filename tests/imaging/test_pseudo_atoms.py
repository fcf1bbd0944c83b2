"""Maps as sums of Gaussians: the sums against their definition, the fit against a map of known points."""

from pathlib import Path

import mdtraj
import numpy as np
import pytest
from scipy import ndimage

from tempica.errors import DataError
from tempica.imaging import kernels_volume
from tempica.imaging.linearise import Scatterers
from tempica.imaging.projection import project
from tempica.imaging.pseudo_atoms import density_of, molecule_of, pseudo_atoms

OPEN_FORM = Path(__file__).parents[2] / "simulations" / "structures" / "adk_open.pdb"


@pytest.fixture(scope="module")
def molecule():
    whole = mdtraj.load(OPEN_FORM)
    place = whole.xyz[0, whole.topology.select("name CA")]
    return place - place.mean(0), Scatterers(np.full((214, 1), 20.0), np.full((214, 1), 2.5))


@pytest.fixture(scope="module")
def density(molecule):
    return density_of(*molecule, 64, 1.5)


def test_sums_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    centre, amplitude, width = rng.uniform(2, 9, (5, 3)), rng.normal(size=5), 0.9
    volume = np.zeros((12, 11, 13))
    kernels_volume.add_gaussians(centre, amplitude, width, volume)
    z, y, x = np.ogrid[:12, :11, :13]
    square = sum((axis[..., None] - centre[:, i]) ** 2 for i, axis in ((0, x), (1, y), (2, z)))
    expected = (amplitude * np.exp(-square / 2 / width**2)).sum(-1) / (2 * np.pi * width**2) ** 1.5
    np.testing.assert_allclose(volume, expected, atol=1e-3 * np.abs(expected).max())


def test_derivatives_are_those_of_the_sums():
    rng = np.random.default_rng(1)
    centre, amplitude, width = rng.uniform(4, 6, (3, 3)), rng.uniform(1, 2, 3), 0.8
    force = np.zeros((11, 11, 11))
    force[3:8, 3:8, 3:8] = rng.normal(size=(5, 5, 5))  # within every window

    def value(centre, amplitude, width):
        volume = np.zeros_like(force)
        kernels_volume.add_gaussians(centre, amplitude, width, volume)
        return (force * volume).sum()

    by_centre, by_amplitude = np.empty((3, 3)), np.empty(3)
    by_width = kernels_volume.pull(centre, amplitude, width, force, by_centre, by_amplitude)
    step = 1e-6
    for n in range(3):
        for axis in range(3):
            moved = np.zeros((3, 3))
            moved[n, axis] = step
            slope = (value(centre + moved, amplitude, width) - value(centre - moved, amplitude, width)) / (2 * step)
            assert by_centre[n, axis] == pytest.approx(slope, rel=1e-4, abs=1e-6)
        more = np.eye(3)[n] * step
        slope = (value(centre, amplitude + more, width) - value(centre, amplitude - more, width)) / (2 * step)
        assert by_amplitude[n] == pytest.approx(slope, rel=1e-4, abs=1e-6)
    slope = (value(centre, amplitude, width + step) - value(centre, amplitude, width - step)) / (2 * step)
    assert by_width == pytest.approx(slope, rel=1e-4)


def test_the_sum_along_z_is_the_projection(molecule, density):
    place, scatterers = molecule
    xy = 10 * place[None, :, :2] / 1.5 + 32
    image = project(xy, scatterers.amplitude, scatterers.width_A, 64, 1.5)[0]
    np.testing.assert_allclose(1.5 * density.sum(0), image, atol=2e-3 * image.max())


def test_a_map_is_explained_by_about_one_point_a_residue(molecule, density):
    found = pseudo_atoms(density, 1.5)
    assert found.correlation > 0.99
    assert 150 < len(found.position) < 300
    assert (found.scatterers.amplitude >= 0).all()
    assert found.scatterers.amplitude.sum() == pytest.approx(214 * 20, rel=0.05)
    again = density_of(found.position, found.scatterers, 64, 1.5)
    assert np.corrcoef(again.ravel(), density.ravel())[0, 1] > 0.99
    apart = np.linalg.norm(found.position[:, None] - found.position, axis=-1) + np.eye(len(found.position))
    assert apart.min() > 0.15
    np.testing.assert_array_equal(pseudo_atoms(density, 1.5).position, found.position)


def test_scale_noise_and_a_level_do_not_move_the_points(density):
    plain = pseudo_atoms(density, 1.5, 200)
    scaled = pseudo_atoms(7.0 * density, 1.5, 200)
    np.testing.assert_allclose(scaled.position, plain.position, atol=2e-2)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=density.shape), 1.3)
    noisy = pseudo_atoms(density + 0.5 * density.std() / noise.std() * noise, 1.5, 200)
    assert noisy.correlation > 0.95
    again = density_of(noisy.position, noisy.scatterers, 64, 1.5)
    assert np.corrcoef(again.ravel(), density.ravel())[0, 1] > 0.98


def test_a_box_with_an_odd_edge_has_its_middle_where_others_have_it(molecule):
    found = pseudo_atoms(density_of(*molecule, 65, 1.5), 1.5, 200)
    weight = found.scatterers.amplitude / found.scatterers.amplitude.sum()
    np.testing.assert_allclose((weight * found.position).sum(0), 0, atol=0.02)


def test_maps_without_a_molecule_are_refused(molecule, density):
    noise = np.random.default_rng(0).normal(size=(48, 48, 48))
    with pytest.raises(DataError, match="shows no molecule"):
        pseudo_atoms(noise, 1.5)
    with pytest.raises(DataError, match="the box is too small"):
        pseudo_atoms(density_of(*molecule, 32, 1.5), 1.5)
    with pytest.raises(DataError, match="100000 pseudo-atoms need a map with as many voxels"):
        pseudo_atoms(density, 1.5, 100_000)
    with pytest.raises(DataError, match="Is protein positive"):
        molecule_of(-density, 1.5)
