"""The report of `tempica unmix`: axes without a known truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempica.report import alone, templating
from tempica.report.embedded import WIDE, figure_block, image, style
from tempica.report.figures import INK, MUTED, PALETTE
from tempica.report.templating import fill, page
from tempica.report.words import number, shortened

MOST_SHOWN = 8  # sources with a panel each
MOST_ROWS = 4000  # points of a trace
LONG = 60  # letters of a cell that is wrapped
VERDICTS = {
    "identifiable": "Identifiable",
    "linear": "Linear ambiguity",
    "subspace": "Only a subspace",
    "all": "Not identifiable",
    "assumed": "Under an assumption",
}


def render_unmixed(
    record: dict[str, Any],
    X: np.ndarray,
    sources: np.ndarray,
    features: Sequence[str],
    *,
    labels: np.ndarray | None = None,
    series: np.ndarray | None = None,
    sections: Sequence[str] = (),
) -> str:
    """The report as HTML, without scripts and outside resources; the same inputs give the same bytes.

    Parameters:
        record: content of unmix.json.
        X: (frame, feature) latents.
        sources: (frame, component) of the method that is given out.
        features: names of the latents.
        labels: (frame,) condition of each frame, or None.
        series: (frame,) number of the series of each frame, in order of time, or None.
        sections: further sections, HTML.
    """
    with style():
        body = [_sources(sources, labels, series), _latents(X, sources, features), _surface(record, sources)]
    body += [_leakage(record), _audit(record), *sections, _methods(record), _files(record)]
    return page(f"{record['source']}: unmixed", _head(record), body)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table of text; the first cell of a row is its heading, long texts are wrapped."""
    longest = [max((len(row[k]) for row in rows), default=0) for k in range(len(columns))]
    classes = ["text" if length > LONG else "" for length in longest]
    return fill(
        "table.html",
        heads=list(zip(columns, classes, strict=True)),
        rows=[list(zip(row, classes, strict=True)) for row in rows],
        caption="",
        label=columns[0],
    )


def _head(record: dict[str, Any]) -> str:
    about = record["methods"][record["given_out"]]
    facts = {
        "Rows": f"{record['rows_used']} of {record['rows']}",
        "Latents": str(len(record["features"])),
        "Sources": str(record["n_components"]),
        "Method": about["title"],
        "Series": "none" if record["series"] is None else str(record["series"]),
        "Labels": record["labels"] or "none",
    }
    verdict = Markup('<div class="verdict"><p class="whole"><b>{}.</b> {}</p></div>')
    return fill(
        "header.html",
        kicker="tempica unmix",
        title=str(record["source"]).rpartition("/")[2],
        verdict=verdict.format(VERDICTS[record["verdict"]], record["why"]),
        facts=facts,
        notes=[record["counted"], *record["notes"], *about["warnings"], *filter(None, [record["bias"]])],
    )


def _sources(sources: np.ndarray, labels: np.ndarray | None, series: np.ndarray | None) -> str:
    shown = min(sources.shape[1], MOST_SHOWN)
    figure = Figure(figsize=(WIDE, 0.5 + 1.35 * shown), layout="constrained")
    panels = figure.subplots(shown, 2, squeeze=False, width_ratios=(3, 1))
    for i, (left, right) in enumerate(panels):
        value = sources[:, i]
        if series is not None:
            _trace(left, value[series == np.bincount(series).argmax()])
        elif labels is not None:
            _by_label(left, value, labels)
        else:
            left.plot(value[:: -(-len(value) // MOST_ROWS)], ".", ms=1.5, color=PALETTE[0], rasterized=True)
            left.set_xlabel("row" if i == shown - 1 else "")
        left.set_ylabel(f"source {i + 1}", color=INK)
        right.hist(value, bins=60, color="#b0b0b0")
        right.set_yticks([])
    what = (
        "the longest series" if series is not None else "mean and deviation by label" if labels is not None else "rows"
    )
    caption = f"<b>Sources</b>, of unit variance; signs are arbitrary. Left: {what}. Right: distribution over all rows."
    more = "" if shown == sources.shape[1] else f" The first {shown} of {sources.shape[1]}."
    drawn = image(figure, f"Panels of {shown} sources: {what}, and histograms.")
    return _section("found", "What was found", figure_block([drawn], caption + more, label="Sources"))


def _surface(record: dict[str, Any], sources: np.ndarray) -> Markup | str:
    """Free energy over the first two sources, and what the audit's scan of lags says, if there was one."""
    drawn = alone.surface(sources[None], str(record["given_out"]))
    audit = record.get("audit")
    scan = "" if audit is None else alone.lag_scan(audit)
    parts = [part for part in (drawn, scan) if part]
    return _section("surface", "Free energy and lags", *parts) if parts else ""


def _trace(axes: Axes, value: np.ndarray) -> None:
    step = -(-len(value) // MOST_ROWS)
    axes.plot(np.arange(0, len(value), step), value[::step], color=PALETTE[0], lw=0.7)


def _by_label(axes: Axes, value: np.ndarray, labels: np.ndarray) -> None:
    names, at = np.unique(labels, return_inverse=True)
    n = np.bincount(at)
    mean = np.bincount(at, value) / n
    spread = np.sqrt(np.maximum(np.bincount(at, value**2) / n - mean**2, 0))
    place = np.arange(len(names))
    axes.errorbar(place, mean, spread, fmt="o-", ms=3, lw=1, color=PALETTE[0], ecolor="#b0b0b0")
    axes.set_xticks(place[:: -(-len(names) // 12)], [str(name)[:10] for name in names[:: -(-len(names) // 12)]])


def _latents(X: np.ndarray, sources: np.ndarray, features: Sequence[str]) -> str:
    """Correlations of sources with latents."""
    shown, wide = min(sources.shape[1], 20), min(X.shape[1], 24)
    z = lambda V: (V - V.mean(0)) / np.maximum(V.std(0), 1e-300)  # noqa: E731
    matrix = z(sources[:, :shown]).T @ z(X[:, :wide]) / len(X)
    figure = Figure(figsize=(1.1 + 0.34 * wide, 0.8 + 0.3 * shown), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(matrix, cmap="RdBu_r", vmin=-1.2, vmax=1.2, aspect="auto")
    for i, j in np.ndindex(matrix.shape):
        axes.text(j, i, number(float(matrix[i, j]), 1), ha="center", va="center", size=6, color=MUTED)
    axes.set_xticks(range(wide), [shortened(name, 10) for name in features[:wide]], rotation=60, ha="right")
    axes.set_yticks(range(shown), [f"source {i + 1}" for i in range(shown)])
    axes.tick_params(length=0)
    drawn = image(figure, f"Correlations of {shown} sources with {wide} latents.")
    caption = "<b>Correlation</b> (Pearson) of each source with each latent; red positive, blue negative."
    return _section("latents", "Sources and latents", figure_block([drawn], caption, label="Correlations"))


def _leakage(record: dict[str, Any]) -> str:
    """Which sources nuisances explain beyond chance."""
    if not record["leakage"]:
        return ""
    rows = []
    for row in record["leakage"]:
        before, after = row["of_latents"], row["of_sources"]
        for i, leaks in enumerate(after["leaks"]):
            r2, null = number(after["r2"][i], 3), number(after["null_95"][i], 3)
            survives = "leaks: the axis may be the nuisance's" if leaks else "survives"
            rows.append((f"source {i + 1}", row["nuisance"], r2, null, survives))
        largest = int(np.argmax(before["r2"]))
        told = f"{sum(before['leaks'])} of {len(before['leaks'])} beyond chance" + (", taken out" * row["given"])
        r2, null = number(before["r2"][largest], 3), number(before["null_95"][largest], 3)
        rows.append((f"latents, most {record['features'][largest]}", row["nuisance"], r2, null, told))
    columns = ("Of", "Nuisance", "R², left-out frames", "Chance, 95 %", "Result")
    told = Markup(
        "<p>R²: share of the variance that the nuisance explains in frames that the explanation was not learned on."
        " Chance: the nuisance moved in time on a circle.</p>"
    )
    return _section("leakage", "Leakage of nuisances", table(columns, rows), told)


def _audit(record: dict[str, Any]) -> str:
    """What the audit of the axes has found, if there was one."""
    found = record.get("audit")
    if found is None:
        return ""
    passed = {True: "passed", False: "failed", None: "–"}
    rows = [(test["title"], passed[test["passed"]], test["sentence"]) for test in found["tests"]]
    whole = found["verdict"]
    told = [whole["sentence"], *(one["sentence"] for one in found["verdicts"]), whole["mend"], *found["notes"]]
    said = [Markup("<p>{}</p>").format(line) for line in dict.fromkeys(told) if line]
    return _section("audit", "Audit", *said, table(("Test", "Result", "What was found"), rows))


def _methods(record: dict[str, Any]) -> str:
    fitted = record["methods"]
    rows = []
    for row in record["applicable"]:
        if row["name"] in fitted:
            about = fitted[row["name"]]
            given = " (given out)" if row["name"] == record["given_out"] else ""
            rows.append((f"{row['title']}{given}", VERDICTS[about["verdict"]], about["why"]))
        elif row["name"] in record["failed"]:
            rows.append((row["title"], "failed", record["failed"][row["name"]]))
        else:
            rows.append((row["title"], "not fitted", row["lacks"] or "applies; ask for it with --method"))
    return _section("methods", "Methods", table(("Method", "Result", "Why"), rows))


def _files(record: dict[str, Any]) -> str:
    rows = [
        ("sources.csv", "the sources, and smoothed ones where rows have an order, a line for each row of the input"),
        ("sources.zarr, latents.zarr", "sources of every method that was fitted, and the latents"),
        ("models/", "the fitted models, for tempica.ica.load"),
        (
            "traversals/source_N.txt",
            "latents along each source, the others at their median, for the latents' own program",
        ),
        ("unmix.py", "Python that gives the same sources"),
        ("unmix.json", "what was asked and found, for programs"),
    ]
    software = ", ".join(f"{name} {version}" for name, version in sorted(record["software"].items()))
    told = Markup("<p>Fingerprint <code>{}</code>. {}.</p>").format(record["fingerprint"], software)
    return _section("files", "Files", table(("File", "Holds"), rows), told)


def _section(name: str, title: str, *parts: str) -> Markup:
    return templating.section(name, title, parts)
