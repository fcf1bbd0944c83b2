"""The supervised bound: what a network reaches that is told the truth of the training replicas.

ŝ(x) = A x + f(x): A the least squares of the truth, f a perceptron of two hidden layers, as the contrastive methods
train, fitted to what A leaves until the squared error on the validation replicas no longer falls; f = 0 where none
lowers it. It says what the inputs could have given to a method that knows the truth. It sees one frame at a time and
has no more examples than the methods have: smoothing, and knowledge of the camera, may exceed it. Inputs are latents,
or images, of which the network is given the leading principal components of the training images.

Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(-1, 1, size=(900, 2))
    >>> x = np.stack([truth.sum(1), np.exp(truth[:, 0] - truth[:, 1])], 1)
    >>> told = predict(x[:500], truth[:500], x[500:700], truth[500:700], x[700:])
    >>> bool(np.abs(told - truth[700:]).mean() < 0.05)
    True
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from tempica.evaluate.metrics.arrays import check_counts, checked
from tempica.evaluate.metrics.rotations import fit_subspace

if TYPE_CHECKING:
    from sklearn.neural_network import MLPRegressor

WIDTH = 64
EPOCHS = 150
PATIENCE = 15  # epochs without improvement
N_RESTARTS = 2
BATCH = 256
RATE = 3e-3
DECAY = 1e-4
MOST_COMPONENTS = 64  # of images
MOST_VALUES = 250_000_000  # pixels of all images, above which their principal components take gigabytes


def predict(
    x_train: np.ndarray,
    truth_train: np.ndarray,
    x_validation: np.ndarray,
    truth_validation: np.ndarray,
    x: np.ndarray,
    *,
    n_restarts: int = N_RESTARTS,
    random_state: int = 0,
) -> np.ndarray:
    """Truth (frame, n_truth) that the network predicts of inputs x (frame, n_inputs).

    Parameters:
        x_train: inputs (frame, n_inputs) of training frames.
        truth_train: (frame, n_truth).
        x_validation: inputs of the frames that say when to stop, and which start was best.
        truth_validation: (frame, n_truth).
        x: inputs of the frames that are predicted.
        n_restarts: starts of the perceptron.
        random_state: seed.

    Raises DataError for arrays that do not fit together, non-finite values, and fewer than three frames of a kind.
    """
    check_counts(n_restarts=n_restarts)
    x_train, truth_train = checked(x_train, truth_train)
    x_validation, truth_validation = checked(x_validation, truth_validation)
    linear = fit_subspace(x_train, truth_train)

    def left(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return np.asarray((truth - linear.aligned(x)) / linear.truth_scale)

    z, z_validation = linear.standard(x_train), linear.standard(x_validation)
    y, y_validation = left(x_train, truth_train), left(x_validation, truth_validation)
    told = linear.aligned(np.asarray(x, dtype=np.float64))
    if z.shape[1] == 0:
        return told
    _, best = min(
        (_fitted(z, y, z_validation, y_validation, random_state + k) for k in range(n_restarts)), key=lambda one: one[0]
    )
    if best is None:
        return told
    bent = best.predict(linear.standard(np.asarray(x, dtype=np.float64))).reshape(told.shape)
    return np.asarray(told + linear.truth_scale * bent)


def image_components(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Principal components (frame, k) of images (frame, y, x), found on the training frames of a mask (frame,)."""
    from sklearn.decomposition import PCA

    flat = images.reshape(len(images), -1)
    k = min(MOST_COMPONENTS, flat.shape[1], int(train.sum()) - 1)
    pca = PCA(n_components=k, svd_solver="randomized", random_state=0).fit(flat[train])
    return np.asarray(pca.transform(flat), dtype=np.float64)


def _fitted(
    x: np.ndarray, y: np.ndarray, x_validation: np.ndarray, y_validation: np.ndarray, seed: int
) -> tuple[float, MLPRegressor | None]:
    """Least squared error on the validation frames, and the perceptron that has it; None where nothing beats f = 0."""
    from sklearn.neural_network import MLPRegressor

    network = MLPRegressor(
        hidden_layer_sizes=(WIDTH, WIDTH),
        batch_size=min(BATCH, len(x)),
        alpha=DECAY,
        learning_rate_init=RATE,
        random_state=seed % 2**32,
    )
    best, least, since = None, float((y_validation**2).mean()), 0
    for _ in range(EPOCHS):
        network.partial_fit(x, y if y.shape[1] > 1 else y[:, 0])
        error = float(((network.predict(x_validation).reshape(y_validation.shape) - y_validation) ** 2).mean())
        since += 1
        if error < least:
            best, least, since = copy.deepcopy(network), error, 0
        if since >= PATIENCE:
            break
    return least, best
