import numpy as np
import pytest

from tempica.errors import StructureError
from tempica.imaging.composition import composition, formula
from tempica.imaging.peng import PENG
from tempica.imaging.waasmaier import WAASMAIER_KIRFEL
from tempica.imaging.xray import form_factor, scatterers_of

# a_1 b_1 … a_4 b_4 c of Cromer & Mann, Acta Cryst. A24, 321 (1968): another fit to other wave functions
CROMER_MANN = {
    "C": (2.31, 20.8439, 1.02, 10.2075, 1.5886, 0.5687, 0.865, 51.6512, 0.2156),
    "O": (3.0485, 13.2771, 2.2868, 5.7011, 1.5463, 0.3239, 0.867, 32.9089, 0.2508),
    "S": (6.9053, 1.4679, 5.2034, 22.2151, 1.4379, 0.2536, 1.5863, 56.172, 0.8669),
}


def test_forward_every_electron_scatters():
    for charge, element in enumerate(WAASMAIER_KIRFEL, 1):
        assert form_factor(element, np.zeros(1))[0] == pytest.approx(charge, abs=0.01 + 1e-3 * charge)
    assert list(WAASMAIER_KIRFEL) == list(PENG)


@pytest.mark.parametrize("element", CROMER_MANN)
def test_form_factors_agree_with_those_of_cromer_and_mann(element):
    s = np.linspace(0, 1.5, 40)
    *terms, c = CROMER_MANN[element]
    expected = c + sum(a * np.exp(-b * s**2) for a, b in zip(terms[::2], terms[1::2], strict=True))
    np.testing.assert_allclose(form_factor(element, s), expected, atol=4e-3 * expected[0])


@pytest.mark.parametrize("element", ["C", "N", "O", "S", "Fe"])
def test_form_factors_and_those_of_electrons_obey_mott_and_bethe(element):
    """f_e = (Z − f0) / (8π² a0 s²): two tables, of different authors, against each other."""
    s = np.linspace(0.25, 1.2, 20)
    a, b = np.array(PENG[element]).reshape(2, 5)
    electron = (a * np.exp(-b * s[:, None] ** 2)).sum(1)
    charge = list(PENG).index(element) + 1
    np.testing.assert_allclose(
        (charge - form_factor(element, s)) / (8 * np.pi**2 * 0.529177 * s**2), electron, rtol=0.02
    )


def test_a_bead_of_a_residue_is_its_atoms_spread_like_a_gaussian():
    """Against the mean over clouds of atoms drawn about the bead."""
    rng = np.random.default_rng(0)
    bead = scatterers_of(["C3H5NO"], np.array([0.15]))
    q = np.array([0.0, 0.05, 0.1, 0.2])
    place = 1.5 * rng.standard_normal((200_000, 3))
    spread = np.array([np.cos(2 * np.pi * size * place[:, 0]).mean() for size in q])
    atoms = sum(n * form_factor(e, q / 2) for e, n in {"C": 3, "H": 5, "N": 1, "O": 1}.items())
    np.testing.assert_allclose(bead.factors(q)[0], atoms * spread, rtol=0.01, atol=0.1)


def test_hydrogens_ride_on_an_atom_in_any_direction():
    rng = np.random.default_rng(0)
    methyl = scatterers_of(["CH3"], np.array([0.06]))  # an atom is where it is, whatever the width of its bead
    q = np.array([0.0, 0.1, 0.3, 0.6])
    direction = rng.standard_normal((100_000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    turned = np.array([np.cos(2 * np.pi * size * 1.05 * direction[:, 0]).mean() for size in q])
    expected = form_factor("C", q / 2) + 3 * form_factor("H", q / 2) * turned
    np.testing.assert_allclose(methyl.factors(q)[0], expected, atol=0.02)
    np.testing.assert_allclose(methyl.factors(q, 20.0)[0], np.exp(-5 * q**2) * expected, atol=0.02)


def test_beads_alike_are_one_kind():
    some = scatterers_of(["CH3", "C", "C3H5NO", "C3H5NO", "C"], np.array([0.1, 0.2, 0.3, 0.4, 0.2]))
    assert len(some.width_A) == 4
    assert some.kind[1] == some.kind[4]
    assert some.factors(np.zeros(1))[some.kind, 0].sum() == pytest.approx(9 + 6 + 38 + 38 + 6, rel=2e-3)


def test_formulas_survive_the_way_there_and_back():
    counts = {"C": 4.9, "H": 7.76, "N": 1.35, "O": 1.0, "Se": 2.0}
    assert composition(formula(counts)) == counts
    assert formula({"C": 1, "H": 0}) == "C"


@pytest.mark.parametrize("text", ["", "c3", "C3 H5", "C-3", "3C"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(StructureError, match="is no chemical formula"):
        scatterers_of([text], np.array([0.1]))


def test_an_unknown_element_is_named():
    with pytest.raises(StructureError, match=r"element 'Xx' has no X-ray scattering factor"):
        scatterers_of(["C", "Xx2"], np.array([0.1, 0.1]))
