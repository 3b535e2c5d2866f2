"""What can go wrong, by what a person does next.

    TrainingError
        InputError     the table or an argument has to change first; exit code 2, nothing was registered
        NotGoodEnough  the model falls short of what was asked for; exit code 3, nothing was registered
        RegistryError  MLflow did not do its part; exit code 1, the same command works when it does

Each message is one sentence or two, written for the data scientist who reads it on a terminal.
"""

from typing import ClassVar


class TrainingError(Exception):
    """Training ended without a registered version."""

    exit_code: ClassVar[int] = 1


class InputError(TrainingError):
    """Other input is needed: nothing was trained on it, and nothing was registered."""

    exit_code: ClassVar[int] = 2


class NotGoodEnough(TrainingError):
    """A figure is below its threshold: nothing was registered, and no alias has moved."""

    exit_code: ClassVar[int] = 3


class RegistryError(TrainingError):
    """MLflow can't be reached, or refused."""

    exit_code: ClassVar[int] = 1
