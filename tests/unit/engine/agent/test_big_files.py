"""A big file in which nobody knows where it changed is read at a declared pace, and shown as pending meanwhile."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from conftest import Site, wait_for

from engine.agent.capture.pending import PACE, PACED_BYTES, Pending

MIB = 1 << 20
SIZE = 8 * MIB
WHERE = (1, b"big")


def patch(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(100))


def test_what_waits_is_shown_and_nothing_is_called_complete_meanwhile(site: Site) -> None:
    path = site.tree / "big"
    path.write_bytes(os.urandom(SIZE))
    site.start(watch="inotify", ranges="none", big_file_bytes_a_second=1024)
    places = count(0, 8192)

    def waits() -> int:
        """It does once it was compared, which on a busy machine may have been in the baseline."""
        patch(path, next(places) % SIZE)
        return int(site.source.report()["pending_big_files"])

    wait_for(waits)
    waits_since = site.settings.site_clock.now()
    (site.tree / "small").write_bytes(b"1")
    row = site.source.report()
    assert (row["pending_big_files"], row["pending_big_bytes"]) == (1, SIZE)
    assert row["pending"] > 0
    wait_for(lambda: site.image().get(b"/small", b"")[-1:] == (b"1",))
    assert site.image()[b"/big"] != site.disk()[b"/big"], "it was compared a moment ago, and waits for hours"
    assert site.source.report()["through_at"] < waits_since
    site.source.stop()
    site.start(big_file_bytes_a_second=None)
    site.settle()
    wait_for(lambda: site.source.report()["pending_big_files"] == 0)


def test_the_declared_pace_is_kept() -> None:
    pending = Pending(bytes_a_second=lambda: 2 * MIB)
    pending.compared(7, SIZE, 0.01, 100.0, SIZE)
    assert pending.must_wait(WHERE, 7, SIZE, 103.9) and pending.later == {WHERE: 104.0}
    assert pending.big() == (1, SIZE)
    assert not pending.must_wait(WHERE, 7, SIZE, 104.0)
    pending.compared(8, PACED_BYTES, 1.0, 100.0, PACED_BYTES)
    assert not pending.must_wait(WHERE, 8, PACED_BYTES, 100.0), "not a big one"


def test_without_one_it_is_left_alone_for_several_times_as_long_as_it_took() -> None:
    pending = Pending()
    pending.compared(7, SIZE, 0.5, 100.0, SIZE)
    assert pending.must_wait(WHERE, 7, SIZE, 100.0) and pending.later == {WHERE: 100.0 + PACE * 0.5}
