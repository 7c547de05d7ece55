"""Where scratch restores are and what is known of each: BCS_HOME/scratch/<id>/.

The tree is at `tree` beside the record, or in a directory of its own on another file system, so that promoting it there
is a rename. Nobody but its owner can look in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.env import durable, randomness
from engine.model.errors import Failed, NothingThere, Refused
from engine.model.times import format_time
from engine.tree.paths import shown
from engine.tree.walk import Entry, walk

FOLDER = "scratch"
HOLDER = "bcs-scratch-"
"""What a directory on another file system is called, with the id behind."""
RECORD, MANIFEST, TREE = "scratch.json", "manifest", "tree"
ID_BYTES = 4

RESTORING, RESTORED, DAMAGED, CHECKED, FAILED, PROMOTING = (
    "restoring",
    "restored",
    "damaged",
    "checked",
    "failed",
    "promoting",
)
"""States: not whole yet; whole and read back; not what was kept; all checks passed; one did not; on its way out."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """One scratch restore. `asked` is what the user wrote; `sources` which streams as of which points; `roots` are
    pairs (path in the tree, where that came from); `checks` what each check came to; `moves` how it is promoted,
    `though` what spoke against that. Times in microseconds, paths as os.fsdecode gives them."""

    id: str
    tree: str
    state: str
    made_at: int
    by: str
    asked: Mapping[str, Any]
    sources: tuple[Mapping[str, Any], ...] = ()
    roots: tuple[tuple[str, str], ...] = ()
    files: int = 0
    content_bytes: int = 0
    checks: tuple[Mapping[str, Any], ...] = ()
    changed: int = 0
    moves: tuple[Mapping[str, Any], ...] = ()
    though: str = ""

    @property
    def root(self) -> bytes:
        return os.fsencode(self.tree)


def new(home: Path, beside: Path | None, made_at: int, by: str, asked: Mapping[str, Any]) -> Scratch:
    """A place for a restore, durably noted; with `beside` its tree is on that directory's file system."""
    id = randomness.token_hex(ID_BYTES)
    own = home / FOLDER / id
    durable.make_directories(own)
    holder = own
    if beside is not None:
        if not beside.is_dir():
            raise Refused(f"{beside} is no directory", hint="name one on the file system that it is to be promoted to")
        holder = beside.absolute() / f"{HOLDER}{id}"
        holder.mkdir(0o700)
    made = Scratch(id, str(holder / TREE), RESTORING, made_at, by, asked)
    save(home, made)
    return made


def save(home: Path, scratch: Scratch) -> None:
    """Durably note what is known of it."""
    durable.replace(home / FOLDER / scratch.id / RECORD, json.dumps(asdict(scratch), sort_keys=True).encode())


def read(home: Path, id: str) -> Scratch:
    """One by its id, or the beginning of it. NothingThere, naming those that there are."""
    known = every(home)
    found = [one for one in known if id and one.id.startswith(id)]
    if len(found) != 1:
        ids = ", ".join(one.id for one in known[-5:])
        raise NothingThere(
            f"there is no scratch restore '{id}'" if not found else f"'{id}' is the beginning of several",
            hint=f"there is {ids}" if ids else "`bcsctl restore ADDRESS --to scratch` makes one",
            details={"ids": [one.id for one in known]},
        )
    return found[0]


def every(home: Path) -> list[Scratch]:
    """All that there are, the oldest first."""
    found = []
    for file in (home / FOLDER).glob(f"*/{RECORD}"):
        try:
            value = json.loads(file.read_bytes())
            lists = {name: tuple(value[name]) for name in ("sources", "checks", "moves")}
            found.append(Scratch(**{**value, **lists, "roots": tuple((a, b) for a, b in value["roots"])}))
        except (OSError, ValueError, TypeError, KeyError):
            continue  # on its way in or out
    return sorted(found, key=lambda one: (one.made_at, one.id))


def unfinished(home: Path, asked: Mapping[str, Any]) -> Scratch | None:
    """The youngest that the same command began and that is not whole."""
    return next((one for one in reversed(every(home)) if one.state == RESTORING and one.asked == asked), None)


def manifest_file(home: Path, scratch: Scratch) -> Path:
    return home / FOLDER / scratch.id / MANIFEST


def as_json(scratch: Scratch) -> dict[str, Any]:
    """What is told of one."""
    return {
        "id": scratch.id,
        "tree": scratch.tree,
        "state": scratch.state,
        "made_at": format_time(scratch.made_at),
        "by": scratch.by,
        "scope": scratch.asked["scope"],
        "sources": list(scratch.sources),
        "files": scratch.files,
        "bytes": scratch.content_bytes,
        "checks": list(scratch.checks),
        "changed": scratch.changed,
    }


def discard(home: Path, scratch: Scratch) -> None:
    """Remove the tree and all that is known of it. Refused while it is being promoted."""
    if scratch.state == PROMOTING:
        raise Refused(
            f"scratch {scratch.id} is half promoted", hint=f"`bcsctl restore promote {scratch.id}` goes on with it"
        )
    forget(home, scratch)


def forget(home: Path, scratch: Scratch) -> None:
    """`discard`, whatever its state."""
    remove(scratch.root)
    holder, own = Path(scratch.tree).parent, home / FOLDER / scratch.id
    if holder != own and holder.name == f"{HOLDER}{scratch.id}" and holder.exists():
        holder.rmdir()
    for name in (MANIFEST, RECORD):
        (own / name).unlink(missing_ok=True)
    own.rmdir()


def remove(root: bytes) -> None:
    """Remove a tree of ours, whatever its modes. Nothing is followed, no file system below is entered."""
    if not os.path.lexists(root):
        return
    directories: list[bytes] = []
    try:
        for item in _opened(root):
            if item.type == "d":
                directories.append(item.path)
            else:
                os.unlink(item.path)
        for path in reversed(directories):
            os.rmdir(path)
    except OSError as error:
        where = shown(os.fsencode(error.filename or root))
        raise Failed(
            f"{where} can't be removed: {os.strerror(error.errno or 0)}", hint="is something mounted or running there?"
        ) from None


def _opened(root: bytes) -> list[Entry]:
    """All of a tree, its directories made ours to change, as often as that shows more of it."""
    while True:
        shut = False
        entries: list[Entry] = []
        for item in walk(root, cross_mounts=False):
            if isinstance(item, Entry):
                entries.append(item)
                if item.type == "d" and not os.access(item.path, os.R_OK | os.W_OK | os.X_OK):
                    os.chmod(item.path, 0o700)
                    shut = True
        if not shut:
            return entries
