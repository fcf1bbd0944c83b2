"""The report of `tempica unmix`: axes without a known truth."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempica.report.embedded import figure_block, image, style
from tempica.report.figures import FULL_WIDTH, INK, MUTED, PALETTE
from tempica.report.words import number, shortened

MOST_SHOWN = 8  # sources with a panel each
MOST_ROWS = 4000  # points of a trace
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
        body = [_head(record), _sources(sources, labels, series), _latents(X, sources, features)]
        body += [_leakage(record), _audit(record), *sections, _methods(record), _files(record)]
    css = resources.files("tempica.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(str(record['source']))} – tempica unmix</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        "<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text, escaped; the first cell of a row is its heading."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = (
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    body = "\n".join(lines)
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
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
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in [record["counted"], *record["notes"], *about["warnings"]])
    return (
        f'<header>\n<p class="kicker">tempica unmix</p>\n<h1>{escape(str(record["source"]).rpartition("/")[2])}</h1>\n'
        f'<div class="verdict"><p><b>{VERDICTS[record["verdict"]]}.</b> {escape(record["why"])}</p></div>\n'
        f'<dl class="facts">{items}</dl>\n<ul>{notes}</ul>\n</header>'
    )


def _sources(sources: np.ndarray, labels: np.ndarray | None, series: np.ndarray | None) -> str:
    shown = min(sources.shape[1], MOST_SHOWN)
    figure = Figure(figsize=(FULL_WIDTH, 0.5 + 1.35 * shown), layout="constrained")
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
    return f"<section>\n<h2>What was found</h2>\n{figure_block([drawn], caption + more)}\n</section>"


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
    return f"<section>\n<h2>Sources and latents</h2>\n{figure_block([drawn], caption)}\n</section>"


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
    return (
        f"<section>\n<h2>Leakage of nuisances</h2>\n{table(columns, rows)}\n<p>R²: share of the variance that the"
        " nuisance explains in frames that the explanation was not learned on. Chance: the nuisance moved in time on a"
        " circle.</p>\n</section>"
    )


def _audit(record: dict[str, Any]) -> str:
    """What the audit of the axes has found, if there was one."""
    found = record.get("audit")
    if found is None:
        return ""
    passed = {True: "passed", False: "failed", None: "–"}
    rows = [(test["title"], passed[test["passed"]], test["sentence"]) for test in found["tests"]]
    whole = found["verdict"]
    told = [whole["sentence"], *(one["sentence"] for one in found["verdicts"]), whole["mend"], *found["notes"]]
    said = "".join(f"<p>{escape(line)}</p>" for line in dict.fromkeys(told) if line)
    return f"<section>\n<h2>Audit</h2>\n{said}\n{table(('Test', 'Result', 'What was found'), rows)}\n</section>"


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
    return f"<section>\n<h2>Methods</h2>\n{table(('Method', 'Result', 'Why'), rows)}\n</section>"


def _files(record: dict[str, Any]) -> str:
    rows = [
        ("sources.csv", "the sources, a line for each row of the input, in its order"),
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
    return (
        f"<section>\n<h2>Files</h2>\n{table(('File', 'Holds'), rows)}\n"
        f"<p>Fingerprint <code>{escape(record['fingerprint'])}</code>. {escape(software)}.</p>\n</section>"
    )
