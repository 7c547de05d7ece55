"""Which sources a restore is about, and where each lands: from the name of one to a host, a group, a selector. Pure.

GROUP/HOST/SOURCE    one source; each part may hold wildcards
GROUP/HOST           all sources of a host in a group
NAME                 all sources of a group, or of a host where no group is called so
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from engine.model.errors import NothingThere, UsageError
from engine.model.ids import Address

_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Scope:
    """`parts` are those of an address, from the group on; none with a selector alone. `labels` all have to fit."""

    parts: tuple[str, ...]
    labels: Mapping[str, str]

    @property
    def one(self) -> bool:
        """Whether it is the address of one source."""
        return len(self.parts) == 3 and not self.labels and not any(set(part) & _WILD for part in self.parts)

    def __str__(self) -> str:
        selected = ",".join(f"{key}={value}" for key, value in self.labels.items())
        return " with ".join(filter(None, ("/".join(self.parts), selected)))


def parse_scope(text: str, selector: str = "") -> Scope:
    """Read an address or a part of one, and `application=finance,location=sf`."""
    parts = tuple(text.split("/")) if text else ()
    if len(parts) > 3 or not all(parts) or not (parts or selector):
        raise UsageError(
            f"'{text}' names no source, host or group",
            hint="write GROUP/HOST/SOURCE as `bcsctl status` prints it, GROUP/HOST, GROUP, HOST, or --selector",
        )
    labels: dict[str, str] = {}
    for each in filter(None, selector.split(",")):
        key, sign, value = each.partition("=")
        if not sign or not key:
            raise UsageError(f"'{each}' selects nothing", hint="write --selector application=finance,location=sf")
        labels[key] = value
    return Scope(parts, labels)


def chosen(scope: Scope, known: Mapping[Address, Mapping[str, str]]) -> list[Address]:
    """The sources of a scope, of all that are known with their labels, by address. NothingThere for none.

    Streams of the program's own, whose group begins with an underscore, are no sources."""
    known = {address: labels for address, labels in known.items() if not address.group.startswith("_")}
    fitting = [address for address, labels in known.items() if scope.labels.items() <= labels.items()]
    if len(scope.parts) == 1:
        [name] = scope.parts
        groups = [address for address in fitting if fnmatchcase(address.group, name)]
        hosts = [address for address in fitting if fnmatchcase(address.host, name)]
        if groups and hosts and groups != hosts and not set(name) & _WILD:
            raise UsageError(f"'{name}' is a group and a host", hint=f"write '{name}/*' or '*/{name}'")
        found = groups or hosts
    else:
        found = [address for address in fitting if _fits(address, scope.parts)]
    if not found:
        raise _nothing(scope, known)
    return sorted(found)


def _nothing(scope: Scope, known: Mapping[Address, Mapping[str, str]]) -> NothingThere:
    """The refusal of a scope, with what there is instead."""
    from difflib import get_close_matches

    groups = sorted({address.group for address in known})
    hint = "nothing is protected yet: see `bcsctl apply`"
    near = groups[:5]
    if scope.labels:
        near = sorted({f"{key}={value}" for labels in known.values() for key, value in labels.items()})
        hint = f"labels there are: {', '.join(near[:8])}" if near else "no group has labels: name a group, or a host"
    elif known:
        names = sorted({*groups, *(address.host for address in known)})
        near = get_close_matches("/".join(scope.parts[:1]), names, n=3, cutoff=0.5) or near
        hint = f"there is {', '.join(near)}"
    return NothingThere(
        f"there is no source in {scope}" if scope.parts else f"no source is labelled {scope}",
        hint=hint,
        details={"near": near},
    )


def landings(addresses: Sequence[Address], target: bytes) -> dict[Address, bytes]:
    """Where each of several sources lands: HOST/SOURCE in the target, or below its GROUP where two would meet."""
    places = [(address.host, address.source) for address in addresses]
    meet = len(set(places)) < len(places)
    return {
        address: _join(target, (address.group, *place) if meet else place)
        for address, place in zip(addresses, places, strict=True)
    }


def _fits(address: Address, parts: Iterable[str]) -> bool:
    return all(map(fnmatchcase, (address.group, address.host, address.source), parts))


def _join(target: bytes, names: Iterable[str]) -> bytes:
    return b"/".join((target.rstrip(b"/"), *(name.encode() for name in names)))
