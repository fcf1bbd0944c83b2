"""Attributes of the stores, beside their variables."""

from __future__ import annotations

from typing import Any

ATTRIBUTES = {
    "title": {"type": "string"},
    "kind": {"type": "string"},
    "schema_version": {"type": "integer"},
    "recipe": {"type": "string", "description": "TOML text of the recipe"},
    "seed": {"type": "integer"},
    "fingerprint": {"type": "string", "description": "digest of everything that the store depends on"},
    "software": {"type": "object", "additionalProperties": {"type": "string"}},
    "n_files": {
        "type": "integer",
        "description": "files below the store when it was completed, without this one",
    },
    "n_bytes": {"type": "integer", "description": "their size"},
}

MOVIE_OPTICS = {
    "pixel_size_A": "angstrom",
    "voltage_kV": "kV",
    "spherical_aberration_mm": "mm",
    "amplitude_contrast": "1",
    "b_factor_A2": "angstrom^2",
    "bead_b_factor_A2": "angstrom^2",
    "phase_shift": "rad",
    "electrons_per_pixel": "1",
    "noise_std": "1/angstrom",
}

MOVIE_OPTIONAL: dict[str, Any] = {
    "signal_std": {
        "type": "number",
        "unit": "1/angstrom",
        "description": "of the noise-free images; its square over that of noise_std is the SNR",
    },
    "pose_error_deg": {"type": "number", "unit": "degree", "description": "of approximate poses, about each axis"},
    "pose_error_A": {"type": "number", "unit": "angstrom", "description": "of approximate poses, each axis"},
    "turn_deg": {
        "type": "number",
        "unit": "degree",
        "description": "standard deviation of a diffusing molecule's rotation from frame to frame, about each axis",
    },
    "lazy": {
        "type": "object",
        "description": "there where images are not stored: what they are made with, besides the movie",
        "properties": {
            "scale_factor": {"type": "number", "unit": "1/angstrom"},
            "add_offset": {"type": "number", "unit": "1/angstrom"},
            "levels": {"type": "integer", "description": "highest digital level; 255 if not there"},
            "n_pixels": {"type": "integer", "unit": "pixel"},
            "trajectory": {"type": "string", "description": "fingerprint of the trajectory they are of"},
        },
        "required": ["scale_factor", "add_offset", "n_pixels", "trajectory"],
    },
}

LATENTS_OPTIONAL: dict[str, Any] = {
    "autocorrelation": {
        "type": "array",
        "items": {"type": "number"},
        "description": "of each mode's amplitude from one frame of a molecule to the next, as learned",
    },
    "shift_deviation_A": {
        "type": "number",
        "unit": "angstrom",
        "description": "of hidden places of particles in their boxes, each axis, as learned",
    },
    "turn_deg": {
        "type": "number",
        "unit": "degree",
        "description": "the same as of a movie, as learned from images; not there where poses do not go on",
    },
    "tip_radius_nm": {"type": "number", "unit": "nm", "description": "of the tip, as learned from heights"},
    "shift_step_A": {
        "type": "number",
        "unit": "angstrom",
        "description": "standard deviation of shifts' changes between frames; not there where shifts do not go on",
    },
}

HEIGHTS = {
    "pixel_size_nm": "nm",
    "radius_nm": "nm",
    "half_angle_deg": "degree",
    "fall_nm": "nm",
    "sharpness_per_nm": "1/nm",
    "frame_interval_s": "s",
    "line_time_s": "s",
    "noise_nm": "nm",
    "line_offset_nm": "nm",
}
"""Of an atomic force microscope. `fall_nm`: height that the tip can lose from pixel to pixel; 0 for any."""

BEAMLINE = {
    "photon_energy_eV": "eV",
    "wavelength_A": "angstrom",
    "detector_distance_mm": "mm",
    "pixel_size_um": "um",
    "beam_stop_radius_mm": "mm",
    "b_factor_A2": "angstrom^2",
    "photons_per_um2": "1/um^2",
    "pulse_jitter": "1",
    "background_photons": "photon",
}

_COUNT, _FRAMES_OF = {"type": "integer"}, {"type": "array", "items": {"type": "integer"}}
OF_CROPS: dict[str, dict[str, Any]] = {
    "crops": {
        "pixel_size_nm": {"type": "number", "unit": "nm", "description": "edge of a crop's pixel"},
        "frame_interval_s": {"type": "number", "unit": "s"},
        "height_nm": {"type": "number", "unit": "nm", "description": "of molecules above the support; 0 of windows"},
        "channel": {"type": "string", "description": "of the file; empty where it has none"},
        "followed": {"enum": ["molecules", "windows"], "description": "windows where no molecule is seen alone"},
        "n_film_frames": _COUNT | {"description": "frames of the movie"},
        "left_out": _FRAMES_OF | {"description": "frames that are blank or broken"},
        "moved": _FRAMES_OF | {"description": "frames that were scanned while the stage moved"},
        "n_dropped": _COUNT | {"description": "crops left over where replicas are of one length"},
        "tracks": {
            "type": "array",
            "items": {"type": "object", "additionalProperties": {"type": "integer"}},
            "description": "of each molecule: frames from the first to the last, used, and in which it is in view",
        },
    },
    "crop_latents": {
        "noise_variance": {"type": "number", "unit": "nm^2"},
        "n_above_noise": _COUNT | {"description": "components beyond those of data without correlations of pixels"},
    },
    "form_latents": {
        "tip_radius_nm": {"type": "number", "unit": "nm", "description": "of the tip's end, given or found"},
        "noise_nm": {"type": "number", "unit": "nm", "description": "left unexplained in a pixel"},
        "other_hand_nm": {"type": "number", "unit": "nm", "description": "the same of frames read the other way round"},
        "mirrored": {"type": "boolean", "description": "whether frames are taken the other way round than read"},
        "pairs": {"type": "array", "items": {"type": "string"}, "description": "names of the distances"},
        "bead_radius_nm": {"type": "array", "items": {"type": "number"}, "unit": "nm"},
    },
}
"""Of crops of a scanning probe's movie, and of their latents."""
