"""What a lab says when it can't."""

from __future__ import annotations


class LabError(RuntimeError):
    """A step of the lab failed; the message has what the command said."""


class LabImpossible(LabError):
    """This machine can't run labs; tests are skipped with the message."""
