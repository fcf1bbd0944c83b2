"""What the stores of a scanning probe's movie hold: crops of molecules, and their latents."""

from __future__ import annotations

from tempica.stores.variable import Variable

_REPLICA = Variable(
    ("replica",), "int64", "1", "number of the part: rows of molecules, one after another, cut into parts"
)
_LABEL = Variable(("replica", "time"), "int64", "1", "0: nothing was varied")

CROPS: dict[str, dict[str, Variable]] = {
    "crops": {
        "replica": _REPLICA,
        "time": Variable(("time",), "float64", "s", "of a row, were there no gaps; see frame_time"),
        "label": _LABEL,
        "molecule": Variable(
            ("replica", "time"), "int64", "1", "number of the stretch of frames that follow each other directly"
        ),
        "track": Variable(("replica", "time"), "int64", "1", "number of the molecule, the one seen longest first"),
        "frame": Variable(("replica", "time"), "int64", "1", "number of the frame in the movie"),
        "frame_time": Variable(("replica", "time"), "float64", "s", "when the frame began, after the movie did"),
        "image": Variable(
            ("replica", "time", "y", "x"), "float32", "nm", "heights above the support of a molecule, aligned"
        ),
        "cut": Variable(
            ("replica", "time", "y", "x"), "float32", "nm", "the same before it was turned: whole pixels of the movie"
        ),
        "turn": Variable(("replica", "time"), "float64", "rad", "by which the crop was turned"),
        "place": Variable(
            ("replica", "time", "plane"), "float64", "nm", "of the crop's middle in the frame, order x y"
        ),
        "sheet": Variable(("shot", "film_y", "film_x"), "float32", "nm", "flattened frames spread over the movie"),
        "sheet_owner": Variable(("shot", "film_y", "film_x"), "int64", "1", "track that a pixel belongs to; -1 none"),
        "sheet_frame": Variable(("shot",), "int64", "1", "number of each of these frames in the movie"),
    },
    "crop_latents": {
        "replica": _REPLICA,
        "time": Variable(("time",), "float64", "s", "as in the movie of crops"),
        "latent": Variable(
            ("replica", "time", "mode"), "float64", "1", "posterior mean of component amplitudes, prior N(0, 1)"
        ),
        "latent_covariance": Variable(
            ("replica", "time", "mode", "mode_other"), "float64", "1", "posterior covariance of component amplitudes"
        ),
        "residual_variance": Variable(
            ("replica", "time"), "float64", "nm^2", "what the components leave over, a pixel"
        ),
        "mode_image": Variable(("mode", "y", "x"), "float64", "nm", "component at amplitude one"),
        "mean_image": Variable(("number", "y", "x"), "float64", "nm", "mean crop of each molecule"),
        "used": Variable(("y", "x"), "uint8", "1", "1 where molecules are: pixels that the components are of"),
    },
    "form_latents": {
        "replica": _REPLICA,
        "time": Variable(("time",), "float64", "s", "as in the movie of crops"),
        "latent": Variable(
            ("replica", "time", "mode"), "float64", "1", "posterior mean of mode amplitudes, prior N(0, 1)"
        ),
        "latent_covariance": Variable(
            ("replica", "time", "mode", "mode_other"), "float64", "1", "posterior covariance of mode amplitudes"
        ),
        "residual_variance": Variable(
            ("replica", "time"), "float64", "1", "what the structure leaves unexplained, over the noise's variance"
        ),
        "mean_structure": Variable(("atom", "space"), "float64", "nm", "structure at amplitude zero"),
        "mode_shape": Variable(("mode", "atom", "space"), "float64", "nm", "displacement at amplitude one"),
        "pose_quaternion": Variable(
            ("replica", "time", "quaternion"), "float64", "1", "rotation from the structure to the crop, order x y z w"
        ),
        "pose_shift_A": Variable(
            ("replica", "time", "plane"), "float64", "angstrom", "place in the crop from its middle, order x y"
        ),
        "distance": Variable(
            ("replica", "time", "pair"), "float64", "nm", "between the centroids of two domains, at the posterior mean"
        ),
        "distance_deviation": Variable(("replica", "time", "pair"), "float64", "nm", "posterior standard deviation"),
    },
}
