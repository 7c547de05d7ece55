"""Receiving onto what stands there, killed at each of its steps: names are old or new as a whole, going on ends it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.agent.restore import restoring
from engine.agent.restore.onto import Look, Onto
from engine.agent.restore.restoring import Job, receive
from engine.journal.commit import Committer
from engine.journal.open import Journal, open_journal
from engine.model.errors import Refused
from engine.model.ids import Address
from engine.model.points import Point
from engine.query import streams
from engine.query.session import Session
from engine.recovery.restoring import pieces_of, prepare_for
from engine.recovery.sending import TARGET, Sending
from engine.store.local import LocalStore
from engine.wire.batch import Batch, BatchBuilder, decode
from tests.filling import ID, note_filling

STEPS = ("mkdir", "link", "rename", "symlink", "open", "chmod", "utime", "unlink", "ftruncate", "rmdir")
MTIME = 1_600_000_000_000_000_007


class Killed(BaseException):
    """Nothing of ours catches it."""


class Node:
    """A node's side of one restore without HTTP."""

    def __init__(self, sending: Sending) -> None:
        self.sending = sending
        self.told: list[Mapping[str, Any]] = []
        self.asked: list[int] = []

    def plan(self) -> dict[str, Any]:
        plan = {"steps": self.sending.steps, "fingerprint": self.sending.fingerprint.hex()}
        return {**plan, "listings": self.sending.listings}

    def batch(self, number: int, fingerprint: str, *, data: bool = True) -> Batch:
        assert fingerprint == self.sending.fingerprint.hex()
        self.asked += [number] if data else []
        return decode(b"".join(self.sending.batch(number, data=data)))

    def listing(self, number: int, fingerprint: str) -> Batch:
        return decode(b"".join(self.sending.listing(number)))

    def progress(self, body: Mapping[str, Any]) -> str:
        self.told.append(json.loads(json.dumps(body)))
        return "open"


WANTED: dict[str, bytes | None] = {
    "same": b"s" * 3000, "other": b"new", "gone": b"back", "sub/kept": b"k" * 70_000, "sub/changed": b"changed",
    "new/deep/file": b"deep", "was-directory": b"a file", "was-file/inside": b"inside",
}  # fmt: skip


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sending]:
    """The tree WANTED below /srv with a symbolic link, and further names of `same` and `other`; two files a batch."""
    from engine.plan import restore_batches

    patch = pytest.MonkeyPatch()
    patch.setattr(restore_batches, "FILES_MAX", 2)
    with open_journal(LocalStore(tmp_path_factory.mktemp("j")), bytes(range(32)), create=True) as journal:
        with Committer(journal, "n1") as committer:
            stream = committer.register(Address("g", "a", "files")).id
            head = committer.open_stream(stream, "w", None).head
            builder = BatchBuilder(stream, head.epoch, head.lsn + 1, head.hash)
            _fill(builder)
            builder.mark(1, "baseline", point_class="quiet")
            buffers, _ = builder.encode()
            ack = committer.submit(decode(b"".join(buffers))).result(120)
        yield _made(journal, stream, Point(ack.position, 1, 0, "quiet"))
    patch.undo()


def _fill(builder: BatchBuilder) -> None:
    who = (os.getuid(), os.getgid())
    folders = {"": builder.inode(1, None, "d", 0o751, *who, 0, MTIME)}
    builder.dentry(1, 0, b"srv", folders[""])
    for path, data in WANTED.items():
        above, _, name = path.rpartition("/")
        for folder in [above[:end] for end in (*(at for at, c in enumerate(above) if c == "/"), len(above))]:
            if folder not in folders:
                folders[folder] = builder.inode(1, None, "d", 0o750, *who, 0, MTIME + len(folder))
                parent, _, last = folder.rpartition("/")
                builder.dentry(1, folders[parent], last.encode(), folders[folder])
        assert data is not None
        file_id = builder.inode(1, None, "f", 0o640, *who, len(data), MTIME)
        builder.dentry(1, folders[above], name.encode(), file_id)
        builder.extent(1, file_id, 0, data)
        if path in ("same", "other"):
            builder.dentry(1, folders[""], f"z link of {name}".encode(), file_id)
    link = builder.inode(1, None, "l", 0o777, *who, 4, MTIME, target=b"same")
    builder.dentry(1, folders[""], b"soft", link)


def _made(journal: Journal, stream: str, point: Point) -> Sending:
    with Session(journal) as session:
        prepared = prepare_for(journal, session, streams.info(journal, stream), point, None, TARGET)
        return Sending(journal, "0" * 16, stream, prepared.plan, pieces_of(session, prepared))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """What stands there: one file as it is to be, others not, two of another type, one that nobody named."""
    srv = tmp_path / "target" / "srv"
    (srv / "sub").mkdir(parents=True)
    for path in ("same", "sub/kept"):
        (srv / path).write_bytes(WANTED[path] or b"")
        os.utime(srv / path, ns=(MTIME, MTIME))
    (srv / "other").write_bytes(b"old")
    (srv / "z link of same").write_bytes(b"no link")
    (srv / "sub" / "changed").write_bytes(b"CHANGED")
    os.utime(srv / "sub" / "changed", ns=(MTIME, MTIME))
    (srv / "was-directory").mkdir()
    (srv / "was-directory" / "own").write_bytes(b"own")
    (srv / "was-file").write_bytes(b"a file")
    (srv / "soft").symlink_to("elsewhere")
    (srv / "own").write_bytes(b"mine")
    return tmp_path / "target"


def job(target: Path, **how: bool) -> Job:
    state = target.parent / "state.json"
    return Job(os.fsencode(target), True, state=state, guarded=False, name="a1b2", how=how)


def run(node: Node, what: Job, kind: type[Onto] = Onto) -> dict[str, Any]:
    return receive(node, what, threading.Event(), run=kind)  # type: ignore[arg-type]


def contents(target: Path) -> dict[str, bytes]:
    return {str(path.relative_to(target / "srv")): path.read_bytes()
            for path in (target / "srv").rglob("*") if path.is_file() and not path.is_symlink()}  # fmt: skip


def as_it_is_to_be(target: Path) -> None:
    srv = target / "srv"
    there = {name: data for name, data in contents(target).items() if ".before-" not in name}
    links = {f"z link of {name}": WANTED[name] for name in ("same", "other")}
    assert there == {**WANTED, **links, "own": b"mine"}
    assert os.path.samefile(srv / "same", srv / "z link of same") and os.path.samefile(
        srv / "other", srv / "z link of other"
    )
    assert os.readlink(srv / "soft") == "same"
    assert (srv / "new").stat().st_mode & 0o777 == 0o750 and srv.stat().st_mode & 0o777 == 0o751
    assert srv.stat().st_mtime_ns == MTIME and (srv / "sub").stat().st_mtime_ns == MTIME + 3
    aside = {path.name: path for path in srv.iterdir() if ".before-a1b2" in path.name}
    assert (aside["was-directory.before-a1b2"] / "own").read_bytes() == b"own"
    assert aside["was-file.before-a1b2"].read_bytes() == b"a file" and aside["other.before-a1b2"].read_bytes() == b"old"
    assert not list(target.rglob(".bcs*"))


def test_onto_what_stands_there(sending: Sending, target: Path) -> None:
    kept = (target / "srv" / "sub" / "kept").stat().st_ino
    node = Node(sending)
    outcome = run(node, job(target, overwrite=True, aside=True))
    as_it_is_to_be(target)
    assert outcome["verified"] and outcome["kept"] == 2 and outcome["files"] == len(WANTED)
    assert (target / "srv" / "sub" / "kept").stat().st_ino == kept
    assert "comparing" in {told.get("phase") for told in node.told}
    assert len(outcome["kept_aside"]) == 6


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"aside": True}])
def test_what_is_in_the_way_is_refused_and_nothing_is_asked_for(
    sending: Sending, target: Path, how: dict[str, bool]
) -> None:
    before, node = contents(target), Node(sending)
    for kind in (Onto, Look):
        with pytest.raises(Refused) as refused:
            run(node, job(target, **how), kind)
        assert refused.value.details["conflicts_count"] == 2
    assert contents(target) == before and node.asked == [] and not (target.parent / "state.json").exists()


def test_a_tree_that_is_being_filled_is_named(sending: Sending, target: Path, tmp_path: Path) -> None:
    note_filling(tmp_path / "home", target)
    for kind in (Onto, Look):
        with pytest.raises(Refused, match=f"recovery {ID} fills"):
            run(Node(sending), replace(job(target), home=tmp_path / "home"), kind)


def test_damage_leaves_what_stands_there(sending: Sending, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(self: Any, raw: Any, data: Any, length: int, hash: bytes, stream: str) -> Any:
        from engine.model.errors import Damaged

        if length == len(b"changed"):
            raise Damaged("a flipped bit")
        return raw[data.skip : data.skip + length]

    monkeypatch.setattr("engine.journal.data.DataReader.checked", other)
    outcome = run(Node(sending), job(target, overwrite=True, aside=True))
    assert not outcome["verified"] and outcome["damaged"]
    assert [failure["path"] for failure in outcome["failures"]] == [str(target / "srv" / "sub" / "changed")]
    assert (target / "srv" / "sub" / "changed").read_bytes() == b"CHANGED"
    assert (target / "srv" / "other").read_bytes() == b"new"


@pytest.fixture
def mounted(target: Path) -> Iterator[Path]:
    """Another file system at `sub` of what stands there, with the same in it."""
    sub = target / "srv" / "sub"
    shutil.copytree(sub, target.parent / "of-sub")
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "none", str(sub)], capture_output=True).returncode:
        pytest.skip("only root mounts")
    shutil.copytree(target.parent / "of-sub", sub, dirs_exist_ok=True)
    yield sub
    subprocess.run(["umount", "-l", str(sub)], check=True)


def test_onto_another_file_system_below(sending: Sending, target: Path, mounted: Path) -> None:
    outcome = run(Node(sending), job(target, overwrite=True, aside=True))
    assert outcome["verified"] and os.path.ismount(mounted)
    as_it_is_to_be(target)
    assert (mounted / "changed").stat().st_mtime_ns == MTIME


@contextmanager
def dying(at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The step number `at` that the placing thread makes does not happen: it is killed there."""
    count, real = [0], {name: getattr(os, name) for name in STEPS}
    me = threading.get_ident()

    def step(name: str) -> Any:
        def doing(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() == me:
                count[0] += 1
                if count[0] == at:
                    raise Killed
            return real[name](*arguments, **named)

        return doing

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, step(name))
        yield count


def test_who_is_killed_at_any_step_goes_on(
    sending: Sending, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(restoring, "SAVE_SHARE", 0)
    monkeypatch.setattr("engine.agent.restore.onto.sync", lambda directory: None)
    monkeypatch.setattr(restoring, "sync", lambda directory: None)
    monkeypatch.setattr("engine.env.durable.os.fsync", lambda fd: None, raising=False)
    what = job(target, overwrite=True, aside=True)
    shutil.copytree(target, tmp_path / "as-it-stood", symlinks=True)
    stood = contents(target)
    with dying(0, monkeypatch) as count:
        run(Node(sending), what)
    steps, killed = count[0], 0
    for at in range(1, steps + 1, 3):
        shutil.rmtree(target)
        shutil.copytree(tmp_path / "as-it-stood", target, symlinks=True)
        (tmp_path / "state.json").unlink(missing_ok=True)
        with dying(at, monkeypatch):
            try:
                run(Node(sending), what)
            except Killed:
                killed += 1
        for name, data in contents(target).items():
            if ".bcs" not in name and ".before-" not in name:
                assert data in (stood.get(name), WANTED.get(name.removeprefix("z link of "))), (at, name)
        outcome = run(Node(sending), what)
        assert outcome["verified"], (at, outcome["failures"])
        as_it_is_to_be(target)
    assert killed > 20
