"""Who may do what, and who hears of it."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("viewer", "operator", "recoverer", "admin")
"""Each may do what the ones before it may."""


@dataclass(frozen=True, slots=True)
class Subject:
    """`type` is user or token."""

    type: str
    name: str


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """`groups` are globs on the names of protection groups."""

    name: str
    subjects: tuple[Subject, ...]
    roles: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """`type` is webhook or mail; `to` a URL or an address."""

    type: str
    to: str


@dataclass(frozen=True, slots=True)
class Notification:
    name: str
    on: tuple[str, ...]
    to: tuple[Target, ...]
