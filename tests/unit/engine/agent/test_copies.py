"""Copies inside a source: files that hold what others hold, or held, ship no data."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Site, wait_for

from engine.agent.capture import content, copies
from engine.agent.kept.record import Record

BLOCK = 8192
SEED = int(os.environ.get("BCS_SEED", random.randrange(10**9)))


def acknowledged(site: Site) -> None:
    """Wait until the agent knows that the node has everything: only that may be referred to."""
    site.settle()
    wait_for(lambda: not site.source.report()["pending"] and site.source._begun.view.state == "protected")
    wait_for(lambda: site.source.view.through_at >= site.node.points()[-1].at)


def sent(site: Site) -> tuple[int, int]:
    """(bytes of content that travelled, bytes that were referred to)."""
    return site.node.raw_bytes, site.node.copied_bytes


def test_a_copy_ships_no_data(site: Site) -> None:
    written = os.urandom(5_000_000)
    (site.tree / "a").write_bytes(written)
    site.start(watch="inotify")
    acknowledged(site)
    before = sent(site)
    shutil.copyfile(site.tree / "a", site.base / "b")
    (site.base / "b").rename(site.tree / "b")  # looked at when it is whole
    site.settle()
    data, copied = (after - then for after, then in zip(sent(site), before, strict=True))
    assert (data, copied) == (0, len(written))


def test_a_copy_that_is_looked_at_while_it_is_made_ships_little(site: Site) -> None:
    (site.tree / "a").write_bytes(os.urandom(12_000_000))
    site.start(watch="inotify")
    acknowledged(site)
    before = sent(site)
    shutil.copyfile(site.tree / "a", site.tree / "b")
    site.settle()
    assert sent(site)[0] - before[0] < 500_000


def test_a_tree_is_copied_by_references(site: Site) -> None:
    for number in range(60):
        path = site.tree / "t" / str(number % 7) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(random.choice([600, 5000, 8192, 30_000, 300_000])))
    site.start(watch="inotify")
    acknowledged(site)
    before = sent(site)
    shutil.copytree(site.tree / "t", site.base / "u")
    (site.base / "u").rename(site.tree / "u")
    site.settle()
    assert sent(site)[0] == before[0]


def test_the_same_content_written_anew_and_renamed_ships_no_data(site: Site) -> None:
    written = os.urandom(300_000)
    (site.tree / "a").write_bytes(written)
    site.start(watch="inotify")
    for _ in range(3):
        acknowledged(site)
        before = sent(site)
        (site.base / "new").write_bytes(written)
        (site.base / "new").rename(site.tree / "a")
        site.settle()
        assert sent(site)[0] == before[0]


def test_of_a_file_that_was_written_to_copies_ship_no_data_either(site: Site) -> None:
    path = site.tree / "a"
    path.write_bytes(os.urandom(1_000_000))
    site.start(watch="inotify")
    for at in (10, 70_000, 500_000, 70_050):
        with path.open("r+b") as file:
            file.seek(at)
            file.write(os.urandom(3000))
        acknowledged(site)
    before = sent(site)
    shutil.copyfile(path, site.base / "b")
    (site.base / "b").rename(site.tree / "b")
    site.settle()
    assert sent(site)[0] - before[0] < 600


def test_a_changed_copy_ships_what_is_new_in_it(site: Site) -> None:
    written = bytearray(os.urandom(2_000_000))
    (site.tree / "a").write_bytes(written)
    site.start(watch="inotify")
    acknowledged(site)
    before = sent(site)
    written[1_000_000:1_000_100] = os.urandom(100)
    (site.base / "b").write_bytes(written + os.urandom(5000))
    (site.base / "b").rename(site.tree / "b")
    site.settle()
    assert sent(site)[0] - before[0] < 4 * BLOCK


def test_what_is_not_acknowledged_is_not_referred_to(site: Site) -> None:
    site.start(watch="inotify")
    site.node.away = True
    written = os.urandom(100_000)
    (site.tree / "a").write_bytes(written)
    wait_for(lambda: site.source.report()["pending"])
    (site.tree / "b").write_bytes(written)
    wait_for(lambda: site.source.report()["bytes_read"] >= 2 * len(written))
    site.node.away = False
    site.settle()
    assert site.node.copied_bytes == 0


def test_a_node_that_reads_no_copies_gets_none(site: Site) -> None:
    site.node.head = replace(site.node.head, batch_version=1)
    written = os.urandom(100_000)
    (site.tree / "a").write_bytes(written)
    site.start(watch="inotify")
    acknowledged(site)
    (site.tree / "b").write_bytes(written)
    site.settle()
    assert site.node.copied_bytes == 0


def test_a_refused_copy_is_sent_as_bytes_and_that_only_once(site: Site) -> None:
    written = os.urandom(100_000)
    (site.tree / "a").write_bytes(written)
    site.start(watch="inotify")
    acknowledged(site)
    site.node.refuse_copies = True
    (site.tree / "b").write_bytes(written)
    site.settle()
    assert site.node.copies_refused == 1
    assert [gap.label for gap in site.node.marks_of("gap")] == ["the node refused a copy"]
    site.node.refuse_copies = False
    acknowledged(site)
    before = sent(site)
    (site.tree / "c").write_bytes(written)  # what was sent since may be referred to again
    site.settle()
    assert sent(site)[0] == before[0] and site.node.copied_bytes == len(written)


def test_who_is_refused_again_and_again_refers_to_nothing_more(site: Site) -> None:
    site.node.refuse_copies = True
    site.start(watch="inotify")
    for number in range(6):
        written = os.urandom(20_000)
        for name in "ab":
            (site.tree / f"{name}{number}").write_bytes(written)
            acknowledged(site)
    assert site.node.copies_refused == copies.REFUSED_MAX


def test_different_content_with_equal_digests_of_ours_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds candidates is no proof: the node compares what it has with what is meant, cryptographically."""
    monkeypatch.setattr(content, "xxh3_128_digest", lambda data: bytes([len(data) % 251]) * 16)
    (site.tree / "a").write_bytes(b"a" * 20_000)
    site.start(watch="inotify")
    acknowledged(site)
    (site.tree / "b").write_bytes(b"b" * 20_000)
    site.settle()
    assert site.node.copies_refused == 1 and site.node.copied_bytes == 0
    assert site.image()[b"/b"][-1] == b"b" * 20_000


def test_after_a_history_that_was_lost_only_what_the_node_has_is_referred_to(site: Site) -> None:
    written = os.urandom(100_000)
    site.start(watch="inotify")
    (site.tree / "a").write_bytes(written)
    acknowledged(site)
    site.source.stop()
    node, lsn = site.node, site.node.points()[0].lsn
    node.events[:] = [event for event in node.events if event.lsn <= lsn]
    node.head = replace(node.head, lsn=lsn, hash=node.sent_hashes[lsn])
    (site.tree / "b").write_bytes(written)
    site.start(watch="inotify", wait=False)
    site.settle()
    assert node.copies_refused == 0


def test_any_copies_and_edits(site: Site) -> None:
    choose = random.Random(SEED)
    for number in range(4):
        (site.tree / str(number)).write_bytes(choose.randbytes(choose.choice([700, 20_000, 100_000, 5_000_000])))
    site.start(watch="inotify")
    for number in range(60):
        files = sorted(path for path in site.tree.iterdir() if path.is_file())
        path, other = choose.choice(files), site.tree / str(choose.randrange(8))
        what = choose.choice(["copy", "copy", "swap", "patch", "cut", "grow", "remove"])
        if what == "copy" and path != other:
            shutil.copyfile(path, other)
        elif what == "swap":
            shutil.copyfile(path, site.tree / "new")
            (site.tree / "new").rename(other)
        elif what == "patch":
            with path.open("r+b") as file:
                file.seek(choose.randrange(path.stat().st_size + 1))
                file.write(choose.randbytes(choose.choice([1, 100, 9000])))
        elif what == "cut":
            os.truncate(path, choose.randrange(path.stat().st_size + 1))
        elif what == "grow":
            with path.open("ab") as file:
                file.write(choose.randbytes(10_000))
        elif what == "remove" and len(files) > 2:
            path.unlink()
        if number % 6 == 5:
            acknowledged(site)
    site.settle()
    assert site.node.copies_refused == 0, f"seed {SEED}"
    assert site.node.copied_bytes > 0


def test_a_record_that_an_older_agent_made_gets_its_columns(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "record")
    db.execute(
        "CREATE TABLE blocks (file_id INTEGER NOT NULL, chunk INTEGER NOT NULL, lsn INTEGER NOT NULL, "
        "digests BLOB NOT NULL, PRIMARY KEY (file_id, chunk)) WITHOUT ROWID"
    )
    db.execute("INSERT INTO blocks VALUES (1, 0, 1, x'00')")
    db.commit()
    db.close()
    record = Record(tmp_path / "record")
    assert record.blocks(1, 0) == b"\0" and record.placed(1, 0) is None
    record.put_blocks(2, 0, 5, bytes(16), 7, b"p")
    assert record.placed(2, 0) == b"p" and [row[0] for row in record.chunks_like(7, 4)] == [2]
    record.close()


@pytest.mark.parametrize("count", [1, 20, 200])
def test_entries_stay_what_was_written_last(count: int) -> None:
    choose = random.Random(SEED + count)
    image: list[tuple[int, int]] = [(0, 0)] * 1000
    packed: bytes | None = b""
    for lsn in range(1, count + 1):
        at = choose.randrange(999)
        length = choose.randrange(1, 1000 - at)
        hole = choose.random() < 0.2
        image[at : at + length] = [(0, 0) if hole else (lsn, skip) for skip in range(length)]
        packed = copies.over(packed, [(at, length, 0 if hole else lsn, 0)])
        if packed is None:
            packed, image = b"", [(0, 0)] * 1000
    placed = copies.unpack(packed)
    made = [(0, 0)] * 1000
    for offset, length, lsn, skip in placed:
        assert made[offset : offset + length] == [(0, 0)] * length
        made[offset : offset + length] = [(lsn, skip + each) for each in range(length)]
    assert made == image
    begin, end = sorted(choose.sample(range(1001), 2))
    cut = copies.within(placed, begin, end, count)
    assert (cut is None) == any(lsn == 0 for lsn, _ in image[begin:end])
