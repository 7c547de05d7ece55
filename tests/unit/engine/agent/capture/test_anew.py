"""A directory removed and made again between two looks, with the number of the one before it."""

from __future__ import annotations

import time

import pytest
from conftest import Site

from engine.agent.capture.look import Capture


def test_a_name_comes_back_before_its_new_directory_is_scanned(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = site.tree / "d"
    directory.mkdir()
    (directory / "a").write_bytes(b"first")
    site.start(watch="inotify")
    site.settle()
    finish = Capture.finish
    made = []

    def late(self: Capture) -> None:
        # What was looked at is missing by now; what follows is in no watched directory, so that no event tells.
        if self.gone and self.to_scan and not made:
            (directory / "a").write_bytes(b"second")
            made.append(True)
        finish(self)

    monkeypatch.setattr(Capture, "finish", late)
    for _ in range(20):
        (directory / "a").unlink()
        directory.rmdir()
        directory.mkdir()
        time.sleep(0.2)
        if made:
            break
        (directory / "a").write_bytes(b"first")
        site.settle()
    assert made
    site.settle()
