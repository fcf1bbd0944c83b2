"""Speed of PCL's training beside the authors' recipe written plainly, and beside CEBRA, on one core.

    python tests/benchmarks/ica_speed.py --batches 256 512 1024 --peer-python peer/bin/python

Optimiser steps a second at equal network (two maxout layers, linear output) and batch (reference frames): ours, a batch
of pairs with 128 alternatives each, one training or three restarts at once (steps of all added up); plain, as many
pairs and as many shuffled ones, drawn by indexing in memory or by torch's DataLoader; cebra (0.6.1, in its own
environment), as many triples. All take turns, in rounds, so that other work on the machine slows all; figures are
medians of CPU seconds of one thread. Then the time to a mean correlation of 0.95, on five AR(1) Laplace sources through
three layers: ours and plain from a random start, `fit` whole with its restarts and second stage; and what CEBRA's
embedding has of sources mixed by two layers. Ends with one line of JSON.

The plain recipe, after Hyvärinen & Morioka 2017: whitening; maxout layers, batch norm on h, logistic regression on
r = −Σ |w1 h(t) + w2 h(t−1) + b| + a h(t)² + m; SGD of momentum 0.9, rate 0.1, weight decay 1e-5.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.decomposition import FastICA
from torch import nn

from tempica.evaluate.metrics import assign, correlation_matrix
from tempica.ica import PCL, TICA
from tempica.ica.contrastive.contrast import Contrast
from tempica.ica.contrastive.pcl import ALTERNATIVES, FEW
from tempica.ica.synthetic import autoregressive
from tempica.ica.training.networks import Features, PairScore
from tempica.ica.training.restarts import Restarts

CEBRA = """
import json, sys, time, numpy as np, torch, cebra, cebra.models, cebra.data, cebra.solver
torch.set_num_threads(1)
path, width, batch, steps, out = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
X = torch.as_tensor(np.load(path)); n = X.shape[1]

class Maxout(torch.nn.Module):
    def __init__(self, a, b):
        super().__init__(); self.map = torch.nn.Linear(a, 2 * b)
    def forward(self, x):
        return torch.maximum(*self.map(x).chunk(2, -1))

class Network(cebra.models.Model):
    def __init__(self):
        super().__init__(num_input=n, num_output=n)
        self.net = torch.nn.Sequential(Maxout(n, width), Maxout(width, width), torch.nn.Linear(width, n))
    def forward(self, x):
        return torch.nn.functional.normalize(self.net(x.flatten(1)), dim=1)
    def get_offset(self):
        return cebra.data.Offset(0, 1)

torch.manual_seed(0)
data = cebra.data.TensorDataset(X, continuous=X, offset=cebra.data.Offset(0, 1))
def loader(steps):
    options = {"num_steps": steps, "batch_size": batch, "conditional": "time", "time_offset": 1}
    return cebra.data.ContinuousDataLoader(dataset=data, **options)
network = Network(); criterion = cebra.models.FixedCosineInfoNCE(temperature=0.2)
optimiser = torch.optim.Adam([*network.parameters(), *criterion.parameters()], lr=1e-3)
solver = cebra.solver.init("single-session", model=network, criterion=criterion, optimizer=optimiser, tqdm_on=False)
solver.fit(loader(10))
t = time.process_time(); solver.fit(loader(steps)); t = time.process_time() - t
with torch.no_grad():
    np.save(out, network(X[:, :, None]).numpy())
print(json.dumps(steps / t))
"""


class Plain(nn.Module):
    """The authors' network and regression, in plain torch."""

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n, 2 * width), nn.Linear(width, 2 * width)
        self.out, self.norm = nn.Linear(width, n, bias=False), nn.BatchNorm1d(n)
        self.w1, self.w2, self.b = (
            nn.Parameter(torch.ones(n)),
            nn.Parameter(-torch.ones(n)),
            nn.Parameter(torch.zeros(n)),
        )
        self.a, self.m = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.first, self.second):
            x = layer(x).unflatten(-1, (-1, 2)).max(-1).values
        return self.norm(self.out(x))

    def forward(self, here: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        h, g = self.features(torch.cat([here, before])).chunk(2)
        miss = (self.w1 * h + self.w2 * g + self.b).abs().sum(1)
        return -miss + self.a.abs() * (h**2).sum(1) + self.m


class PlainTraining:
    """SGD on B true pairs and B shuffled ones a step."""

    def __init__(self, Z: torch.Tensor, width: int, batch: int, *, loader: bool) -> None:
        torch.manual_seed(0)
        self.Z, self.batch, self.net = Z, batch, Plain(Z.shape[1], width)
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-5)
        self.y = torch.cat([torch.ones(batch), torch.zeros(batch)])
        self.pairs = None
        if loader:
            data = torch.utils.data.TensorDataset(Z[1:], Z[:-1])
            self.pairs = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
            self.drawn = iter(self.pairs)

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            if self.pairs is None:
                at = torch.randint(1, len(self.Z), (self.batch,))
                here, before = self.Z[at], self.Z[at - 1]
            else:
                try:
                    here, before = next(self.drawn)
                except StopIteration:
                    self.drawn = iter(self.pairs)
                    here, before = next(self.drawn)
            other = self.Z[torch.randint(len(self.Z), (self.batch,))]
            r = self.net(torch.cat([here, here]), torch.cat([before, other]))
            loss = nn.functional.binary_cross_entropy_with_logits(r, self.y)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()

    def sources(self) -> np.ndarray:
        self.net.eval()
        with torch.no_grad():
            found = self.net.features(self.Z[:20_000]).numpy()
        self.net.train()
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="python of an environment with cebra 0.6.1; left out, cebra is")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--n", type=int, default=5)
    parser.add_argument("--width", type=int, default=40)
    parser.add_argument("--steps", type=int, default=200, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--cebra-steps", type=int, default=5000, help="of the training whose embedding is scored")
    parser.add_argument("--most", type=int, default=30_000, help="steps that plain may take to 0.95")
    a = parser.parse_args()
    torch.set_num_threads(1)
    problem = autoregressive(a.n, 2**17, n_layers=3, seed=a.seed)
    Z = torch.as_tensor(TICA().fit_transform(problem.X), dtype=torch.float32)
    figures = {"n": a.n, "width": a.width, "seed": a.seed, "steps_per_s": {}, "seconds_to_0.95": {}}
    for batch in a.batches:
        figures["steps_per_s"][str(batch)] = _rates(a, Z, batch)
        print(f"batch {batch}:", json.dumps(figures["steps_per_s"][str(batch)]), flush=True)
    figures["seconds_to_0.95"] = _times(a, problem, Z)
    if a.peer_python:
        figures["cebra_mcc"] = _cebra_row(a)
    print(json.dumps({"benchmark": "ica_speed", "figures": figures}))


def _ours(Z: torch.Tensor, width: int, batch: int, n_restarts: int = 1):
    """Trainings of the network alone, from random starts, as PCL makes them, and a way to the best one's sources."""
    n = Z.shape[1]
    held_out = np.arange(len(Z)) >= 0.9 * len(Z)
    contrast = Contrast(Z, np.zeros(len(Z), dtype=int), held_out, (1,), ALTERNATIVES if n <= FEW else None)
    models = []
    for seed in range(n_restarts):
        torch.manual_seed(seed)
        start = torch.linalg.qr(torch.randn(n, n)).Q
        models.append(nn.ModuleList([Features(n, n, width, 2, start), nn.ModuleList([PairScore(n)])]))
    together = Restarts(models).to(Z.device)
    given = {"batch_size": batch, "max_steps": None, "learning_rate": 8e-3, "seed": 0}
    training = contrast.training(together, together.features, together.scores, **given)

    def sources() -> np.ndarray:
        with torch.no_grad():
            return together.features(Z[:20_000])[training.leader].cpu().numpy()

    return training, sources


def _rates(a: argparse.Namespace, Z: torch.Tensor, batch: int) -> dict[str, float]:
    ours, three = (_ours(Z, a.width, batch, n_restarts)[0] for n_restarts in (1, 3))
    plain, loaded = (PlainTraining(Z, a.width, batch, loader=loader) for loader in (False, True))
    running = {
        "ours": lambda: ours.advance(ours.step + a.steps),
        "ours_of_three_restarts": lambda: three.advance(three.step + a.steps),
        "plain": lambda: plain.advance(a.steps),
        "plain_loader": lambda: loaded.advance(a.steps),
    }
    ours.advance(20)  # compiles
    three.advance(20)
    rates: dict[str, list[float]] = {}
    for _ in range(a.rounds):
        for name, advance in running.items():
            started = time.process_time()
            advance()
            n_steps = a.steps * (3 if name == "ours_of_three_restarts" else 1)
            rates.setdefault(name, []).append(n_steps / (time.process_time() - started))
        if a.peer_python:
            rates.setdefault("cebra", []).append(_cebra(a.peer_python, Z, a.width, batch, a.steps)[0])
    found = {name: round(float(np.median(values)), 1) for name, values in rates.items()}
    return found | {f"ours/{name}": round(found["ours"] / found[name], 2) for name in found if name != "ours"}


def _times(a: argparse.Namespace, problem, Z: torch.Tensor) -> dict[str, float | None]:
    """CPU seconds to a mean correlation of 0.95; asking for it is not counted."""
    truth, found = problem.S[:20_000], {}
    ours, sources = _ours(Z, a.width, 512)
    plain = PlainTraining(Z, a.width, 512, loader=False)
    for name, ask, advance, steps in (
        ("ours", sources, lambda: ours.advance(ours.step + 100), 100),
        ("plain", plain.sources, lambda: plain.advance(500), 500),
    ):
        seconds, done = 0.0, 0
        while _mcc(ask(), truth) < 0.95 and done < a.most:
            started = time.process_time()
            advance()
            seconds, done = seconds + time.process_time() - started, done + steps
        reached = _mcc(ask(), truth)
        print(f"{name}: {reached} after {done} steps, {seconds:.1f} s", flush=True)
        found[name], found[f"{name}_steps"] = (round(seconds, 2) if reached >= 0.95 else None), done
    if found["ours"] and found["plain"]:
        found["plain/ours"] = round(found["plain"] / found["ours"], 1)
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PCL(a.n).fit(problem.X)
    found["fit_whole"] = round(time.process_time() - started, 1)
    return found | {"fit_mcc": _mcc(model.transform(problem.X[:20_000]), truth)}


def _cebra(python: str, Z: torch.Tensor, width: int, batch: int, steps: int) -> tuple[float, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "x.npy", Path(folder) / "s.npy"
        np.save(data, Z.numpy())
        command = [python, "-W", "ignore", "-c", CEBRA, data, str(width), str(batch), str(steps), out]
        done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
        return float(done.stdout.strip().splitlines()[-1]), np.load(out)


def _cebra_row(a: argparse.Namespace) -> dict[str, float]:
    """Correlations on the easier problem of two layers: CEBRA's embedding, after FastICA, and PCL."""
    problem = autoregressive(a.n, 2**17, n_layers=2, seed=a.seed)
    Z = torch.as_tensor(TICA().fit_transform(problem.X), dtype=torch.float32)
    _, S = _cebra(a.peer_python, Z, a.width, 512, a.cebra_steps)
    ica = FastICA(a.n, random_state=0, whiten="unit-variance").fit_transform(S)
    model = PCL(a.n).fit(problem.X)
    found = {"raw": _mcc(S, problem.S), "fastica": _mcc(ica, problem.S)}
    return found | {"pcl": _mcc(model.transform(problem.X[:20_000]), problem.S), "steps": a.cebra_steps}


def _mcc(S: np.ndarray, truth: np.ndarray) -> float:
    matrix = np.abs(correlation_matrix(S[:20_000], truth[:20_000], "pearson"))
    return round(float(matrix[assign(matrix), range(truth.shape[1])].mean()), 4)


if __name__ == "__main__":
    main()
