"""Names, numbers and sentences of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray

GLOSSARY = (
    (
        "MCC",
        "Mean correlation coefficient. Each collective variable is matched with one component, by the best"
        " one-to-one assignment on the training replicas; the score is the mean of the absolute correlations of"
        " the matched pairs on held-out replicas. 1 is perfect up to order, sign and scale. Spearman’s ρ also"
        " forgives any monotone bending of a component, Pearson’s r does not.",
    ),
    (
        "Null",
        "The score of a recovery that knows nothing of the truth, but is as slow as this one: slow series"
        " correlate by chance. Given are its mean and the value below which 95 % of it lie. A score below that"
        " value is no evidence of recovery.",
    ),
    (
        "Chance within the subspace",
        "The score of random rotations of what was recovered, after the best affine map onto the truth: what a method"
        " scores that finds the space of the collective variables, but not the axes in it. A method is credited with"
        " axes only above the value below which 95 % of these lie, and above the null.",
    ),
    (
        "R², aligned",
        "How much of the truth the components tell, whatever the axes: the best affine map of all components onto the"
        " truth, fitted on the training replicas, explains this share of its variance, and scores this MCC, on held-out"
        " replicas. The gap between MCC and aligned MCC is the linear ambiguity that is left.",
    ),
    (
        "Interval",
        "95 % interval of the score, from how much each held-out frame contributes to it, and for how long neighbouring"
        " frames contribute alike. It covers the finite length of the movies, not another training run.",
    ),
    (
        "Ceiling",
        "The score of the Bayes estimate of each collective variable from single frames with known pose and"
        " noise: about the best that is possible without looking at neighbouring frames. Smoothing in time uses"
        " them, so a smoothed score may exceed the ceiling.",
    ),
    (
        "Temporal ceiling",
        "The same from all frames of a movie at once: the exact smoother that knows how structures follow from the"
        " collective variables, and how fast each of them forgets. About the best that is possible at all.",
    ),
    (
        "Told the truth",
        "The score of a network that is trained on the truth of the training replicas, and sees the same latents, or"
        " the same images, one at a time: what methods that are told nothing can hope for. Shares are given of bounds"
        " above chance alone.",
    ),
    (
        "Bound",
        "The least error that an unbiased estimate of a pose can have from one frame, when the conformation is not"
        " known either (Cramér and Rao), with what the modes are known to do beforehand.",
    ),
    (
        "Unmixed, smoothed",
        "Unmixed: the method’s components, frame by frame. Smoothed: each frame’s components estimated from the"
        " whole movie, by their own memory in time; done after unmixing.",
    ),
    (
        "Held-out replicas",
        "Independent movies that no method has seen. Training, matching and scaling use the others.",
    ),
)


def series_name(method: str, stage: str, learned: Sequence[str]) -> str:
    """A method and its stage; the single stage of a baseline goes without saying."""
    return f"{method}, {stage}" if method in learned or stage != "unmixed" else method


def shortened(name: str, most: int = 24) -> str:
    """A name that fits a panel."""
    return name if len(name) <= most else name[: most - 1] + "…"


def number(value: float | None, digits: int = 3) -> str:
    """A number to a fixed precision; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def signal_to_noise(about: Mapping[str, Any]) -> str:
    """The SNR of a movie, from its attributes, and what its noise is."""
    if about["noise_std"] == 0:
        return "no noise"
    snr = f"{(about['signal_std'] / about['noise_std']) ** 2:.3g}"
    kinds = {"coloured": ", coloured noise", "poisson": f", {about['electrons_per_pixel']:.3g} electrons a pixel"}
    return snr + kinds.get(about["noise"], "")


def of_camera(movie: xarray.Dataset) -> dict[str, str]:
    """What recorded a movie, and how strong its noise is."""
    about, size = movie.attrs, f"{movie.sizes['x']} × {movie.sizes['y']} pixels"
    if about["kind"] == "diffraction":
        photons = float(movie["image"].isel(time=slice(0, 50)).sum(("y", "x")).mean())
        return {"Patterns": f"{size} of {about['pixel_size_um']:g} µm", "Photons": f"about {photons:.3g} a pattern"}
    if about["kind"] == "heights":
        noise = f"{about['noise_nm']:g} nm in a pixel, {about['line_offset_nm']:g} nm in a line"
        return {"Heights": f"{size} of {about['pixel_size_nm']:g} nm", "Noise": noise}
    return {"Images": f"{size} of {about['pixel_size_A']:g} Å", "Signal to noise": signal_to_noise(about)}


def enumeration(parts: Sequence[str]) -> str:
    """a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "nothing"
