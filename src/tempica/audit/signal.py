"""Whether frames depend on time, or on their labels, at all."""

from __future__ import annotations

import numpy as np

from tempica.audit.given import Given
from tempica.audit.results import Test
from tempica.ica.linear.dependence import SIGNIFICANT, drawn_products, memory
from tempica.series import pairs

N_NULL = 199


def signal_tests(data: Given, rng: np.random.Generator) -> list[Test]:
    """One test of time and one of labels, as far as the data have them."""
    found = []
    phi = drawn_products(data.X)
    if data.timed:
        found.append(_of_time(phi, data, rng))
    if data.labels is not None:
        found.append(_of_labels(phi, data, rng))
    return found


def _of_time(phi: np.ndarray, data: Given, rng: np.random.Generator) -> Test:
    """Frames foretell later ones: Σ of ⟨φ φ'ᵀ⟩ over two halves, one half's covariances held against the other's."""
    first = pairs(data.replicas, data.lag)
    half = len(first) // 2
    value, null, p = memory(phi, first[:half], first[half:], data.lag, data.replicas, rng)
    passed = p <= SIGNIFICANT
    says = "A frame foretells the next" if passed else "A frame does not foretell the next"
    return Test(
        "signal_time",
        "Frames depend on time",
        passed,
        f"{says}: covariances of functions of two frames {data.lag} apart, learned on one half and held against those"
        f" of the other, {_compared(value, null)} (p = {p:.3f}).",
        value,
        float(np.quantile(null, 0.95)),
        p,
    )


def _of_labels(phi: np.ndarray, data: Given, rng: np.random.Generator) -> Test:
    """Labels change the distribution: means of φ by label in two halves, one held against the other."""
    assert data.labels is not None
    one, other = data.parts(2)
    n = int(data.labels.max()) + 1
    here, there = _means(phi[one], data.labels[one], n), phi[other]
    number = data.labels[other]
    weight = np.bincount(number, minlength=n) / len(number)

    def held_out(labels: np.ndarray) -> float:
        return float((weight[:, None] * here * _means(there, labels, n)).sum())

    value = held_out(number)
    null = np.array([held_out(rng.permutation(number)) for _ in range(N_NULL)])
    p = float((1 + (null >= value).sum()) / (1 + N_NULL))
    passed = p <= SIGNIFICANT
    says = "Labels change the distribution" if passed else "Labels do not change the distribution"
    return Test(
        "signal_labels",
        "Frames depend on their labels",
        passed,
        f"{says}: means by label of functions of a frame, learned on one half and held against those of the other,"
        f" {_compared(value, null)} (p = {p:.3f}).",
        value,
        float(np.quantile(null, 0.95)),
        p,
    )


def _compared(value: float, null: np.ndarray) -> str:
    return f"agree at {value:.3g}, where shuffled frames reach {np.quantile(null, 0.95):.3g}"


def _means(phi: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """Mean (label, feature); zero where a label has no frame."""
    total = np.zeros((n, phi.shape[1]))
    np.add.at(total, labels, phi)
    return total / np.maximum(1, np.bincount(labels, minlength=n))[:, None]
