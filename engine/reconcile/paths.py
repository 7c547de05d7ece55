"""Paths of sources: variables written out, form checked, overlaps found."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from engine.model.errors import UsageError
from engine.model.ids import Address
from engine.model.policy.documents import Fault
from engine.reconcile.load import Placed, Step
from engine.reconcile.load_yaml import shown
from engine.reconcile.schema import nearest
from engine.tree.match import Exclude, compile_excludes

VARIABLES = ("BCS_HOME",)
_WILD = re.compile(r"[*?\[\]\\]")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class BadPath(Exception):
    """`args` are the message and the hint."""


def expand(path: str, variables: Mapping[str, str] | None, *, embedded: bool) -> str:
    """An absolute path in its shortest form. `~` and `${BCS_HOME}` stand for what `variables` say under
    HOME and BCS_HOME (None: left as they are); only on the embedded site. BadPath when it is none."""
    used = _VARIABLE.findall(path) + (["HOME"] if path == "~" or path.startswith("~/") else [])
    if used and not embedded:
        raise BadPath(f"{shown(path)} is not an absolute path", "~ and ${BCS_HOME} work on the embedded site only")
    for name in used:
        if name not in (*VARIABLES, "HOME"):
            raise BadPath(
                f"{shown('${' + name + '}')} is not a variable", nearest(name, VARIABLES) or "only ${BCS_HOME} is"
            )
    if used and variables is None:
        return path
    if used and variables is not None:
        path = _VARIABLE.sub(lambda match: variables[match.group(1)], path)
        path = variables["HOME"] + path[1:] if path.startswith("~") else path
    if not path.startswith("/"):
        raise BadPath(f"{shown(path)} is not an absolute path", "begin with a slash")
    if any(part in (".", "..") for part in path.split("/")):
        raise BadPath(f"{shown(path)} goes through '.' or '..'", "write the path without")
    return "/" + posixpath.normpath(path).lstrip("/")


def variables_of(home: str | os.PathLike[str]) -> dict[str, str]:
    """What paths of the embedded site at `home` may refer to, for the user who asks."""
    return {"BCS_HOME": os.fspath(home), "HOME": os.path.expanduser("~")}


def literal(path: str) -> str:
    """The exclude pattern that matches just this path and what lies below it."""
    return _WILD.sub(r"\\\g<0>", path)


def bad_pattern(pattern: str) -> tuple[str, str] | None:
    """Message and hint for an exclude that no matcher takes, else None."""
    try:
        compile_excludes([pattern])
    except UsageError as error:
        return error.message, error.hint or "see the description of exclude in `bcsctl schema ProtectionGroup`"
    return None


@dataclass(frozen=True, slots=True)
class Claim:
    """One path that one source protects on one host; `left_out` says which paths it leaves to others."""

    host: str
    path: str
    address: Address
    left_out: Exclude
    placed: Placed
    place: tuple[Step, ...]


def overlaps(claims: Iterable[Claim]) -> Iterator[Fault]:
    """A fault for each path that is, or lies in, what another claim on its host protects."""
    reported: set[tuple[int, tuple[Step, ...]]] = set()
    above: list[Claim] = []
    for claim in sorted(claims, key=lambda claim: (claim.host, claim.path.rstrip("/").split("/"))):
        while above and not _holds(above[-1], claim):
            above.pop()
        other = next((outer for outer in reversed(above) if not outer.left_out(os.fsencode(claim.path), True)), None)
        if other:
            # The same two lines may meet on many hosts: told once, where the later of them is written.
            later, earlier = (claim, other) if _order(claim) >= _order(other) else (other, claim)
            key = (id(later.placed), later.place)
            if key not in reported:
                reported.add(key)
                yield _overlap(later, earlier, inner=claim)
        above.append(claim)


def _holds(outer: Claim, inner: Claim) -> bool:
    return outer.host == inner.host and (inner.path + "/").startswith(outer.path.rstrip("/") + "/")


def _overlap(later: Claim, earlier: Claim, inner: Claim) -> Fault:
    what, other = f"{shown(later.path)} of {later.address}", f"{shown(earlier.path)} of {earlier.address}"
    if later.path == earlier.path:
        message = f"{what} is protected by {earlier.address} already"
    else:
        message = f"{what} {'lies in' if later is inner else 'holds'} {other}"
    hint = "keep one of them" if later.address == earlier.address else "remove one, or exclude its path from the other"
    return later.placed.fault(later.place, message, f"data is captured once: {hint}")


def _order(claim: Claim) -> tuple[str, int, tuple[str, ...]]:
    return claim.placed.document.file, claim.placed.document.line, tuple(f"{step:>6}" for step in claim.place)
