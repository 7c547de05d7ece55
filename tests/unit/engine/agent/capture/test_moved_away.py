"""A directory that moves while everything is looked at, from where the look has not been yet to where it has been."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Site

from engine.agent.capture.walk import Walk


@pytest.mark.parametrize("watch", ["fanotify", "inotify"])
def test_what_is_deep_in_it_is_looked_at_all_the_same(site: Site, monkeypatch: pytest.MonkeyPatch, watch: str) -> None:
    deep = {name: site.tree / name / f"moves-{name}" / "d" / "e" for name in ("one", "two")}
    for path in deep.values():
        path.mkdir(parents=True)
        (path / "f").write_bytes(b"before")
    site.start(watch=watch)
    site.settle()
    site.stop()
    for path in deep.values():
        (path / "f").write_bytes(b"changed while nobody looked")
    scan = Walk._scan
    begun: list[str] = []
    moved: list[Path] = []

    def moving(self: Walk, directory: int, path: bytes, deep: bool) -> list[int]:
        name = path.rpartition(b"/")[2].decode()
        if name in ("one", "two") and name not in begun:
            if begun:
                moved.append(site.tree / begun[0] / "moved")
                (site.tree / name / f"moves-{name}").rename(moved[0])
            begun.append(name)
        return scan(self, directory, path, deep)

    monkeypatch.setattr(Walk, "_scan", moving)
    site.start()
    site.settle()
    [where] = moved
    (where / "d" / "e" / "f").write_bytes(b"it is watched, too")
    site.settle()
