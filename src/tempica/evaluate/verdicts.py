"""What the numbers say, in words: a grade for every variable, every method and the run. Pure functions of numbers.

Of variable j with component i: c its absolute rank correlation on held-out frames, [a, b] the 95 % interval, n the
95 % quantile of chance, t the correlation that the best affine map of all components reaches.

    nothing moves     the variable is constant
    at chance         a ≤ n (by rank or by value), and so for the affine map
    recovered         a > n, and the axes are found: the mean over variables beats 95 % of random rotations of the
                      subspace, and c is not significantly below what they reach for j (b ≥ its 95 % quantile); or, of
                      three variables or more, c beats what the best-told variable of 95 % of rotations reaches
    not identifiable  the subspace tells it, but the method has said from the data alone that its component may turn
                      freely, whether or not it has come to lie on the axis; or the axes are not found, and the audit
                      has said that they cannot be
    mixed             the subspace tells it, the axes are not found

Where there is one variable, nothing can be rotated: it is mixed where all components together tell significantly more
than its own does, b < t.

Example:
    >>> told = {"value": 0.9, "interval": [0.88, 0.92], "null_95": 0.1}
    >>> told |= {"aligned": 0.9, "aligned_interval": [0.88, 0.92]}
    >>> source = {"variable": "hinge", "component": 0, "moves": True, "spearman": told, "pearson": told, "r2": 0.8}
    >>> source |= {"rotation_95": None, "rotation_share": None, "best_rotation_95": None, "leaks": []}
    >>> grade(source, finds_axes=None, doubted=False)
    'recovered'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tempica.stores.scores import axes_found

GRADES = ("recovered", "not identifiable", "mixed", "at chance", "nothing moves")  # what a run says first
UNRESOLVED = ("linear", "subspace", "all")  # ambiguities that leave axes open, without a second stage
DOUBTS = ("subspace not separable", "not identifiable from these data", "nothing moves")  # verdicts of the audit
ROUNDING = 1e-9  # by which equal correlations may differ
Numbers = dict[str, Any]


def grade(source: Numbers, *, finds_axes: bool | None, doubted: bool, turns: bool = False) -> str:
    """The grade of one variable.

    Parameters:
        source: numbers of `each.each_variable`.
        finds_axes: whether the mean score beats random rotations; None where nothing can be rotated.
        doubted: whether the audit says that axes cannot be known.
        turns: whether the method says that the component may turn freely.
    """
    rank, value = source["spearman"], source["pearson"]
    if not source["moves"]:
        return "nothing moves"
    own = all(one["interval"][0] > one["null_95"] for one in (rank, value)) and source["component"] >= 0
    subspace = all(one["aligned_interval"][0] > one["null_95"] for one in (rank, value)) and source["r2"] > 0
    if not own and not subspace:
        return "at chance"
    if turns:
        return "not identifiable"
    if not own:
        found = False
    elif finds_axes is None:
        found = bool(rank["interval"][1] >= rank["aligned"] - ROUNDING)
    elif finds_axes:
        found = bool(rank["interval"][1] >= source["rotation_95"])
    else:
        many = len(source["leaks"]) > 1
        found = bool(many and rank["value"] > source["best_rotation_95"])
    return "recovered" if found else "not identifiable" if doubted else "mixed"


def judge(method: Numbers, row: Numbers, sources: Sequence[Numbers], audit: Numbers | None = None) -> Numbers:
    """Grades and sentences of one method at one stage.

    Parameters:
        method: what scores.json says of the method.
        row: its held-out row of the Spearman MCC.
        sources: numbers of each variable.
        audit: content of audit.json, if there is one of these sources.
    """
    doubt, turning = _doubt(method, audit), _turning(method, audit)
    doubted = audit is not None and audit["verdict"]["kind"] in DOUBTS
    finds = axes_found(row)
    judged = []
    for source in sources:
        turns = turning is None or source["component"] in turning
        given = grade(source, finds_axes=finds, doubted=doubted, turns=turns)
        mixed_with = _mixed_with(source) if given in ("mixed", "not identifiable") else []
        judged.append({**source, "grade": given, "mixed_with": mixed_with})
        judged[-1]["sentence"] = _of_source(judged[-1], several=len(sources) > 1)
    whole = summary([source["grade"] for source in judged])
    sentence = f"{method['title']}, {_stage(row['stage'])}: {_of_all(judged)}{_told_by(row)}"
    if doubt and any(source["grade"] == "recovered" for source in judged):
        sentence += f" Without the truth this could not be known: {doubt}"
    elif doubt:
        sentence += f" {doubt}"
    return {
        "method": method["name"],
        "title": method["title"],
        "stage": row["stage"],
        "grade": whole,
        "sentence": sentence,
        "doubt": doubt,
        "sources": judged,
    }


def judge_run(methods: Sequence[Numbers], names: Sequence[str]) -> Numbers:
    """The run's grade and sentence from those of its methods (none: nothing was scored)."""
    if not methods:
        return {"grade": None, "sentence": "No method was scored on held-out replicas.", "methods": []}
    best = {}
    for name in names:
        of_name = [(one["title"], _grade_of(one, name)) for one in methods]
        top = min((g for _, g in of_name), key=GRADES.index)
        best[name] = top, [title for title, g in of_name if g == top]
    parts = []
    for given in GRADES:
        own = [name for name in names if best[name][0] == given]
        if own:
            by = [title for title in best[own[0]][1] if all(title in best[name][1] for name in own)]
            parts.append(f"{_capital(given)}{_by(given, by)}: {_listed(own)}{_nearest(given, own, methods)}.")
    whole = summary([best[name][0] for name in names])
    return {"grade": whole, "sentence": " ".join(parts), "methods": list(methods)}


def _nearest(given: str, names: Sequence[str], methods: Sequence[Numbers]) -> str:
    """The method that comes nearest to variables that none recovers, and how near."""
    if given not in ("mixed", "not identifiable"):
        return ""
    told = {one["title"]: [_source_of(one, name)["spearman"]["value"] for name in names] for one in methods}
    best = max(told, key=lambda title: sum(told[title]))
    return f" (nearest by {best}, |ρ| {_listed([f'{value:.2f}' for value in told[best]])})"


def summary(grades: Sequence[str]) -> str:
    """One grade for several: their own where they agree, "partly recovered" where some are, else the best of them."""
    kinds = set(grades)
    if "recovered" in kinds and kinds != {"recovered"}:
        return "partly recovered"
    return min(kinds, key=GRADES.index)


def effect(what: str, on: str, gain: Numbers) -> Numbers:
    """What a step adds to the score, as a sentence: "gain" or "harm" beyond its paired interval, else "nothing"."""
    low, high = gain["interval"]
    kind = "gain" if low > 0 else "harm" if high < 0 else "nothing"
    size = f"{signed(gain['value'])} ({signed(low)} to {signed(high)})"
    words = {
        "gain": f"{what} adds to {on}: {size}.",
        "harm": f"{what} does harm to {on}: {size}.",
        "nothing": f"{what} adds nothing to {on}: {size}.",
    }
    return {**gain, "effect": kind, "sentence": words[kind]}


def signed(value: float) -> str:
    """A difference to three digits."""
    return f"{value:+.3f}".replace("-", "−")


def _grade_of(method: Numbers, name: str) -> str:
    return str(_source_of(method, name)["grade"])


def _source_of(method: Numbers, name: str) -> Numbers:
    return next(source for source in method["sources"] if source["variable"] == name)


def _turning(method: Numbers, audit: Numbers | None) -> set[int] | None:
    """Components that may turn freely, as the method or the audit says from the data alone; None for all."""
    if audit is not None and audit["verdict"]["kind"] == "not identifiable from these data":
        return None
    if not _unresolved(method):
        return set()
    subspaces = method.get("fit", {}).get("subspaces")
    return None if subspaces is None else {i for members in subspaces for i in members}


def _unresolved(method: Numbers) -> bool:
    """Whether the method says of itself that it leaves axes open."""
    ambiguity = method.get("ambiguity")
    return ambiguity in UNRESOLVED and not (ambiguity == "linear" and method.get("second_stage", "none") != "none")


def _doubt(method: Numbers, audit: Numbers | None) -> str:
    """Why axes cannot be known from the data alone, by the method's own test and by the audit."""
    said = []
    if _unresolved(method):
        said.append(f"{method['title']} says of itself: {method.get('ambiguity_why') or method['ambiguity']}")
    if audit is not None and audit["verdict"]["kind"] in DOUBTS:
        said.append(f"the audit says: {audit['verdict']['sentence']}")
    return " ".join(one if one.endswith(".") else f"{one}." for one in map(_capital, said))


def _mixed_with(source: Numbers) -> list[str]:
    """Variables that leak into the component of this one beyond chance, the largest first."""
    beyond = [leak for leak in source["leaks"] if leak["value"] > leak["null_95"]]
    return [leak["variable"] for leak in sorted(beyond, key=lambda leak: -leak["value"])]


def _of_source(source: Numbers, *, several: bool) -> str:
    """One sentence on one variable, with the numbers that its grade is read from."""
    name, rank = source["variable"], source["spearman"]
    if source["grade"] == "nothing moves":
        return f"{name} does not move: there is nothing to recover."
    if source["component"] < 0:
        return f"{name} has no component: there are fewer of them than variables."
    low, high = rank["interval"]
    numbers = f"|ρ| {rank['value']:.2f} ({low:.2f} to {high:.2f}), chance {rank['null_95']:.2f}"
    axes = "" if source["rotation_95"] is None else f", random axes {source['rotation_95']:.2f}"
    leaks = {leak["variable"]: leak["value"] for leak in source["leaks"]}
    match source["grade"]:
        case "recovered":
            beyond = [f"{other} {leaks[other]:.2f}" for other in _mixed_with(source)]
            leak = f"; leaks into it: {_listed(beyond)}" if beyond else "; no leak beyond chance" if several else ""
            return f"{name} is recovered: {numbers}{axes}{leak}."
        case "at chance":
            return f"{name} is at chance: {numbers}; this is no evidence of recovery."
    if source["grade"] == "not identifiable" and not source["mixed_with"]:
        return (
            f"{name} is not identifiable: {numbers}{axes}. The component lies near its axis, but the data alone do not"
            " say so."
        )
    with_ = [f"{other} ({leaks[other]:.2f})" for other in source["mixed_with"]]
    together = f"all components together tell {rank['aligned']:.2f}"
    how = "mixed" if source["grade"] == "mixed" else "not identifiable, and mixed"
    whom = f" with {_listed(with_)}" if with_ else "" if several else " over several components"
    luck = (
        ""
        if source["rotation_share"] is None
        else f"; {100 * source['rotation_share']:.0f} % of random axes are as near"
    )
    return f"{name} is {how}{whom}: {numbers}{axes}{luck}; {together}."


def _of_all(judged: Sequence[Numbers]) -> str:
    """Variables by grade."""
    parts = []
    for given in GRADES:
        own = [source for source in judged if source["grade"] == given]
        if own:
            parts.append(f"{_listed([_short(source) for source in own])} {_IS[given](len(own))}")
    return "; ".join(parts)


def _short(source: Numbers) -> str:
    if source["component"] < 0 or source["grade"] == "nothing moves":
        return str(source["variable"])
    with_ = f", with {_listed(source['mixed_with'])}" if source["mixed_with"] else ""
    return f"{source['variable']} (|ρ| {source['spearman']['value']:.2f}{with_})"


def _told_by(row: Numbers) -> str:
    """Mean score, chance and ceilings; shares of ceilings only where these are above chance."""
    text = f". Mean {row['value']:.2f} on held-out replicas, where chance gives up to {row['null_95']:.2f}"
    if row["rotation_null_95"] is not None:
        text += f" and random rotations of its subspace up to {row['rotation_null_95']:.2f}"
    bounds = {"ceiling": "single frames allow", "ceiling_temporal": "whole movies allow"}
    for key, words in bounds.items():
        reached = row[key]
        if reached is not None and reached > row["null_95"]:
            text += f"; {words} {reached:.2f}"
        elif reached is not None:
            text += f"; {words} no more than chance"
    return text + "."


_IS = {
    "recovered": lambda n: "is recovered" if n == 1 else "are recovered",
    "mixed": lambda n: "is mixed" if n == 1 else "are mixed",
    "not identifiable": lambda n: "is not identifiable" if n == 1 else "are not identifiable",
    "at chance": lambda n: "is at chance" if n == 1 else "are at chance",
    "nothing moves": lambda n: "does not move" if n == 1 else "do not move",
}


def _by(given: str, titles: Sequence[str]) -> str:
    return f" by {_listed(titles)}" if given == "recovered" and titles else ""


def _stage(stage: str) -> str:
    return "frame by frame" if stage == "unmixed" else stage


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
