"""Plain files: which paths of a host belong to a source, which are left out, and what leads to them.

The tree of a source hangs below `/`. Directories on the way to a protected path (`stems`) are kept with their
attributes and the one name that leads on; a symbolic link on that way is followed, so that what a policy calls
/srv/data is found there in the history too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from engine.model.errors import UsageError
from engine.tree.match import Exclude, compile_excludes


class Scope:
    """What belongs to one source. Paths are absolute bytes without a slash at the end, `/` itself excepted."""

    def __init__(
        self, paths: Sequence[str | bytes], exclude: Iterable[str | bytes] = (), own: Iterable[str | bytes] = ()
    ) -> None:
        """`exclude` are patterns of the policy; `own` whole paths that are never looked at: the agent's files.

        UsageError for a path that isn't absolute or a pattern that makes no sense. Of paths that lead to one place by
        symbolic links one is a root, as of paths that lie in each other.
        """
        self._paths = _outermost(_normal(path) for path in paths)
        if not self._paths:
            raise UsageError("a source without paths protects nothing", hint="name at least one path")
        self._patterns = list(exclude)
        self._own = tuple(_normal(path) for path in own)
        self._elsewhere: list[tuple[bytes, bytes]] = []
        self._instead: list[tuple[bytes, bytes]] = []
        self.hollow: frozenset[bytes] = frozenset()
        self._settle(_distinct(self._paths))
        self.follow()

    def _settle(self, roots: tuple[bytes, ...]) -> None:
        self.roots = roots
        self.stems = _stems(roots)
        self._excludes: list[tuple[bytes, Exclude]] = [(root, compile_excludes(self._patterns, root)) for root in roots]
        self._note_excludes()

    def _note_excludes(self) -> None:
        own = any(within(path, root) or within(root, path) for path in self._own for root in self.roots)
        self.excludes_nothing = not (self._patterns or own or self.hollow)

    def keep_hollow(self, points: Iterable[bytes]) -> None:
        """Of directories at these paths on disk nothing but themselves belongs to the source: `hollow`, in the tree."""
        found = set()
        for point in points:
            for root in self.roots:
                real = self.real(root)
                if within(point, real) and point != real:
                    found.add(root.rstrip(b"/") + point[len(real.rstrip(b"/")) :])
        self.hollow = frozenset(found)
        self._note_excludes()

    def shared_with(self, other: Scope) -> tuple[bytes, bytes] | None:
        """A path of this scope and one of another that lead, by symbolic links, to one place or into each other."""
        for mine in self.roots:
            for theirs in other.roots:
                here, there = os.path.realpath(mine), os.path.realpath(theirs)
                if within(here, there) and not other.excluded(theirs + here[len(there) :], True):
                    return mine, theirs
                if within(there, here) and not self.excluded(mine + there[len(here) :], True):
                    return mine, theirs
        return None

    def follow(self) -> bool:
        """Look where symbolic links on the way to the roots lead now; whether that has changed."""
        roots = _distinct(self._paths)
        moved = roots != self.roots
        if moved:
            self._settle(roots)
        found = []
        for path in {*self.roots, *self.stems}:
            real = os.path.realpath(path)
            if real != path:
                found.append((path, real))
        found.sort(key=lambda pair: -len(pair[0]))
        changed, self._elsewhere = moved or found != self._elsewhere, found
        return changed

    def real(self, path: bytes) -> bytes:
        """Where a path of the tree is on disk: itself, unless a link leads elsewhere."""
        for prefix, target in self._elsewhere:
            if within(path, prefix):
                path = target + path[len(prefix) :]
                break
        for prefix, target in self._instead:
            if within(path, prefix):
                return target + path[len(prefix) :]
        return path

    def look_elsewhere(self, places: Sequence[tuple[bytes, bytes]]) -> None:
        """For a while, what is at the first path of a pair on disk is looked at below the second; none ends it."""
        self._instead = list(places)

    @property
    def own(self) -> tuple[bytes, ...]:
        """What is never looked at."""
        return self._own

    def missing(self) -> list[str]:
        """The paths of the source at which there is nothing now."""
        return [os.fsdecode(root) for root in self.roots if not os.path.lexists(self.real(root))]

    def names(self, directory: bytes) -> frozenset[bytes] | None:
        """The names in a stem that lead to roots; None for a directory all of which belongs here."""
        return self.stems.get(directory)

    def excluded(self, path: bytes, is_directory: bool) -> bool:
        """Whether a path at or below a root is left out. Roots and stems never are, unless they are the agent's own."""
        if self.excludes_nothing or path in self.stems:
            return False
        if any(within(path, own) for own in self._own):
            return True
        if any(path != point and within(path, point) for point in self.hollow):
            return True
        return any(within(path, root) and matches(path, is_directory) for root, matches in self._excludes)


def within(path: bytes, parent: bytes) -> bool:
    """Whether `path` is `parent` or lies below it."""
    return path == parent or parent == b"/" or path.startswith(parent + b"/")


def _normal(path: str | bytes) -> bytes:
    raw = os.fsencode(path)
    if not raw.startswith(b"/"):
        raise UsageError(f"'{os.fsdecode(raw)}' is not an absolute path", hint="begin it with a slash")
    return b"/" + os.path.normpath(raw).lstrip(b"/")


def _outermost(paths: Iterable[bytes]) -> tuple[bytes, ...]:
    """The paths without those that lie below another one."""
    kept: list[bytes] = []
    for path in sorted(set(paths)):
        if not any(within(path, root) for root in kept):
            kept.append(path)
    return tuple(kept)


def _distinct(paths: Sequence[bytes]) -> tuple[bytes, ...]:
    """The paths without those that lead, by symbolic links, to or into where another one leads: a directory has one
    place in the tree. Of two that lead to the same place the one stays that is no link."""
    kept: list[tuple[bytes, bytes]] = []
    real = {path: os.path.realpath(path) for path in paths}
    for path in sorted(paths, key=lambda path: (len(real[path]), real[path] != path, path)):
        if not any(within(real[path], above) for _, above in kept):
            kept.append((path, real[path]))
    return tuple(sorted(path for path, _ in kept))


def _stems(roots: Sequence[bytes]) -> dict[bytes, frozenset[bytes]]:
    """Every directory above a root, with the names in it that lead on."""
    found: dict[bytes, set[bytes]] = {}
    for root in roots:
        path = root
        while path != b"/":
            path, name = os.path.split(path)
            found.setdefault(path, set()).add(name)
    return {path: frozenset(names) for path, names in found.items()}
