"""Who may do what: a caller's rights, from the AccessPolicy documents of the applied policies. Pure.

A right is a role on the groups that match a glob. What concerns the site and no group, such as policies and tokens,
needs the role on every group: somebody's authority over some of them must not reach the others through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from engine.model.policy.access import ROLES, AccessPolicy, Subject

VIEWER, OPERATOR, RECOVERER, ADMIN = ROLES
EVERY_GROUP = "*"


@dataclass(frozen=True, slots=True)
class Sight:
    """Which groups somebody sees: those that match one of `globs`; with None, or the glob `*`, everything."""

    globs: tuple[str, ...] | None = None

    @property
    def everything(self) -> bool:
        return self.globs is None or EVERY_GROUP in self.globs

    def sees(self, group: str) -> bool:
        # What begins with an underscore is the site's own, the audit for one, and no group of anybody's.
        if self.everything:
            return True
        return not group.startswith("_") and any(fnmatchcase(group, glob) for glob in self.globs or ())


EVERYTHING = Sight()


@dataclass(frozen=True, slots=True)
class Right:
    """A role, and the globs of the groups that it holds for."""

    role: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rights:
    """All that a caller may do."""

    rights: tuple[Right, ...] = ()

    def sight(self, role: str) -> Sight:
        """The groups on which the caller has this role, or one that includes it."""
        return Sight(
            tuple(sorted({glob for right in self.rights if reaches(right.role, role) for glob in right.groups}))
        )

    def may(self, role: str, group: str | None = None) -> bool:
        """Whether the caller has this role on a group; without one, on every group."""
        sight = self.sight(role)
        return sight.everything if group is None else sight.sees(group)

    def may_somewhere(self, role: str) -> bool:
        return bool(self.sight(role).globs)


ALL_RIGHTS = Rights((Right(ADMIN, (EVERY_GROUP,)),))
NO_RIGHTS = Rights()


def reaches(role: str, needed: str) -> bool:
    """Whether a role may do what the needed one may; a word that is no role may nothing."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)


def rights_of(policies: Iterable[AccessPolicy], *, user: str = "", token: str = "") -> Rights:
    """What the policies grant a user who comes with a token; either may be empty, and is then nobody."""
    me = {Subject(kind, name) for kind, name in (("user", user), ("token", token)) if name}
    granted = [policy for policy in policies if me.intersection(policy.subjects)]
    return Rights(tuple(Right(role, policy.groups) for policy in granted for role in policy.roles))


def access_policies(documents: Mapping[str, Any]) -> tuple[AccessPolicy, ...]:
    """The AccessPolicy documents among applied ones, which are by KIND/NAME. One that isn't whole grants nothing."""
    found = (_policy(key, document) for key, document in sorted(documents.items()) if key.startswith("AccessPolicy/"))
    return tuple(policy for policy in found if policy is not None)


def _policy(key: str, document: Any) -> AccessPolicy | None:
    spec = document.get("spec") if isinstance(document, dict) else None
    if not isinstance(spec, dict):
        return None
    subjects, roles, groups = (spec.get(name) for name in ("subjects", "roles", "groups"))
    if roles is None or groups is None or not (_texts(roles) and _texts(groups) and isinstance(subjects, list)):
        return None
    if not all(isinstance(each, dict) and _texts(list(each.values())) for each in subjects):
        return None
    named = tuple(Subject(kind, name) for each in subjects for kind, name in each.items())
    return AccessPolicy(key.partition("/")[2], named, tuple(roles), tuple(groups))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
