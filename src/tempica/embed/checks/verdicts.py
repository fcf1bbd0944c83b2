"""What the tests of a check should give, what they gave, and a sentence on each: checks.json.

A gain counts where it is more than SURE standard errors above 0, and more than LEAST. Standard errors are those of
means over blocks of neighbouring frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from tempica.embed.checks.figures import SURE, Check, Figure, Found
from tempica.embed.checks.models import agreement
from tempica.stores import files, schema

EXPLAINED = 0.8  # of what images of the run's model would gain, from which on the model counts as the images' own
KEPT = 0.5  # of the gain by motion: what others may gain at the most, or halves lose
NEAR_A = 1.5  # means of models that count as the same
APART_DEG = 15.0  # poses that count as different
RARE = 0.02  # share of frames that may differ for no reason that is known
SECOND = 0.05  # probability of other poses from which on a frame counts as ambiguous


def write_checks(folder: Path, pose: str, about: dict[str, Any], out: Path) -> None:
    """All verdicts, into a file."""
    found = Found(folder, pose)
    tests: tuple[Callable[[Found], Check | None], ...] = (
        molecule,
        noise,
        stillness,
        shape,
        hand,
        motion,
        agreement_of_halves,
        other_start,
        poses,
    )
    rows = [asdict(row) for row in (test(found) for test in tests) if row is not None]
    used = {"held_out": ("run", "held_out"), "half": ("half-0", "half-0")}
    frames = {name: len(found.look(*which)["log_evidence"]) for name, which in used.items()}
    files.write_json(out, about | {"schema_version": schema.SCHEMA_VERSION, "frames": frames, "checks": rows})


def _verdict(passes: bool) -> str:
    return "passed" if passes else "failed"


def molecule(found: Found) -> Check:
    own = found.gain("run's model", "run")
    expected = found.gain("images of the run's model", "run", images="moving")
    share = Figure("explained", own.value / expected.value, own.error / expected.value if own.error else None, "share")
    passes = own.is_sure and share.value >= EXPLAINED
    sentence = (
        f"Held-out images gain {own} nats a frame with the run's model over an empty image; images made of that model"
        f" gain {expected}: {share} of it."
    )
    if not own.is_sure:
        sentence += " They show no molecule."
    elif not passes:
        sentence += " They are of another molecule, or of one whose structure or poses are wrong."
    return Check("molecule", "Images are of this molecule", _verdict(passes), sentence, (own, expected, share))


def noise(found: Found) -> Check:
    own = found.gain("run's model", "run", images="noise")
    learned = found.gain("model learned from noise", "noise", images="noise")
    passes = not (own.is_sure or learned.is_sure)
    sentence = (
        f"Images of noise alone gain {own} nats a frame with the run's model, and {learned} with a model that was"
        " learned from noise, over an empty image: "
    )
    sentence += "nothing found." if passes else "a molecule is found where there is none."
    return Check("noise", "Nothing is found in noise", _verdict(passes), sentence, (own, learned))


def stillness(found: Found) -> Check:
    own = found.gain("run's modes", "run", "rigid", images="still")
    learned = found.gain("modes learned where nothing moves", "still", "rigid", images="still")
    size = [float(np.sqrt((found.look("run", images=images)["amplitude"] ** 2).mean())) for images in ("still", "run")]
    figures = (
        own,
        learned,
        Figure("amplitudes", size[0], unit="1"),
        Figure("amplitudes of the run", size[1], unit="1"),
    )
    passes = not (own.is_sure or learned.is_sure)
    sentence = (
        f"Images of a molecule that does not move gain {own} nats a frame by the run's modes, and {learned} by modes"
        f" that were learned from such images; amplitudes are {size[0]:.2f} rms, and {size[1]:.2f} in the run: "
    )
    sentence += "no motion found." if passes else "motion is found where there is none."
    return Check("stillness", "No motion is found where nothing moves", _verdict(passes), sentence, figures)


def shape(found: Found) -> Check:
    better = found.gain("over another shape", "run", "shape")
    sentence = f"The run's model gains {better} nats a frame over the same beads folded otherwise."
    if not better.is_sure:
        sentence += " Its shape is not what the images show."
    return Check("shape", "Another shape is worse", _verdict(better.is_sure), sentence, (better,))


def hand(found: Found) -> Check:
    better = found.gain("over the mirror image", "run", "mirror")
    title = "The mirror image is worse"
    if found.pose == "hidden":
        sentence = (
            f"The run's model gains {better} nats a frame over its mirror image. Where poses are hidden, a molecule and"
            " its mirror image give the same images: the hand is that of the structure, and cannot be told."
        )
        return Check("hand", title, "not applicable", sentence, (better,))
    sentence = f"At the poses that the movie states, the run's model gains {better} nats a frame over its mirror image."
    if not better.is_sure:
        sentence += " The hand of the poses, or of the structure, is wrong."
    return Check("hand", title, _verdict(better.is_sure), sentence, (better,))


def motion(found: Found) -> Check:
    own, others = found.motion, []
    for name, label in (("reversed", "its motion in reversed order of beads"), ("soft", "that of another molecule")):
        others.append(found.gain(f"by {label}", name, "rigid"))
    least = found.gain(
        "over the better of them", "run", max(("reversed", "soft"), key=lambda m: found.gain("", m).value)
    )
    figures = (own, *others, least)
    passes = own.is_sure and least.is_sure and max(o.value for o in others) < KEPT * own.value
    sentence = (
        f"The run's modes gain {own} nats a frame over a molecule that does not move; the same motion in reversed order"
        f" of beads gains {others[0]}, and that of another molecule, as strong, {others[1]}."
    )
    if found.has("free"):
        free = found.gain("by modes learned from the mean structure alone", "free", "rigid")
        figures = (*figures, free)
        sentence += f" Modes learned anew from the mean structure alone gain {free}."
        if free.is_sure and own.value < KEPT * free.value:
            passes = False
    if not own.is_sure:
        sentence += " The run's modes explain nothing."
    elif not passes:
        sentence += " The run's modes are not this molecule's."
    return Check("motion", "Another molecule's motion is worse", _verdict(passes), sentence, figures)


def agreement_of_halves(found: Found) -> Check:
    title = "Halves of the data agree"
    if not found.gain("", "run").is_sure:
        sentence = "The images show no molecule on which halves of them could agree."
        return Check("halves", title, "not applicable", sentence)
    alike, chance = found.agreement("half-0", "half-1"), found.agreement("half-0", "still")
    lost = [found.gain(f"lost on half {i + 1}", f"half-{i}", f"half-{1 - i}", frames=f"half-{i}") for i in (0, 1)]
    scale = max(found.gain("", f"half-{i}", "rigid").value for i in (0, 1))
    total = Figure("lost by the other half's model", 0.5 * (lost[0].value + lost[1].value), _joint(lost))
    by_halves = [found.gain(f"by modes of half {i + 1}", f"half-{i}", "rigid") for i in (0, 1)]
    matched = _matched(*(found.look(f"half-{i}")["amplitude"] for i in (0, 1)))
    figures = (
        Figure("distance of means", alike.mean_A, unit="angstrom"),
        Figure("distance beyond the motion", alike.beyond_A, unit="angstrom"),
        Figure("shared motion", alike.share, unit="share"),
        Figure("shared motion by chance", chance.share, unit="share"),
        *(Figure(f"principal angle {i + 1}", angle, unit="degree") for i, angle in enumerate(alike.angle_deg)),
        *(Figure(f"correlation of source {i + 1}", value, unit="1") for i, value in enumerate(matched)),
        *by_halves,
        total,
    )
    excess = total.value - SURE * (total.error or 0.0)
    passes = alike.beyond_A < NEAR_A and excess < KEPT * max(scale, found.motion.value, 0.0)
    sentence = (
        f"Two halves of the training data, learned from apart: means are {alike.mean_A:.1f} Å from each other, of which"
        f" motion makes up for all but {alike.beyond_A:.1f} Å; {figures[2]} of the motion is shared ({figures[3]} with"
        f" what is learned where nothing moves), the best of the sources correlate by {matched[0]:.2f}, and a half"
        f" loses {total} nats a frame with the other's model."
    )
    if not passes:
        sentence += " The halves are not of the same molecule, or too small to tell."
    return Check("halves", title, _verdict(passes), sentence, figures)


def other_start(found: Found) -> Check:
    title = "Another structure leads to the same, or explains less"
    if not found.has("other"):
        sentence = "No other structure was given (--against FILE)."
        return Check("other_start", title, "not applicable", sentence)
    before, after = agreement(found.model("rigid"), found.model("rigid-other")), found.agreement("run", "other")
    rigid = found.gain("as it is, over the run's mean", "rigid-other", "rigid")
    worse = found.gain("run's model over the one learned from there", "run", "other")
    same = after.mean_A < NEAR_A
    figures = (
        Figure("distance of means before", before.mean_A, unit="angstrom"),
        Figure("distance of means after", after.mean_A, unit="angstrom"),
        Figure("shared motion", after.share, unit="share"),
        rigid,
        worse,
    )
    sentence = (
        f"The other structure is {before.mean_A:.1f} Å from the run's mean, and as it is gains {rigid} nats a frame"
        f" over it; learned from there, the mean ends {after.mean_A:.1f} Å from the run's, and {figures[2]} of the"
        f" motion is shared; the run's model gains {worse} over it."
    )
    better = worse.error is not None and worse.value < -SURE * worse.error - KEPT * max(found.motion.value, 0.0)
    if better:
        sentence += " The other structure explains the images better than the run's."
    elif not same and not worse.is_sure:
        sentence += " The images do not decide between the two: the result depends on the structure begun with."
    elif not same:
        sentence += " It does not lead to the same, but the images tell that the run's is the better."
    passes = not better and (same or worse.is_sure)
    return Check("other_start", title, _verdict(passes), sentence, figures)


def poses(found: Found) -> Check:
    title = "Poses do not depend on the grid"
    if found.pose != "hidden":
        return Check("poses", title, "not applicable", f"Poses are {found.pose}, and not searched.")
    first, second = found.look("run"), found.look("run", again="-again")
    cosine = 0.5 * (np.einsum("fij,fij->f", first["rotation"], second["rotation"]) - 1)
    apart = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    likely = np.minimum(first["share"][:, 0], second["share"][:, 0])
    ambiguous = float((likely < 1 - SECOND).mean())
    differ, doubt = float((apart > APART_DEG).mean()), float((1 - likely).mean())
    figures = (
        Figure("ambiguous frames", ambiguous, unit="share"),
        Figure("frames that two searches place differently", differ, unit="share"),
        Figure("expected of those", 2 * doubt, unit="share"),
        Figure("median angle between searches", float(np.median(apart)), unit="degree"),
    )
    passes = differ <= RARE + 2 * doubt
    sentence = (
        f"{100 * ambiguous:.1f} % of held-out frames have another pose with a probability above {100 * SECOND:.0f} %."
        f" Searches over two grids place {100 * differ:.1f} % of them more than {APART_DEG:.0f}° apart, the others"
        f" {np.median(apart):.2f}° (median)."
    )
    if not passes:
        sentence += " More differ than the evidence of their poses says: the search misses poses."
    return Check("poses", title, _verdict(passes), sentence, figures)


def _matched(one: np.ndarray, two: np.ndarray) -> list[float]:
    """Absolute correlations of sources matched one by one, the best pair first."""
    first, second = (series - series.mean(0) for series in (one, two))
    size = np.sqrt(np.outer((first**2).sum(0), (second**2).sum(0)))
    table = np.abs(first.T @ second) / np.maximum(size, 1e-300)
    return sorted(table[linear_sum_assignment(-table)].tolist(), reverse=True)


def _joint(figures: list[Figure]) -> float:
    return 0.5 * float(np.sqrt(sum((figure.error or 0.0) ** 2 for figure in figures)))
