"""Quadratic log-likelihoods against slow twins in float64: the exact transform of the beads, and images of pixels."""

import numpy as np
import pytest

from tempica import imaging
from tempica.embed import quadratic
from tempica.errors import DataError
from tempica.imaging.likelihood import without_pose
from tempica.imaging.linearise import Images, Scatterers, Whitened
from tempica.imaging.spreading import grid_of

N_ATOMS, N_FRAMES, VARIANCE = 40, 6, 4.0


def make_camera(n_pixels, pixel_A, width_A, dqe=(1.0, 1.0), power=(1.0, 1.0)):
    optics = imaging.Optics(
        n_pixels=n_pixels,
        pixel_size_A=pixel_A,
        voltage_kV=300.0,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.1,
        b_factor_A2=40.0,
        bead_b_factor_A2=20.0,
        phase_shift=0.3,
    )
    return imaging.Camera(
        optics, np.full_like(width_A, 20.0), width_A, np.array([0.0, 0.3]), np.array(power), np.array(dqe)
    )


class Setting:
    """Frames of a toy molecule with known poses, modes and images of unit order."""

    def __init__(self, n_pixels=48, pixel_A=1.5, n_modes=3, seed=0, width=(0.9, 1.9), shift_A=3.0, **camera):
        rng = np.random.default_rng(seed)
        self.rng, self.n_modes = rng, n_modes
        width_A = rng.uniform(*width, (N_ATOMS, 1))
        self.camera = make_camera(n_pixels, pixel_A, width_A, **camera)
        self.scatterers = Scatterers(rng.uniform(10, 30, (N_ATOMS, 1)), width_A)
        edge_nm = n_pixels * pixel_A / 10
        position = rng.normal(size=(N_FRAMES, N_ATOMS, 3))
        self.position = 0.3 * edge_nm * position / np.linalg.norm(position, axis=2, keepdims=True)
        self.shape = 0.05 * rng.normal(size=(n_modes, N_ATOMS, 3))
        quaternion = rng.normal(size=(N_FRAMES, 4))
        self.rotation = imaging.rotation_matrix(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
        self.shift_A = shift_A * rng.uniform(-1, 1, (N_FRAMES, 2))
        defocus = rng.uniform(8_000, 15_000, N_FRAMES)
        dose = rng.uniform(5, 20, N_FRAMES)
        self.focus = [defocus + 300, defocus - 200, rng.uniform(0, np.pi, N_FRAMES), dose]
        self.image = (2.0 * rng.normal(size=(N_FRAMES, n_pixels, n_pixels))).astype(np.float32)

    def observe(self, radius):
        return quadratic.observe(self.camera, self.image, self.focus, VARIANCE, radius)

    def linearise(self, observed, pose=True, frames=slice(None)):
        return quadratic.linearise(
            observed[frames],
            self.scatterers,
            self.position[frames],
            self.rotation[frames],
            self.shift_A[frames],
            self.shape,
            pose=pose,
        )

    def factors(self, disc):
        """Whitening and transfer in float64."""
        power = np.broadcast_to(self.camera.power(), (disc.n_pixels, disc.n_pixels // 2 + 1))
        weight = disc.gather(np.sqrt(imaging.plane_weights(disc.n_pixels) / (power * VARIANCE)))
        return weight, weight * disc.gather(self.camera.transfer(*self.focus).astype(np.float64))

    def exact(self, disc):
        """Residual and columns, as the beads' exact transform gives them."""
        ky, kx = disc.index
        k = np.stack([kx, ky], 1) / disc.edge_A
        body = 10 * np.einsum("fij,fnj->fni", self.rotation, self.position)
        xy = body[..., :2] + self.shift_A[:, None] + disc.n_pixels // 2 * disc.pixel_A
        x, y, z = np.moveaxis(body, -1, 0)
        nil, one = np.zeros_like(x), np.ones_like(x)
        turns = [(nil, -z), (z, nil), (-y, x), (one, nil), (nil, one)]
        velocity = np.concatenate(
            [
                10 * np.einsum("fij,knj->fkni", self.rotation[:, :2], self.shape),
                np.stack([np.stack(turn, -1) for turn in turns], 1),
            ],
            1,
        )
        beads = self.scatterers.amplitude * np.exp(-2 * np.pi**2 * self.scatterers.width_A**2 * (k**2).sum(1))
        beads = beads / disc.pixel_A**2 * np.exp(-2j * np.pi * xy @ k.T)
        weight, factor = self.factors(disc)
        target = weight * disc.gather(np.fft.rfft2(self.image.astype(np.float64)))
        columns = -2j * np.pi * np.einsum("fpni,mi,fnm->fpm", velocity, k, beads, optimize=True)
        return target - factor * beads.sum(1), factor[:, None] * columns


def check(expansion, residual, columns, tolerance):
    """Information and evidence in units of what the columns themselves are long."""
    information = np.einsum("fpm,fqm->fpq", columns.conj(), columns).real
    evidence = np.einsum("fpm,fm->fp", columns.conj(), residual).real
    length = np.sqrt(np.einsum("fpp->fp", information))
    n = expansion.evidence.shape[1]
    length, information, evidence = length[:, :n], information[:, :n, :n], evidence[:, :n]
    assert np.abs((expansion.information - information) / (length[:, :, None] * length[:, None])).max() < tolerance
    # an error of the image itself by that share of it acts along the column
    size = np.linalg.norm(residual, axis=1, keepdims=True)
    assert np.abs((expansion.evidence - evidence) / (length * size)).max() < tolerance
    np.testing.assert_allclose(expansion.misfit, (np.abs(residual) ** 2).sum(1), rtol=tolerance)


@pytest.mark.parametrize("n_modes", [1, 3, 4, 5, 11, 20])
@pytest.mark.parametrize("pose", [False, True])
def test_every_number_of_columns_has_the_exact_transform(n_modes, pose):
    setting = Setting(n_modes=n_modes, width=(1.8, 3.0))
    observed = setting.observe(12)
    residual, columns = setting.exact(observed.disc)
    chosen = columns if pose else columns[:, :n_modes]
    check(setting.linearise(observed, pose), residual, chosen, 1e-3)


@pytest.mark.parametrize(("n_pixels", "radius"), [(48, 8), (49, 12), (62, 20), (70, 11), (96, 30), (128, 14)])
def test_every_box_and_radius_has_the_exact_transform(n_pixels, radius):
    setting = Setting(n_pixels=n_pixels, width=(1.8, 3.0), dqe=(1.0, 0.4), power=(1.5, 0.6))
    observed = setting.observe(radius)
    check(setting.linearise(observed), *setting.exact(observed.disc), 1e-3)


@pytest.mark.parametrize("radius", [14, 20, 23])
def test_on_the_images_own_grid_it_is_the_twin_of_pixels(radius):
    setting = Setting()  # narrow beads, whose images hold aliases
    observed = setting.observe(radius)
    camera, scatterers = setting.camera, setting.scatterers
    assert grid_of(scatterers.amplitude, scatterers.width_A, 48, 1.5, radius).n == 48
    images = Images(setting.image, setting.rotation, setting.shift_A, camera.transfer(*setting.focus), camera.power())
    twin = Whitened(images, setting.shape, scatterers, 1.5, VARIANCE, np.float64)
    residual, columns = twin.linearise(setting.position, slice(None))
    gather = observed.disc.gather
    check(setting.linearise(observed, pose=False), gather(residual), gather(columns), 1e-3)


def test_atoms_of_two_gaussians_have_the_exact_transform():
    setting = Setting(width=(1.8, 3.0))
    more = Setting(width=(1.2, 2.0), seed=1).scatterers
    setting.scatterers = Scatterers(
        np.concatenate([setting.scatterers.amplitude, -0.5 * more.amplitude], 1),
        np.concatenate([setting.scatterers.width_A, more.width_A], 1),
    )
    one, other = (Scatterers(setting.scatterers.amplitude[:, [c]], setting.scatterers.width_A[:, [c]]) for c in (0, 1))
    observed = setting.observe(12)
    found = setting.linearise(observed)
    residual, columns = 0.0, 0.0
    for scatterers in (one, other):
        setting.scatterers = scatterers
        own, more = setting.exact(observed.disc)
        residual, columns = residual + own, columns + more
    check(found, residual - observed.target, columns, 1e-3)


def test_waves_are_those_of_the_linearised_model():
    setting = Setting(width=(1.8, 3.0))
    observed = setting.observe(14)
    place = setting.scatterers, setting.position, setting.rotation, setting.shift_A
    wave = observed.transfer * quadratic.model_waves(observed.disc, *place)
    residual, _ = setting.exact(observed.disc)
    np.testing.assert_allclose(observed.target - wave, residual, atol=1e-3 * np.abs(wave).max())
    misfit = (np.abs(observed.target - wave) ** 2).sum(1)
    np.testing.assert_allclose(setting.linearise(observed).misfit, misfit, rtol=1e-5)


def test_a_step_along_a_column_changes_the_misfit_as_predicted():
    setting = Setting(n_modes=2)
    observed = setting.observe(16)
    here = setting.linearise(observed)
    for p in range(7):
        misfit = {}
        for sign in (1, -1):
            step, other = 2e-2 * sign, Setting(n_modes=2)
            if p < 2:
                other.position = setting.position + step * setting.shape[p]
            elif p < 5:
                turn = imaging.rotation_matrix(imaging.quaternion_of(step * np.eye(3)[p - 2]))
                other.rotation = turn @ setting.rotation
            else:
                other.shift_A = setting.shift_A + step * np.eye(2)[p - 5]
            misfit[sign] = other.linearise(observed, pose=False).misfit
        slope = (misfit[1] - misfit[-1]) / 4e-2
        np.testing.assert_allclose(slope, -2 * here.evidence[:, p], rtol=0.02, atol=0.02 * np.abs(slope).max())


def test_frames_do_not_depend_on_each_other_nor_on_threads(monkeypatch):
    setting = Setting()
    observed = setting.observe(14)
    together = setting.linearise(observed)
    alone = [setting.linearise(observed, frames=slice(f, f + 1)) for f in range(N_FRAMES)]
    monkeypatch.setattr(imaging.kernels_cpu, "_threads", lambda: 3)
    monkeypatch.setattr(imaging.kernels_cpu, "THREAD_WORK", 1)
    threaded = setting.linearise(observed)
    for name in ("information", "evidence", "misfit"):
        np.testing.assert_array_equal(getattr(threaded, name), getattr(together, name))
        np.testing.assert_array_equal(np.concatenate([getattr(a, name) for a in alone]), getattr(together, name))


def test_shapes_of_each_frame_may_differ():
    setting = Setting()
    observed = setting.observe(14)
    place = setting.scatterers, setting.position, setting.rotation, setting.shift_A
    scale = np.arange(1.0, N_FRAMES + 1)
    shape = scale[:, None, None, None] * setting.shape
    several = quadratic.linearise(observed, *place, shape, pose=False)
    one = setting.linearise(observed, pose=False)
    np.testing.assert_allclose(several.information, scale[:, None, None] ** 2 * one.information, rtol=1e-4, atol=1e-3)


def test_eliminating_the_pose_is_integrating_it_out():
    setting = Setting()
    expansion = setting.linearise(setting.observe(14))
    prior = np.diag([300.0, 300.0, 300.0, 1.0, 1.0])
    found = without_pose(expansion, prior)
    whole = expansion.information.copy()
    whole[:, 3:, 3:] += prior
    covariance = np.linalg.inv(whole)
    np.testing.assert_allclose(np.linalg.inv(found.information), covariance[:, :3, :3], rtol=1e-6)
    step = (covariance @ expansion.evidence[..., None])[:, :3, 0]
    np.testing.assert_allclose(np.linalg.solve(found.information, found.evidence[..., None])[..., 0], step, rtol=1e-6)


def test_a_bead_outside_the_box_is_left_out_and_no_number_is_refused():
    setting = Setting()
    observed = setting.observe(14)
    setting.position[:, 0] = [0.0, 0.0, 50.0] @ setting.rotation  # seen along the view
    inside = setting.linearise(observed)
    setting.position[:, 0] = [50.0, 0.0, 0.0] @ setting.rotation
    outside = setting.linearise(observed)
    setting.scatterers.amplitude[0] = 0
    np.testing.assert_allclose(setting.linearise(observed).misfit, outside.misfit)
    assert (inside.misfit != outside.misfit).all()
    setting.position[2, 1, 1] = np.nan
    with pytest.raises(DataError, match="not numbers"):
        setting.linearise(observed)
    setting.position[2, 1, 1], setting.shift_A[3, 0] = 0, np.inf
    with pytest.raises(DataError, match="not numbers"):
        setting.linearise(observed)
