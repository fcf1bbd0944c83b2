"""Sections of a recipe for the stages after the images: embed, train, evaluate, report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tempica.recipe.section import MOST, Section, in_unit


class EmbedRecipe(Section):
    """Posterior of displacement-mode amplitudes per frame, by Gauss–Newton through the image formation."""

    n_modes: int = Field(default=4, ge=1, le=100, description="principal displacement modes of the separate replica")
    n_iterations: int = Field(default=8, ge=1, le=100, description="Gauss–Newton iterations at the most")


class TrainRecipe(Section):
    methods: list[Literal["tica", "pcl", "tcl", "snica", "pcl_images"]] = Field(
        default=["tica", "pcl"],
        description="estimators beside the baselines; all but tcl need pairs of frames, tcl needs segments; pcl_images"
        " is PCL on the images themselves, for molecules that are all seen from one side",
    )
    n_components: int = Field(default=2, ge=1, le=100, description="sources to recover")
    lag: int = in_unit("frame", "lag of the temporal contrast", default=1, ge=1)
    validation_replicas: int = Field(default=1, ge=1, description="for early stop and choices, never for gradients")
    held_out_replicas: int = Field(default=2, ge=1, description="seen by evaluate alone")

    @field_validator("methods")
    @classmethod
    def _once(cls, methods: list[str]) -> list[str]:
        if len(set(methods)) < len(methods):
            raise ValueError(f"methods must not repeat; given are {', '.join(methods)}")
        return methods


class EvaluateRecipe(Section):
    n_null: int = Field(default=400, ge=20, le=100_000, description="draws of the null distribution")
    n_bootstrap: int = Field(default=400, ge=20, le=100_000, description="draws of the moving-block bootstrap")
    n_ceiling_frames: int = Field(
        default=600, ge=50, le=MOST, description="held-out frames on which the ceiling is computed"
    )


class ReportRecipe(Section):
    n_examples: int = Field(default=6, ge=1, le=20, description="example frames, clean and noisy")
    n_trace_frames: int = in_unit("frame", "length of the traces shown", default=300, ge=10, le=MOST)
