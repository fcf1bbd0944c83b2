"""Every error a user can meet. A message names the value, the rule and what to do next."""

import difflib
from collections.abc import Iterable


class TempicaError(Exception):
    """Base of all errors raised on purpose; the command line prints it without a traceback and exits with 2."""


class RecipeError(TempicaError, ValueError):
    """A recipe is malformed: unknown key, value out of range, contradiction between fields."""


class StructureError(TempicaError, ValueError):
    """A molecular structure cannot be used: missing, malformed, without the atoms or residues asked for."""


class DataError(TempicaError, ValueError):
    """Arrays handed to an estimator or a metric cannot be used: shape, NaN, too few frames."""


class ParameterError(TempicaError, TypeError):
    """A constructor was given a keyword that it does not have."""


class SimulationError(TempicaError, RuntimeError):
    """The integration left the physical range."""


class StoreError(TempicaError, OSError):
    """A store or run folder is missing, incomplete, damaged, in use, or holds something else."""


class TruthError(TempicaError, PermissionError):
    """A stage asked for a store that it must not see."""


class ClusterError(TempicaError, ConnectionError):
    """A cluster cannot be used: nobody answers, something is not installed, the run folder cannot be seen."""


class DeviceError(TempicaError, RuntimeError):
    """The device asked for is not there."""


class WorkerError(TempicaError, RuntimeError):
    """Workers were killed or lost; what is done is kept. The command line adds how to resume and exits with 1."""


class TaskError(WorkerError):
    """A task ended with an unexpected error; `details` is its traceback, which the run's log keeps."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message, details)  # both, so that it can be sent from a worker
        self.details = details

    def __str__(self) -> str:
        return str(self.args[0])


class IdentifiabilityWarning(UserWarning):
    """What was asked for cannot be identified from these data; the message says what, why, and what would mend it."""


class FormatError(TempicaError, ValueError):
    """A file of another program is missing, damaged, or says something that cannot be used."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A question about the names that come near one which is not known, with a space before it; empty if none does.

    Example:
        >>> did_you_mean("lags", ["lag", "methods"])
        ' Did you mean lag?'
    """
    near = difflib.get_close_matches(given, list(known), n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""
