"""A directory that goes before its own attributes are looked at is in no later point as it was before."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Site, wait_for

from engine.agent.capture.hints import Hints
from engine.agent.capture.look import Capture


@pytest.mark.parametrize("then", ["removed", "another"])
def test_a_directory_that_goes_before_it_is_refreshed(site: Site, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """Of its change only the event of the directory itself has come so far, not that of its name."""
    path: Path = site.tree / "d"
    path.mkdir(mode=0o755)
    site.start()
    site.settle()
    file_id = next(each for each in site.node.events if getattr(each, "name", b"") == b"d").file_id
    take, refresh = Hints.take, Capture._refresh
    gone_at: list[int] = []

    def of_itself(self: Hints) -> tuple[set[tuple[int, bytes]], set[int]]:
        names, own = take(self)
        if gone_at:
            return names, own
        return {each for each in names if each[1] != b"d"}, own | ({file_id} if names else set())

    def goes(self: Capture, directory: int) -> None:
        if directory == file_id and not gone_at and path.stat().st_mode & 0o777 == 0o700:
            path.rmdir()
            if then == "another":
                path.mkdir(mode=0o711)
            gone_at.append(site.settings.site_clock.now())
        refresh(self, directory)

    monkeypatch.setattr(Hints, "take", of_itself)
    monkeypatch.setattr(Capture, "_refresh", goes)
    path.chmod(0o700)
    (site.tree / "file").write_bytes(b"there is something to say")
    wait_for(lambda: gone_at)
    site.settle()
    wait_for(lambda: [point for point in site.node.points() if point.at >= gone_at[0]])
    for point in site.node.points():
        if point.at >= gone_at[0]:
            found = site.image(point.lsn).get(b"/d")
            assert found is None or found[1] == 0o711, (point, found)
            assert (b"/d" in site.image(point.lsn)) == (then == "another"), point
