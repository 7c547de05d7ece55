"""Durable files: the order of what is done, nothing half done, nothing overwritten."""

from __future__ import annotations

import errno
import gc
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.env import durable


@pytest.fixture(params=["nameless", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without O_TMPFILE."""
    if request.param == "named":

        def refuse(*_: object) -> int:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(durable, "_open_nameless", refuse)
    return request.param


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    gc.collect()  # what earlier tests left is not to go while we count
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def record(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """The calls of os functions, in order, the kind of file for those that sync."""
    calls: list[str] = []
    for name in names:
        real = getattr(os, name)

        def call(*arguments: object, _name: str = name, _real: object = real, **options: object) -> object:
            what = ""
            if "sync" in _name:
                what = " directory" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else " file"  # type: ignore[arg-type]
            calls.append(_name + what)
            return _real(*arguments, **options)  # type: ignore[operator]

        monkeypatch.setattr(durable.os, name, call)
    return calls


def test_create(tmp_path: Path, way: str) -> None:
    durable.create(tmp_path, "a", b"abc")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"abc"
    status = (tmp_path / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 1)


def test_create_in_an_open_directory(tmp_path: Path, way: str) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        durable.create(fd, "a", b"abc", mode=0o640)
        os.fstat(fd)  # still ours
    finally:
        os.close(fd)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_create_never_overwrites(tmp_path: Path, way: str) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        durable.create(tmp_path, "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        durable.create(tmp_path, "dangling", b"new")
    assert sorted(os.listdir(tmp_path)) == ["a", "dangling"]


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_file_system", lambda _: 0xEF53)
    calls = record(monkeypatch, "writev", "fdatasync", "link", "fsync")
    durable.create(tmp_path, "a", [b"abc", b"def"])
    assert calls == ["writev", "fdatasync file", "link", "fsync directory"]


def test_elsewhere_the_file_is_synced_under_its_name_too(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_file_system", lambda _: 0x9123683E)
    calls = record(monkeypatch, "writev", "fdatasync", "link", "fsync")
    durable.create(tmp_path, "a", b"abc")
    assert calls == ["writev", "fdatasync file", "link", "fsync file", "fsync directory"]


def test_that_a_name_exists_is_durable_too(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    calls = record(monkeypatch, "link", "fsync")
    with pytest.raises(FileExistsError):
        durable.create(tmp_path, "a", b"new")
    assert calls[0] == "link"
    assert calls[-1] == "fsync directory"


def test_short_writes_and_many_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev

    def short(fd: int, parts: list[memoryview]) -> int:
        assert 0 < len(parts) <= 1024
        whole = b"".join(parts)
        return real(fd, [whole[: max(1, min(len(whole), 7))]])

    parts = [bytes([number % 256]) * (number % 11) for number in range(1500)]
    monkeypatch.setattr(durable.os, "writev", short)
    durable.create(tmp_path, "a", parts)
    assert (tmp_path / "a").read_bytes() == b"".join(parts)


@pytest.mark.parametrize("call", ["writev", "fdatasync", "link"])
def test_a_failure_leaves_nothing(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable.os, call, fail)
    with pytest.raises(OSError, match="Input/output"):
        durable.create(tmp_path, "a", b"abc")
    assert os.listdir(tmp_path) == []


def test_a_conflict_with_oneself_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over NFS, when the answer to the first request got lost."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    real = os.link

    def twice(*arguments: object, **options: object) -> None:
        real(*arguments, **options)  # type: ignore[arg-type]
        real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(durable, "_open_nameless", refuse)
    monkeypatch.setattr(durable.os, "link", twice)
    durable.create(tmp_path, "a", b"abc")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"abc")]


def test_growing(tmp_path: Path, way: str) -> None:
    block = bytes(range(256)) * 400
    with durable.Growing(tmp_path, write_back_bytes=1 << 18) as file:
        for _ in range(10):
            file.write([block, memoryview(block)])
        assert file.size == 20 * len(block)
        assert not (tmp_path / "a").exists()
        file.publish("a")
    assert (tmp_path / "a").read_bytes() == block * 20
    assert os.listdir(tmp_path) == ["a"]


def test_growing_and_discarded(tmp_path: Path, way: str) -> None:
    with durable.Growing(tmp_path) as file:
        file.write(b"abc")
    file.discard()
    for use in (lambda: file.write(b"x"), lambda: file.publish("a")):
        with pytest.raises(ValueError, match="discarded"):
            use()
    assert os.listdir(tmp_path) == []


def test_growing_in_no_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durable.Growing(tmp_path / "none")


def test_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    calls = record(monkeypatch, "fsync")
    durable.replace(path, b"one")
    durable.replace(path, [b"t", b"wo"], mode=0o644)
    assert calls == ["fsync file", "fsync directory"] * 2
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["state"]


def test_a_failed_replace_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    durable.replace(path, b"one")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        durable.replace(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["state"]


def test_make_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record(monkeypatch, "fsync")
    durable.make_directories(tmp_path / "a" / "b" / "c")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert calls == ["fsync directory"] * 3
    durable.make_directories(tmp_path / "a" / "b" / "c")
    assert len(calls) == 3
    durable.make_directories(tmp_path / "a" / "b" / "c", below=tmp_path)
    assert len(calls) == 6


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    for path in (tmp_path / "a", tmp_path / "a" / "b" / "c"):
        with pytest.raises(NotADirectoryError):
            durable.make_directories(path)


def test_the_file_system_is_known(tmp_path: Path) -> None:
    fd = os.open("/proc", os.O_RDONLY)
    try:
        assert durable._file_system(fd) == 0x9FA0  # PROC_SUPER_MAGIC
    finally:
        os.close(fd)
