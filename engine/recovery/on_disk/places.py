"""Where the paths of a source are on this machine's disk: at their own place, or in a directory that holds a copy."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.drivers.files import Scope, within
from engine.model.errors import UsageError
from engine.plan.restore import base_of

HERE = "localhost"
"""The host's name in the embedded site."""


@dataclass(frozen=True, slots=True)
class Place:
    """Part of a tree: what is below `tree` lies below `disk`. `excluded(path in the tree, is it a directory)`."""

    tree: bytes
    disk: bytes
    excluded: Callable[[bytes, bool], bool]

    def tree_path(self, path: bytes) -> bytes:
        return _moved(path, self.disk, self.tree)

    def disk_path(self, path: bytes) -> bytes:
        return _moved(path, self.tree, self.disk)


def own_places(source: Mapping[str, Any], path: bytes | None, own: Sequence[Path] = ()) -> list[Place]:
    """The paths of a source (an applied policy's word on it), or what is at and below `path`, where they are.

    `own` are directories of ours, which are never protected. UsageError for a path outside of the source.
    """
    scope = Scope(source["paths"], source.get("exclude", ()), [os.fsencode(each) for each in own])
    roots = list(scope.roots)
    if path is not None:
        path = b"/" + path.strip(b"/")
        inside = any(within(path, root) for root in roots)
        roots = [path] if inside else [root for root in roots if within(root, path)]
    if not roots:
        known = ", ".join(os.fsdecode(root) for root in scope.roots)
        raise UsageError(f"{os.fsdecode(path or b'/')} is no part of the source", hint=f"it protects {known}")
    return [Place(root, scope.real(root), scope.excluded) for root in roots]


def copied_places(source: Mapping[str, Any], path: bytes | None, directory: Path) -> list[Place]:
    """The same in a directory that `bcsctl restore --to`, or anything that lands things as it does, has filled."""
    scope = Scope(source["paths"], source.get("exclude", ()))
    base, landing = base_of(path, scope.roots, os.fsencode(directory.absolute()))
    if base != b"/" or b"/" in scope.roots:
        return [Place(base, landing, scope.excluded)]
    return [Place(root, landing + root, scope.excluded) for root in scope.roots]


def is_here(host: str) -> bool:
    """Whether a source's host is this machine, by its name."""
    name = os.uname().nodename
    return host in (HERE, name, name.split(".")[0])


def _moved(path: bytes, old: bytes, new: bytes) -> bytes:
    rest = path[len(old) :].lstrip(b"/") if path != old else b""
    if not rest:
        return new
    return new + rest if new.endswith(b"/") else new + b"/" + rest
