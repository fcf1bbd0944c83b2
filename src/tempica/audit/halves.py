"""Whether independent fits to two halves of the data find the same sources: the strongest general test."""

from __future__ import annotations

from tempica.audit.features import Features
from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.audit.rotation import axes
from tempica.errors import DataError
from tempica.evaluate.stability import stability

LEAST = 0.9  # agreement of a single source, which no rotation can change


def halves_test(features: Features, finder: str, data: Given, *, seed: int) -> Test:
    """Sources of fits to disjoint halves, compared at all frames: as they are, and after the best affine map.

    The difference is what the data do not identify. Features and axes are fitted anew in each half, from other random
    starts. Chance within the subspace is what random rotations reach.
    """
    assert features.halves is not None
    title, found = "Halves of the data give the same sources", []
    for k, (mask, h) in enumerate(zip(data.parts(2), features.halves, strict=True)):
        try:
            found.append(h @ axes(finder, h[mask], data.part(mask), seed + 100 + k).T)
        except DataError as error:
            return Test("halves", title, False, f"One half of the data gives no axes: {error}")
    agreed = stability(found)
    n = features.h.shape[1]
    what = (
        f"Fits to two halves of the data agree at {agreed.score:.3f}, and at {agreed.affine:.3f} after the best affine"
    )
    return Test(
        "halves",
        title,
        agreed.score > agreed.null_95 if n > 1 else agreed.score > LEAST,
        f"{what} at {agreed.affine:.3f}; random rotations of the same subspace agree at {agreed.null_95:.3f} in one of"
        " 20 cases.",
        agreed.score,
        agreed.null_95,
        interval=agreed.interval,
        details={"raw": agreed.score, "affine": agreed.affine, "not_identified": agreed.affine - agreed.score},
    )
