"""The picture in the top README, of a finished run: frames, scores, errors of poses, hinge angles by TICA and by PCL.

    tempica run simulations/adenylate_kinase.toml
    python tests/benchmarks/picture.py runs/adenylate_kinase --out simulations/adenylate_kinase.png

The panels are those of the run's report. Ends with one line of JSON: what is drawn, and the scores in it.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import tempica
from tempica.pipeline import load_recipe
from tempica.report import figures, placing
from tempica.report.embedded import style
from tempica.report.frames import examples
from tempica.report.recovered import recoveries, splits, truths
from tempica.runs.reading import true_poses

DPI, COLOURS = 130, 48
SHOWN = ("TICA", "PCL")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=200, help="length of the traces")
    a = parser.parse_args()
    recipe, _ = load_recipe(a.run / "recipe.toml")
    scores = json.loads((a.run / "scores.json").read_text(encoding="utf-8"))
    trajectory, movie, sources = (
        tempica.open_store(a.run / f"{kind}.zarr", kind) for kind in ("trajectory", "movie", "sources")
    )
    poses = true_poses(a.run, "report", movie)
    seen = movie.assign({name: poses[name] for name in ("pose_quaternion", "pose_shift_A")})
    held_out = np.flatnonzero(splits(sources) == "held_out")
    titles = {about["name"]: about["title"] for about in scores["methods"]}
    sources = sources.assign_coords(estimator=[titles[name] for name in sources["estimator"].values])
    rows, matrices = (
        [{**entry, "method": titles[entry["method"]]} for entry in scores[part] if entry["split"] == "held_out"]
        for part in ("rows", "matrices")
    )
    rows = [row for row in rows if row["metric"] == "mcc_spearman" and row["method"] != titles["pca_pixels"]]
    matrices = [entry for entry in matrices if entry["metric"] == "spearman"]
    learned = [m["title"] for m in scores["methods"] if not m["baseline"]]
    truth = truths(trajectory)
    found = recoveries(sources, truth, matrices, learned)
    placed = (
        {row["split"]: row for row in part}.get("held_out") for part in (scores["poses"]["splits"], scores["latents"])
    )
    time = trajectory["time"].values[: a.frames]
    with style():
        drawn = [
            figures.example_frames(
                examples(trajectory, seen, held_out, recipe.report.n_examples), float(movie.attrs["pixel_size_A"])
            ),
            figures.score_chart(sorted(rows, key=lambda row: row["method"] in learned), learned),
            placing.placing(*placed, scores["poses"]["lost_beyond_deg"]),
        ]
        for title in SHOWN:
            own = [each for each in found if each.method.startswith(title)]
            figure = figures.traces(truth, own, int(held_out[0]), time, learned)
            figure.suptitle(own[0].method, x=0.99, ha="right", size=10)
            drawn.append(figure)
        panels = [pixels(figure) for figure in drawn if figure is not None]
    width, height = max(panel.width for panel in panels), sum(panel.height for panel in panels)
    page = Image.new("RGB", (width, height), "white")
    top = 0
    for panel in panels:
        page.paste(panel, (0, top))
        top += panel.height
    page.quantize(COLOURS).save(a.out, optimize=True)
    told = {f"{row['method']} {row['stage']}": round(row["value"], 3) for row in rows}
    print(
        json.dumps({"benchmark": "picture", "pixels": [width, height], "bytes": a.out.stat().st_size, "scores": told})
    )


def pixels(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return Image.open(buffer).convert("RGB")


if __name__ == "__main__":
    main()
