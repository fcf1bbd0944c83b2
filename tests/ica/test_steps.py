"""Compiled steps against their slow twins: autograd, and the optimiser in plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tempica.ica.contrastive.contrast import Contrast
from tempica.ica.contrastive.labelled import Labelled
from tempica.ica.training.networks import Features, PairScore
from tempica.ica.training.orthogonal import Orthogonal
from tempica.ica.training.restarts import Restarts
from tempica.ica.training.trainer import Trainer


def restarts(n_layers: int, n_lags: int, n: int = 3) -> Restarts:
    models = []
    for _ in range(3):
        features = Features(4, n, 6, n_layers, torch.randn(n, 4))
        scores = nn.ModuleList(PairScore(n) for _ in range(n_lags))
        for p in [*features.out.parameters(), *scores.parameters()]:
            nn.init.normal_(p, std=0.4)
        models.append(nn.ModuleList([features, scores]))
    return Restarts(models)


def agree(compiled: Trainer, plain: Trainer, together: Restarts) -> None:
    """Losses and gradients of one batch; no graph outlives it, which would remember shapes from before a narrowing."""
    items = compiled._items()
    found = compiled.loss(items)
    assert not found.requires_grad
    gradients = [p.grad.clone() for p in together.stacked]
    together.zero_grad(set_to_none=True)
    expected = plain.loss(items)
    expected.sum().backward()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    for mine, p in zip(gradients, together.stacked, strict=True):
        torch.testing.assert_close(mine, p.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("n_layers", "lags", "group"), [(2, (1,), None), (2, (2, 5), 40), (3, (1, 2), 64), (4, (3,), 24)]
)
def test_a_compiled_step_has_the_gradients_of_autograd(n_layers, lags, group) -> None:
    torch.manual_seed(0)
    labels = np.repeat([0, 1, 2], 400)
    contrast = Contrast(torch.randn(1200, 4), labels, labels == 2, lags, group)
    together = restarts(n_layers, len(lags))
    options = {"batch_size": 200, "max_steps": 10, "learning_rate": 1e-3, "seed": 0}
    compiled = contrast.training(together, together.features, together.scores, **options)
    # an augmentation that changes nothing keeps the step from being compiled
    plain = contrast.training(together, together.features, together.scores, lambda x, items: x, **options)
    for kept in ([0, 1, 2], [2, 0]):
        if len(kept) < 3:
            compiled.narrow(kept)
        agree(compiled, plain, together)


@pytest.mark.parametrize("n_layers", [2, 3])
def test_a_compiled_step_of_labels_has_the_gradients_of_autograd(n_layers: int) -> None:
    torch.manual_seed(0)
    models = []
    for _ in range(3):
        features, head = Features(4, 6, 8, n_layers, torch.randn(6, 4)), nn.Linear(6, 11)
        for p in [*features.out.parameters(), *head.parameters()]:
            nn.init.normal_(p, std=0.4)
        models.append(nn.ModuleList([features, head]))
    data = Labelled(torch.randn(500, 4), torch.randint(11, (500,)), np.arange(500) > 400, 11)
    together, same = Restarts(models), lambda f: f
    options = {"batch_size": 100, "max_steps": 10, "learning_rate": 1e-3, "seed": 0}
    compiled = data.training(together, same, **options)
    plain = data.training(together, same, lambda x, items: x, **options)
    agree(compiled, plain, together)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (3, 12, 5), (2, 8, 8)], ids=str)
def test_the_compiled_optimiser_steps_as_the_plain_one(shape) -> None:
    torch.manual_seed(1)
    one = nn.Parameter(torch.randn(shape))
    other = nn.Parameter(one.detach().double())
    compiled, plain = (Orthogonal([p], lr=0.1, weight_decay=0.1) for p in (one, other))
    for _ in range(4):
        one.grad = torch.randn(shape)
        other.grad = one.grad.double()
        compiled.step()
        plain.step()
    torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
