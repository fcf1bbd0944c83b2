"""Scattering factors against numbers of other sources, and refits against the table they are fitted to."""

import re

import numpy as np
import pytest

from tempica import imaging
from tempica.errors import DataError, StructureError
from tempica.imaging import scattering
from tempica.imaging.peng import PENG


def factor(amplitude, width, k):
    """f(k) of Gaussians (N, K) given in real space: their Fourier transform, (N, k)."""
    return (amplitude[..., None] * np.exp(-2 * np.pi**2 * width[..., None] ** 2 * k**2)).sum(1)


def table(element, k):
    """Equation 1 of Peng et al., term by term."""
    terms = PENG[element]
    return sum(a * np.exp(-b * k**2 / 4) for a, b in zip(terms[:5], terms[5:], strict=True))


def disc_error(value, twin, k):
    """Relative L2 over the disc whose radii are k, evenly spaced."""
    return np.sqrt((k * (value - twin) ** 2).sum() / (k * twin**2).sum())


def test_the_table_holds_the_elements_of_life_and_the_lengths_of_the_paper():
    assert len(PENG) == 98
    assert set(re.findall("[A-Z][a-z]?", "HCNOFNaMgPSClKCaMnFeCoNiCuZnSeBrI")) <= set(PENG)
    expected = {"H": 0.5288, "C": 2.5088, "N": 2.2135, "O": 1.9834, "S": 5.1604}
    assert {e: imaging.SCATTERING_LENGTH_A[e] for e in expected} == pytest.approx(expected, abs=1e-9)


def test_atoms_scatter_as_screened_nuclei():
    """Mott–Bethe: f = (Z − f_x) / (2 π² a₀ k²), so that the electrons' form factor f_x falls from Z towards 0."""
    k = np.array([0.5, 1.5, 2.5])
    electrons = np.array([z - 2 * np.pi**2 * 0.529177 * k**2 * table(e, k) for z, e in enumerate(PENG, 1)])
    number = np.arange(1, 99)[:, None]
    assert (np.diff(electrons) < 0.005 * number).all()
    assert (electrons > -0.02 * number).all()
    assert (electrons < number).all()
    assert (np.diff(electrons[:, 1]) > -1).all()  # and the next element has more of them, but for errors of the fit


@pytest.mark.parametrize(
    ("pixel_A", "n_terms", "bound"),
    [(3, 2, 3e-8), (1.5, 2, 7e-6), (0.75, 2, 9e-4), (3, 1, 5e-4), (1.5, 1, 6e-3), (0.75, 1, 4.5e-2)],
)
def test_refits_reach_the_error_they_state(pixel_A, n_terms, bound):
    elements = ["C", "N", "O", "S"]
    k = np.linspace(0, 0.5 / pixel_A, 2001)
    terms = imaging.gaussians(elements, n_terms, pixel_A=pixel_A)
    assert terms[0].shape == terms[1].shape == (4, n_terms)
    stated = imaging.refit_error(elements, n_terms, pixel_A=pixel_A)
    for element, value, error in zip(elements, factor(*terms, k), stated, strict=True):
        assert disc_error(value, table(element, k), k) == pytest.approx(error, rel=0.02, abs=1e-10)
        assert error < bound


def test_every_element_can_be_refitted():
    for n_terms, bound in ((1, 0.06), (2, 1e-3)):
        for element in list(PENG)[::6]:
            a, b, error = scattering.refit(element, n_terms, 1.5)
            assert min(a) > 0
            assert min(b) > 1
            assert error < bound


def test_five_terms_are_the_table_and_a_b_factor_damps_them():
    k = np.linspace(0, 1, 50)
    b_factor = np.array([0.0, 30.0])
    amplitude, width = imaging.gaussians(["fe", "ZN"], 5, pixel_A=1.0, b_factor_A2=b_factor)
    expected = np.stack([table("Fe", k), table("Zn", k) * np.exp(-30 * k**2 / 4)])
    np.testing.assert_allclose(factor(amplitude, width, k), expected, rtol=1e-12)


def test_hydrogens_ride_on_their_atom():
    """A methyl group against the mean over directions of a carbon and three hydrogens 1.05 Å from it."""
    k = np.linspace(1e-6, 0.25, 200)
    cosine = np.linspace(-1, 1, 4001)
    averaged = np.cos(2 * np.pi * k[:, None] * 1.05 * cosine).mean(1)
    terms = imaging.gaussians(["C"], 2, pixel_A=2.0, hydrogens=3)
    assert disc_error(factor(*terms, k)[0], table("C", k) + 3 * table("H", k) * averaged, k) < 1e-4
    assert disc_error(factor(*terms, k)[0], table("C", k), k) > 0.3


def test_solvent_takes_away_what_ice_of_the_same_volume_scatters():
    elements, hydrogens = ["C", "N", "O", "S"], np.array([3, 1, 0, 1])
    volume = np.array([31.89, 7.64, 9.13, 25.01])  # CH3, NH, O, SH of Fraser et al. (SH 25.10 there)
    np.testing.assert_allclose(scattering.displaced_volume_A3(elements, hydrogens=hydrogens), volume, atol=0.01)
    amplitude, width = imaging.gaussians(elements, 2, pixel_A=1.5, hydrogens=hydrogens, solvent=True)
    bare, _ = imaging.gaussians(elements, 2, pixel_A=1.5, hydrogens=hydrogens)
    np.testing.assert_array_equal(amplitude[:, :2], bare)
    per_water = 1.9834 + 2 * 0.5288
    density = 0.93 / 18.015 * 0.602214 * per_water  # Å of scattering length in 1 Å³ of ice of 0.93 g/cm³
    np.testing.assert_allclose(amplitude[:, 2], -density * volume, rtol=2e-3)
    k = 0.3
    fraser = -density * volume * np.exp(-np.pi * volume ** (2 / 3) * k**2)
    np.testing.assert_allclose(factor(amplitude[:, 2:], width[:, 2:], np.array([k]))[:, 0], fraser, rtol=2e-3)


def test_vacuum_overestimates_the_contrast_of_a_protein():
    """Per residue of a mean composition, C 4.9 N 1.4 O 1.5 S 0.04 and 7.7 hydrogens: most is taken away."""
    elements = ["C"] * 490 + ["N"] * 140 + ["O"] * 150 + ["S"] * 4
    hydrogens = np.r_[np.full(490, 1), np.full(140, 1), np.full(150, 0), np.zeros(4, int)]
    hydrogens[:140] += 1
    length = imaging.SCATTERING_LENGTH_A
    whole = sum(length[element] for element in elements) + length["H"] * hydrogens.sum()
    left = 1 + imaging.solvent_gaussians(elements, hydrogens=hydrogens)[0].sum() / whole
    assert 0.3 < left < 0.5
    amplitude, _ = imaging.gaussians(elements, 1, pixel_A=3.0, hydrogens=hydrogens, solvent=True)
    assert amplitude.sum() / amplitude[:, 0].sum() == pytest.approx(left, rel=0.01)


def test_what_is_not_known_is_refused():
    with pytest.raises(StructureError, match=r"Atom 1 has the element 'Xx'.*from H to Cf"):
        imaging.gaussians(["C", "Xx"], 2, pixel_A=1.5)
    with pytest.raises(StructureError, match=r"Atom 0 has the element ''"):
        imaging.refit_error([""], 2, pixel_A=1.5)
    with pytest.raises(StructureError, match=r"atom 1 \(Au\) displaces is not known"):
        imaging.gaussians(["C", "Au"], 2, pixel_A=1.5, solvent=True)
    with pytest.raises(DataError, match="n_terms = 3"):
        imaging.gaussians(["C"], 3, pixel_A=1.5)
    with pytest.raises(DataError, match="pixel_A = 0"):
        imaging.gaussians(["C"], 2, pixel_A=0.0)
    with pytest.raises(DataError, match="b_factor_A2 = -1"):
        imaging.gaussians(["C"], 2, pixel_A=1.5, b_factor_A2=-1.0)
    with pytest.raises(DataError, match="hydrogens = -1"):
        imaging.gaussians(["C"], 2, pixel_A=1.5, hydrogens=-1)
    with pytest.raises(DataError, match="n_terms = 5 is the table"):
        imaging.gaussians(["C"], 5, pixel_A=1.5, hydrogens=1)
