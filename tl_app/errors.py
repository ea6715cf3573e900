"""Errors that a user can cause, and the exit code each kind ends a command with.

Knows nothing of torch, gradio or the command line: the readers (UI, CLI, notebook) decide how to show one.
"""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right.

    The message has up to three parts: what was wrong (with the value), what is allowed, what to do next.

    Args:
        problem: What was wrong, with the offending value; a whole sentence.
        allowed: What would have been accepted; a whole sentence, or empty.
        remedy: What to do next; a whole sentence, or empty.

    Attributes:
        exit_code: What the command line exits with.
    """

    exit_code = 2

    def __init__(self, problem: str, allowed: str = "", remedy: str = "") -> None:
        self.problem, self.allowed, self.remedy = problem, allowed, remedy
        super().__init__(" ".join(part for part in (problem, allowed, remedy) if part))


class UsageError(UserError):
    """A setting is not allowed, or settings contradict each other (exit code 2)."""


class DataError(UserError):
    """The photos cannot be used as they are (exit code 3)."""

    exit_code = 3


class PhotoError(DataError):
    """One photo cannot be used; ``problem`` is the reason shown beside its name (exit code 3)."""


class ResourceError(UserError):
    """The machine lacks something: memory, disk, network, or a free device (exit code 4)."""

    exit_code = 4


class DivergedError(ResourceError):
    """Training ran into NaN or infinity twice, the second time at half the learning rate (exit code 4)."""


class ExportError(UserError):
    """An export does not answer as its run does, or cannot be checked; nothing was kept of it (exit code 5)."""

    exit_code = 5


class Interrupted(UserError):
    """The user stopped something that was under way (exit code 130)."""

    exit_code = 130
