"""Heights as a likelihood: derivatives, what is eliminated, and what the noise makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempica.errors import DataError
from tempica.imaging.afm import Probe
from tempica.imaging.heights import Heights

N_PIXELS, PIXEL, NOISE = 24, 0.4, 0.1
RADIUS = np.full(40, 0.3)


def world(n_frames: int = 3, sharpness: float = 20.0, **more: float) -> tuple[Heights, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(0)
    position = rng.normal(size=(n_frames, 40, 3)) * [1.4, 1.0, 0.5]
    rotation = Rotation.from_rotvec(rng.uniform(0, 6, (n_frames, 1)) * [0, 0, 1]).as_matrix()
    shift_A = rng.normal(size=(n_frames, 2)) * 3
    probe = Probe(0.5, 0.2, N_PIXELS, PIXEL, sharpness_per_nm=sharpness)
    blank = Heights(np.zeros((n_frames, N_PIXELS, N_PIXELS), np.float32), RADIUS, probe, NOISE, **more)
    clean = blank.model(position, rotation, shift_A)
    image = (clean + NOISE * rng.normal(size=clean.shape)).astype(np.float32)
    return Heights(image, RADIUS, probe, NOISE, **more), (position, rotation, shift_A)


@pytest.mark.parametrize("sharpness", [1000.0, np.inf])
def test_evidence_is_the_slope_of_the_misfit(sharpness: float) -> None:
    """With a sharp maximum: at few pixels are two atoms so near in height that a step crosses from one to the other."""
    seen, (position, rotation, shift_A) = world(8, sharpness=sharpness, lift_nm=1e-6, offset_nm=1e-6)
    shape = 0.2 * np.random.default_rng(1).normal(size=(3, 40, 3))
    evidence = seen.expand(position, rotation, shift_A, shape, pose=True).evidence
    step = 1e-3

    def misfit(p: int, by: float) -> np.ndarray:
        turn = Rotation.from_rotvec(by * np.eye(3)[p - 3]).as_matrix() if 3 <= p < 6 else np.eye(3)
        move = shift_A.copy()
        if p >= 6:
            move[:, p - 6] += by
        at = position + by * shape[p] if p < 3 else position
        return seen.expand(at, turn @ rotation, move, shape[:0], pose=False).misfit

    for p in range(8):
        slope = -(misfit(p, step) - misfit(p, -step)) / (4 * step)
        assert np.corrcoef(slope, evidence[:, p])[0, 1] > 0.99
        assert np.median(np.abs(slope - evidence[:, p])) < 0.1 * np.abs(evidence[:, p]).max()


def test_the_truth_misfits_by_the_number_of_pixels() -> None:
    seen, truth = world(20)
    misfit = seen.expand(*truth, np.zeros((0, 40, 3)), pose=True).misfit / seen.n_values
    assert abs(misfit.mean() - 1) < 4 * np.sqrt(2 / seen.n_values / 20)
    assert (seen.empty > 2 * seen.n_values).all()


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_plane_and_offsets_of_lines_are_no_matter(axis: str) -> None:
    seen, truth = world(10, offset_nm=1.0, line_offset_nm=0.5)
    seen = replace(seen, probe=replace(seen.probe, fast_axis=axis))
    rng = np.random.default_rng(2)
    line = 0.5 * rng.normal(size=(10, N_PIXELS))
    along = np.linspace(-1, 1, N_PIXELS)
    plane = 0.4 + 0.3 * along[:, None] - 0.5 * along
    lifted = replace(
        seen, image=(seen.image + plane + (line[:, :, None] if axis == "x" else line[:, None])).astype(np.float32)
    )
    none = np.zeros((0, 40, 3))
    misfit = lifted.expand(*truth, none, pose=False).misfit / seen.n_values
    assert abs(misfit.mean() - 1) < 0.1
    assert replace(lifted, line_offset_nm=0.0).expand(*truth, none, pose=False).misfit.mean() > 5 * seen.n_values


def test_the_height_over_the_support_is_no_matter_within_what_it_may_be() -> None:
    seen, truth = world(10, lift_nm=0.3)
    raised = replace(seen, image=(seen.image + 0.2 * (seen.model(*truth) > 0.5)).astype(np.float32))
    none = np.zeros((0, 40, 3))
    free, bound = (replace(raised, lift_nm=lift).expand(*truth, none, pose=False).misfit.mean() for lift in (0.3, 1e-3))
    assert free < 1.2 * seen.n_values  # a lift is not the same at the molecule's edge, where the tip slides
    assert bound > 1.5 * seen.n_values


def test_frames_can_be_taken_apart() -> None:
    seen, (position, rotation, shift_A) = world(6)
    shape = 0.2 * np.random.default_rng(1).normal(size=(2, 40, 3))
    whole = seen.expand(position, rotation, shift_A, shape, pose=True)
    some = seen[2:4].expand(position[2:4], rotation[2:4], shift_A[2:4], shape, pose=True)
    np.testing.assert_allclose(some.information, whole.information[2:4], rtol=1e-5, atol=1e-3)
    with pytest.raises(DataError, match="must be numbers"):
        seen.expand(np.full_like(position, np.nan), rotation, shift_A, shape, pose=True)


def test_a_molecule_that_moves_while_it_is_scanned_is_seen_to_move() -> None:
    seen, (position, rotation, shift_A) = world(6)
    scan = np.zeros_like(position)
    scan[..., 0] = 0.8
    moving = replace(seen, scan_nm=scan)
    moving = replace(moving, image=moving.model(position, rotation, shift_A))
    none = np.zeros((0, 40, 3))
    assert (moving.expand(position, rotation, shift_A, none, pose=False).misfit < 1e-3 * moving.n_values).all()
    still = replace(moving, scan_nm=None).expand(position, rotation, shift_A, none, pose=False).misfit
    assert (still > moving.n_values).all()


@pytest.mark.parametrize(("axis", "fall", "hard"), [("x", np.inf, False), ("y", 0.5, False), ("y", 0.5, True)])
def test_sums_are_those_of_the_whole_jacobian(axis: str, fall: float, hard: bool) -> None:
    """Against columns that are written out pixel by pixel, motions bead by bead; the maximum itself as a sharp one."""
    seen, (position, rotation, shift_A) = world(2, sharpness=1e5 if hard else 20.0, line_offset_nm=0.2)
    seen = replace(seen, probe=replace(seen.probe, fast_axis=axis, fall_nm=fall))
    shape = 0.2 * np.random.default_rng(3).normal(size=(2, 40, 3))
    turned = position @ rotation.swapaxes(1, 2)
    view = turned + 0.1 * np.pad(shift_A, ((0, 0), (0, 1)))[:, None]
    view[..., 2] -= (view[..., 2] - RADIUS).min(1, keepdims=True)
    pose = [np.cross(np.eye(3)[k], turned) for k in range(3)]
    pose += [np.broadcast_to(0.1 * np.eye(3)[k], turned.shape) for k in range(2)]
    motion = np.stack([*(way @ rotation.swapaxes(1, 2) for way in shape), *pose], 1)
    lowest = (view[..., 2] - RADIUS).argmin(1)
    motion[..., 2] -= motion[np.arange(2), :, lowest, 2][:, :, None]
    lift = np.broadcast_to([0.0, 0.0, 1.0], turned.shape)
    column = seen.probe.soft_images(view[:, None], np.concatenate([motion, lift[:, None]], 1), RADIUS)[1]
    along = 2 * np.arange(N_PIXELS) / N_PIXELS - 1
    slopes = (along, along[:, None]) if axis == "x" else (along[:, None], along)
    plane = [np.broadcast_to(part, column.shape[:3]) for part in (np.ones(1), *slopes)]
    jacobian = np.concatenate([column, np.stack(plane, -1)], -1).astype(float)
    rest = (seen.image - seen.model(position, rotation, shift_A)).astype(float)
    line, share = (2 if axis == "x" else 1), NOISE**2 / (NOISE**2 + N_PIXELS * 0.2**2)
    white = [part - (1 - np.sqrt(share)) * part.mean(line, keepdims=True) for part in (jacobian, rest)]
    J, r = white[0].reshape(2, N_PIXELS**2, -1), white[1].reshape(2, -1)
    found = (seen.touched() if hard else seen).probe.expansions(
        seen.image, view[:, None], turned, rotation, shape, RADIUS, pose=True, share=share
    )  # fmt: skip
    for sums, twin in zip(found, (J.swapaxes(1, 2) @ J, (r[:, None] @ J)[:, 0], (r**2).sum(1)), strict=True):
        np.testing.assert_allclose(sums, twin, atol=2e-4 * np.abs(twin).max())
