"""The command line run as a program, golden files, and a site with a journal but no node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.env.clock import SYSTEM
from engine.journal import control
from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.model.ids import Address, stream_id
from engine.model.times import format_time
from engine.wire.batch import NO_HASH, BatchBuilder, decode

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
ADDRESS = "docs/localhost/files"
NAME_NOT_UTF8 = b"caf\xe9.txt"


@dataclass(frozen=True)
class Ran:
    """A finished run of bcsctl."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "surrogateescape")


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run bcsctl with a BCS_HOME of its own, UTC, no colours, in an empty working directory."""
    work = tmp_path / "work"
    work.mkdir()

    def go(*arguments: str | Path, home: Path | None = None, cwd: Path | None = None, **environment: str) -> Ran:
        variables = {key: value for key, value in os.environ.items() if not key.startswith("BCS_")}
        variables |= {"BCS_HOME": str(home or tmp_path / "home"), "TZ": "UTC", "PYTHONPATH": str(ROOT), **environment}
        done = subprocess.run(
            [sys.executable, "-m", "bcsctl", *map(str, arguments)],
            cwd=cwd or work,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))

    return go


@pytest.fixture
def golden(
    request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Compare what was printed since the test began with golden/NAME.txt, both streams one after the other."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def compare(name: str) -> None:
        out, err = capfd.readouterr()
        printed = out + (f"--- standard error\n{err}" if err else "")
        file = GOLDEN / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            file.write_text(printed, "utf-8")
        assert printed == file.read_text("utf-8"), f"differs from {file}; --update-golden writes it anew"

    yield compare
    monkeypatch.undo()
    time.tzset()


@dataclass(frozen=True)
class PlainSite:
    """A home with a journal of one source that protects /data, and the moments of its three points.

    At `first` /data holds a.txt (`one`), sub/b.bin, a link and a name that is no UTF-8; at `second`
    a.txt holds `two!`; at `third` a.txt has become renamed.txt and sub/b.bin is gone. A gap lies
    between the second point and the third.
    """

    home: Path
    first: int
    second: int
    third: int
    b_bin: bytes

    def copy(self, home: Path) -> None:
        """A home with the same journal, but nothing of what other tests' commands have left beside it (the audit)."""
        for part in ("keys", "journal"):
            shutil.copytree(self.home / part, home / part)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> PlainSite:
    home = tmp_path_factory.mktemp("site")
    (home / "keys").mkdir()
    (home / "keys" / "master.key").write_text("5a" * 32 + "\n")
    (home / "keys" / "master.key").chmod(0o600)
    journal = open_local(home / "journal", b"\x5a" * 32, create=True)
    address = Address(*ADDRESS.split("/"))
    stream = stream_id(address)
    start = SYSTEM.now() - 3600 * 1_000_000
    control.follow(journal.store, control.POLICIES, 0, applied_policy(stream, start - 60 * 1_000_000))
    b_bin = bytes(range(256)) * 2000
    uid, gid = os.getuid(), os.getgid()
    with Committer(journal, "n1") as committer:
        committer.register(address)
        head = committer.open_stream(stream, "agent", None).head
        builder = BatchBuilder(stream, head.epoch, 1, NO_HASH)
        at = start
        mtime = start * 1000
        data = builder.inode(at, None, "d", 0o755, uid, gid, 0, mtime)
        builder.dentry(at, 0, b"data", data)
        a_txt = builder.inode(at, None, "f", 0o644, uid, gid, 3, mtime)
        builder.dentry(at, data, b"a.txt", a_txt)
        builder.extent(at, a_txt, 0, b"one")
        sub = builder.inode(at, None, "d", 0o750, uid, gid, 0, mtime)
        builder.dentry(at, data, b"sub", sub)
        b = builder.inode(at, None, "f", 0o600, uid, gid, len(b_bin), mtime)
        builder.dentry(at, sub, b"b.bin", b)
        for offset in range(0, len(b_bin), 256 * 1024):
            builder.extent(at, b, offset, b_bin[offset : offset + 256 * 1024])
        link = builder.inode(at, None, "l", 0o777, uid, gid, 9, mtime, target=b"sub/b.bin")
        builder.dentry(at, data, b"link", link)
        odd = builder.inode(at, None, "f", 0o644, uid, gid, 0, mtime)
        builder.dentry(at, data, NAME_NOT_UTF8, odd)
        builder.mark(at, "baseline", point_class="quiet")
        head_hash = commit(committer, builder)

        builder = BatchBuilder(stream, head.epoch, builder.lsn_next, head_hash)
        at = second = start + 60 * 1_000_000
        builder.inode(at, a_txt, "f", 0o640, uid, gid, 4, at * 1000)
        builder.extent(at, a_txt, 0, b"two!")
        builder.mark(at, "pass", point_class="fuzzy")
        builder.mark(at, "bookmark", label="before-upgrade")
        head_hash = commit(committer, builder)

        builder = BatchBuilder(stream, head.epoch, builder.lsn_next, head_hash)
        at = third = start + 120 * 1_000_000
        builder.mark(at, "gap", label="agent was not running", gap_from=start + 90 * 1_000_000)
        builder.dentry(at, data, b"a.txt", None)
        builder.dentry(at, data, b"renamed.txt", a_txt)
        builder.dentry(at, sub, b"b.bin", None)
        builder.mark(at, "pass", point_class="quiet")
        commit(committer, builder)
    return PlainSite(home, start, second, third, b_bin)


def commit(committer: Committer, builder: BatchBuilder) -> bytes:
    """Make a batch durable; its hash."""
    buffers, digest = builder.encode()
    committer.submit(decode(b"".join(buffers))).result(timeout=300)
    return digest


def applied_policy(stream: str, at: int) -> dict[str, Any]:
    source = {
        "stream": stream,
        "address": ADDRESS,
        "kind": "files",
        "site": "local",
        "paths": ["/data"],
        "exclude": [],
        "ignore": [],
        "labels": {},
        "settings": {},
        "rpo": "5s",
        "rto": "10m",
        "retention": [{"keep": "every-change", "for": "7d"}],
    }
    return {
        "applied_at": format_time(at),
        "by": "tester@localhost",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": True,
        "documents": {"ProtectionGroup/docs": {"kind": "ProtectionGroup", "metadata": {"name": "docs"}}},
        "sources": {ADDRESS: source},
    }
