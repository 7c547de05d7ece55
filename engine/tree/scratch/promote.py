"""Promote a scratch restore: the very bytes that were checked take their place, by rename where that reaches.

What stood there is exchanged in one step and kept aside. What is to be done is noted before the first of it, so that a
promotion that was interrupted is gone on with.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.env.durable import sync_directory
from engine.env.processes import is_root
from engine.model.counts import counted
from engine.model.errors import Failed, Refused, UsageError, VerificationFailed
from engine.model.times import format_size
from engine.tree.copy import copy_tree
from engine.tree.exchange import exchange, rename_new
from engine.tree.paths import shown
from engine.tree.replacing import aside_name
from engine.tree.scratch import manifest, place
from engine.tree.scratch.checks import COMPARED
from engine.tree.scratch.place import CHECKED, FAILED, PROMOTING, RESTORED, Scratch
from engine.tree.settle import sync
from engine.tree.walk import Entry, walk

NAMED = 5
WHOLE = "."
"""The tree itself, among roots."""


def promote(home: Path, scratch: Scratch, to: Path | None, *, aside: bool, changed: bool) -> list[Mapping[str, Any]]:
    """Put a scratch restore in its place; answers the moves: {from, to, aside, copied, though}. It is gone
    afterwards.

    Refused when it is not whole, a check failed, something stands there and `aside` was not said; VerificationFailed
    when it is not as it was checked, unless `changed`: then `though` says what spoke against it. Without `to` all goes
    where it came from.
    """
    if scratch.state == PROMOTING:
        return _finish(home, scratch)
    if scratch.state not in (RESTORED, CHECKED) and not (scratch.state == FAILED and changed):
        why, hint = _why_not(scratch)
        raise Refused(f"scratch {scratch.id} can't be promoted: {why}", hint=hint)
    moves = planned(scratch, to)
    _refuse_what_stands(moves, aside)
    before, differing = verified(home, scratch, changed)
    though = _though(scratch, differing)
    marked = tuple(_marked(move, scratch.id) for move in moves)
    known = replace(scratch, state=PROMOTING, moves=marked, though=though)
    if manifest.marks(scratch.root) != before:
        raise _written_to(scratch)
    place.save(home, known)
    return _finish(home, known, before)


def planned(scratch: Scratch, to: Path | None) -> list[tuple[bytes, bytes]]:
    """(what in the tree, where it goes). UsageError when nobody said where."""
    if to is None:
        if not scratch.roots:
            raise UsageError("where it came from is not one place of this machine", hint="say --to DIR")
        return [(_within(scratch, path), os.fsencode(origin)) for path, origin in scratch.roots]
    target = os.fsencode(to.expanduser().absolute())
    named = scratch.roots and all(path != WHOLE and "/" not in path for path, _ in scratch.roots)
    if named and os.path.isdir(target) and os.listdir(target):
        return [(_within(scratch, path), os.path.join(target, os.fsencode(path))) for path, _ in scratch.roots]
    return [(scratch.root, target)]


def verified(home: Path, scratch: Scratch, changed: bool) -> tuple[dict[str, tuple[int, int]], int]:
    """Read all of the tree and compare it with what was checked; what tells later whether it is still so, and how many
    paths differ."""
    held = manifest.take(scratch.root)
    found = list(manifest.differing(manifest.read(place.manifest_file(home, scratch)), held.rows))
    if found and not changed:
        first = ", ".join(f"{name} ({what})" for name, what in found[:NAMED])
        raise VerificationFailed(
            f"scratch {scratch.id} is not as it was checked: {_differ(len(found))}: {first}",
            hint="find out who wrote there, or restore anew",
            details={"changes": [{"path": name, "what": what} for name, what in found[:100]]},
        )
    return dict(held.marks), len(found)


def _though(scratch: Scratch, differing: int) -> str:
    """What speaks against a tree that is taken as it is; empty for one that is what it should be."""
    said = ["its last check failed"] if scratch.state == FAILED else []
    if differing:
        said.append(f"{_differ(differing)} from what was {'checked' if scratch.state == CHECKED else 'kept'}")
    return " and ".join(said)


def _differ(count: int) -> str:
    return "1 path differs" if count == 1 else f"{count:,} paths differ"


def _within(scratch: Scratch, path: str) -> bytes:
    return scratch.root if path == WHOLE else os.path.join(scratch.root, os.fsencode(path))


def _why_not(scratch: Scratch) -> tuple[str, str]:
    """(what speaks against a tree's being promoted, what to do)."""
    anew = f"`bcsctl restore discard {scratch.id}` removes it, then restore again"
    if scratch.state != FAILED:
        return "it is not whole", anew
    if scratch.checks[-1]["command"] == COMPARED:
        return "it is not as it was kept any more", f"{anew}; --changed takes it as it is"
    again = f"`bcsctl restore check {scratch.id} --check COMMAND` runs checks again"
    return "a check failed", f"{again}; --changed takes it as it is"


def _refuse_what_stands(moves: Sequence[tuple[bytes, bytes]], aside: bool) -> None:
    for _, target in moves:
        parent = os.path.dirname(target)
        if not os.path.isdir(parent):
            raise Refused(f"{shown(parent)} is not there", hint="make it first, or name another place with --to")
        if os.path.ismount(target):
            raise Refused(
                f"{shown(target)} is a mount point and can't be renamed",
                hint="restore --in-place, or --overwrite there",
            )
    standing = [target for _, target in moves if _stands(target)]
    if not standing or aside:
        return
    files, size = 0, 0
    for target in standing:
        for item in walk(target):
            if isinstance(item, Entry) and item.type == "f":
                files, size = files + 1, size + item.stat.st_size
    raise Refused(
        f"{', '.join(map(shown, standing[:NAMED]))} {'is' if len(standing) == 1 else 'are'} there already: "
        f"{counted(files, 'file')} with {format_size(size)}",
        hint="--aside keeps what is there as NAME.before-ID; nothing was touched",
        details={"standing": [os.fsdecode(path) for path in standing], "files": files, "bytes": size},
    )


def _stands(target: bytes) -> bool:
    """Whether something is there that must not just go; an empty directory may."""
    if not os.path.lexists(target):
        return False
    return os.path.islink(target) or not os.path.isdir(target) or bool(os.listdir(target))


def _marked(move: tuple[bytes, bytes], id: str) -> dict[str, Any]:
    """A move as it is noted: by its inode what was moved is known again."""
    source, target = move
    status = os.lstat(source)
    kept = os.fsdecode(aside_name(target, id)) if _stands(target) else ""
    if kept and os.path.lexists(kept):
        raise Refused(f"{kept} is there already", hint="move it away")
    return {
        "from": os.fsdecode(source),
        "to": os.fsdecode(target),
        "aside": kept,
        "inode": [status.st_dev, status.st_ino],
    }


def _finish(
    home: Path, scratch: Scratch, marks: Mapping[str, tuple[int, int]] | None = None
) -> list[Mapping[str, Any]]:
    """Make all moves that have not been made, then forget the scratch restore."""
    moved: list[Mapping[str, Any]] = []
    for index, move in enumerate(scratch.moves):
        source, target = os.fsencode(move["from"]), os.fsencode(move["to"])
        aside = os.fsencode(move["aside"])
        copied = False
        if not _is_in_place(target, move["inode"]):
            copied = _is_elsewhere(source, target)
            if copied:
                staged = _staged(scratch, source, target)
                status = os.lstat(staged)
                note = {**move, "inode": [status.st_dev, status.st_ino], "staged": os.fsdecode(staged)}
                moves = (*scratch.moves[:index], note, *scratch.moves[index + 1 :])
                scratch = replace(scratch, moves=moves)
                place.save(home, scratch)
                _take_place(staged, target, aside)
            else:
                _take_place(source, target, aside)
        _keep_aside(os.fsencode(scratch.moves[index].get("staged", "")) or source, aside)
        sync_directory(os.path.dirname(os.fsdecode(target)))
        done = {"from": move["from"], "to": move["to"], "aside": move["aside"] or None, "copied": copied}
        moved.append({**done, "though": scratch.though or None})
    _refuse_changed(scratch, marks)
    place.forget(home, scratch)
    return moved


def _is_in_place(target: bytes, inode: Sequence[int]) -> bool:
    try:
        status = os.lstat(target)
    except FileNotFoundError:
        return False
    return [status.st_dev, status.st_ino] == list(inode)


def _is_elsewhere(source: bytes, target: bytes) -> bool:
    return os.lstat(source).st_dev != os.stat(os.path.dirname(target)).st_dev


def _take_place(source: bytes, target: bytes, aside: bytes) -> None:
    """One rename, or an exchange and a rename. Raises Failed."""
    try:
        if not aside or not os.path.lexists(target):
            if os.path.isdir(target) and not os.path.islink(target):
                os.rmdir(target)  # it was empty when we looked; else this fails
            rename_new(source, target)
            return
        try:
            exchange(source, target)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            os.rename(target, aside)  # this file system can't exchange: for a moment nothing is there
            rename_new(source, target)
            return
        os.rename(source, aside)
    except OSError as error:
        raise Failed(
            f"{shown(target)} can't be put in place: {os.strerror(error.errno or 0)}",
            hint="mend it and promote again: it goes on where it stopped",
        ) from None


def _keep_aside(left: bytes, aside: bytes) -> None:
    """What was exchanged by a run that came no further is what stood there: it gets its own name."""
    if not aside or not os.path.lexists(left):
        return
    try:
        rename_new(left, aside)
    except OSError as error:
        raise Failed(
            f"what stood there is at {shown(left)} and can't be called {shown(aside)}: {os.strerror(error.errno or 0)}",
            hint="move away what bears that name, then promote again",
        ) from None


def _staged(scratch: Scratch, source: bytes, target: bytes) -> bytes:
    """A copy beside the target that is the same as what was checked, on disk."""
    staged = os.path.join(os.path.dirname(target), b".bcs-promote-" + scratch.id.encode())
    place.remove(staged)
    missing = copy_tree(source, staged, is_root())
    if missing:
        place.remove(staged)
        count = counted(len(missing), "attribute")
        raise Failed(f"{count} can't be kept there: {missing[0]}", hint="promote to another place")
    sync(os.path.dirname(staged))
    differences = list(manifest.differing(manifest.take(source).rows, manifest.take(staged).rows))
    if differences:
        name, what = differences[0]
        raise VerificationFailed(f"the copy beside {shown(target)} differs: {name} ({what})", hint="promote again")
    return staged


def _refuse_changed(scratch: Scratch, marks: Mapping[str, tuple[int, int]] | None) -> None:
    """Whoever had a file open may have written until the end: then it is said."""
    if marks is None or any(move.get("staged") for move in scratch.moves):
        return
    found: dict[str, tuple[int, int]] = {}
    for move in scratch.moves:
        below = os.path.relpath(move["from"], scratch.tree)
        for name, mark in manifest.marks(os.fsencode(move["to"])).items():
            found[name if below == WHOLE else os.path.join(below, name)] = mark
    changed = [name for name, mark in found.items() if marks.get(name) != mark]
    if changed:
        raise VerificationFailed(
            f"{changed[0]} was written to while it was promoted",
            hint="it is in place; what stood there is beside it",
            details={"paths": changed[:100], "moves": list(scratch.moves)},
        )


def _written_to(scratch: Scratch) -> VerificationFailed:
    return VerificationFailed(
        f"scratch {scratch.id} is being written to", hint="end what writes there (fuser -vm shows it), then promote"
    )
