"""A policy document as it was written, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

API_VERSION = "bcs/v1alpha1"
KINDS = ("Site", "ProtectionGroup", "RetentionPolicy", "AccessPolicy", "Notification", "Defaults")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One error in a policy. `line` and `column` count from 1; both are 0 when the whole file is meant.

    `path` is the dotted way to the value inside its document, as `spec.sources[0].files.paths`.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class Document:
    """One document: `raw` is its JSON form, whole; `file` and `line` say where it was read."""

    kind: str
    name: str
    raw: Mapping[str, Any]
    file: str = ""
    line: int = 0

    @property
    def key(self) -> str:
        """KIND/NAME, unique within a set of policies."""
        return f"{self.kind}/{self.name}"
