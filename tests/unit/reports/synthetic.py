"""A fixed journal for tests of reports: policies, points, watermarks and audit records at times of our choosing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.format import documents, names, parquet
from engine.format.footer import Footer, Run, StreamFooter
from engine.format.schema import EVENTS
from engine.format.tables import sort_events
from engine.model.events import INODE, MARK, RECORD, Inode, Mark, Record
from engine.model.ids import parse_address, stream_id
from engine.model.times import MINUTE, SECOND, format_time, parse_time
from engine.plan.drills import groups_in
from engine.store.base import Missing
from engine.store.local import LocalStore

NODE = "n1"
T0 = parse_time("2026-11-22T10:00:00Z", 0)
BUSY, IDLE, NEVER, FORMER, MERGED = (
    "finance/db1/files",
    "finance/db2/files",
    "web/www/site",
    "old/host/data",
    "shop/app/files",
)
ACTS = f"_audit/{NODE}/acts"


@dataclass(frozen=True, slots=True)
class Files:
    store: LocalStore

    def path(self, key: str) -> Path:
        path = self.store.local_path(key)
        if path is None:
            raise Missing(key)
        return path


class Synthetic:
    """What reports need of a journal: its id, a store, and the paths of its objects."""

    id = "00112233445566778899aabbccddeeff"

    def __init__(self, root: Path, created_at: int) -> None:
        self.store = LocalStore(root)
        self.files = Files(self.store)
        self.seen = None
        self.seq = 0
        self.lsns: dict[str, int] = {}
        self.epochs: dict[str, int] = {}
        self.policies = 0
        self.digests: dict[str, str] = {}
        self._put(names.FORMAT, {"format": 1, "journal": self.id, "created_at": created_at})

    def _put(self, key: str, fields: Mapping[str, Any]) -> None:
        self.store.put(key, documents.encode(key, fields))

    def add_stream(self, address: str, created_at: int) -> None:
        stream = stream_id(parse_address(address))
        group = address.split("/")[0]
        self._put(names.stream_key(stream), {"address": address, "group": group, "created_at": created_at})
        self.open_epoch(address, 1, None, created_at)
        self.lsns[address] = 0

    def open_epoch(self, address: str, number: int, parent: str | None, at: int) -> None:
        """Events go on to epoch 1, as those that come late do; `goes_on` has them go to a later one."""
        epoch = {"number": number, "parent": parent, "cause": "test", "writer": "a", "opened_at": at}
        self._put(names.epoch_key(stream_id(parse_address(address)), number), epoch)

    def goes_on(self, address: str, number: int, after: int) -> None:
        """What is committed from now on is of this epoch, which continues the LSN `after`."""
        self.epochs[address], self.lsns[address] = number, after

    def apply(
        self,
        at: int,
        rpos: Mapping[str, str],
        commit: str | None,
        dirty: bool = False,
        by: str = "ann",
        drills: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        """Policies; `drills` by group."""
        self.policies += 1
        tiers = [{"keep": "every-change", "for": "7d"}, {"keep": "1h", "for": "90d"}]
        sources = {
            address: {"stream": stream_id(parse_address(address)), "address": address, "rpo": rpo, "retention": tiers}
            for address, rpo in rpos.items()
        }
        fields = {
            "number": self.policies,
            "base": self.policies - 1,
            "applied_at": format_time(at),
            "by": by,
            "commit": commit,
            "dirty": dirty,
            "documents": {
                f"ProtectionGroup/{group}": {"spec": {"drills": list(declared)}}
                for group, declared in (drills or {}).items()
            },
            "sources": sources,
        }
        self._put(f"control/policies/{self.policies:08d}.json", fields)
        self.digests = {name: group.digest for name, group in groups_in(fields).items()}

    def commit(
        self,
        at: int,
        events: Mapping[str, Sequence[Inode | Mark | Record]],
        watermarks: Mapping[str, int] | None = None,
        began_at: int | None = None,
        kept: Mapping[str, Sequence[int]] | None = None,
        lost: int = 0,
    ) -> None:
        """One segment; with `began_at` a merged one of two commits at those times, whose events were committed a second
        after they happened, with the watermarks that it `kept`. LSNs are counted here."""
        rows, runs = [], {}
        for address, listed in events.items():
            stream, first = stream_id(parse_address(address)), self.lsns[address] + 1
            epoch = self.epochs.get(address, 1)
            rows += [
                row(event, stream, first + index, at if began_at is None else event.at + SECOND) | {"epoch": epoch}
                for index, event in enumerate(listed)
            ]
            self.lsns[address] += len(listed)
            runs[stream] = (Run(epoch, first, self.lsns[address], "", ""),)
        marks = {stream_id(parse_address(address)): through for address, through in (watermarks or {}).items()}
        old = {
            stream_id(parse_address(address)): [(at, each) for each in told] for address, told in (kept or {}).items()
        }
        streams = {
            name: StreamFooter(runs.get(name, ()), marks.get(name, 0), tuple(old.get(name, ())), lost)
            for name in {*runs, *marks}
        }
        table = sort_events(pa.Table.from_pylist(rows, schema=EVENTS))
        first, last = self.seq + 1, self.seq + (1 if began_at is None else 2)
        self.seq = last
        footer = Footer(NODE, 1, first, last, at if began_at is None else began_at, at, "", streams=streams)
        content = memoryview(parquet.encode(table, footer.encode()))
        if began_at is None:
            self.store.put(names.l0_key(NODE, 1, first, content), content)
        else:
            self.store.put(names.l1_key(NODE, 1, first, last, 1, content), content)

    def act(self, at: int, what: str, who: str, details: Mapping[str, Any]) -> None:
        payload = json.dumps({"what": what, "who": who, "details": details}, ensure_ascii=True, sort_keys=True)
        self.commit(at, {ACTS: [Record(0, at, what, payload)]})


def drill(made: Synthetic, at: int, group: str, *, passed: bool = True, **changes: Any) -> None:
    """A drill of the first in the group's policy, as its evidence stands in the audit, shortened."""
    details: dict[str, Any] = {
        "id": f"{at:016x}"[-16:],
        "group": group,
        "drill": 0,
        "policy": {"number": made.policies, "commit": None, "digest": made.digests[group]},
        "asked": "latest",
        "moment": format_time(at - 2 * SECOND),
        "began_at": format_time(at - 2 * SECOND),
        "passed": passed,
        "reason": "" if passed else "finance/db1/files: checksums: /a|b differs: content at byte 7",
        "rto_seconds": 1.25,
        "rto_target_seconds": 120.0,
        "rpo_seconds": 0.5,
        "rpo_target_seconds": 5.0,
        "files": 3,
        "bytes": 3000,
        "seconds": 2.0,
        "where": {"host": "node1", "dir": "/var/lib/bcs/drills/drill-1"},
        "sources": [],
        "checks": [{"name": "checksums", "passed": passed}],
        "checks_count": 5,
    }
    made.act(at, "drill", "node", {**details, **changes})


def row(event: Inode | Mark | Record, stream: str, lsn: int, committed_at: int) -> dict[str, Any]:
    """An event as a row of EVENTS."""
    base = {"stream": stream, "epoch": 1, "lsn": lsn, "at": event.at, "committed_at": committed_at, "subject": 0}
    if isinstance(event, Inode):
        values = {"type": ord(event.type), "mode": event.mode, "uid": 0, "gid": 0, "size": event.size, "mtime_ns": 0}
        return base | {"kind": INODE, "subject": lsn} | values
    if isinstance(event, Mark):
        values = {"label": event.label, "point_class": event.point_class, "gap_from": event.gap_from}
        return base | {"kind": MARK, "mark": event.kind} | values
    return base | {"kind": RECORD, "mark": event.topic, "payload": event.payload}


def file(at: int, size: int) -> Inode:
    return Inode(0, at, 0, "f", 0o644, 0, 0, size, 0)


def baseline(at: int, files: int) -> list[Inode | Mark | Record]:
    return [*(file(at, 1000) for _ in range(files)), Mark(0, at, "baseline", "", "fuzzy")]


def passed(at: int, point_class: str = "quiet") -> list[Inode | Mark | Record]:
    return [Mark(0, at, "pass", "", point_class)]


def minute(number: float) -> int:
    return T0 + round(number * MINUTE)


def fixed(root: Path) -> Synthetic:
    """The journal of the golden files: an hour from T0, made half an hour before it."""
    made = Synthetic(root, minute(-30))
    for address in (BUSY, IDLE, FORMER, MERGED, ACTS):
        made.add_stream(address, minute(-30))
    made.apply(minute(-29), {BUSY: "5s", IDLE: "5s"}, "1111111111111111111111111111111111111111")
    made.apply(
        minute(20),
        {BUSY: "10s", IDLE: "5s", NEVER: "5s", MERGED: "5s"},
        "2" * 40,
        dirty=True,
        by="bob <b@x.org>",
        drills={"finance": [{"every": "15m"}]},
    )
    # One busy source: a point every second or so, and a gap of two minutes in the middle.
    made.commit(minute(-28), {BUSY: baseline(minute(-28) - SECOND, 3), FORMER: baseline(minute(-28) - SECOND, 1)})
    for second in range(0, 3590, 10):
        at = T0 + second * SECOND
        if minute(29) < at < minute(31.5):
            continue
        if at == minute(31.5):
            gap = Mark(0, at, "gap", "the queue of the watch overflowed", "", minute(29))
            made.commit(at + SECOND, {BUSY: [gap, *passed(at, "crash")]})
            continue
        through = {BUSY: at + 9 * SECOND, IDLE: at + 9 * SECOND}
        made.commit(at + SECOND // 2, {BUSY: passed(at)}, {BUSY: at - 1, IDLE: at - 1})
        made.commit(at + 9 * SECOND + 50_000, {}, through)
    # One that had changed once, long before.
    made.commit(minute(-20), {IDLE: baseline(minute(-20) - 300_000, 2)})
    # One whose commits were merged, and so many at once that it can't be told for how long it was idle.
    made.commit(minute(21), {MERGED: baseline(minute(21) - SECOND, 5)})
    idle = {MERGED: [minute(25) - 1, minute(41) - 1]}
    points = [*passed(minute(25)), *passed(minute(40))]
    made.commit(minute(41), {MERGED: points}, {MERGED: minute(41) - 1}, minute(24), idle, 15 * MINUTE)
    made.commit(minute(59.5), {}, {MERGED: minute(59.5) - 1})
    _acts(made)
    return made


def _acts(made: Synthetic) -> None:
    details = {"address": BUSY, "path": "/srv/data", "at": format_time(minute(10)), "point": "1.70", "files": 3}
    details |= {"bytes": 3000, "seconds": 0.25, "verified": True, "read_back": False, "failures": 0}
    made.act(minute(12), "restore", "ann", {**details, "host": "db9", "target": "/tmp/back"})
    made.act(
        minute(13),
        "restore",
        "<script>alert(1)</script>",
        {**details, "target": "/tmp/b|ck\x1b[31m\n", "verified": False, "failures": 2, "error": "stopped | by hand"},
    )
    refused_by_guard = {"verified": False, "error": "3 files are in the way", "code": "refused"}
    made.act(minute(13.2), "restore", "ann", {**details, "target": "/srv", **refused_by_guard})
    made.act(minute(13.4), "restore", "ann", {**details, "target": "."})
    made.act(minute(13.6), "restore", "ann", {**details, "host": "db9", "in_place": True})
    stream = stream_id(parse_address(IDLE))
    for at in (minute(14), minute(15)):
        refused = {"stream": stream, "host": "db2", "bytes": 12, "error": "a batch of 12 bytes ends early"}
        made.act(at, "batch-refused", "agent db2", refused)
    made.act(minute(16), "refused-more", "node", {"what": "batch-refused", "count": 70})
    drill(made, minute(25), "finance")
    command = {
        "name": "command",
        "passed": False,
        "message": "it exited with 3",
        "address": BUSY,
        "command": "ledger | wc",
    }
    written = "".join(f"line {number}\n" for number in range(12)) + "<b>no\x1b[31m ledger</b>\n"
    checks = [{"name": "checksums", "passed": True}, {**command, "output": written}]
    drill(made, minute(35), "finance", passed=False, checks=checks)
    drill(made, minute(45), "finance", drill=None, rto_seconds=None, moment=None, asked="mark:before")
    drill(made, minute(46), "finance")
    made.act(minute(61), "restore", "late", {**details, "target": "/after/the/period"})
