"""Nodes for tests, one interface over two ways to run them: in this process, or as a process of its own.

`Writer` is an agent in miniature: it opens a stream and sends batches, over whatever node it is given.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from engine.env.clock import Clock
from engine.env.endpoint import UnixConnection
from engine.format import parquet
from engine.journal import segments
from engine.journal.open import Journal, open_local
from engine.model.ids import Position, parse_address, stream_id
from engine.node.callers.caller import Caller, with_caller
from engine.node.master_key import ensure_master_key
from engine.node.parts import Parts
from engine.node.serve import application, read_master_key, wire
from engine.query.content import content
from engine.query.session import Session
from engine.query.streams import info
from engine.query.tree import entries
from engine.store.base import Store
from engine.wire.batch import VERSION, BatchBuilder
from tests.embedded import ROOT, Site

with warnings.catch_warnings():  # it would rather have a newer httpx than the one that is there
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

STOP_SECONDS = 60.0
"""Whoever stops a node in earnest kills it sooner; how long a stop takes on a machine that is busy is not the point."""

HOST = "localhost"
Fill = Callable[[BatchBuilder], Any]
Body = bytes | Mapping[str, Any] | None


@dataclass(frozen=True)
class Answer:
    status: int
    text: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.text)
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> dict[str, Any]:
        """The error's object; it has the parts that clients rely on."""
        error = self.json["error"]
        assert set(error) == {"code", "message", "hint", "details"}
        assert "\n" not in error["message"] and "Traceback" not in self.text.decode()
        return dict(error)


class Node(Protocol):
    home: Path

    def call(self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Answer: ...


@dataclass
class ProcessNode:
    """A real `bcsctl serve` behind its socket."""

    site: Site
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.site.home

    def call(self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Answer:
        connection = UnixConnection(self.site.socket, 60.0)
        try:
            with suppress(BrokenPipeError):  # it may answer, and hang up, before it was sent all
                connection.request(method, path, as_bytes(body), dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        assert self.site.node is not None
        return self.site.node.pid

    def memory_bytes(self, which: str = "VmRSS") -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{which}:"))

    def log(self) -> str:
        return (self.home / "node.log").read_text(errors="replace")

    def stop(self, seconds: float) -> int:
        """SIGTERM; the exit code. Raises TimeoutExpired."""
        process = self.site.node
        assert process is not None
        process.send_signal(signal.SIGTERM)
        return process.wait(seconds)


@dataclass
class InProcessNode:
    """The same application without a socket; `parts` are there to look into, and `caller` is who asks."""

    home: Path
    parts: Parts
    caller: Caller = field(default_factory=lambda: Caller("local", "", ""))
    client: TestClient = field(init=False)

    def call(self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Answer:
        answer = self.client.request(method, path, content=as_bytes(body), headers=dict(headers or {}))
        return Answer(answer.status_code, answer.content, answer.headers)


@contextmanager
def process_node(home: Path) -> Iterator[ProcessNode]:
    with Site(home) as site:
        site.start_node()
        yield ProcessNode(site)


@contextmanager
def in_process_node(
    home: Path, clock: Clock | None = None, store: Callable[[Store], Store] | None = None
) -> Iterator[InProcessNode]:
    """`store` may put something between the node and its journal, as a faulty double."""
    clock = clock or Clock()
    for part in ("run", "node"):
        (home / part).mkdir(parents=True, exist_ok=True)
    with open_local(home / "journal", read_master_key(home), create=True, clock=clock) as opened:
        journal = opened
        if store is not None:
            journal = Journal(opened.id, store(opened.store), opened.keyring, opened.files)
        parts = wire(home, journal, clock)
        try:
            node = InProcessNode(home, parts)
            served = with_caller(application(parts, "0.0-test"), lambda scope: node.caller)
            with TestClient(served, raise_server_exceptions=False) as node.client:
                yield node
        finally:
            parts.close()


@contextmanager
def journal_of(home: Path) -> Iterator[Journal]:
    """The journal as another process sees it."""
    key = bytes.fromhex(ensure_master_key(home).read_text().strip())
    with open_local(home / "journal", key) as journal:
        yield journal


def as_bytes(body: Body) -> bytes | None:
    return body if body is None or isinstance(body, bytes) else json.dumps(body).encode()


def source(address: str, *paths: str, **other: Any) -> dict[str, Any]:
    """A source as an apply sends it."""
    return {
        "stream": stream_id(parse_address(address)),
        "address": address,
        "kind": "files",
        "site": "local",
        "paths": list(paths or ("/srv",)),
        "exclude": [],
        "ignore": [],
        "labels": {},
        "settings": {},
        "rpo": "5s",
        "retention": [],
        **other,
    }


def apply(node: Node, *sources: Mapping[str, Any], keep: bool = True) -> int:
    """Apply policies with these sources, and those that there are; the number."""
    found = sorted((node.home / "journal" / "control" / "policies").glob("*.json"))
    applied = json.loads(found[-1].read_text()) if found else {"number": 0, "sources": {}}
    wanted = {**(applied["sources"] if keep else {}), **{each["address"]: each for each in sources}}
    body = {"base": applied["number"], "documents": {}, "sources": wanted, "by": "a test"}
    answer = node.call("POST", "/v1/policies", body)
    assert answer.status == 201, answer.text
    return int(answer.json["number"])


@dataclass
class Writer:
    """One stream's agent. Remembers what it sent, as a spool does, until `forget`."""

    node: Node
    address: str
    host: str = HOST
    name: str = "writer-1"
    stream: str = ""
    epoch: int = 0
    lsn: int = 0
    prev: bytes = b""

    def __post_init__(self) -> None:
        self.stream = stream_id(parse_address(self.address))

    def protect(self, **other: Any) -> Writer:
        """Apply a policy for it, and open it."""
        apply(self.node, source(self.address, **other))
        self.open(None)
        return self

    @property
    def record(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "lsn": self.lsn, "hash": self.prev.hex()}

    def open(self, record: Mapping[str, Any] | None) -> dict[str, Any]:
        body = {"host": self.host, "writer": self.name, "record": record}
        answer = self.node.call("POST", f"/v1/streams/{self.stream}/open", body)
        assert answer.status == 200, answer.text
        self.epoch, self.lsn, self.prev = answer.json["epoch"], answer.json["lsn"], bytes.fromhex(answer.json["hash"])
        return answer.json

    def batch(self, fill: Fill, **other: Any) -> bytes:
        """The next batch, whose successor the next call builds. `other` replaces stream, epoch, lsn_first, prev."""
        given = {"stream": self.stream, "epoch": self.epoch, "lsn_first": self.lsn + 1, "prev": self.prev, **other}
        given.setdefault("version", VERSION)
        builder = BatchBuilder(**given)
        fill(builder)
        parts, digest = builder.encode()
        if not other:
            self.lsn, self.prev = builder.lsn_next - 1, digest
        return b"".join(parts)

    def post(
        self, body: bytes, *, stream: str = "", host: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        path = f"/v1/streams/{stream or self.stream}/batches?host={quote(host or self.host)}"
        return self.node.call("POST", path, body, headers)

    def send(self, fill: Fill) -> dict[str, Any]:
        answer = self.post(self.batch(fill))
        assert answer.status == 200, answer.text
        return answer.json


def file_of(data: bytes, name: bytes = b"file", at: int = 1, kind: str = "pass") -> Fill:
    """A new file below the root, its content, and a mark."""

    def fill(builder: BatchBuilder) -> None:
        file_id = builder.inode(at, None, "f", 0o644, 0, 0, len(data), at * 1000)
        builder.dentry(at, 0, name, file_id)
        for offset in range(0, len(data), 200_000):
            builder.extent(at, file_id, offset, data[offset : offset + 200_000])
        builder.mark(at, kind, point_class="quiet")

    return fill


def files_in(home: Path, writer: Writer) -> dict[bytes, bytes]:
    """{path: content} of a stream as another process reads it from the journal, at its last event."""
    with journal_of(home) as journal, Session(journal) as session:
        lsn = max(run.lsn_last for run in runs_of(journal, writer.stream) if run.epoch == writer.epoch)
        position = Position(writer.epoch, lsn)
        found: dict[bytes, bytes] = {}
        for entry in entries(session, writer.stream, position, b"/", True):
            if entry.inode.type == "f":
                _, parts = content(session, journal, info(journal, writer.stream), position, entry.path)
                found[entry.path] = b"".join(bytes(part) for part in parts)
        return found


def runs_of(journal: Journal, stream: str) -> list[Any]:
    """What the visible segments hold of a stream."""
    return [
        run
        for _, footer in segments.footers(journal)
        if stream in footer.streams
        for run in footer.streams[stream].runs
    ]


def held_by_stream(home: Path) -> dict[str, list[Any]]:
    """{stream: runs} of the whole journal, as another process sees it."""
    found: dict[str, list[Any]] = {}
    with journal_of(home) as journal:
        for _, footer in segments.footers(journal):
            for stream, of_stream in footer.streams.items():
                found.setdefault(stream, []).extend(of_stream.runs)
    return found


def objects(home: Path, *below: str) -> set[str]:
    """Keys of the journal's objects below the given folders, temporaries included."""
    root = home / "journal"
    return {str(path.relative_to(root)) for folder in below for path in (root / folder).rglob("*") if path.is_file()}


def acts(home: Path) -> list[dict[str, Any]]:
    """The audit stream: {what, who, details} in order."""
    found = []
    with journal_of(home) as journal:
        for segment in segments.visible(journal.store).segments:
            rows = parquet.read_events(journal.files.path(segment.key), segment.key)
            for row in rows.select(["stream", "lsn", "kind", "payload"]).to_pylist():
                if row["payload"] is not None:
                    found.append((row["stream"], row["lsn"], json.loads(row["payload"])))
    return [act for _, _, act in sorted(found, key=lambda each: (each[0], each[1])) if "what" in act]


def stored(node: Node) -> tuple[set[str], dict[str, list[Any]]]:
    """All of the journal but for the audit: packs, streams, policies, and what segments hold of which stream."""
    held = held_by_stream(node.home)
    audit = {each.split("/")[1] for each in objects(node.home, "streams") if not each.endswith("stream.json")}
    of_nodes = {stream for stream in audit if '"_audit/' in _stream_document(node.home, stream)}
    return objects(node.home, "packs", "streams", "control"), {
        stream: sorted(map(repr, runs)) for stream, runs in held.items() if stream not in of_nodes
    }


def _stream_document(home: Path, stream: str) -> str:
    return (home / "journal" / "streams" / stream / "stream.json").read_text()


def refusals(node: Node, writer: Writer) -> list[dict[str, Any]]:
    return [
        act
        for act in acts(node.home)
        if act["what"] == "batch-refused" and act["details"].get("stream") == writer.stream
    ]


def run_serve(home: Path) -> subprocess.CompletedProcess[bytes]:
    """`bcsctl serve`, which is expected to end by itself."""
    environment = {**os.environ, "BCS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bcsctl", "serve", "--role", "node"]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, timeout=300)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.01)
