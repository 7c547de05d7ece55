"""A restore that was killed: the same command goes on, from the same point, and writes nothing twice that is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine.env.clock import SYSTEM
from engine.journal import control
from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.model.ids import Address, stream_id
from engine.wire.batch import NO_HASH, BatchBuilder
from tests.cli.conftest import ADDRESS, ROOT, Run, applied_policy, commit

SMALL, LARGE = 400, 192 << 20
STEP = 256 << 10


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A journal of one source with many small files and a large one that does not compress."""
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "master.key").write_text("5a" * 32 + "\n")
    journal = open_local(home / "journal", b"\x5a" * 32, create=True)
    address = Address(*ADDRESS.split("/"))
    stream, at = stream_id(address), SYSTEM.now() - 60_000_000
    control.follow(journal.store, control.POLICIES, 0, applied_policy(stream, at))
    uid, gid = os.getuid(), os.getgid()
    with Committer(journal, "n1") as committer:
        committer.register(address)
        head = committer.open_stream(stream, "agent", None).head
        builder = BatchBuilder(stream, head.epoch, 1, NO_HASH)
        data = builder.inode(at, None, "d", 0o755, uid, gid, 0, at * 1000)
        builder.dentry(at, 0, b"data", data)
        for number in range(SMALL):
            text = b"%d\n" % number * 500
            file = builder.inode(at, None, "f", 0o640, uid, gid, len(text), at * 1000 + number)
            builder.dentry(at, data, b"small%04d" % number, file)
            builder.extent(at, file, 0, text)
        large = builder.inode(at, None, "f", 0o600, uid, gid, LARGE, at * 1000)
        builder.dentry(at, data, b"large", large)
        builder.dentry(at, data, b"zz large", large)
        last = NO_HASH
        for offset in range(0, LARGE, STEP):
            builder.extent(at, large, offset, os.urandom(STEP))
            if offset % (16 << 20) == 0 and offset:
                last = commit(committer, builder)
                builder = BatchBuilder(stream, head.epoch, builder.lsn_next, last)
        builder.mark(at, "baseline", point_class="quiet")
        commit(committer, builder)
    yield home


def _killed(home: Path, target: Path, bytes_least: int, *more: str) -> None:
    """kill -9 of a restore once it has written some."""
    process = _begun(home, target, bytes_least, *more)
    process.kill()
    process.communicate()


def _begun(home: Path, target: Path, bytes_least: int, *more: str) -> subprocess.Popen[bytes]:
    """A restore that has written some."""
    environment = {**os.environ, "BCS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bcsctl", "restore", ADDRESS, "--to", str(target), *more]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    ends = time.monotonic() + 60
    try:
        while _written(target) < bytes_least:
            assert process.poll() is None and time.monotonic() < ends
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def _written(target: Path) -> int:
    """Bytes of the large file, there or beside the name that it will take."""
    most = 0
    for path in (target / "large", *target.glob(".bcs-restore-*")):
        with suppress(FileNotFoundError):
            most = max(most, path.stat().st_blocks * 512)
    return most


def test_the_same_command_goes_on(run: Run, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "back"
    _killed(home, target, 8 << 20)
    assert not (target / "zz large").exists()
    whole = {path.name: path.stat().st_ino for path in target.glob("small*") if path.stat().st_mode & 0o777 == 0o640}
    done = run("restore", ADDRESS, "--to", target, "--verify", "--json", home=home)
    assert done.code == 0, done.err
    assert "going on" in done.err
    told = done.json
    assert told["verified"] and told["read_back"] and told["files"] == SMALL + 1
    assert told["bytes"] < LARGE, "the part of the large file that was there has been written again"
    assert {name: (target / name).stat().st_ino for name in whole} == whole
    assert (target / "zz large").stat().st_nlink == 2
    assert [path.name for path in target.iterdir() if path.name.startswith(".bcs")] == []
    assert target.stat().st_mode & 0o777 == 0o755


def test_ctrl_c_says_that_it_goes_on(run: Run, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "back"
    process = _begun(home, target, 8 << 20, "--at", "latest")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and b"the same command goes on" in err
    acts = [json.loads(line) for line in (home / "audit" / "pending.jsonl").read_text().splitlines()]
    assert [(act["what"], act["details"].get("error")) for act in acts] == [
        ("restoring", None),
        ("restore", "broken off"),
    ]
    assert run("restore", ADDRESS, "--at", "latest", "--to", target, home=home).code == 0
    assert list((home / "restores").iterdir()) == []


def test_something_else_is_not_what_goes_on(run: Run, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "back"
    _killed(home, target, 8 << 20)
    refused = run("restore", f"{ADDRESS}:/data/large", "--to", target, home=home)
    assert refused.code == 4 and "not empty" in refused.err
    [row] = run("restore", "list", "--json", home=home).json["unfinished"]
    assert row["target"] == str(target)
    assert run("restore", "discard", row["id"], home=home).code == 0
    assert run("restore", "list", "--json", home=home).json["unfinished"] == [] and any(target.iterdir())


def test_onto_what_stands_there(run: Run, home: Path, tmp_path: Path) -> None:
    """Killed while it replaced: every name is old or new as a whole, and going on leaves nothing beside them."""
    target = tmp_path / "back"
    target.mkdir()
    for name in ("large", *(f"small{number:04d}" for number in range(SMALL))):
        (target / name).write_bytes(b"old")
    (target / "own").write_bytes(b"own")
    _killed(home, target, 8 << 20, "--overwrite")
    for number in range(SMALL):
        content = (target / f"small{number:04d}").read_bytes()
        assert content in (b"old", b"%d\n" % number * 500)
    assert (target / "large").stat().st_size in (3, LARGE)
    done = run("restore", ADDRESS, "--to", target, "--overwrite", "--verify", "--json", home=home)
    assert done.code == 0 and "going on" in done.err, done.err
    assert (target / "own").read_bytes() == b"own"
    assert (target / "large").stat().st_size == LARGE
    assert [path.name for path in target.iterdir() if path.name.startswith(".bcs")] == []


def test_two_at_once_are_refused(run: Run, home: Path, tmp_path: Path) -> None:
    from engine.recovery import unfinished

    with unfinished.alone(home, tmp_path / "back"):
        refused = run("restore", ADDRESS, "--to", tmp_path / "back", home=home)
        assert refused.code == 4 and "another restore" in refused.err
