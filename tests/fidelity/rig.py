"""One column of the matrix: a file system, a protected source on it, and every row's steps done at once.

What was there before the changes and after them is walked, and restored as of those times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.format import parquet
from engine.journal import segments
from engine.journal.open import Journal
from engine.model.events import DENTRY, GAP, MARK
from engine.model.points import Moment
from engine.query.points import marks, point_for
from engine.query.session import Session
from engine.query.streams import find
from engine.recovery.restoring import carry_out, prepare
from tests.embedded import Site
from tests.fidelity.rows import WEAKER, Place, Row
from tests.fidelity.walker import DEEP, Tree, differences, getfacl, walk
from tests.mounts import mounted, volume
from tests.nodes import journal_of

ADDRESS = "fidelity/localhost/files"
EXCLUDE = ("*.excluded", "excluded")
DURABLE_SECONDS = 180.0
HELD_SECONDS = 120.0
SIZE_BYTES = 1 << 30
MOVED_DIRECTORY = b"ten thousand"


@dataclass
class Moments:
    """One moment: the source as it was on disk, and as it came back. By row."""

    label: str
    live: dict[str, Tree] = field(default_factory=dict)
    restored: dict[str, Tree] = field(default_factory=dict)
    acl_live: dict[bytes, bytes] = field(default_factory=dict)
    acl_restored: dict[bytes, bytes] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)


@dataclass
class Column:
    """What became of every row on one file system.

    `held` is what came back of rows that are seen late, while nothing was touched any more. `failed` are rows whose
    steps the kernel refused; `moved` are the events after "before" that name the files and directories of the row of
    ten thousand; `gaps` are the reasons of all gaps, `log` what the agent said. `unreadable` is what the status says
    could not be read.
    """

    name: str
    home: Path
    stream: str = ""
    failed: dict[str, OSError] = field(default_factory=dict)
    before: Moments = field(default_factory=lambda: Moments("before"))
    after: Moments = field(default_factory=lambda: Moments("after"))
    held: dict[str, Tree] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    log: str = ""
    mechanism: str = ""
    costs: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


@contextmanager
def ground(column: str) -> Iterator[tuple[Path, str]]:
    """(directory on the file system, its block device)."""
    kind = column.split()[0]
    if kind == "tmpfs":
        with mounted(kind, SIZE_BYTES) as path:
            yield path, ""
        return
    if kind == "overlayfs":
        with mounted("ext4", SIZE_BYTES) as path:
            for each in "lower", "upper", "work", "merged":
                (path / each).mkdir()
            layers = f"lowerdir={path}/lower,upperdir={path}/upper,workdir={path}/work"
            subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", path / "merged"], check=True)
            yield path / "merged", ""
        return
    with volume(kind, SIZE_BYTES) as disk:
        disk.mount()
        if column == "btrfs subvolumes":
            subprocess.run(["btrfs", "subvolume", "create", disk.path / "@"], check=True, capture_output=True)
            disk.unmount()
            disk.mount("subvol=@")
        yield disk.path, disk.device


def run(column: str, rows: Sequence[Row]) -> Column:
    """Do all rows on one file system."""
    home = Path(tempfile.mkdtemp(prefix="bcs-fidelity-"))
    try:
        watch = {"BCS_WATCH": WEAKER[column]} if column in WEAKER else {}
        with ground(column) as (base, device), Site(home, watch) as site:
            return _run(column, rows, base, device, site)
    finally:
        shutil.rmtree(home)


def _run(name: str, rows: Sequence[Row], base: Path, device: str, site: Site) -> Column:
    column = Column(name, site.home)
    source, outside, bound = base / "source", base / "outside", base / "bound"
    for path in source, outside, bound:
        path.mkdir()
    subprocess.run(["mount", "--bind", source, bound], check=True)
    clock = time.monotonic()

    def lap(what: str) -> None:
        nonlocal clock
        column.seconds[what], clock = time.monotonic() - clock, time.monotonic()

    site.start()
    steps = {}
    for each in (each for each in rows if not (each.large and name in WEAKER)):
        (source / each.slug).mkdir()
        (outside / each.slug).mkdir()
        place = Place(name, source / each.slug, outside / each.slug, bound / each.slug, device)
        steps[each.slug] = each.steps(place)
    _step(steps, column)
    lap("made")
    column.stream = site.protect(ADDRESS, source, exclude=EXCLUDE)
    site.wait_protected(ADDRESS)
    _settle(site, source, column.before)
    lap("baseline")
    _step(steps, column)
    lap("changed")
    _settle(site, source, column.after)
    lap("durable")
    _hold(site, column, source, base / "held", [each.slug for each in rows if name in each.late])
    lap("held")
    _step(steps, column)
    if DEEP & set(steps):
        site.wait(lambda: bool(site.source(ADDRESS)["unreadable_paths"]), DURABLE_SECONDS, "what is unreadable")
    row = site.source(ADDRESS)
    column.mechanism, column.costs = row.get("mechanism", ""), row.get("costs", "")
    column.unreadable = [each["path"] for each in row["unreadable_paths"]]
    column.log = (site.home / "agent.log").read_text()
    _restore(site, column, base / "restored")
    lap("restored")
    return column


def _step(steps: dict[str, Iterator[None]], column: Column) -> None:
    """Take every row one step on, if it has one left."""
    for slug, each in steps.items():
        try:
            next(each, None)
        except (OSError, subprocess.CalledProcessError) as error:
            column.failed[slug] = OSError(str(error))


def _settle(site: Site, source: Path, moment: Moments) -> None:
    """Put a mark behind all that happened so far and wait until it is durable; then look at what there is."""
    _mark(site, moment.label)
    moment.live = _by_row(walk(source))
    moment.acl_live = getfacl(source)


def _mark(site: Site, label: str) -> None:
    asked = site.request("POST", "/v1/marks", {"group": ADDRESS.partition("/")[0], "label": label})
    [id] = [each["id"] for each in asked["marks"]]
    site.wait(lambda: site.request("GET", f"/v1/marks/{id}")["done"], DURABLE_SECONDS, "the changes to be durable")


def _hold(site: Site, column: Column, source: Path, base: Path, late: Sequence[str]) -> None:
    """Of rows that may be seen late: restore again and again, while nothing is touched, until all is there."""
    end = time.monotonic() + HELD_SECONDS
    waiting = set(late)
    number = 0
    while waiting and time.monotonic() < end:
        number += 1
        _mark(site, label := f"held-{number}")
        with journal_of(site.home) as journal, Session(journal) as session:
            for slug in waiting:
                found = _back(journal, session, Moments(label), base / label / slug, source / slug)
                column.held[slug] = walk(found)
        waiting = {slug for slug in waiting if differences(column.after.live[slug], column.held[slug])}


def _restore(site: Site, column: Column, base: Path) -> None:
    """The real restore. That a moment of the past comes back as it was is no matter of the file system: one column does
    for "before"."""
    with journal_of(site.home) as journal, Session(journal) as session:
        column.gaps = [mark.label for mark in marks(session, column.stream) if mark.kind == GAP]
        column.moved = moved_events(journal, column.stream)
        for moment in [column.after, column.before] if column.name == "tmpfs" else [column.after]:
            found = _back(journal, session, moment, base / moment.label)
            moment.restored, moment.acl_restored = _by_row(walk(found)), getfacl(found)


def _back(journal: Journal, session: Session, moment: Moments, target: Path, path: Path | None = None) -> Path:
    """Restore a path, or all, as of a moment; where it is then."""
    stream = find(journal, ADDRESS)
    point = point_for(session, stream.id, Moment(moment.label, label=moment.label), 0)
    prepared = prepare(journal, session, stream, point, None if path is None else os.fsencode(path), target)
    done = carry_out(journal, session, prepared, verify=False, progress=lambda files, count: None)
    moment.troubles += [*map(str, done.restored.failures), *done.restored.shortfalls]
    return target if path is None else target / path.name


def moved_events(journal: Journal, stream: str) -> list[dict[str, Any]]:
    """What was recorded after "before" of the directory that was renamed, and of any file in it."""
    unsorted = [
        row
        for segment in segments.visible(journal.store).segments
        for row in parquet.read_events(journal.files.path(segment.key), segment.key).to_pylist()
        if row["stream"] == stream
    ]
    read = sorted(unsorted, key=lambda row: row["lsn"])
    [before] = [row["lsn"] for row in read if row["label"] == "before" and row["kind"] == MARK]
    named = [row for row in read if row["kind"] == DENTRY and row["lsn"] < before]
    [directory] = {row["file_id"] for row in named if row["name"] == MOVED_DIRECTORY} or {None}
    inside = {row["file_id"] for row in named if row["subject"] == directory}
    return [
        row
        for row in read
        if row["lsn"] > before
        and (row["file_id"] == directory or row["subject"] in inside or row["name"] == MOVED_DIRECTORY)
        and row["kind"] != MARK
    ]


def _by_row(tree: Tree) -> dict[str, Tree]:
    """The walk of all, as one of every row's directory."""
    found: dict[str, Tree] = {}
    for path, facts in tree.items():
        row, _, below = path.partition(b"/")
        if row != b".":
            link = facts["link"]
            if link is not None:
                facts = {**facts, "link": link.partition(b"/")[2]}
            if not any(part == b"excluded" or part.endswith(b".excluded") for part in below.split(b"/")):
                found.setdefault(row.decode(), {})[below or b"."] = facts
    return found
