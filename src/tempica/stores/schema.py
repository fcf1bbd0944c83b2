"""What every store holds: dims, dtype and units of each variable; and the check that it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempica.errors import StoreError
from tempica.stores.crops import CROPS
from tempica.stores.tables import TABLES
from tempica.stores.variable import Variable

if TYPE_CHECKING:
    import xarray

SCHEMA_VERSION = 5
# of stores that changed alone, so that what was made before them need not be made again; version 6 of sources calls
# the dimension `estimator` that was `method`, a name that xarray's `sel` has taken; 7 of source_table has smoothed ones
_VERSIONS = {"sources": 6, "source_table": 7, "crops": 6}


_BEADS = {
    "scattering_length_A": Variable(("atom",), "float64", "angstrom", "electron scattering amplitude F(0) of a bead"),
    "bead_width": Variable(("atom",), "float64", "nm", "standard deviation per axis of a bead's own mass"),
}
_FORMULA = {
    "formula": Variable(("atom",), "string", "", "the atoms for which a bead stands, hydrogens included, as C3H5NO")
}
_FRAMES = {
    "replica": Variable(("replica",), "int64", "1", "number of the independent movie"),
    "time": Variable(
        ("time",), "float64", "ps", "simulated time of the frame; of a foreign trajectory, from its first frame on"
    ),
}

_LABELS = {
    "label": Variable(
        ("replica", "time"),
        "int64",
        "1",
        "what the experimenter varied: segment, frames since the pump, or number of the temperature; 0 if nothing",
    ),
    "molecule": Variable(
        ("replica", "time"), "int64", "1", "number of the molecule within its replica: frames of two are no pair"
    ),
}

STORES: dict[str, dict[str, Variable]] = {
    "trajectory": {
        **_FRAMES,
        "source_name": Variable(("source_name",), "string", "", "collective variable that a source drives"),
        "cv": Variable(("cv",), "string", "", "name of the collective variable"),
        "cv_units": Variable(("cv",), "string", "", "unit of a collective variable and of what drives it"),
        **_LABELS,
        "position": Variable(
            ("replica", "time", "atom", "space"),
            "float32",
            "nm",
            "bead positions, superposed on the body domain",
        ),
        "source": Variable(
            ("replica", "time", "source_name"),
            "float32",
            "rad or nm",
            "what was driven: the restraint's target; for the unit see cv_units; nothing in a foreign trajectory",
        ),
        "collective_variable": Variable(
            ("replica", "time", "cv"),
            "float32",
            "rad or nm",
            "what the molecule did: the truth that recovery is scored against; for the unit see cv_units",
        ),
        "slow_mode": Variable(
            ("replica", "time", "slow_mode_number"),
            "float32",
            "1",
            "slowest independent motions beyond the collective variables, unit variance",
        ),
        "slow_mode_timescale": Variable(
            ("slow_mode_number",), "float64", "ps", "−Δt / ln(autocorrelation) of each slow mode; 0 where none"
        ),
        "cv_timescale": Variable(("cv",), "float64", "ps", "the same of each collective variable"),
        "potential_energy": Variable(
            ("replica", "time"), "float64", "kJ/mol", "network and restraints; NaN in a foreign trajectory"
        ),
        "kinetic_energy": Variable(
            ("replica", "time"), "float64", "kJ/mol", "of all beads; NaN in a foreign trajectory"
        ),
        **_BEADS,
        **_FORMULA,
    },
    "ensemble": {
        "time": _FRAMES["time"],
        "position": Variable(
            ("time", "atom", "space"),
            "float32",
            "nm",
            "bead positions of a separate simulation, same superposition; where the trajectory is foreign, an even"
            " sample of its training replicas",
        ),
        **_BEADS,
    },
    "structure": {
        "position": Variable(
            ("atom", "space"),
            "float64",
            "nm",
            "beads of the one structure that is known beforehand, in the frame on which all others are superposed",
        ),
        **_BEADS,
    },
    "movie": {
        **_FRAMES,
        **_LABELS,
        "image": Variable(
            ("replica", "time", "y", "x"),
            "uint8",
            "1/angstrom",
            "image, protein positive; value × scale_factor + add_offset; uint16 where 256 levels would be coarse beside"
            " the noise, float32 where it is of another program",
            ("uint16", "float32"),
        ),
        "pose_quaternion": Variable(
            ("replica", "time", "quaternion"),
            "float64",
            "1",
            "rotation of molecule to view, order x y z w; NaN where hidden",
        ),
        "pose_shift_A": Variable(
            ("replica", "time", "plane"), "float64", "angstrom", "particle's place in the box, order x y"
        ),
        "defocus_u_A": Variable(("replica", "time"), "float64", "angstrom", "underfocus along the astigmatism angle"),
        "defocus_v_A": Variable(("replica", "time"), "float64", "angstrom", "underfocus across it"),
        "defocus_angle": Variable(("replica", "time"), "float64", "rad", "astigmatism angle, from +x"),
        "damage_dose": Variable(
            ("replica", "time"),
            "float64",
            "e/angstrom^2",
            "dose whose radiation damage the image shows; 0 where damage is left out",
        ),
        "scatterer_amplitude_A": Variable(
            ("atom", "gaussian"), "float64", "angstrom", "scattering amplitude F(0) of each Gaussian of a bead or atom"
        ),
        "scatterer_width_A": Variable(
            ("atom", "gaussian"), "float64", "angstrom", "its standard deviation per axis, B factor included"
        ),
        "frequency": Variable(("node",), "float64", "1/angstrom", "spatial frequency of the two tables below"),
        "noise_power": Variable(("node",), "float64", "1", "relative power spectrum of the noise, linear in between"),
        "dqe": Variable(("node",), "float64", "1", "detective quantum efficiency: the signal is weakened by its root"),
    },
    "poses": {
        **_FRAMES,
        "pose_quaternion": Variable(
            ("replica", "time", "quaternion"), "float64", "1", "true rotation of molecule to view, order x y z w"
        ),
        "pose_shift_A": Variable(
            ("replica", "time", "plane"), "float64", "angstrom", "particle's true place in the box, order x y"
        ),
    },
    "diffraction": {
        **_FRAMES,
        **_LABELS,
        "image": Variable(
            ("replica", "time", "y", "x"),
            "uint8",
            "photon",
            "photons counted; the centre of pixel i of D lies (i - (D - 1) / 2) pixels from the beam",
            ("uint16", "uint32", "uint64"),
        ),
        "mask": Variable(("y", "x"), "uint8", "1", "1 where a pixel sees the light, 0 in the beam stop's shadow"),
        "pose_quaternion": Variable(
            ("replica", "time", "quaternion"),
            "float64",
            "1",
            "rotation of molecule to laboratory, order x y z w; the light travels along z; NaN where poses are hidden",
        ),
        "fluence": Variable(("replica", "time"), "float64", "1/um^2", "photons of the pulse in the focus"),
        "bead_width": _BEADS["bead_width"],
        **_FORMULA,
    },
    "heights": {
        **_FRAMES,
        **_LABELS,
        "image": Variable(
            ("replica", "time", "y", "x"),
            "float32",
            "nm",
            "heights by an atomic force microscope; pixel i of D lies (i - D // 2) pixels from the middle, and the"
            " first line at the low end",
        ),
        "pose_quaternion": Variable(
            ("replica", "time", "quaternion"),
            "float64",
            "1",
            "rotation of molecule to view at the start of the frame, order x y z w, z up from the support; NaN where"
            " hidden",
        ),
        "pose_shift_A": Variable(
            ("replica", "time", "plane"), "float64", "angstrom", "molecule's place in the frame at its start, order x y"
        ),
        "bead_radius": Variable(("atom",), "float64", "nm", "radius of a bead or atom that the tip touches"),
    },
    "latents": {
        **_FRAMES,
        "latent": Variable(
            ("replica", "time", "mode"), "float64", "1", "posterior mean of mode amplitudes, prior N(0, 1)"
        ),
        "latent_covariance": Variable(
            ("replica", "time", "mode", "mode_other"),
            "float64",
            "1",
            "posterior covariance of mode amplitudes",
        ),
        "residual_variance": Variable(
            ("replica", "time"), "float64", "1/angstrom^2", "mean squared difference of image and model"
        ),
        "pose_quaternion": Variable(
            ("replica", "time", "quaternion"),
            "float64",
            "1",
            "rotation of molecule to view that the frame was embedded with, order x y z w",
        ),
        "pose_shift_A": Variable(
            ("replica", "time", "plane"), "float64", "angstrom", "particle's place in the box, the same"
        ),
        "pose_covariance": Variable(
            ("replica", "time", "pose", "pose_other"),
            "float64",
            "rad^2, rad angstrom or angstrom^2",
            "posterior covariance of three turns about x, y and z of the view, R ← exp(w) R, and of the shift; 0 where"
            " the pose is known",
        ),
        "state_space_source": Variable(
            ("replica", "time", "component"),
            "float64",
            "1",
            "posterior mean of the sources of embed's own model of the motion in time; NaN where it has none",
        ),
        "state_space_variance": Variable(("replica", "time", "component"), "float64", "1", "its posterior variance"),
        "mode_shape": Variable(("mode", "atom", "space"), "float64", "nm", "displacement at amplitude one"),
        "mean_structure": Variable(("atom", "space"), "float64", "nm", "structure at amplitude zero"),
    },
    "sources": {
        **_FRAMES,
        "estimator": Variable(("estimator",), "string", "", "name of the method, or of a baseline"),
        "stage": Variable(("stage",), "string", "", "unmixed, or smoothed in time after unmixing"),
        "split": Variable(("replica",), "string", "", "train, validation or held_out"),
        "source": Variable(
            ("estimator", "stage", "replica", "time", "component"),
            "float64",
            "1",
            "recovered sources; NaN where a method has fewer components or no such stage",
        ),
        "source_variance": Variable(
            ("estimator", "stage", "replica", "time", "component"),
            "float64",
            "1",
            "posterior variance; NaN where unknown",
        ),
    },
}

STORES |= CROPS | TABLES


def version_of(kind: str) -> int:
    """Version of the schema that stores of a kind follow."""
    return _VERSIONS.get(kind, SCHEMA_VERSION)


# kinds that go by the name of another
FILES = {
    "diffraction": "movie",
    "heights": "movie",
    "crops": "movie",
    "crop_latents": "latents",
    "form_latents": "latents",
    "latent_table": "latents",
    "source_table": "sources",
}

# kinds that a run may have in the place of another, by what made its images
IN_A_RUN = {"movie": ("diffraction", "heights", "crops"), "latents": ("crop_latents", "form_latents")}


def check(dataset: xarray.Dataset, kind: str, path: Path) -> None:
    """Raise StoreError unless a dataset, opened from `path`, has every variable of its kind with its dims and dtype."""
    if dataset.attrs.get("kind") != kind:
        raise StoreError(f"The store {path} is of kind {dataset.attrs.get('kind')!r}, but {kind!r} is needed.")
    if dataset.attrs.get("schema_version") != version_of(kind):
        again = f"tempica run {path.parent} (what is there is kept in {path.parent / 'superseded'})"
        if kind.endswith("_table"):
            again = "tempica unmix, with the same input and another --out"
        raise StoreError(
            f"The store {path} has schema version {dataset.attrs.get('schema_version')!r}; this tempica reads"
            f" {version_of(kind)}. Make it again with: {again}, or read it with"
            " xarray.open_zarr(path, consolidated=False)."
        )
    for name, rule in STORES[kind].items():
        if name not in dataset.variables:
            if (kind, name) == ("movie", "image") and "lazy" in dataset.attrs:
                continue
            raise StoreError(f"The {kind} store {path} lacks the variable '{name}'. Simulate or import it again.")
        variable = dataset[name]
        if variable.dims != rule.dims:
            raise StoreError(
                f"'{name}' of the {kind} store {path} has dims {variable.dims}; the schema says {rule.dims}."
                " Simulate or import it again."
            )
        dtype = _stored_dtype(variable)
        if dtype not in (rule.dtype, *rule.other_dtypes):
            counts = " Photons are counted in whole numbers from 0." if rule.units == "photon" else ""
            raise StoreError(
                f"'{name}' of the {kind} store {path} has dtype {dtype}; the schema says"
                f" {' or '.join((rule.dtype, *rule.other_dtypes))}.{counts} Simulate or import it again."
            )


def _stored_dtype(variable: xarray.DataArray) -> str:
    """Dtype of a variable on disk: decoding turns packed integers into floats."""
    dtype = np.dtype(variable.encoding.get("dtype", variable.dtype))
    return "string" if dtype.kind in "TUO" else dtype.name
