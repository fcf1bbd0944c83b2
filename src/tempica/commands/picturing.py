"""`tempica report --video` and `--figures`: files beside the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tempica import terminal


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with both options."""
    for option in (
        click.option(
            "--figures", metavar="FOLDER", type=click.Path(path_type=Path), help="Write every figure as SVG and PNG."
        ),
        click.option(
            "--video",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Write a film of frames, structure and sources: .mp4 (pip install 'tempica[video]') or .gif.",
        ),
    ):
        command = option(command)
    return command


def check(video: Path | None, figures: Path | None) -> None:
    """Raise ParameterError or StoreError for what cannot be written, before anything is done."""
    if video is not None:
        from tempica.report import video as film

        film.check(video)
    if figures is not None:
        from tempica.report import exporting

        exporting.check_folder(figures)


def write(run: Path, video: Path | None, figures: Path | None) -> None:
    """Write what was asked for of a run that has its report, and tell where it is."""
    from tempica.report import exporting

    if figures is not None:
        with terminal.working():
            names = exporting.write_figures(run, figures)
        terminal.tell(f"Figures: {figures} ({len(names)}, as SVG and PNG)")
    if video is not None:
        with terminal.working():
            n = exporting.write_video(run, video)
        terminal.tell(f"Video: {video} ({n} frames)")


def taken(given: dict[str, Any]) -> tuple[Path | None, Path | None]:
    """Both options, taken out of those that a command was given; None where they are not the command's."""
    return given.pop("video", None), given.pop("figures", None)
