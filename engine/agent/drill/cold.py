"""A drill by on-demand start on this host: the trees are made as a recovery makes them here, and used while they are
cold; then they are cancelled, filled, or filled and read back.

The node takes the time: it hears when all of them can be used, and when the first check over them has passed. Their
state lies in the drill's own directory, so no recovery of this host is touched, and nobody takes them for one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from engine.agent.drill.checks import application_rows, beating, command_row
from engine.agent.drill.received import Received, Row, room, row
from engine.agent.drill.scene import Drill, Scene, content_of
from engine.agent.restore.client import Stopped
from engine.agent.restore.on_demand.client import PLAN_SECONDS, TreeClient
from engine.agent.restore.on_demand.making import Order, make
from engine.agent.restore.restoring import OPEN
from engine.fill.base import BLOCK_BYTES, Place, Recipe
from engine.fill.kept import documents, table
from engine.fill.life import recoveries, rehearsed
from engine.model.counts import counted
from engine.model.errors import BcsError, Refused
from engine.model.times import format_size
from engine.tree.clearing import refuse_without_room
from engine.tree.paths import shown

CANCEL, VERIFY = "cancel", "verify"
RATE_BYTES = 200_000_000
"""What nobody reads is filled at this rate a second meanwhile, as of any tree on demand."""

Tell = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Tree:
    """A source that can be used; `shortfalls` are attributes that could not be set."""

    number: int
    place: Place
    recipe: Recipe
    names: int
    seconds: float
    shortfalls: tuple[str, ...]


def room_for(drill: Drill, scene: Scene, sources: Sequence[Received]) -> None:
    """Refused when the trees would leave too little room there. Where their bytes lie, which tells what holes there
    are, is only asked for where it decides: it takes longer the larger they are."""
    needed = sum(int(_client(scene, str(source["id"])).plan()["bytes"]) for source in drill.sources)
    try:
        refuse_without_room(scene.place, needed)
    except Refused:
        room(scene.place, sources)


def made(drill: Drill, scene: Scene, sources: Sequence[Received], tell: Tell) -> dict[str, Any]:
    """What the node is told of it. Whatever happens no tree is left. Stopped when the drill is over by then."""
    rows: list[Row] = []
    with ExitStack() as stack:
        trees: list[Tree] = []
        stack.callback(_cancel, trees, rows)
        with beating(scene, "beginning") as gone:
            for number, source in enumerate(drill.sources):
                _go_on(gone.is_set())
                tree = _begun(drill, scene, number, source, rows)
                if tree is not None:
                    trees.append(tree)
        whole = len(trees) == len(drill.sources)
        _go_on(tell({"usable": whole}) != OPEN)
        _use(drill, scene, trees, rows, tell, whole)
        if any(check["name"] == "application" for check in drill.how["checks"]):
            rows += application_rows(drill, scene, [tree.number for tree in trees])
        if drill.on_demand != CANCEL:
            for tree in trees:
                if _filled(scene, tree, rows, tell) and drill.on_demand == VERIFY:
                    sources[tree.number].adopt(tree.shortfalls)
                    rows += sources[tree.number].read_back(tree.number)
    told = [
        {"source": tree.number, "files": tree.recipe.files, "names": tree.names, "bytes": tree.recipe.bytes,
         "seconds": round(tree.seconds, 3)}
        for tree in trees
    ]  # fmt: skip
    return {"checks": rows, "sources": told, "mechanisms": sorted({tree.recipe.mechanism for tree in trees})}


def _go_on(over: bool) -> None:
    if over:
        raise Stopped("the drill is over")


def _begun(drill: Drill, scene: Scene, number: int, source: Mapping[str, Any], rows: list[Row]) -> Tree | None:
    """Make one tree, and the row that says so; None when it could not be."""
    began, id = scene.clock.monotonic(), str(source["id"])
    place = documents.place_of(rehearsed.trees_of(scene.place), id)
    try:
        client = _client(scene, id)
        shortfalls, _ = make(place, _order(drill, scene, source), client, scene.clock)
        names = int(client.plan()["names"])
    except (BcsError, OSError) as error:
        why = f"{error.message} ({error.hint})" if isinstance(error, BcsError) and error.hint else str(error)
        rows.append(row("restore", False, why, scene.clock.monotonic() - began, number))
        return None
    recipe, seconds = documents.read_recipe(place), scene.clock.monotonic() - began
    text = f"{counted(recipe.files, 'file')} can be used, by {recipe.mechanism}"
    rows.append(row("restore", True, text, seconds, number))
    short = tuple(each.replace(recipe.hidden, recipe.dir) for each in shortfalls)
    return Tree(number, place, recipe, names, seconds, short)


def _client(scene: Scene, id: str) -> TreeClient:
    return TreeClient(rehearsed.trees_of(scene.place), id, dict(scene.told or {}), PLAN_SECONDS)


def _order(drill: Drill, scene: Scene, source: Mapping[str, Any]) -> Order:
    tree = {
        "address": f"{drill.how['group']}/{source['host']}/{source['name']}",
        "stream": str(source["id"]), "position": "", "point_at": 0, "point_class": "", "base": "",
        "by": "drill", "mechanism": "", "rate_bytes": RATE_BYTES, "own": False,
    }  # fmt: skip
    job = {"dir": str(content_of(scene.place, source)), "on_demand": tree}
    return Order(str(source["id"]), job, dict(scene.told or {}), list(scene.own), list(scene.protected), guarded=False)


def _use(drill: Drill, scene: Scene, trees: Sequence[Tree], rows: list[Row], tell: Tell, whole: bool) -> None:
    """The commands over the cold trees, one after the other; without any, first reads. The node hears of the first that
    passes: RTO is measured by that."""
    answered = False
    commands = [check for check in drill.how["checks"] if check["name"] == "command"]
    for check in commands or (None,):
        if check is not None:
            found = [command_row(check, drill, scene, [tree.number for tree in trees])]
        else:
            with beating(scene, "checking"):
                found = [_first_reads(scene, tree) for tree in trees]
        rows += found
        if whole and not answered and found and all(each["passed"] for each in found):
            answered = True
            _go_on(tell({"restored": True}) != OPEN)


def _first_reads(scene: Scene, tree: Tree) -> Row:
    """Whether all names of files are there, and a piece of some can be read where it is cold: what is brought in is
    compared with its hash, and what is not right is an error."""
    began = scene.clock.monotonic()
    target = os.fsencode(tree.recipe.dir)
    try:
        files = table.read(tree.place.files)
        missing = rehearsed.missing(target, {os.path.join(target, file.path) for file in files})
        if missing:
            why = f"{counted(len(missing), 'name')} missing, {shown(missing[0])} for one"
            return row("first-reads", False, why, scene.clock.monotonic() - began, tree.number, differs=True)
        with_bytes = [file for file in files if file.size]
        some = with_bytes[:: max(1, len(with_bytes) // rehearsed.READ_FILES)][: rehearsed.READ_FILES]
        for file in some:
            fd = os.open(os.path.join(target, file.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.pread(fd, BLOCK_BYTES, max(0, file.size - BLOCK_BYTES))
            finally:
                os.close(fd)
    except (BcsError, OSError) as error:
        return row("first-reads", False, str(error), scene.clock.monotonic() - began, tree.number)
    text = f"all names of files are there, {counted(len(some), 'file')} read in part"
    return row("first-reads", True, text, scene.clock.monotonic() - began, tree.number)


def _filled(scene: Scene, tree: Tree, rows: list[Row], tell: Tell) -> bool:
    """Have a tree filled, and the row that says so; whether it is whole."""
    began = told_at = scene.clock.monotonic()

    def told(done: int) -> None:
        nonlocal told_at
        _go_on(scene.stopping.is_set())
        if scene.clock.monotonic() - told_at > 1:
            told_at = scene.clock.monotonic()
            _go_on(tell({"phase": "filling", "bytes": done}) != OPEN)

    why, differs = rehearsed.filled(tree.place, told, scene.clock)
    text = why or f"{format_size(tree.recipe.bytes)} filled"
    rows.append(row("fill", not why, text, scene.clock.monotonic() - began, tree.number, differs=differs))
    return not why


def _cancel(trees: Sequence[Tree], rows: list[Row]) -> None:
    """Take away what is not filled. One that can't be is a row: what is left the next drill removes."""
    for tree in trees:
        try:
            now = recoveries.look(tree.place)
            if now.living:
                recoveries.cancel(now)
        except (BcsError, OSError) as error:
            rows.append(row("cancel", False, str(error), source=tree.number))
