"""Tables: the rows of a commit equal the events of its batches, one by one, for any batches."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.format import hashes, parquet, tables
from engine.format.footer import Footer, Pack, Run, StreamFooter, decode, join_runs
from engine.format.schema import EVENTS
from engine.model.errors import Damaged
from engine.wire import batch as wire
from engine.wire.batch import NO_HASH, Batch, BatchBuilder
from engine.wire.errors import Malformed

KEY = bytes(range(32))
TIMES = st.integers(0, 2**60)
NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))


@st.composite
def events(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    kinds = st.sampled_from(["dentry", "unlink", "inode", "extent", "hole", "mark", "record"])
    made: list[tuple[Any, ...]] = []
    for kind in draw(st.lists(kinds, min_size=1, max_size=30)):
        at = draw(TIMES)
        if kind == "dentry":
            made.append(("dentry", at, draw(st.integers(0, 5)), draw(NAMES), 0))
        elif kind == "unlink":
            made.append(("dentry", at, draw(st.integers(0, 5)), draw(NAMES), None))
        elif kind == "inode":
            mode, size, mtime = draw(st.integers(0, 0o7777)), draw(st.integers(0, 2**62)), draw(st.integers(-9, 2**62))
            target, xattrs = draw(st.binary(max_size=5)), draw(st.binary(max_size=5))
            made.append(
                ("inode", at, None, draw(st.sampled_from("fdlpscb")), mode, 1, 2, size, mtime, 3, target, xattrs)
            )
        elif kind == "extent":
            made.append(("extent", at, 0, draw(st.integers(0, 2**40)), draw(st.binary(min_size=1, max_size=60))))
        elif kind == "hole":
            made.append(("hole", at, 0, draw(st.integers(0, 2**40)), draw(st.integers(1, 2**40))))
        elif kind == "mark":
            made.append(("mark", at, "pass", draw(st.text(max_size=5)), "quiet", draw(TIMES)))
        else:
            made.append(("record", at, "topic", draw(st.text(max_size=9))))
    return made


def build(stream: str, made: list[tuple[Any, ...]], lsn_first: int) -> Batch:
    builder = BatchBuilder(stream, 1, lsn_first, NO_HASH)
    for kind, *values in made:
        getattr(builder, kind)(*values)
    return wire.decode(b"".join(builder.encode()[0]))


def expected(batch: Batch, made: list[tuple[Any, ...]], committed_at: int) -> list[dict[str, Any]]:
    """The rows, the plain way."""
    rows = []
    empty = dict.fromkeys(EVENTS.names)
    for lsn, (kind, at, *rest) in enumerate(made, batch.lsn_first):
        row = {**empty, "stream": batch.stream, "epoch": 1, "lsn": lsn, "at": at, "committed_at": committed_at}
        row["subject"] = 0
        if kind == "dentry":
            row |= {"kind": 1, "subject": rest[0], "name": rest[1], "file_id": rest[2]}
        elif kind == "inode":
            names = ("type", "mode", "uid", "gid", "size", "mtime_ns", "rdev", "target", "xattrs")
            row |= {"kind": 2, "subject": lsn, **dict(zip(names, rest[1:], strict=True)), "type": ord(rest[1])}
        elif kind == "extent":
            row |= {"kind": 3, "subject": rest[0], "offset": rest[1], "length": len(rest[2])}
            row["hash"] = blake3(rest[2], key=KEY).digest(16)
        elif kind == "hole":
            row |= {"kind": 3, "subject": rest[0], "offset": rest[1], "length": rest[2]}
        elif kind == "mark":
            row |= {"kind": 4, "mark": rest[0], "label": rest[1], "point_class": rest[2], "gap_from": rest[3]}
        else:
            row |= {"kind": 5, "mark": rest[0], "payload": rest[1]}
        rows.append(row)
    return rows


@given(st.lists(st.tuples(st.sampled_from(["aa", "bb", "cc"]), events()), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_rows_equal_the_events(given_batches: list[tuple[str, list[tuple[Any, ...]]]]) -> None:
    next_lsn: dict[str, int] = {}
    placed, wanted, at = [], [], 64
    for stream, made in given_batches:
        batch = build(stream, made, next_lsn.get(stream, 1))
        next_lsn[stream] = batch.lsn_last + 1
        offsets = [at + 1000 * number for number in range(len(batch.frames))]
        at += 1000 * len(batch.frames)
        prepared = tables.prepare(batch, hashes.batch_hashes(batch, KEY))
        placed.append(tables.Placed(prepared, offsets, [500] * len(offsets)))
        wanted += expected(batch, made, 77)
        _place(wanted, batch, offsets)
    table = tables.assemble(placed, "the/pack", 77)
    table.validate(full=True)
    order = sorted(wanted, key=lambda row: (row["stream"], row["kind"], row["subject"], row["lsn"]))
    assert table.schema == EVENTS and table.to_pylist() == order
    content = parquet.encode(table, Footer("n", 1, 1, 1, 1, 1, "").encode())
    assert parquet.read_events(content, "key").to_pylist() == order
    assert tables.sort_events(table.take(pa.array(range(table.num_rows - 1, -1, -1)))).to_pylist() == order


def _place(wanted: list[dict[str, Any]], batch: Batch, offsets: list[int]) -> None:
    extents = batch.tables.get("extent")
    rows = {row["lsn"]: row for row in wanted if row["stream"] == batch.stream}
    for lsn, frame, skip in zip(extents["lsn"], extents["frame"], extents["skip"], strict=True) if extents else ():
        if frame >= 0:
            rows[lsn] |= {"pack": "the/pack", "frame": offsets[frame], "frame_bytes": 500, "skip": skip}


@pytest.mark.parametrize("change", [{"mode": 0o10000}, {"type": 120}, {"size": -1}])
def test_inodes_that_can_not_be_are_malformed(change: dict[str, int]) -> None:
    batch = build("aa", [("inode", 1, None, "f", 0o644, 0, 0, 5, 6)], 1)
    for name, value in change.items():
        batch.tables["inode"][name][0] = value
    with pytest.raises(Malformed):
        tables.prepare(batch, b"")


def test_text_that_is_none_is_malformed() -> None:
    builder = BatchBuilder("aa", 1, 1, NO_HASH)
    builder._rows["mark"].append((builder._take(), 1, b"\xff", b"", b"", 0))
    with pytest.raises(Malformed, match=r"mark\.kind"):
        tables.prepare(wire.decode(b"".join(builder.encode()[0])), b"")


def test_files_from_the_future_are_malformed() -> None:
    with pytest.raises(Malformed, match="names file 9"):
        tables.prepare(build("aa", [("dentry", 1, 0, b"name", 9)], 1), b"")


def test_footers_read_back() -> None:
    streams = {
        "aa": StreamFooter((Run(1, 1, 5, "00", "01"), Run(2, 6, 9, "02", "03")), 12),
        "bb": StreamFooter((), 99),
        "cc": StreamFooter((), 99, ((50, 40), (100, 99)), 1000),
    }
    footer = Footer("node", 3, 4, 9, 100, 200, "prev", "last", 300, (Pack("packs/x", 12, "ab"),), streams)
    assert decode("key", footer.encode()) == footer
    content = parquet.encode(EVENTS.empty_table(), footer.encode())
    assert parquet.read_footer(content, "key") == footer


@pytest.mark.parametrize("text", [None, b"", b"{}", b"[]", b'{"format": 2}'])
def test_footers_that_can_not_be_are_damage(text: bytes | None) -> None:
    with pytest.raises(Damaged, match="the/key"):
        decode("the/key", text)


def test_runs_that_continue_one_another_are_joined() -> None:
    first, second, third = Run(1, 1, 5, "a", "b"), Run(1, 6, 7, "b", "c"), Run(1, 8, 9, "x", "d")
    assert join_runs([second, first, third]) == (Run(1, 1, 7, "a", "c"), third)
    assert join_runs([third, first]) == (first, third)
