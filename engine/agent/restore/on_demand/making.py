"""Make a tree that is filled on demand, as a node tells it: names and attributes now, contents when they are read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from engine.agent.restore import landing
from engine.agent.restore.on_demand import where
from engine.agent.restore.on_demand.client import TreeClient
from engine.agent.restore.receive import read_nodes
from engine.env import durable
from engine.env.boot import boot_id
from engine.env.clock import SYSTEM, Clock
from engine.fill.base import Place, Recipe
from engine.fill.kept import names
from engine.fill.life import making
from engine.fill.life.making import Tree, have_room, nearest
from engine.fill.life.recoveries import refuse_filling
from engine.fill.tree import conditions
from engine.fill.tree.skeleton import Node
from engine.model.errors import Damaged, Refused, Unreachable
from engine.model.events import ROOT_ID
from engine.tree.paths import shown

AWAY_SECONDS = 60
GO_ON_SECONDS, AGAIN_SECONDS = 30.0, 0.5
"""How long the node is waited for that lets history go on, while nobody looks at the source."""
NAMES_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class Order:
    """What was granted: `job` as the node tells it to the agent. `own` and `protected` as of other restores; `guarded`
    keeps it out of the system's own directories."""

    id: str
    job: Mapping[str, Any]
    told: dict[str, Any]
    own: list[bytes]
    protected: list[bytes]
    guarded: bool = True

    @property
    def tree(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.job["on_demand"]
        return found


def make(place: Place, order: Order, client: TreeClient, clock: Clock = SYSTEM) -> tuple[list[str], int | None]:
    """Make it, and return when it is guarded and can be used: the attributes that could not be set, and the epoch in
    which its source's history goes on. Refused, UsageError where it can't be; Unreachable without the node. Then
    nothing stays."""
    refuse_filling(place.path.parent.parent, os.path.realpath(order.job["dir"]))
    target = Path(os.fsdecode(_landing(order)))
    made_dir = not target.exists()
    plan = client.plan()
    holes = client.holes()
    lasting = conditions.lasting(nearest(target))
    sparse = {} if have_room(target, holes.values()) else client.data()
    mechanism = making.mechanism_for(target, order.tree["mechanism"] or None, sparse=bool(sparse))
    pages = list(_names(client)) if order.tree["own"] else []
    recipe = _recipe(order, target, made_dir, lasting, mechanism, plan, sum(holes.values()), clock)
    making.furnish(place, {} if sparse else holes)
    where.write(place, order.told)
    epochs: list[int | None] = []

    def note() -> None:
        if order.tree["own"]:
            names.write_packed(place.names, pages)

    def go_on() -> None:
        if order.tree["own"]:
            epochs.append(let_go_on(client, clock))

    with taken(place, target):
        made = making.make(
            *(place, recipe, lambda: _tree(client, plan, sparse)),
            [recipe.stream] if order.tree["own"] else [],
            note=note, go_on=go_on, clock=clock,
        )  # fmt: skip
    return [str(each) for each in made.shortfalls], epochs[0] if epochs else None


@contextmanager
def taken(place: Place, target: Path) -> Iterator[None]:
    """A directory that is there is ours alone while the tree is made in it; what it was before is noted first."""
    note = place.path / "before.json"
    if not target.exists():
        yield
        return
    known = landing.Before(**json.loads(note.read_bytes())) if note.exists() else None
    if known is None:
        status = target.stat()
        known = landing.Before(
            False, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), str(target), status.st_ino
        )
        durable.replace(note, json.dumps(landing.before_json(known)).encode())
    held = landing.take(os.fsencode(target), known)
    try:
        yield
    finally:
        landing.give_back(held, False)
        note.unlink(missing_ok=True)


def give_back(place: Place, target: Path) -> None:
    """After whoever had taken it was killed."""
    if (place.path / "before.json").exists():
        with taken(place, target):
            pass


def let_go_on(client: TreeClient, clock: Clock = SYSTEM) -> int | None:
    """Have the history of the source go on from the tree; its epoch, None while the node is away."""
    ends = clock.monotonic() + GO_ON_SECONDS
    while True:
        try:
            return client.go_on()
        except Unreachable:
            if clock.monotonic() >= ends:
                return None
            clock.sleep(AGAIN_SECONDS)


def _landing(order: Order) -> bytes:
    """Where it is made, without links; Refused where nothing may be, or somebody else than root could exchange it."""
    target = os.fsencode(order.job["dir"])
    real = os.path.realpath(target)
    protected = order.protected
    if order.tree["own"]:
        protected = [path for path in protected if os.path.realpath(path) != real]
        if len(protected) == len(order.protected):
            raise Refused(f"{shown(target)} is not what this host protects", hint="run `bcsctl apply` first")
    landing.check(target, order.own, protected, guarded=order.guarded and not order.tree["own"])
    _refuse_exchangeable(real)
    return real


def _refuse_exchangeable(real: bytes) -> None:
    """The tree is made and filled by its name: nobody but us may be able to lead that elsewhere."""
    above = os.path.dirname(real)
    while True:
        if os.path.isdir(above):
            status = os.stat(above)
            others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
            if status.st_uid not in (0, os.geteuid()) or others:
                raise Refused(
                    f"others than root may rename what is in {shown(above)}: they could lead the tree elsewhere",
                    hint=f"`chown root: {shown(above)}` where who uses it has only to enter it, name a directory below "
                    "one of root's, or restore without --on-demand",
                )
        if above == os.path.dirname(above):
            return
        above = os.path.dirname(above)


def _recipe(
    order: Order,
    target: Path,
    made_dir: bool,
    lasting: bool,
    mechanism: str,
    plan: Mapping[str, Any],
    holes: int,
    clock: Clock,
) -> Recipe:
    tree, directory = order.tree, str(target)
    return Recipe(
        id=order.id,
        address=tree["address"],
        stream=tree["stream"],
        position=tree["position"],
        point_at=tree["point_at"],
        point_class=tree["point_class"],
        base=tree["base"],
        dir=directory,
        hidden=f"{directory}/.bcs-{order.id}",
        made_dir=made_dir,
        lasting=lasting,
        mechanism=mechanism,
        by=tree["by"],
        begun_at=clock.now(),
        boot=boot_id(),
        files=plan["files"],
        bytes=plan["bytes"] - holes,  # holes are nothing to wait for
        rate_bytes=tree["rate_bytes"],
        away_seconds=float(tree.get("away_seconds", AWAY_SECONDS)),
        module=where.MODULE,
        supply={},
    )


def _tree(client: TreeClient, plan: Mapping[str, Any], data: Mapping[int, tuple[tuple[int, int], ...]]) -> Tree:
    """The nodes of the plan; those of files and others as they are asked for, batch by batch."""
    steps = [step for step, count in plan["steps"] for _ in range(count)]
    paths: dict[int, bytes] = {ROOT_ID: b""}
    attributes = {}
    for step in ("made", "finished"):
        for number in _numbers(steps, step):
            for node in read_nodes(step, client.batch(number, plan["fingerprint"]), paths).values():
                if node.names:
                    paths[node.file_id] = node.names[0]
                if node.attributes is not None:
                    attributes[node.file_id] = node.attributes
    directories = [
        Node(path.strip(b"/"), file_id, attributes[file_id]) for file_id, path in paths.items() if file_id in attributes
    ]

    def nodes(step: str) -> Iterator[Node]:
        for number in _numbers(steps, step):
            for node in read_nodes(step, client.batch(number, plan["fingerprint"]), paths).values():
                if node.attributes is None or node.damage:
                    raise Damaged(f"{shown(node.names[0])} has no attributes in the node's answer")
                first, *links = (name.strip(b"/") for name in node.names)
                yield Node(first, node.file_id, node.attributes, tuple(links), data.get(node.file_id))

    return Tree(directories, nodes("files"), nodes("others"))


def _numbers(steps: list[str], step: str) -> list[int]:
    return [number for number, name in enumerate(steps) if name == step]


def _names(client: TreeClient) -> Iterator[bytes]:
    page = 0
    while (found := client.names(page)) is not None:
        yield zstandard.decompress(found, max_output_size=NAMES_BYTES_MAX)
        page += 1
