"""Open what commands look at: the embedded journal, straight from its files, node or no node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bcsctl.output import BUSY, local_time, say
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.model.errors import BcsError, NothingThere, Refused, UsageError
from engine.model.ids import parse_address, split_path
from engine.model.points import Point, parse_moment, unseen_json
from engine.model.times import MINUTE
from engine.plan.access import EVERYTHING, Sight
from engine.plan.scope import Scope, chosen, parse_scope

if TYPE_CHECKING:
    from bcsctl.open_gaps import Word
    from engine.journal.open import Journal
    from engine.query.session import Session
    from engine.query.streams import StreamInfo


UNHEARD = MINUTE
"""An idle node writes watermarks each 30 seconds; nothing for longer than this is worth a word."""


@dataclass(frozen=True, slots=True)
class Named:
    """ADDRESS[:PATH] as given. `path` is bytes, as the kernel has them, and absolute."""

    address: str
    path: bytes | None


@dataclass(frozen=True, slots=True)
class Scene:
    """An open journal, a session over it, and the stream that a command is about, at the `address` that was given."""

    settings: Settings
    address: str
    journal: Journal
    session: Session
    stream: StreamInfo

    def point(self, moment: str) -> Point:
        """The recovery point that `--at` means; NothingThere with the neighbours.

        A time in a gap that the node knows to be open has none. Where nobody knows whether the source was idle, the
        last point before it answers, and it is said. So it is of `latest` while a gap is open (Point.unseen).
        """
        from engine.query.points import known_until, point_for

        now = SYSTEM.now()
        asked = parse_moment(moment, now)
        if asked.position is not None or asked.label is not None:
            return point_for(self.session, self.stream.id, asked, now)
        word = self.word()
        if asked.at is None:
            return self._newest(point_for(self.session, self.stream.id, asked, now), word)
        found = point_for(self.session, self.stream.id, asked, now, word.gap if word else None)
        known = max(known_until(self.session, self.stream.id), word.through_at or 0 if word else 0)
        if asked.at > known + UNHEARD:
            why = "" if word else " (no running node knows this source)"
            say(f"nothing is known after {local_time(known, 6)}{why}: this is the last point before it", BUSY)
        return found

    def _newest(self, point: Point, word: Word | None) -> Point:
        from bcsctl.open_gaps import say_unseen

        found = replace(point, unseen=word.gap if word else None)
        say_unseen(self.address, unseen_json(found))
        return found

    def path(self, point: Point, path: bytes) -> bytes:
        """A path as it was given, or as it was shown, with escapes for bytes."""
        from engine.query.tree import as_named

        return as_named(self.session, self.stream.id, point.position, path)

    def word(self) -> Word | None:
        """What the node knows of the source beyond its journal; None when it is not running."""
        from bcsctl.open_gaps import ask

        return ask(self.settings, {self.address, str(self.stream.address)})


def named(text: str) -> Named:
    """Read GROUP/HOST/SOURCE[:PATH]. UsageError for another form or a path that isn't absolute."""
    address, path = path_of(text)
    parse_address(address)
    return Named(address, path)


def source_named(settings: Settings, text: str) -> Named:
    """`named`; what names several sources is refused with their addresses."""
    try:
        return named(text)
    except UsageError as error:
        address, _ = split_path(text)
        if not 0 < len(address.split("/")) < 3:
            raise
        try:
            with scenes(settings, parse_scope(address)) as found:
                known = ", ".join(there.address for there in found[:8])
        except BcsError:
            raise error from None
        raise UsageError(f"'{address}' is not the address of one source", hint=f"it stands for {known}") from None


def path_of(text: str) -> tuple[str, bytes | None]:
    """What stands before a colon, and the path after it. UsageError for one that isn't absolute."""
    address, path = split_path(text)
    if path is not None and not path.startswith("/"):
        raise UsageError(f"'{path}' is not an absolute path", hint=f"write {address}:/and/the/whole/path")
    return address, os.fsencode(path) if path is not None else None


def journal(settings: Settings) -> Journal:
    """The journal at BCS_HOME. NothingThere before the first apply; Refused when this user may not read it."""
    if not settings.journal.is_dir():
        if settings.home.exists() and not os.access(settings.home, os.R_OK | os.X_OK):
            raise _not_ours(settings)
        raise NothingThere(
            f"there is no journal at {settings.journal}",
            hint="`bcsctl apply` makes one, BCS_HOME or --home names another, `bcsctl login URL` signs in to a site",
        )
    from engine.journal.open import open_local, seen_by

    return seen_by(open_local(settings.journal, master_key(settings)), _sight)


_sight = EVERYTHING


def limit(sight: Sight) -> None:
    """Let this process see some groups alone, in every journal that it opens from now on."""
    global _sight
    _sight = sight


def master_key(settings: Settings) -> bytes:
    """The key that opens the journal, from its file of 64 hexadecimal digits."""
    try:
        text = settings.master_key.read_text("ascii")
    except FileNotFoundError:
        raise Refused(
            f"the master key {settings.master_key} is not there",
            hint="without it nothing in the journal can be opened: bring it back from where it was saved",
        ) from None
    except PermissionError:
        raise _not_ours(settings) from None
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        raise Refused(f"{settings.master_key} does not hold 64 hexadecimal digits") from None


@contextmanager
def scene(settings: Settings, address: str) -> Iterator[Scene]:
    """The journal opened at one stream. NothingThere, with the nearest names, for an unknown address."""
    parse_address(address)
    opened = journal(settings)
    from engine.query.session import Session
    from engine.query.streams import find

    stream = find(opened, address)
    with Session(opened) as session:
        yield Scene(settings, address, opened, session, stream)


@contextmanager
def scenes(settings: Settings, scope: Scope) -> Iterator[list[Scene]]:
    """The journal opened at the streams of a scope, by address. NothingThere, with the nearest names, for none."""
    if scope.one:
        with scene(settings, str(scope)) as there:
            yield [there]
        return
    opened = journal(settings)
    from engine.query.applied import labels_of
    from engine.query.session import Session
    from engine.query.streams import by_name

    known, labels = by_name(opened), labels_of(opened)
    found = chosen(scope, {address: labels.get(stream.id, {}) for address, stream in known.items()})
    with Session(opened) as session:
        yield [Scene(settings, str(address), opened, session, known[address]) for address in found]


def _not_ours(settings: Settings) -> Refused:
    return Refused(f"{settings.home} belongs to another user", hint="run as that user, or name your own with --home")
