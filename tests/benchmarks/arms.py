"""Independence of the designed molecule's sources, and how well the arms follow what drives them.

    python tests/benchmarks/arms.py --arms 2 4 8 --seeds 1 2 3

The null of the largest mutual correlation is that of as many series of the same memory, independent by construction:
2,000 draws, its 95 % quantile stated. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from tempica.recipe.experiment import Recipe
from tempica.simulate import engine, models, protocols

N_FRAMES, N_DRAWS = 600, 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    rows = [figures(n, seed) for n in arguments.arms for seed in arguments.seeds]
    print(json.dumps({"benchmark": "arms", "frames": N_FRAMES, "rows": rows}))


def figures(n: int, seed: int) -> dict[str, float]:
    rates = np.linspace(0.95, 0.5, n).tolist()
    recipe = Recipe.model_validate(
        {
            "name": "arms",
            "seed": seed,
            "simulate": {
                "molecule": {"kind": "arms", "n_arms": n},
                "dynamics": [
                    {
                        "collective_variable": f"arm_{i + 1}",
                        "process": "ar1",
                        "coefficient": rate,
                        "mean": 0.0,
                        "deviation": 8.0,
                        "stiffness": 50_000.0,
                    }
                    for i, rate in enumerate(rates)
                ],
                "n_replicas": 3,
                "n_frames": N_FRAMES,
                "steps_per_frame": 300,
                "equilibration_frames": 3,
            },
            "train": {"held_out_replicas": 1, "n_components": 1},
        }
    )
    model = models.build_model(recipe.simulate, None)
    series = engine.targets(recipe, model, 0, N_FRAMES)
    _, state = engine.run_block(recipe, model, 0, series, engine.first_state(recipe, model, 0), -3, 0)
    frames, _ = engine.run_block(recipe, model, 0, series, state, 0, N_FRAMES)
    realised = frames.collective_variable
    rng = np.random.default_rng(seed)
    null = [
        largest(np.stack([protocols.ar1(N_FRAMES, rate, "laplace", rng) for rate in rates], -1)) for _ in range(N_DRAWS)
    ]
    row = {
        "n": n,
        "seed": seed,
        "least_driven_realised": min(np.corrcoef(realised[:, i], frames.source[:, i])[0, 1] for i in range(n)),
        "largest_mutual": largest(realised),
        "null_95": float(np.quantile(null, 0.95)),
        "p": float(np.mean(np.array(null) >= largest(realised))),
    }
    print({key: round(value, 4) for key, value in row.items()}, flush=True)
    return row


def largest(x: np.ndarray) -> float:
    """Largest correlation (absolute) between two columns."""
    return float(np.abs(np.corrcoef(x.T) - np.eye(x.shape[1])).max())


if __name__ == "__main__":
    main()
