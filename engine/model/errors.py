"""Every error that a user can meet, as one tree. Each class owns its exit code.

    BcsError                      1  something failed
    |-- UsageError                2  the command line, or a value on it, makes no sense
    |-- PolicyInvalid             3  a policy document is wrong; carries one entry per fault
    |-- Refused                   4  a guard said no: it would destroy, overwrite, or is not allowed
    |   |-- Unauthenticated       4  nobody knows who asks
    |   `-- NotAuthorised         4  who asks may not
    |-- NothingThere              5  no such source, path or point
    |-- VerificationFailed        6  bytes or attributes differ from what was protected
    `-- Failed                    1  an operation that was allowed did not work
        |-- Unreachable           1  the node or a host does not answer
        `-- Damaged               1  an object of the journal is not what it was when written

A message is one line and names the bad value; a hint says what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BcsError(Exception):
    """The base of everything raised on purpose. `code` is a stable word for scripts."""

    exit_code = 1
    code = "failed"

    def __init__(self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints: {"error": {code, message, hint, details}}."""
        body = {"code": self.code, "message": self.message, "hint": self.hint, "details": self.details}
        return {"error": body}


class UsageError(BcsError):
    exit_code = 2
    code = "usage"


class PolicyInvalid(BcsError):
    """One or more faults in policy documents; `details["errors"]` lists them in file order."""

    exit_code = 3
    code = "policy-invalid"


class Refused(BcsError):
    exit_code = 4
    code = "refused"


class Unauthenticated(Refused):
    """Without a certificate or token that counts, where one is needed."""

    code = "unauthenticated"


class NotAuthorised(Refused):
    """Known, and not allowed; the message names the role that would be needed."""

    code = "not-authorised"


class NothingThere(BcsError):
    exit_code = 5
    code = "nothing-there"


class VerificationFailed(BcsError):
    exit_code = 6
    code = "verification-failed"


class Failed(BcsError):
    exit_code = 1
    code = "failed"


class Unreachable(Failed):
    code = "unreachable"


class Damaged(Failed):
    """An object of the journal is missing, cut short, changed or swapped. `details["object"]` names it."""

    code = "damaged"
