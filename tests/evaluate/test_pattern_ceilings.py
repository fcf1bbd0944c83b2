"""Ceilings of counted diffraction patterns against a slow twin that integrates over structures on a dense grid.

Twelve beads; one motion follows the collective variable, another one, random in every frame, moves bright fringes by
as much as their width.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from tempica.evaluate import ceilings, temporal
from tempica.imaging.diffraction import Beamline
from tempica.imaging.photons import Patterns, patterns_of
from tempica.imaging.xray import scatterers_of

LINE = Beamline(20, 2400.0, 100.0, 6000.0, 2.0, "none", 20.0)
N_BEADS, N_REST, RHO = 12, 6, 0.8


class World:
    """Structures mean + 0.3 (c d₁ + 0.15 (c² − 1) d₂ + 2 r d₃), c an autoregression within pairs of frames."""

    def __init__(self, light=4e14, n_library=300, n_frames=16, seed=0):
        self.rng = np.random.default_rng(seed)
        self.mean = self.rng.normal(size=(N_BEADS, 3)) * [1.4, 1.0, 0.7]
        self.direction = np.linalg.qr(self.rng.normal(size=(3 * N_BEADS, 2 + N_REST)))[0].T.reshape(-1, N_BEADS, 3)
        library, _ = self.drawn(n_library)
        structures = self.structure(library, self.rng.standard_normal((n_library, N_REST)))
        self.prior = ceilings.learn_prior(structures, library[:, None], n_modes=2 + N_REST)
        self.law = temporal.learn_dynamics(library[:, None], np.repeat(np.arange(n_library // 2), 2))
        self.truth, self.molecule = self.drawn(n_frames)
        self.position = self.structure(self.truth, self.rng.standard_normal((n_frames, N_REST)))
        self.here = self.prior.amplitude(self.position)
        self.pose = Rotation.random(n_frames, random_state=seed).as_matrix(), np.zeros((n_frames, 2))
        beads = scatterers_of(["C25H40N10O10"] * N_BEADS, np.full(N_BEADS, 0.2))
        empty = patterns_of(np.zeros((n_frames, 20, 20)), LINE.mask, LINE, beads, light, 0.0)
        count = self.rng.poisson(empty.expected(self.position, self.pose[0])).astype(np.float32)
        self.seen = Patterns(count, empty.q, empty.factor, empty.variance_A2, empty.scale, 0.0)

    def drawn(self, n):
        one = self.rng.standard_normal(n // 2)
        other = RHO * one + np.sqrt(1 - RHO**2) * self.rng.standard_normal(n // 2)
        return np.stack([one, other], 1).ravel(), np.repeat(np.arange(n // 2), 2)

    def structure(self, c, r):
        return self.mean + 0.3 * np.einsum("sk,knj->snj", np.c_[c, 0.15 * (c**2 - 1), r], self.direction)

    def told(self):
        nodes = self.law.coarse_values()
        return ceilings.likelihoods_by(self.prior, self.seen, self.pose, self.position, nodes)

    def twin(self, f):
        """The same of a frame at the nodes (G,), up to a constant: r climbed from 0 by a general method."""
        size, axis = np.linalg.eigh(self.prior.spread)
        root, identity = axis * np.sqrt(np.maximum(size, 0)), np.eye(len(size))
        shape = np.tensordot(root.T, self.prior.shape, 1)
        pose = self.pose[0][f : f + 1], self.pose[1][f : f + 1]
        found = []
        for g in self.prior.expected(self.law.coarse_values()):
            base = self.position[f] + np.tensordot(g - self.here[f], self.prior.shape, 1)

            def look(z, base=base):
                structure = base + np.tensordot(z, shape, 1)
                return self.seen[f : f + 1].expand(structure[None], *pose, shape, pose=False)

            def cost(z):
                seen = look(z)
                return 0.5 * (seen.misfit[0] + z @ z), z - seen.evidence[0]

            best = minimize(cost, np.zeros(len(size)), jac=True, method="BFGS")
            inner = look(best.x).information[0] + identity
            found.append(-best.fun - 0.5 * np.linalg.slogdet(inner)[1])
        return np.array(found)


def test_likelihoods_are_those_of_the_likeliest_structure_at_each_node():
    """The probability that posteriors at the nodes put elsewhere than the twin's: what a tenth of a nat would do."""
    world = World(seed=1, n_frames=8)
    told = world.told()
    value = told.at(world.prior.expected(world.law.coarse_values())) + told.correction
    one, two = (np.exp(log - log.max(1, keepdims=True)) for log in (value, np.array([world.twin(f) for f in range(8)])))
    apart = 0.5 * np.abs(one / one.sum(1, keepdims=True) - two / two.sum(1, keepdims=True)).sum(1)
    assert np.quantile(apart, 0.75) < 0.05  # a frame may have two maxima, and each climb end at another


def test_a_pair_tells_more_than_its_frames():
    """Means of a posterior and of one that has seen more: the second errs less, and no other estimate errs less."""
    world = World(light=1e14, n_frames=120)
    told = world.told()
    interpolation = world.law.interpolation(world.law.score(world.prior.library))
    alone, _ = ceilings.bayes_estimate(world.prior, told, interpolation)
    together = temporal.smoothed_estimate(world.prior, world.law, told, world.truth[:, None], world.molecule)
    assert not isinstance(together, str)
    one, two = (np.mean((estimate[:, 0] - world.truth) ** 2) for estimate in (alone, together))
    assert two < one < np.var(world.truth)
    slope = np.polyfit(alone[:, 0], world.truth, 1)[0]  # 1 of a posterior mean
    assert abs(slope - 1) < 3 * np.sqrt(one / len(alone)) / np.std(alone)
