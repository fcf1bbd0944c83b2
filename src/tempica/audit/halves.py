"""Whether independent fits to two halves of the data find the same sources: the strongest general test."""

from __future__ import annotations

from tempica.audit.features import Features, raw_agreement
from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.audit.rotation import axes, random_agreement


def halves_test(features: Features, finder: str, data: Given, *, seed: int) -> Test:
    """Sources of fits to disjoint halves, compared at all frames: as they are, and after the best affine map.

    The difference is what the data do not identify. Features and axes are fitted anew in each half, from other random
    starts. Chance within the subspace is what random rotations reach.
    """
    assert features.halves is not None
    found = []
    for k, (mask, h) in enumerate(zip(data.parts(2), features.halves, strict=True)):
        found.append(h @ axes(finder, h[mask], data.part(mask), seed + 100 + k).T)
    raw = raw_agreement(*found)
    n = features.h.shape[1]
    chance = random_agreement(n, 2)
    what = f"Fits to two halves of the data agree at {raw:.3f}, and at {features.affine:.3f} after the best affine map"
    return Test(
        "halves",
        "Halves of the data give the same sources",
        raw > chance if n > 1 else raw > 0.9,
        f"{what}; random rotations of the same subspace agree at {chance:.3f} in one of 20 cases.",
        raw,
        chance,
        details={"raw": raw, "affine": features.affine, "not_identified": features.affine - raw},
    )
