import numpy as np
import pytest

from tempica.errors import DataError
from tempica.imaging.modes import principal_modes


@pytest.fixture
def ensemble():
    """300 structures of 8 beads that vary along three directions, and a little along all."""
    rng = np.random.default_rng(7)
    amplitude = rng.normal(size=(300, 3)) * (3.0, 1.5, 0.7)
    shape = rng.normal(size=(3, 8, 3))
    return 5 + np.einsum("tk,knj->tnj", amplitude, shape) + 0.01 * rng.normal(size=(300, 8, 3))


def test_amplitudes_have_unit_variance_and_do_not_correlate(ensemble):
    modes = principal_modes(ensemble, 4)
    flat = modes.shape.reshape(4, -1)
    np.testing.assert_allclose(modes.mean, ensemble.mean(0), atol=1e-12)
    amplitude = (ensemble - modes.mean).reshape(300, -1) @ np.linalg.pinv(flat)
    np.testing.assert_allclose(np.cov(amplitude.T), np.eye(4), atol=1e-9)
    gram = flat @ flat.T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-9 * gram.max())
    assert (np.diff(np.diag(gram)) < 0).all()


def test_modes_are_the_eigenvectors_of_the_covariance(ensemble):
    modes = principal_modes(ensemble, 3)
    value, vector = np.linalg.eigh(np.cov(ensemble.reshape(300, -1).T))
    for k in range(3):
        expected = np.sqrt(value[-1 - k]) * vector[:, -1 - k]
        flat = modes.shape[k].ravel()
        np.testing.assert_allclose(flat * np.sign(flat @ expected), expected, atol=1e-9)


def test_three_directions_explain_the_ensemble(ensemble):
    modes = principal_modes(ensemble, 3)
    rest = (ensemble - modes.mean).reshape(300, -1)
    flat = modes.shape.reshape(3, -1)
    assert (rest - rest @ np.linalg.pinv(flat) @ flat).std() == pytest.approx(0.01, rel=0.1)


def test_the_largest_displacement_of_a_mode_is_positive(ensemble):
    for sample in (ensemble, -ensemble, ensemble[::-1], ensemble.astype(np.float32)):
        shape = principal_modes(sample, 3).shape.reshape(3, -1)
        assert (shape[np.arange(3), np.abs(shape).argmax(1)] > 0).all()
    np.testing.assert_allclose(principal_modes(ensemble[::-1], 3).shape, principal_modes(ensemble, 3).shape, atol=1e-9)


def test_what_cannot_give_modes_is_named(ensemble):
    with pytest.raises(DataError, match="5 modes need an ensemble of more than 5 frames; it has 5"):
        principal_modes(ensemble[:5], 5)
    with pytest.raises(DataError, match="25 modes need as many coordinates; 8 beads have 24"):
        principal_modes(ensemble, 25)
    ensemble[3, 2, 1] = np.nan
    with pytest.raises(DataError, match="not finite"):
        principal_modes(ensemble, 2)
