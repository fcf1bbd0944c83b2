"""What `tempica unmix` does: reads, chooses, fits, and makes the folder of the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tempica.errors import DataError
from tempica.evaluate.leakage import Leakage
from tempica.ica.methods import find
from tempica.progress import Progress
from tempica.stores import files, store
from tempica.stores.opening import open_stored
from tempica.unmix import choosing, fitting, folder, inputs, nuisances, writing
from tempica.unmix.fitting import Fitted
from tempica.unmix.frames import Frames
from tempica.unmix.inputs import Input
from tempica.unmix.traversals import traverse, write_traversals


@dataclass(frozen=True)
class Result:
    """A finished folder.

    Attributes:
        folder: where it is.
        record: content of unmix.json.
        made: whether it was made now; it was up to date if not.
    """

    folder: Path
    record: dict[str, Any]
    made: bool

    def __repr__(self) -> str:
        told = self.record
        what = f"{told['n_components']} sources of {told['rows_used']} rows by {told['given_out']}: {told['verdict']}"
        return f"Result({str(self.folder)!r}, {what})"

    @property
    def sources(self) -> np.ndarray:
        """Sources (row, component) of the method given out, in the order of the input; NaN in rows left out."""
        stored, main = self._stored(), self.record["given_out"]
        found = stored["source"].values[stored["estimator"].values.tolist().index(main)]
        return found[:, : self.record["n_components"]]

    @property
    def smoothed(self) -> np.ndarray:
        """The same given all frames of their series; NaN where rows have no order in time."""
        return np.asarray(self._stored()["smoothed_source"].values[:, : self.record["n_components"]])

    def _stored(self) -> Any:
        return open_stored(self.folder / store.file_name("source_table"), "source_table")


def unmix(
    data: Any,
    *,
    out: str | Path | None = None,
    methods: Sequence[str] = (),
    components: int | None = None,
    lag: int = 1,
    random_state: int = 0,
    audited: bool = False,
    progress: Progress | None = None,
    **reading: Any,
) -> Result:
    """Latents of any program in, a folder with axes out.

    The methods are those that the data allow (`tempica.ica.methods`), the number of sources that of the directions
    that depend on time or label (`count_sources`). The folder appears under its name when it is whole; a command that
    was killed goes on where it stopped, and one whose result is there does nothing.

    Parameters:
        data: what `read` takes, or trajectories, one file or several, as `read_trajectory` takes them.
        out: folder to make; unmixed/NAME if not given, NAME that of the file.
        methods: names of methods, the one whose sources are given out last; chosen from the data if none.
        components: number of sources; counted if not given.
        lag: rows between the two of a pair.
        random_state: seed of everything that is drawn.
        audited: whether to audit the axes too (`tempica.audit`), which takes as long as several fits.
        progress: where to report; stderr if none.
        **reading: further parameters of `read` or `read_trajectory`.

    Raises what these raise, DataError for methods that do not apply, and StoreError for a folder that holds something
    else. Example:
        >>> import tempfile
        >>> from tempica.ica.synthetic import autoregressive
        >>> problem = autoregressive(2, 1000, rho=(0.9, 0.3), n_layers=1, seed=0)
        >>> result = unmix(problem.X, ordered=True, methods=["tica"], out=tempfile.mkdtemp() + "/axes")
        >>> result.sources.shape, (result.folder / "sources.csv").exists()
        ((1000, 2), True)
    """
    progress = progress or Progress()
    source = inputs.take(data, reading, lag)
    out = Path(out) if out is not None else Path("unmixed") / source.name
    options = {"methods": list(methods), "components": components, "lag": lag, "random_state": random_state}
    options |= {"audit": True} if audited else {}
    asked = options | {key: value for key, value in source.arguments.items() if key != "data"}
    frames = None if source.files else source.load()
    digest = folder.fingerprint(asked, source.files, [] if frames is None else [frames.X])
    if folder.is_there(out, digest):
        return Result(out, json.loads((out / folder.RECORD).read_text(encoding="utf-8")), False)
    return _make(frames or source.load(), source, out, digest, asked, progress)


def _make(
    frames: Frames, source: Input, out: Path, digest: str, options: Mapping[str, Any], progress: Progress
) -> Result:
    lag, seed = options["lag"], options["random_state"]
    n, counted = options["components"], f"{options['components']}, as asked."
    if n is None:
        n, counted = choosing.count(frames, seed)
        if n == 0 and not options["methods"]:
            frames = choosing.without_order(frames)
            n, counted = None, f"{counted} All directions that vary were unmixed."
        elif n == 0:
            raise DataError(f"{counted} There is no source to find; give the number with --components.")
    elif not 1 <= n <= frames.X.shape[1]:
        raise DataError(f"--components {n} must be from 1 to {frames.X.shape[1]}, the number of latents.")
    for note in (*frames.notes, counted):
        progress.say(f"unmix: {note}")
    rows = choosing.applicable(frames, lag)
    names = choosing.choose(frames, rows, tuple(options["methods"]))
    fitting.refuse_few_labels(frames, n, names)
    with folder.working(out, digest) as work:
        fits, failed = _fit_all(names, frames, n, lag, seed, work, progress)
        main = fits[-1]
        record = _record(frames, fits, rows, counted, digest, options) | {"failed": failed}
        record |= {"leakage": _leakage(frames, main.sources), "audit": None, "bias": None}
        if options.get("audit"):
            record["audit"] = _audited(frames, n, lag, seed, progress)
        smooth, record["smoothing"] = fitting.smoothed(frames, main.sources, progress)
        attributes = store.provenance(_toml(options), seed, digest, f"unmixed {frames.source}")
        writing.write_stores(work, frames, fits, smooth, attributes)
        if frames.internal is not None:
            record["bias"] = _biased(work / "bias", frames, main)
            progress.say(f"unmix: {record['bias']}")
        write_traversals(work / "traversals", traverse(frames, main.sources))
        writing.write_csv(work / "sources.csv", frames, main.sources, smooth)
        made = writing.script(main, frames, source.arguments, find(main.name).options, source.reader)
        files.write_text(work / "unmix.py", made)
        _write_report(work, frames, fits, record)
        files.write_json(work / folder.RECORD, record)
    return Result(out, record, True)


def _fit_all(
    names: Sequence[str], frames: Frames, n: int | None, lag: int, seed: int, work: Path, progress: Progress
) -> tuple[list[Fitted], dict[str, str]]:
    """Every method's fit, the one given out last, and why others failed."""
    from tempica.ica import load, save

    fits, failed = [], {}
    (work / "models").mkdir(exist_ok=True)
    with progress.task("unmix", "methods", len(names), 0) as advance:
        for name in names:
            parameters = fitting.parameters_of(name, n, lag, seed)
            kept, told = work / "models" / name, work / f"{name}.json.part"
            if kept.exists() and told.exists():
                about = json.loads(told.read_text(encoding="utf-8"))
                model, call = load(kept), fitting.call_of(name, parameters)
                sources = np.asarray(model.transform(frames.X, **find(name).options), dtype=np.float64)
                fits.append(Fitted(name, call, model, sources, about.pop("verdict"), about.pop("why"), about))
            else:
                try:
                    one = fitting.fit(name, frames, parameters, work / f"{name}.state")
                except DataError as error:
                    if name == names[-1]:
                        raise
                    failed[name] = str(error)
                    continue
                if not kept.exists():
                    save(one.model, kept)
                files.write_json(told, one.about | {"verdict": one.verdict, "why": one.why})
                fits.append(one)
            advance()
    return fits, failed


def _record(
    frames: Frames,
    fits: Sequence[Fitted],
    rows: Sequence[choosing.Row],
    counted: str,
    digest: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    main = fits[-1]
    return {
        "source": frames.source,
        "fingerprint": digest,
        "options": dict(options),
        "rows": frames.n_rows,
        "table": None if frames.table is None else str(frames.table),
        "table_rows": frames.n_table,
        "rows_used": len(frames.X),
        "features": frames.features,
        "series": None if frames.replicas is None else int(frames.replicas.max()) + 1,
        "labels": None if frames.labels is None else choosing.label_counts(frames),
        "notes": list(frames.notes),
        "n_components": main.sources.shape[1],
        "counted": counted,
        "given_out": main.name,
        "verdict": main.verdict,
        "why": main.why,
        "methods": {one.name: one.about | {"verdict": one.verdict, "why": one.why} for one in fits},
        "applicable": [{"name": row.method.name, "title": row.method.title, "lacks": row.lacks} for row in rows],
        "software": store.software(),
    }


def _leakage(frames: Frames, sources: np.ndarray) -> list[dict[str, Any]]:
    """What each nuisance explains of each source, and of each latent as it was read."""
    if not frames.columns:
        return []
    functions = nuisances.groups(frames.columns)
    raw = frames.X if frames.raw is None else frames.raw
    of_sources, of_latents = (nuisances.leakage(S, functions) for S in (sources, raw))
    taken_out = nuisances.groups({name: frames.columns[name] for name in frames.given})
    return [
        {
            "nuisance": name,
            "given": name in taken_out,
            "of_sources": _told(of_sources[name]),
            "of_latents": _told(of_latents[name]),
        }
        for name in functions
    ]


def _audited(frames: Frames, n: int | None, lag: int, seed: int, progress: Progress) -> dict[str, Any]:
    """What the audit says of axes in these latents. Raises DataError for rows without time and labels."""
    from tempica.audit import audit

    if frames.replicas is None and frames.labels is None:
        raise DataError("An audit needs time or labels, and rows have neither that tells anything. Leave --audit out.")
    found = audit(
        frames.X,
        replicas=frames.replicas,
        labels=frames.labels,
        n_components=n,
        lag=lag,
        random_state=seed,
        progress=progress,
    )
    return {"name": frames.source, **found.as_dict()}


def _biased(folder: Path, frames: Frames, main: Fitted) -> str:
    """Writes each source as a bias, or says why there is none."""
    from tempica.unmix.biasing import biases, write_biases

    try:
        found = biases(frames, main.model, main.sources, dict(find(main.name).options))
    except DataError as reason:
        return str(reason)
    write_biases(folder, found)
    return f"{len(found)} sources are a bias each, for OpenMM and PLUMED, in {folder.name}/."


def _told(found: Leakage) -> dict[str, list[Any]]:
    return {"r2": found.r2.tolist(), "null_95": found.null_95.tolist(), "leaks": found.leaks.tolist()}


def _write_report(work: Path, frames: Frames, fits: Sequence[Fitted], record: dict[str, Any]) -> None:
    from tempica.report.unmixed import render_unmixed

    main, raw = fits[-1], frames.X if frames.raw is None else frames.raw
    page = render_unmixed(record, raw, main.sources, frames.features, labels=frames.labels, series=frames.replicas)
    files.write_text(work / "report.html", page)


def _toml(options: Mapping[str, Any]) -> str:
    lines = (f"{key} = {json.dumps(value, default=str)}" for key, value in options.items() if value is not None)
    return "[unmix]\n" + "\n".join(lines) + "\n"
