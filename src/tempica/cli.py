"""The command line. Heavy imports happen inside the verb that needs them."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys

import click

from tempica import terminal
from tempica._version import __version__
from tempica.commands.auditing import audit_axes
from tempica.commands.beginning import new
from tempica.commands.checking import check_run
from tempica.commands.citing import cite
from tempica.commands.designing import design_recipe
from tempica.commands.doctoring import doctor
from tempica.commands.exchanging import export_run, import_files
from tempica.commands.listings import methods, recipes, schema
from tempica.commands.stages import COMMANDS, run
from tempica.commands.unmixing import unmix
from tempica.errors import TempicaError, WorkerError, did_you_mean

# what the system refuses since it was asked for the wrong thing; other failures are the machine's
_MISTAKES = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}


class _Group(click.Group):
    """Commands, of which those that come near are told where there is none of a name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx)) or " `tempica --help` lists them."
            raise click.UsageError(f"There is no command {args[0]}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tempica")
def cli() -> None:
    """Simulate molecules in motion, image them over time, and recover their degrees of freedom.

    A recipe (a TOML file) describes a whole experiment; a run is one folder, runs/<name of the recipe>/.
    """


_RUNS = (new, design_recipe, check_run, audit_axes, export_run, import_files, unmix)
_VERBS = (*_RUNS, doctor, recipes, methods, cite, schema)
for _verb in (run, *COMMANDS, *_VERBS):
    cli.add_command(_verb)


def main() -> None:
    """Entry point: mistakes in the input end with one message and exit code 2, an interruption with 130.

    What the machine failed at (workers killed, disk or memory full) ends with 1 and the command that resumes.
    """
    terminal.make_safe()
    for number in (signal.SIGINT, signal.SIGTERM):  # the second is a batch system's way to ask for an end
        signal.signal(number, _stop)
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        _interrupted()
    except KeyboardInterrupt:
        _interrupted()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except WorkerError as error:
        print(f"tempica: {error}; what is done is kept. Resume with:\n  {_command()}", file=sys.stderr)
        _leave(1)
    except TempicaError as error:
        print(f"tempica: {error}", file=sys.stderr)
        sys.exit(2)
    except (OSError, MemoryError) as error:
        _failed(error)
    except ModuleNotFoundError as error:  # of an installation for arrays alone
        if error.name not in ("mdtraj", "openmm"):
            raise
        print(f"tempica: this needs {error.name}. Install it with: pip install {error.name}", file=sys.stderr)
        _leave(2)


def _failed(error: OSError | MemoryError) -> None:
    if isinstance(error, OSError) and error.errno in _MISTAKES:
        print(f"tempica: {error}. Use another path, or change its permissions.", file=sys.stderr)
        _leave(2)
    what = f"the memory does not suffice ({error})" if isinstance(error, MemoryError) else str(error)
    print(f"tempica: {what}; what is done is kept. Fix this, then resume with:\n  {_command()}", file=sys.stderr)
    _leave(1)


def _interrupted() -> None:
    print(f"\ntempica: interrupted; what is done is kept. Resume with:\n  {_command()}", file=sys.stderr)
    _leave(130)


def _stop(number: int, frame: object) -> None:
    pool = sys.modules.get("tempica.runs.pool")
    if pool is not None:
        pool.interrupted.set()
    raise KeyboardInterrupt


def _leave(code: int) -> None:
    pool = sys.modules.get("tempica.runs.pool")
    if pool is not None and pool.stuck.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _command() -> str:
    return shlex.join(["tempica", *sys.argv[1:]])


if __name__ == "__main__":
    main()
