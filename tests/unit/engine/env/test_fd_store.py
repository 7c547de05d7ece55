"""Descriptors that systemd keeps, with a socket in the place of its own."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.env import fd_store


class Systemd:
    """Reads what it is told and keeps descriptors by name."""

    def __init__(self, path: Path) -> None:
        self.kept: dict[str, int] = {}
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            data, given, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(4))
            if data == b"end":
                return
            found = array.array("i")
            for _, _, each in given:
                found.frombytes(each)
            fields = dict(line.split("=", 1) for line in data.decode().splitlines())
            if "BARRIER" in fields:
                os.close(found[0])
            elif "FDSTORE" in fields:
                assert fields["FDPOLL"] == "0"
                assert fields["FDNAME"] not in self.kept, "systemd keeps both then"
                self.kept[fields["FDNAME"]] = found[0]
            elif "FDSTOREREMOVE" in fields and fields["FDNAME"] in self.kept:
                os.close(self.kept.pop(fields["FDNAME"]))

    def end(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"end", str(path))
        self._thread.join()
        self._socket.close()
        for each in self.kept.values():
            os.close(each)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    found = Systemd(path)
    yield found
    found.end(path)


def test_what_is_kept_is_the_same_and_one(systemd: Systemd) -> None:
    ours, theirs = os.pipe()
    assert fd_store.keep("held", ours)
    assert os.path.sameopenfile(systemd.kept["held"], ours), "it is there when the call returns"
    assert fd_store.keep("held", theirs)
    assert list(systemd.kept) == ["held"] and os.path.sameopenfile(systemd.kept["held"], theirs)
    os.close(ours)
    os.close(theirs)


def test_without_systemd_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not fd_store.keep("held", 0)
    fd_store.forget("held")


def test_it_is_found_again_by_the_process_it_was_given_to() -> None:
    look = "from engine.env import fd_store; print(fd_store.kept('held'), fd_store.kept('more'))"
    script = f'export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=other:held; exec "{sys.executable}" -c "{look}"'
    root = str(Path(fd_store.__file__).parents[2])
    done = subprocess.run(["sh", "-c", script], env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True)
    assert done.stdout == "4 None\n", done.stderr
    script = script.replace("LISTEN_PID=$$", "LISTEN_PID=1")
    done = subprocess.run(["sh", "-c", script], env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True)
    assert done.stdout == "None None\n", done.stderr
