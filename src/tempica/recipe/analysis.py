"""Sections of a recipe for the stages after the images: embed, train, evaluate, report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from tempica.recipe.section import MOST, Section, in_unit

MOST_MODES = 8  # among which the images choose


class EmbedRecipe(Section):
    """Poses, displacement modes and their amplitudes from images; what the movie does not state is found."""

    modes_from: Literal["ensemble", "structure", "images"] = Field(
        default="ensemble",
        description="what is known of motions beforehand: a separate simulation, of which principal modes are taken,"
        " or one structure, of which an elastic network is made; or nothing but the images and their poses, known or"
        " approximate, whose map stands for the structure. Modes are then learned from the images",
    )
    n_modes: Annotated[int, Field(ge=1, le=100)] | Literal["auto"] = Field(
        default=4,
        description="displacement modes that the images teach; 'auto': as many, up to 8, as the likelihood of frames"
        " asks for that are held out while learning",
    )
    n_iterations: int = Field(default=8, ge=1, le=100, description="Gauss–Newton iterations at the most")

    @property
    def most_modes(self) -> int:
        """How many modes there may be."""
        return MOST_MODES if self.n_modes == "auto" else self.n_modes


class MethodRecipe(Section):
    """A method with parameters of its own: any of its estimator's, `training = { … }` included."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="a method of `tempica methods`")


class TrainRecipe(Section):
    """Methods to train, each by its name, or by a table [[train.method]] that gives it parameters."""

    methods: list[str] | None = Field(
        default=None,
        description="names of `tempica methods`; if neither these nor tables are given: tica and pcl where there are"
        " pairs of frames, tcl where there are labels alone, else fastica",
    )
    method: list[MethodRecipe] = Field(default=[], description="methods with parameters of their own")
    n_components: int = Field(default=2, ge=1, le=100, description="sources to recover, where a method does not say")
    lag: int = in_unit("frame", "lag of the temporal contrast, where a method does not say", default=1, ge=1)
    validation_replicas: int = Field(default=1, ge=1, description="for early stop and choices, never for gradients")
    held_out_replicas: int = Field(default=2, ge=1, description="seen by evaluate alone")

    @model_validator(mode="after")
    def _once(self) -> TrainRecipe:
        names = [*(self.methods or ()), *(one.name for one in self.method)]
        if len(set(names)) < len(names):
            raise ValueError(
                f"train.methods must not repeat, nor name what train.method has; given are {', '.join(names)}"
            )
        return self


class EvaluateRecipe(Section):
    n_null: int = Field(default=400, ge=20, le=100_000, description="draws of the null distribution")
    n_ceiling_frames: int = Field(
        default=2000,
        ge=50,
        le=MOST,
        description="held-out frames on which ceilings are computed: of each replica the first ones",
    )


class ReportRecipe(Section):
    n_examples: int = Field(default=6, ge=1, le=20, description="example frames, clean and noisy")
    n_trace_frames: int = in_unit("frame", "length of the traces shown", default=300, ge=10, le=MOST)
